"""ONNX files: networks traced, written without what tells of this machine, and opened to run."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx
    import torch

OPSET = 18
"""Of what is written: the newest that the exporter writes by itself; onnxruntime-web runs it."""


def traced(
    module: "torch.nn.Module",
    examples: Mapping[str, "torch.Tensor"],
    outputs: Sequence[str],
    *,
    metadata: Mapping[str, str],
) -> "onnx.ModelProto":
    """Return a network as an ONNX graph whose first axis is open.

    Args:
        module: In evaluation mode, on the CPU.
        examples: Input name → example, (N, …) with N ≥ 2, in the order of `forward`.
        outputs: Names of what it returns.
        metadata: Written into the file.

    Raises:
        ImportError: Without the extra ``onnx``.
        ValueError: If the network cannot be traced.
    """
    _require("onnx", "onnxscript", purpose="to write ONNX files")
    import torch

    with torch.no_grad():
        # a network that keeps constants from its first call would keep those of the tracing
        module.eval()(*examples.values())
    batch = torch.export.Dim("N", min=1)
    shapes = tuple({0: batch} for _ in examples)
    with _quiet():
        try:
            captured = torch.export.export(
                module, tuple(examples.values()), dynamic_shapes=shapes, strict=False
            )
            program = torch.onnx.export(
                captured,
                input_names=list(examples),
                output_names=list(outputs),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
                dynamo=True,
            )
        # what the tracer raises has no common base but this one
        except Exception as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise ValueError(
                f"{type(module).__name__} cannot be written as ONNX: {reason}"
            ) from error
    assert program is not None
    model = program.model_proto
    cleaned(model)
    for key in sorted(metadata):
        model.metadata_props.add(key=key, value=metadata[key])
    return model


def cleaned(model: "onnx.ModelProto") -> None:
    """Take out of a graph what does not decide the result: notes with paths and source lines."""
    graph = model.graph
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]
    del graph.metadata_props[:]
    del model.metadata_props[:]
    graph.name, graph.doc_string, model.doc_string = "affectory", "", ""
    model.producer_name, model.producer_version = "affectory", ""


def write(model: "onnx.ModelProto", path: Path) -> None:
    """Write a graph: the same graph gives the same bytes."""
    path.write_bytes(model.SerializeToString(deterministic=True))


def session(path: Path, *, threads: int | None = None) -> Any:
    """Open a file with onnxruntime on the processor.

    Args:
        path: The ONNX file.
        threads: Of one call; None for as many as there are cores.

    Raises:
        ImportError: Without onnxruntime.
        ValueError: If onnxruntime cannot read the file.
    """
    _require("onnxruntime", purpose="to run ONNX files")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; warnings tell of its own inner ways
    if threads is not None:
        options.intra_op_num_threads = options.inter_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base but this one
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{path} is no ONNX file that onnxruntime runs ({reason})") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from telling every step of its own."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # it switches this on itself, to name lines of source
            message = "Anomaly Detection has been enabled"
            warnings.filterwarnings("ignore", message, UserWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _require(*packages: str, purpose: str) -> None:
    if missing := [name for name in packages if find_spec(name) is None]:
        raise ImportError(
            f"{purpose}, {' and '.join(missing)} must be installed: pip install 'affectory[onnx]'"
        )
