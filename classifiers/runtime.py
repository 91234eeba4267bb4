"""Runtime: an exported recogniser at work, from pixels or from a photograph, without PyTorch.

An exported folder says in ``preprocessing.json`` what the network must be given: faces cut under
one contract, of one size, its labels in one order. It carries hashes of this and of every model
file, and nothing is run that does not fit.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from curation import onnx_files
from curation.artifact import file_hash, fingerprint, read_json
from curation.contract import contract_id
from curation.decoding import read_image
from curation.detect import Box, Face, distinct_faces
from curation.standard import Standard, UnusableFaceError, recorded_standard

PREPROCESSING = "preprocessing.json"
Precision = Literal["fp32", "fp16", "int8"]
MODELS: dict[Precision, str] = {
    "fp32": "model.onnx",
    "fp16": "model.fp16.onnx",
    "int8": "model.int8.onnx",
}


def preprocessing_hash(content: Mapping[str, Any]) -> str:
    """Return the name of a ``preprocessing.json``: of all it says but this name itself."""
    return fingerprint(**{key: value for key, value in content.items() if key != "hash"})


class OnnxPredictor:
    """A recogniser in an ONNX file that judges faces; what `classifiers.predict.Predictor` offers.

    Attributes:
        emotions: Names of the C outputs, in order.
        size: (H, W) of the faces; others are refused.
        name: What to call it in a table.
        hash: Identity of weights, labels, contract and precision, 10 hexadecimal digits.
        contract: How the faces it learned from were cut; see `curation.standard`.
        calibration: The ``temperature`` that is in the graph.
    """

    def __init__(
        self,
        session: Any,
        content: Mapping[str, Any],
        *,
        precision: Precision,
        batch_size: int = 64,
    ) -> None:
        """Use an open file; `load` is the usual way.

        Args:
            session: Of onnxruntime.
            content: Of ``preprocessing.json``.
            precision: Which file it is.
            batch_size: Faces at a time.
        """
        self._session, self.batch_size = session, batch_size
        self.emotions = tuple(content["emotions"])
        height, width = content["size"]
        self.size = (int(height), int(width))
        self.name = f"{content['name']} ({precision})"
        self.hash = fingerprint(preprocessing=content["hash"], precision=precision)
        self.contract: Mapping[str, Any] = content["contract"]
        self.calibration = {"temperature": content["temperature"]}

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        precision: Precision = "fp32",
        emotions: Sequence[str] | None = None,
        threads: int | None = None,
        batch_size: int = 64,
    ) -> "OnnxPredictor":
        """Open what ``affectory export`` wrote.

        Args:
            folder: The exported folder.
            precision: ``fp32``, ``fp16`` or ``int8``.
            emotions: The order of labels that the caller counts on; None takes the folder's.
            threads: Of the processor, for one call; None for all.
            batch_size: Faces at a time.

        Raises:
            FileNotFoundError: If a file is missing.
            ImportError: Without onnxruntime.
            ValueError: If a file is damaged, was changed or does not belong to the others, if the
                contract is missing, or if the labels are not those, in that order.
        """
        folder = Path(folder)
        if precision not in get_args(Precision):
            raise ValueError(
                f"precision {precision!r} is unknown; it is one of {', '.join(MODELS)}"
            )
        content = _read(folder)
        path = folder / MODELS[precision]
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; export the recogniser again")
        if (found := file_hash(path)) != content["files"].get(path.name):
            raise ValueError(
                f"{path} is not the file that {PREPROCESSING} describes: its SHA-256 starts with "
                f"{found[:10]}, {str(content['files'].get(path.name))[:10]} is noted; copy the "
                "whole folder, or export again"
            )
        session = onnx_files.session(path, threads=threads)
        graph = session.get_modelmeta().custom_metadata_map.get("emotions", "[]")
        _require_labels(content["emotions"], json.loads(graph), f"the graph of {path}")
        if emotions is not None:
            _require_labels(list(emotions), content["emotions"], str(folder / PREPROCESSING))
        return cls(session, content, precision=precision, batch_size=batch_size)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return (N, C) float32 calibrated probabilities.

        Args:
            images: (N, 3, H, W) uint8 RGB of the training size.
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != np.uint8:
            raise ValueError(
                f"faces must be (N, 3, H, W) uint8 RGB, got {images.shape} {images.dtype}"
            )
        if tuple(images.shape[2:]) != self.size:
            height, width = self.size
            raise ValueError(
                f"{self.name} was trained on {height}x{width} faces, got shape {images.shape}; "
                "bring faces to its contract (classifiers.runtime.Pipeline)"
            )
        if not len(images):
            raise ValueError("no face was given")
        starts = range(0, len(images), self.batch_size)
        return np.concatenate(
            [
                self._session.run(
                    ["probabilities"],
                    {"images": images[start : start + self.batch_size].astype(np.float32)},
                )[0]
                for start in starts
            ]
        )


def _read(folder: Path) -> dict[str, Any]:
    path = folder / PREPROCESSING
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no exported recogniser ({PREPROCESSING} is missing); make one by "
            "`affectory export`"
        )
    try:
        content = read_json(path)
        noted = content["hash"]
        missing = {"emotions", "size", "files", "name", "temperature"} - content.keys()
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}); export again"
        ) from error
    if not isinstance(contract := content.get("contract"), dict) or not contract:
        raise ValueError(
            f"{path} has no standardisation contract, so nobody knows how faces must be cut for "
            "this recogniser; export again"
        )
    if contract_id(contract) != content.get("contract_id"):
        raise ValueError(
            f"the contract in {path} was changed: it is {contract_id(contract)}, "
            f"{content.get('contract_id')} is noted; restore the file or export again"
        )
    if missing or preprocessing_hash(content) != noted:
        raise ValueError(
            f"{path} was changed: its hash is {preprocessing_hash(content)}, {noted} is noted; "
            "restore the file or export again"
        )
    return content


def _require_labels(wanted: Sequence[str], there: Sequence[str], where: str) -> None:
    if list(wanted) != list(there):
        raise ValueError(
            f"the labels should be {', '.join(wanted)}; {where} has {', '.join(there) or 'none'}, "
            "in this order: probabilities would be given to the wrong emotions; restore "
            f"{PREPROCESSING}, or export again"
        )


@dataclass(frozen=True)
class Pipeline:
    """The whole path: decode, detect, cut by the contract, classify.

    Attributes:
        predictor: Judges faces.
        standard: Finds and cuts them, as those that the predictor learned from.
    """

    predictor: OnnxPredictor
    standard: Standard

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        precision: Precision = "int8",
        files: Iterable[Path] = (),
        threads: int | None = None,
    ) -> "Pipeline":
        """Open an exported folder.

        Args:
            folder: See `OnnxPredictor.load`, as for `precision` and `threads`.
            precision: Which file.
            files: Model files that the detector needs (`recorded_standard`).
            threads: Of the processor, for one call; None for all.

        Raises:
            FileNotFoundError: As `OnnxPredictor.load`, or if the detector's file is missing.
            ValueError: As `OnnxPredictor.load`, or if faces would be cut in another way.
        """
        predictor = OnnxPredictor.load(folder, precision=precision, threads=threads)
        return cls(predictor, recorded_standard(predictor.contract, files))

    def __call__(self, image: np.ndarray | Path | bytes) -> list[tuple[Box, np.ndarray]]:
        """Find and judge all faces of a picture.

        Args:
            image: (H, W, 3) uint8 RGB, or a picture file or its content.

        Returns:
            For each face, largest first, its box in pixels and (C,) probabilities. A face whose
            eyes the contract needs and nobody found is left out.

        Raises:
            UnreadableImageError: If the file is no picture.
        """
        pixels = image if isinstance(image, np.ndarray) else read_image(image)
        found = distinct_faces(self.standard.detector(pixels))
        found.sort(key=lambda face: (-face.box.width * face.box.height, face.box))
        return self.judge(pixels, found)

    def judge(self, image: np.ndarray, faces: Iterable[Face]) -> list[tuple[Box, np.ndarray]]:
        """Judge known faces of a picture, (H, W, 3) uint8 RGB; see `__call__`."""
        boxes, crops = [], []
        for face in faces:
            try:
                known = self.standard.completed(image, face)
            except UnusableFaceError:
                continue
            boxes.append(face.box)
            crops.append(self.standard.cut(image, known).image)
        if not crops:
            return []
        judged = self.predictor.probabilities(np.stack(crops).transpose(0, 3, 1, 2))
        return list(zip(boxes, judged, strict=True))
