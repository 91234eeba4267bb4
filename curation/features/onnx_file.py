"""A network in an ONNX file as an extractor, for example a face embedding."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from curation.artifact import file_hash, fingerprint
from curation.features.protocol import batches, require_pictures
from curation.features.resizing import resize, resizer_name


class OnnxFile:
    """A user's own network. What it wants to be given is in no file: say it here.

    The defaults are those of ArcFace networks (Deng et al. 2019, arXiv:1801.07698): 112 px RGB in
    [−1, 1], of which the directions are compared. Needs onnxruntime (extra ``onnx``).
    """

    def __init__(
        self,
        file: Path | str | None,
        *,
        size: int = 112,
        mean: float | Sequence[float] = 127.5,
        std: float | Sequence[float] = 127.5,
        channels: Literal["rgb", "bgr"] = "rgb",
        layout: Literal["nchw", "nhwc"] = "nchw",
        output: str | None = None,
        unit_length: bool = True,
        batch_size: int = 32,
    ) -> None:
        """Choose the file and say what it takes.

        Args:
            file: The ONNX file; None raises at the first call.
            size: Side in pixels of its input.
            mean: Taken off the pixels in 0–255, one number or one a channel in the file's order.
            std: What they are divided by then.
            channels: Order of the channels.
            layout: Whether channels come before rows and columns or after.
            output: Name of the output that holds the features; None for the first.
            unit_length: Whether features are brought to length 1, as face embeddings are compared.
            batch_size: Pictures at a time, if the file leaves that open.
        """
        if channels not in ("rgb", "bgr") or layout not in ("nchw", "nhwc"):
            raise ValueError(
                f"channels {channels!r} must be rgb or bgr (features.channels), "
                f"layout {layout!r} nchw or nhwc (features.layout)"
            )
        self.file = None if file is None else Path(file).expanduser()
        self.size, self.output, self.unit_length = size, output, unit_length
        self.mean, self.std = (
            np.broadcast_to(np.asarray(values, np.float32), 3) for values in (mean, std)
        )
        self.channels, self.layout, self.batch_size = channels, layout, batch_size
        self.name = f"{'no file' if self.file is None else self.file.name} (ONNX)"
        self.resizer = resizer_name(size)

    @cached_property
    def hash(self) -> str:
        """Identity of the file's bytes and of how pictures enter it."""
        return fingerprint(
            file=file_hash(self._path),
            size=self.size,
            mean=self.mean.tolist(),
            std=self.std.tolist(),
            channels=self.channels,
            layout=self.layout,
            output=self.output,
            unit_length=self.unit_length,
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return (N, d) float32 features of (N, 3, H, W) uint8 RGB.

        Raises:
            FileNotFoundError: If there is no such file.
            ImportError: Without onnxruntime.
            ValueError: If the file has no such output, or these are no pictures.
        """
        require_pictures(images)
        session = self._session
        first = session.get_inputs()[0]
        fixed = first.shape[0]  # some files take one picture at a time
        size = fixed if isinstance(fixed, int) and fixed > 0 else self.batch_size
        names = [found.name for found in session.get_outputs()]
        if self.output is not None and self.output not in names:
            raise ValueError(
                f"{self.file} has the outputs {', '.join(names)}, not {self.output} "
                "(features.output)"
            )
        wanted = [self.output or names[0]]
        features = []
        for batch in batches(images, size, title=self.name):
            given = self._prepared(batch)
            short = size - len(given) if size == fixed else 0
            given = np.concatenate([given, np.repeat(given[-1:], short, axis=0)])
            found = np.asarray(session.run(wanted, {first.name: given})[0], np.float32)
            features.append(found.reshape(len(given), -1)[: len(batch)])
        rows = np.concatenate(features)
        if self.unit_length:
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return rows

    def _prepared(self, batch: torch.Tensor) -> np.ndarray:
        pixels = resize(batch, self.size).numpy()
        if self.channels == "bgr":
            pixels = pixels[:, ::-1]
        pixels = (pixels - self.mean.reshape(3, 1, 1)) / self.std.reshape(3, 1, 1)
        return np.ascontiguousarray(
            pixels.transpose(0, 2, 3, 1) if self.layout == "nhwc" else pixels
        )

    @property
    def _path(self) -> Path:
        if self.file is None or not self.file.is_file():
            raise FileNotFoundError(f"no file {self.file} (features.file); name an ONNX file there")
        return self.file

    @cached_property
    def _session(self) -> Any:
        path = self._path
        try:
            import onnxruntime  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ImportError(
                "features of an ONNX file need onnxruntime: pip install 'affectory[onnx]'"
            ) from None
        return onnxruntime.InferenceSession(
            str(path), providers=onnxruntime.get_available_providers()
        )
