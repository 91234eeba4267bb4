"""Static int8 quantisation: weights and activations in eight bits, ranges from training faces."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from classifiers.export.graph import INPUT
from curation import onnx_files

if TYPE_CHECKING:
    import onnx

QUANTISED = ("Conv", "Gemm", "MatMul", "Add", "Concat", "MaxPool", "AveragePool")
PERCENTILE = 99.99
"""Of an activation's values that its range holds."""
FIRST = 0.002
"""Share of the weights that the first layers, left in float32, may hold."""
_WEIGHTED = ("Conv", "Gemm", "MatMul")


class _Faces:
    """Hands one picture after another to the calibration, which asks for them in stretches."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = images
        self.set_range(0, len(images))

    def __len__(self) -> int:
        return len(self._images)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on with these pictures."""
        self._next: Iterator[np.ndarray] = iter(self._images[start_index:end_index])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next picture as the graph takes it, None after the last."""
        image = next(self._next, None)
        return None if image is None else {INPUT: image[None].astype(np.float32)}


def quantised(model: "onnx.ModelProto", images: np.ndarray) -> "onnx.ModelProto":
    """Return a graph with weights in int8, a scale a channel, and activations in uint8.

    Quantise and dequantise nodes around each operation (QDQ), which every runtime understands.
    Ranges of activations hold 99.99 % of their values over the pictures, so that a single outlier
    does not coarsen all the rest (Wu et al. 2020, arXiv:2004.09602, section 4): of a MobileNetV2
    that changes 3.0 % of first choices where smallest and largest values change 4.5 %. What stands
    before the first layer, the normalisation, and what follows the last stay in float32; so do the
    first layers as long as they hold few of the weights (`FIRST`), since every later layer inherits
    their errors: with five of that MobileNetV2's in float32 1.7 % change, in no more time.

    On x86 processors without VNNI, onnxruntime adds pairs of products in 16 bits, which can
    saturate. Weights of seven bits cannot, but change 4.9 % of first choices, on every machine
    (n = 2,100), so weights have eight.

    Args:
        model: In float32, batch-norm folded.
        images: Training faces, (N, 3, H, W) uint8 RGB.
    """
    import onnx
    from onnxruntime.quantization import (  # pyright: ignore[reportMissingImports]
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # batch-norm is folded and constants are, which is all that its own preparation would do
    copy.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    # the calibration prints a line a picture
    with tempfile.TemporaryDirectory() as name, redirect_stdout(StringIO()):
        path = Path(name, "model.int8.onnx")
        quantize_static(
            copy,
            str(path),
            _Faces(images),  # type: ignore[arg-type]  # its base class is only there with the extra
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=_unquantised(model),
            calibrate_method=CalibrationMethod.Percentile,
            # one picture's activations in memory at a time: of all they can be gigabytes
            extra_options={"CalibPercentile": PERCENTILE, "CalibStridedMinMax": 1},
        )
        result = onnx.load(path)
    onnx_files.cleaned(result)
    _lighten_biases(result)
    _shorten(result)
    for entry in model.metadata_props:
        result.metadata_props.add(key=entry.key, value=entry.value)
    return result


def _unquantised(model: "onnx.ModelProto") -> list[str]:
    """Return the names of the nodes that stay in float32; see `quantised`."""
    nodes = model.graph.node  # in order of computation
    sizes = {each.name: math.prod(each.dims) for each in model.graph.initializer}
    layers = [
        (place, sum(sizes.get(name, 0) for name in node.input))
        for place, node in enumerate(nodes)
        if node.op_type in _WEIGHTED
    ]
    few = FIRST * sum(weights for _, weights in layers)
    first, last = layers[0][0], layers[-1][0]
    for place, weights in layers:
        few -= weights
        first = place
        if few < 0:
            break
    return [node.name for place, node in enumerate(nodes) if not first <= place <= last]


def _lighten_biases(model: "onnx.ModelProto") -> None:
    """Take out what is stored of biases twice: in thin layers it is as much as the weights.

    A bias's scale is that of the input times that of the weights, and its zero points are zeros,
    which is what is meant where none are given. Runtimes multiply constants once, as they load.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    values = {each.name: each for each in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    products: list[onnx.NodeProto] = []
    for layer in [node for node in graph.node if node.op_type in _WEIGHTED]:
        parts = [makers.get(name) for name in layer.input]
        if len(parts) < 3 or any(
            part is None or part.op_type != "DequantizeLinear" for part in parts
        ):
            continue
        of_input, of_weight, of_bias = (part.input for part in parts if part is not None)
        scales = [numpy_helper.to_array(values[each[1]]) for each in (of_input, of_weight, of_bias)]
        zeros = numpy_helper.to_array(values[of_bias[2]])
        if zeros.any() or not np.array_equal(scales[0] * scales[1], scales[2]):
            continue
        graph.initializer.remove(values[of_bias[1]])
        if of_bias[2] in values:
            graph.initializer.remove(values.pop(of_bias[2]))
        products.append(helper.make_node("Mul", [of_input[1], of_weight[1]], [of_bias[1]]))
        del of_bias[2:]
    nodes = [*products, *graph.node]  # in order of computation
    del graph.node[:]
    graph.node.extend(nodes)


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
