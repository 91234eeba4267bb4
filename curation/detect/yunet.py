"""YuNet: a small network with five landmarks; the detector to prefer."""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from curation.artifact import file_hash
from curation.detect.faces import Box, Face, iou, same_face
from curation.detect.loading import PerThread, check_share, resized
from curation.weights import YUNET, find


class YuNet:
    """YuNet through OpenCV (Wu, Peng and Yu 2023): boxes, scores and five landmarks.

    It was trained on faces of up to about 300 pixels and misses larger ones, so pictures are looked
    at small first. Its landmarks wander by some hundredths of the distance between the eyes with a
    face's place and size, so each face is looked at twice more, by itself at one size and in the
    mirror, and the landmarks and box are the means of both.

    Args:
        model: A model file in ONNX; None for the published one (`curation.weights.YUNET`).
        score_threshold: Least score of a face, in [0, 1].
        nms_threshold: Of boxes that share more than this share of their union, the best one stays.
        top_k: How many boxes to consider before that.
        sides: Longest side, in pixels, that the picture is brought to; each next one is tried only
            where nothing was found before. A face must be some 30 pixels there.
        refine_side: Side in pixels for the closer looks, at a square 1.5 times the face's box; None
            for none.

    Raises:
        ValueError: If a setting is out of its range.
    """

    def __init__(
        self,
        *,
        model: str | Path | None = None,
        score_threshold: float = 0.6,
        nms_threshold: float = 0.3,
        top_k: int = 5000,
        sides: Sequence[int] = (160, 320, 640),
        refine_side: int | None = 160,
    ) -> None:
        check_share("score_threshold", score_threshold)
        check_share("nms_threshold", nms_threshold)
        if top_k < 1:
            raise ValueError(f"top_k {top_k} must be 1 or more (detector.top_k)")
        if not sides or min(sides) < 32:
            raise ValueError(
                f"sides {list(sides)} must be one or more sizes of 32 pixels or more, as "
                "[160, 320, 640] (detector.sides)"
            )
        if refine_side is not None and refine_side < 32:
            raise ValueError(
                f"refine_side {refine_side} must be 32 pixels or more, or null "
                "(detector.refine_side)"
            )
        self._given = model
        self._how = {
            "score_threshold": score_threshold,
            "nms_threshold": nms_threshold,
            "top_k": top_k,
            "sides": list(sides),
            "refine_side": refine_side,
        }
        self._network = PerThread(
            partial(_load_yunet, model, score_threshold, nms_threshold, top_k)
        )

    @cached_property
    def settings(self) -> dict[str, Any]:
        """How it searches.

        Raises:
            FileNotFoundError: If the model file is missing; with how to get it.
        """
        path = find(YUNET, self._given, key="detector.model")
        return {"detector": "yunet", "model": path.name, "sha256": file_hash(path), **self._how}

    def __call__(self, image: np.ndarray) -> list[Face]:
        """Find faces in (H, W, 3) uint8 RGB.

        Raises:
            FileNotFoundError: If the model file is missing; with how to get it.
            ValueError: If the file is no YuNet that OpenCV runs at these sizes.
        """
        for side in self._how["sides"]:
            if faces := self._look(image, side):
                break
        else:
            return []
        if self._how["refine_side"] is None:
            return faces
        return [self._refined(image, face) for face in faces]

    def _look(self, image: np.ndarray, side: int) -> list[Face]:
        """Find faces in the picture brought to a longest side."""
        small, per_pixel = resized(image, side)
        # OpenCV pads to 32 pixels, and reads beyond its memory where a side has 32 only
        lacking = [max(0, 64 - size) for size in small.shape[:2]]
        if any(lacking):
            small = cv2.copyMakeBorder(small, 0, lacking[0], 0, lacking[1], cv2.BORDER_CONSTANT)
        network = self._network()
        try:
            network.setInputSize((small.shape[1], small.shape[0]))
            _, rows = network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        except cv2.error as error:
            raise ValueError(
                f"the model {self._given or YUNET.file} does not run on {small.shape[1]} x "
                f"{small.shape[0]} pixels under OpenCV {cv2.__version__} ({error.err}); older "
                "exports of YuNet need the OpenCV of their time (detector.model, detector.sides)"
            ) from error
        if rows is None:
            return []
        # A row: box, then eye, eye, nose, corner, corner of the mouth, then the score. It starts
        # with the person's right side, which lies at the image's left.
        return [
            Face(
                box=Box(*(float(value) for value in row[:4] * np.tile(per_pixel, 2))),
                score=float(np.clip(row[14], 0, 1)),
                landmarks=(row[4:14].reshape(5, 2) * per_pixel).astype(np.float32),
            )
            for row in rows
        ]

    def _refined(self, image: np.ndarray, face: Face) -> Face:
        """Return the face with box and landmarks from closer looks, where these find it."""
        square, left, top = _around(image, face.box, 1.5)
        looks = []
        for mirrored in (False, True):
            seen = np.ascontiguousarray(square[:, ::-1]) if mirrored else square
            found = [
                _mirrored(each, square.shape[1]) if mirrored else each
                for each in self._look(seen, self._how["refine_side"])
            ]
            wanted = face.box._replace(left=face.box.left - left, top=face.box.top - top)
            near = [each for each in found if same_face(each.box, wanted)]
            if near:
                looks.append(max(near, key=lambda each: iou(each.box, wanted)))
        if not looks:
            return face
        box = np.mean([each.box for each in looks], axis=0) + np.array([left, top, 0, 0])
        landmarks = np.mean([each.landmarks for each in looks], axis=0) + np.array([left, top])
        return Face(Box(*map(float, box)), face.score, landmarks.astype(np.float32))


def _load_yunet(
    model: str | Path | None, score: float, nms: float, top_k: int
) -> cv2.FaceDetectorYN:
    path = find(YUNET, model, key="detector.model")
    # from memory: OpenCV cannot open every path that Python can, as those with umlauts on Windows
    content = np.frombuffer(path.read_bytes(), np.uint8)
    nothing = np.empty(0, np.uint8)
    try:
        return cv2.FaceDetectorYN.create("onnx", content, nothing, (320, 320), score, nms, top_k)
    except cv2.error as error:
        raise ValueError(
            f"{path} is no model that OpenCV {cv2.__version__} reads ({error.err}) (detector.model)"
        ) from error


def _mirrored(face: Face, width: int) -> Face:
    """Return a face of the mirrored picture as it lies in the picture."""
    assert face.landmarks is not None
    landmarks = face.landmarks[[1, 0, 2, 4, 3]]  # left and right change places
    landmarks[:, 0] = width - landmarks[:, 0]
    return face._replace(
        box=face.box._replace(left=width - face.box.left - face.box.width), landmarks=landmarks
    )


def _around(image: np.ndarray, box: Box, grow: float) -> tuple[np.ndarray, int, int]:
    """Cut a square around a box; beyond the picture its border goes on. Also its left and top."""
    side = max(1, round(max(box.width, box.height) * grow))
    left = round(box.left + (box.width - side) / 2)
    top = round(box.top + (box.height - side) / 2)
    height, width = image.shape[:2]
    # a box may lie beyond the picture: keep one pixel of it to go on from
    x0, x1 = np.clip([left, left + side], [0, 1], [width - 1, width])
    y0, y1 = np.clip([top, top + side], [0, 1], [height - 1, height])
    inside = image[y0:y1, x0:x1]
    edges = (max(0, -top), max(0, top + side - height), max(0, -left), max(0, left + side - width))
    if any(edges):
        inside = cv2.copyMakeBorder(inside, *edges, cv2.BORDER_REPLICATE)
    return inside, left, top
