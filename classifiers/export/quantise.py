"""Static int8 quantisation: weights and activations in eight bits, ranges from training faces."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from classifiers.export.graph import INPUT
from curation import onnx_files

if TYPE_CHECKING:
    import onnx

QUANTISED = ("Conv", "Gemm", "MatMul", "Add", "Concat", "MaxPool", "AveragePool")
_WEIGHTED = ("Conv", "Gemm", "MatMul")


class _Faces:
    """Hands one picture after another to the calibration."""

    def __init__(self, images: np.ndarray) -> None:
        self._images: Iterator[np.ndarray] = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {INPUT: image[None].astype(np.float32)}


def quantised(model: "onnx.ModelProto", images: np.ndarray) -> "onnx.ModelProto":
    """Return a graph with weights in int8, a scale a channel, and activations in uint8.

    Quantise and dequantise nodes around each operation (QDQ), which every runtime understands.
    Ranges are the smallest and largest value over the pictures (Jacob et al. 2018,
    arXiv:1712.05877, section 3). Weights keep to seven bits, since eight overflow in the 16-bit
    sums of processors without VNNI, and one file must say the same everywhere. What stands before
    the first layer, the normalisation, and what follows the last stay in float32.

    Args:
        model: In float32, batch-norm folded.
        images: Training faces, (N, 3, H, W) uint8 RGB.
    """
    import onnx
    from onnxruntime.quantization import (  # pyright: ignore[reportMissingImports]
        QuantFormat,
        QuantType,
        quantize_static,
    )

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "model.int8.onnx")
        quantize_static(
            copy,
            str(path),
            _Faces(images),  # type: ignore[arg-type]  # its base class is only there with the extra
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=_unlearned(model),
        )
        result = onnx.load(path)
    onnx_files.cleaned(result)
    _shorten(result)
    for entry in model.metadata_props:
        result.metadata_props.add(key=entry.key, value=entry.value)
    return result


def _unlearned(model: "onnx.ModelProto") -> list[str]:
    """Return the names of the nodes that no layer with weights comes before, or after."""
    nodes = model.graph.node  # in order of computation
    learned = [place for place, node in enumerate(nodes) if node.op_type in _WEIGHTED]
    return [node.name for place, node in enumerate(nodes) if not learned[0] <= place <= learned[-1]]


def _shorten(model: "onnx.ModelProto") -> None:
    """Give all but inputs and outputs short names: of a small network they are a tenth."""
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    short: dict[str, str] = dict.fromkeys(["", *kept], "") | {name: name for name in kept}

    def renamed(name: str) -> str:
        return short.setdefault(name, f"{len(short):x}")

    for initializer in model.graph.initializer:
        initializer.name = renamed(initializer.name)
    for node in model.graph.node:
        node.name = ""
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
