"""Stage ``frontier``: what recognisers weigh, how long a face takes them, and how right they are.

The networks of a benchmark beside each other, as PyTorch runs them and as exported files: one that
is worse in everything than another is not worth having.
"""

import logging
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from classifiers.export.folder import WEIGHTS
from classifiers.latency import least_milliseconds
from classifiers.networks.cost import multiply_adds, parameters
from classifiers.predict import Predictor
from classifiers.predictions import ALL, CELL
from classifiers.runtime import MODELS, OnnxPredictor
from classifiers.summary import summarise
from curation.artifact import Folders, leaves, write_json
from curation.corpus import Corpus
from curation.lineage import Record, located, read_record
from curation.progress import track

logger = logging.getLogger(__name__)

TORCH = "torch"
PRECISIONS = (TORCH, *MODELS)


def frontier(
    exported: Folders,
    corpus: Folders,
    out: Path,
    *,
    emotions: Sequence[str],
    reference: str | None = None,
    margin: float = 0.02,
    rounds: int = 200,
) -> dict[str, Any]:
    """Measure exported networks of a benchmark, and compare each with a large one.

    Args:
        exported: Folders of ``export_cell``, in lists and dicts.
        corpus: Corpora that hold the test pictures.
        out: An empty folder; receives ``frontier.parquet`` (a row for each training and file:
            the cell's variables, ``precision``, ``bytes``, ``milliseconds`` a face on one core of
            this machine, ``parameters``, ``multiply_adds``), ``predictions.parquet`` (what each
            says of each test picture) and ``summary.json``: `classifiers.summary.summarise` with
            the networks for arms (``mobilenet_v2/int8``) and the training corpora for backbones.
            A claim there is the difference to the reference, paired by seed, and has ``within``:
            whether even the lower end of its interval is above −margin.
        emotions: The outputs, in order.
        reference: The backbone that all are compared with, as PyTorch runs it. None takes the
            teacher of most of the others, or where none has one the largest.
        margin: How much less accurate counts as equal, as a share.
        rounds: Calls of each network that are timed.

    Returns:
        ``networks``, ``reference``, ``margin``, ``machine``, and the ``claims`` in short.

    Raises:
        FileNotFoundError: If an export's training is gone.
        ValueError: If the reference is none of the backbones.
    """
    folders = [Path(folder) for folder in leaves(exported)]
    cells = [_cell_of(folder) for folder in folders]
    pictures = _Pictures([Path(folder) for folder in leaves(corpus)])
    against = _reference(cells, reference)
    rows: list[dict[str, Any]] = []
    tables: list[pd.DataFrame] = []
    with track(None, label="frontier", total=len(folders)) as bar, _one_thread():
        for folder, cell in zip(folders, cells, strict=True):
            tested = pd.read_parquet(cell.folder / "predictions.parquet")
            variables = {name: cell.content["config"].get(name) for name in CELL}
            for precision, measured in _measured(folder, cell.folder, rounds).items():
                rows.append({**variables, "precision": precision, **measured})
            tables.append(tested.assign(precision=TORCH))
            faces = pictures(tested["picture"].tolist())
            for precision in MODELS:
                judge = OnnxPredictor.load(folder, precision=precision)
                said = _answered(tested, judge.probabilities(faces), emotions)
                tables.append(said.assign(precision=precision))
            bar.update(1)
    table = pd.DataFrame(rows).astype({"fold": "Int64"})
    predictions = pd.concat(tables, ignore_index=True)
    table.to_parquet(out / "frontier.parquet", index=False)
    predictions.to_parquet(out / "predictions.parquet", index=False)
    named = predictions.assign(
        arm=predictions["backbone"] + "/" + predictions["precision"], backbone=predictions["arm"]
    )
    large = f"{against}/{TORCH}"
    others = {str(name): large for name in named["arm"].unique() if name != large}
    leaky = {
        str(cell.content["config"]["split"]) for cell in cells if cell.content["facts"]["leaky"]
    }
    summary = summarise(named, others, emotions=emotions, leaky=leaky)
    for claim in summary["claims"]:
        low = claim["both"]["low"]
        claim["within"] = low is not None and low > -margin
    summary |= {"reference": against, "margin": margin}
    write_json(out / "summary.json", summary)
    for name, part in table.groupby(["backbone", "precision"], sort=False):
        logger.info(
            "%s: %.2f MB, %.2f ms a face",
            "/".join(map(str, name)),
            part["bytes"].mean() / 1e6,
            part["milliseconds"].mean(),
        )
    return {
        "networks": len(folders),
        "reference": against,
        "margin": margin,
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "threads": 1,
        },
        "claims": [
            {
                name: claim[name]
                for name in ("database", "arm", "difference", "within")
            }
            for claim in summary["claims"]
            if claim["backbone"] != ALL
        ],
    }  # fmt: skip


class _Pictures:
    """Test pictures by the name of their pixels."""

    def __init__(self, corpora: Sequence[Path]) -> None:
        self.corpora = [Corpus(path) for path in corpora]

    def __call__(self, names: Sequence[str]) -> np.ndarray:
        """Return (N, 3, H, W) uint8 RGB, in the order of the names."""
        wanted, found = set(names), {}
        for corpus in self.corpora:
            chosen = corpus.facts["id"].isin(wanted - set(found)).to_numpy(bool)
            if chosen.any():
                own = corpus.facts["id"][chosen]
                found |= dict(zip(own, corpus.images(chosen), strict=True))
        if missing := wanted - set(found):
            raise ValueError(
                f"{len(missing)} test pictures, {min(missing)} for one, are in none of the corpora "
                f"{', '.join(str(corpus.path) for corpus in self.corpora)} "
                "(stages.frontier.reads.corpus)"
            )
        return np.stack([found[name] for name in names])


def _answered(tested: pd.DataFrame, answers: np.ndarray, emotions: Sequence[str]) -> pd.DataFrame:
    """Return the table of test pictures with other answers, (N, C) probabilities."""
    shares = {f"p_{name}": answers[:, code] for code, name in enumerate(emotions)}
    best = answers.argmax(1)
    return tested.assign(
        predicted=np.array(emotions, object)[best], confidence=answers.max(1), **shares
    )


def _measured(folder: Path, cell: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Return for each precision its bytes, milliseconds and the network's size."""
    network = Predictor.load(cell, device="cpu").networks[0]
    files = {name: OnnxPredictor.load(folder, precision=name, threads=1) for name in MODELS}
    size = files["fp32"].size
    face = np.random.default_rng(0).integers(0, 256, (1, 3, *size), np.uint8)
    given = torch.from_numpy(face)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def eager() -> object:
        with torch.inference_mode():
            return network(given).softmax(1)

    runners: dict[str, Callable[[], object]] = {TORCH: eager}
    runners |= {name: partial(file.probabilities, face) for name, file in files.items()}
    took = least_milliseconds(runners, rounds=rounds)
    weighs = {TORCH: WEIGHTS, **MODELS}
    known = {"parameters": parameters(network), "multiply_adds": multiply_adds(network, size)}
    return {
        name: {"bytes": (folder / weighs[name]).stat().st_size, "milliseconds": took[name], **known}
        for name in runners
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cell_of(exported: Path) -> Record:
    """Return the record of the training that an export comes from."""
    record = read_record(exported)
    entries = record.inputs.get("recogniser", []) if record else []
    place = located(Path(entries[0]["path"]), exported.resolve()) if entries else exported
    cell = read_record(place) if entries else None
    if cell is None or not (place / "predictions.parquet").is_file():
        raise FileNotFoundError(
            f"{exported} is no export of a training that is still there; run export_cell again"
        )
    return cell


def _reference(cells: Sequence[Record], named: str | None) -> str:
    backbones = [str(cell.content["config"]["backbone"]) for cell in cells]
    if named is not None:
        if named not in backbones:
            raise ValueError(
                f"the reference {named!r} is none of the networks {', '.join(sorted({*backbones}))}"
                " (stages.frontier.call.reference)"
            )
        return named
    teachers: Counter[str] = Counter()
    for cell in cells:
        for entry in cell.inputs.get("teacher", []):
            record = read_record(located(Path(entry["path"]), cell.folder))
            if record is not None:
                teachers[str(record.content["config"]["backbone"])] += 1
    if known := [name for name, _ in teachers.most_common() if name in backbones]:
        return known[0]
    sizes = [cell.content["facts"]["parameters"] for cell in cells]
    return backbones[int(np.argmax(sizes))]
