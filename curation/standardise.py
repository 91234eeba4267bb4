"""Standardise: find the face, crop it, and bring all faces to one size in RGB.

The settings are one contract, recorded in the corpus: a face cut in another way is another domain.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import local
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from PIL import Image

from curation.corpus import Corpus, content_id, decode_png, write_corpus
from curation.progress import track
from curation.skipped import Skipped

log = logging.getLogger(__name__)


def batched(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield lists of up to `size` rows (itertools.batched, which Python 3.11 lacks)."""
    rows = iter(rows)
    while batch := list(islice(rows, size)):
        yield batch


class Box(NamedTuple):
    """A face in pixels: left, top, width, height; may reach beyond the picture."""

    left: float
    top: float
    width: float
    height: float


class Detector(Protocol):
    """Finds faces: (H, W, 3) uint8 RGB → boxes, in any order, empty if there is none.

    ``settings`` says in JSON values how, as part of the contract.
    """

    settings: dict[str, Any]

    def __call__(self, image: np.ndarray) -> list[Box]:
        """Find faces."""
        ...


class Haar:
    """OpenCV's bundled cascades of Haar features (Viola and Jones 2001).

    Args:
        cascades: File names among those in OpenCV's ``data`` folder; each next one looks only where
            those before found nothing.
        scale_factor: Ratio between one scale of the search and the next, over 1.
        min_neighbours: How many overlapping hits make a face.
        min_share: Smallest face, as a share of the picture's shorter side.

    Raises:
        ValueError: If OpenCV does not carry a cascade.
    """

    def __init__(
        self,
        *,
        cascades: Sequence[str] = ("haarcascade_frontalface_default.xml",),
        scale_factor: float = 1.1,
        min_neighbours: int = 5,
        min_share: float = 0.3,
    ) -> None:
        carried = {path.name: path for path in (Path(cv2.__file__).parent / "data").glob("*.xml")}
        for name in cascades:
            if name not in carried:
                faces = sorted(known for known in carried if "face" in known)
                raise ValueError(
                    f"OpenCV carries no cascade {name!r}; for faces it has {', '.join(faces)} "
                    "(standardise.detector.cascades)"
                )
        self.settings = {
            "detector": "haar",
            "cascades": list(cascades),
            "scale_factor": scale_factor,
            "min_neighbours": min_neighbours,
            "min_share": min_share,
        }
        self._paths = [carried[name] for name in cascades]
        self._of_thread = local()  # a cascade keeps state while it searches

    def __call__(self, image: np.ndarray) -> list[Box]:
        """Find faces in (H, W, 3) uint8 RGB."""
        if not hasattr(self._of_thread, "cascades"):
            self._of_thread.cascades = [cv2.CascadeClassifier(str(path)) for path in self._paths]
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        smallest = round(self.settings["min_share"] * min(image.shape[:2]))
        for cascade in self._of_thread.cascades:
            found = cascade.detectMultiScale(
                grey,
                scaleFactor=self.settings["scale_factor"],
                minNeighbors=self.settings["min_neighbours"],
                minSize=(smallest, smallest),
            )
            if len(found):
                return [Box(*map(float, box)) for box in found]
        return []


class WholePicture:
    """No search: the picture is the face, for databases that come cropped."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {"detector": "none"}

    def __call__(self, image: np.ndarray) -> list[Box]:
        """Return the picture's own frame."""
        return [Box(0.0, 0.0, float(image.shape[1]), float(image.shape[0]))]


def choose_face(boxes: list[Box], image: np.ndarray) -> Box:
    """Return the face that the picture is of: large and near the centre.

    The score is the area, halved for a centre that lies a quarter of the diagonal off.
    """
    height, width = image.shape[:2]
    diagonal = float(np.hypot(height, width))

    def score(box: Box) -> float:
        across = box.left + box.width / 2 - width / 2
        down = box.top + box.height / 2 - height / 2
        return box.width * box.height * 0.5 ** (4 * float(np.hypot(across, down)) / diagonal)

    return max(boxes, key=score)


def crop_face(image: np.ndarray, box: Box, *, size: int, margin: float, down: float) -> np.ndarray:
    """Cut a square around a face and resize it with antialiasing.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: The face; its longer side counts.
        size: Side of the result in pixels.
        margin: Added on each side, as a share of the box's side; negative cuts closer.
        down: Shift of the square, as a share of the box's side: Haar boxes end at the mouth's
            level on long faces, so a small shift keeps the chin.

    Returns:
        (size, size, 3) uint8 RGB; what lies beyond the picture is mirrored in.
    """
    face = max(box.width, box.height)
    side = face * (1 + 2 * margin)
    left = box.left + box.width / 2 - side / 2
    top = box.top + box.height / 2 + face * down - side / 2
    height, width = image.shape[:2]
    # whole pixels of border on all sides, as far as the square reaches out
    reach = max(-left, -top, left + side - width, top + side - height, 0.0)
    border = int(np.ceil(reach))
    if border:
        image = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REFLECT_101)
    left, top = left + border, top + border
    # Pillow widens its filter with the scale, as clean-fid shows it must be done
    square = Image.fromarray(image).resize(
        (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    return np.array(square)


def standardise(
    *,
    corpus: Path,
    detector: Detector,
    size: int,
    out: Path,
    margin: float = 0.0,
    down: float = 0.0,
    grey: bool = False,
    workers: int = 2,
) -> dict[str, Any]:
    """Crop every face of a corpus to one size.

    Args:
        corpus: The ingested corpus.
        detector: Finds the faces.
        size: Side of the standard face in pixels.
        out: Empty folder to fill.
        margin: See `crop_face`.
        down: See `crop_face`.
        grey: Whether to take the colour away (three equal channels).
        workers: Threads; changes nothing but the time.

    Returns:
        Counts, and the contract: everything that decides how a face was cut.

    Raises:
        ValueError: If the size is under 16 pixels, the margin takes all of a face away, or no
            face was found at all.
    """
    if size < 16:
        raise ValueError(f"size {size} is too small for a face; use 16 pixels or more (size)")
    if margin <= -0.5:
        raise ValueError(
            f"margin {margin} leaves nothing of a face; it must be over -0.5 (standardise.margin)"
        )
    source = Corpus(corpus)
    skipped = Skipped()

    def cut(row: dict[str, Any]) -> dict[str, Any] | str:
        image = decode_png(row["image"])
        boxes = detector(image)
        if not boxes:
            return "no face found"
        face = crop_face(image, choose_face(boxes, image), size=size, margin=margin, down=down)
        if grey:
            face = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        return {**row, "image": face, "id": content_id(face)}

    def faces() -> Iterator[dict[str, Any]]:
        seen: dict[str, str] = {}
        with ThreadPoolExecutor(workers) as pool:
            pairs = (
                (row, result)
                for batch in batched(source.rows(), 64)  # a pool reads all it is given at once
                for row, result in zip(batch, pool.map(cut, batch), strict=True)
            )
            for row, result in track(pairs, label="standardise", total=len(source)):
                if isinstance(result, str):
                    skipped.add(row["source"], result, row["id"])
                elif result["id"] in seen:
                    skipped.add(row["source"], "same face as another picture", seen[result["id"]])
                else:
                    seen[result["id"]] = row["source"]
                    yield result

    total = write_corpus(faces(), out)
    skipped.write(out)
    if total == 0:
        raise ValueError(
            f"no face found in any of {len(source)} pictures of {corpus}; for pictures that are "
            "faces already use standardise=none"
        )
    contract = {
        **detector.settings,
        "size": size,
        "margin": margin,
        "down": down,
        "colour": "grey" if grey else "RGB",
        "resize": "Pillow bicubic, antialiased",
    }
    return {"rows": total, "skipped": skipped.counts(), "contract": contract}
