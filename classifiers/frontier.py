"""Stage ``frontier``: what recognisers weigh, how long a face takes them, and how right they are.

The networks of a benchmark beside each other, as PyTorch runs them and as exported files: one that
is worse in everything than another is not worth having.
"""

import logging
import platform
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from classifiers.export.folder import WEIGHTS
from classifiers.latency import TORCH, eager, least_milliseconds, runners_of
from classifiers.networks.cost import multiply_adds, parameters
from classifiers.predict import Predictor
from classifiers.predictions import ALL, CELL
from classifiers.runtime import MODELS, OnnxPredictor
from classifiers.summary import summarise
from curation.artifact import Folders, leaves, write_json
from curation.corpus import Corpus
from curation.decoded import decoded
from curation.lineage import Record, read_record
from curation.progress import track

logger = logging.getLogger(__name__)


def frontier(
    exported: Folders,
    corpus: Folders,
    out: Path,
    *,
    emotions: Sequence[str],
    reference: str | None = None,
    margin: float = 0.02,
    rounds: int = 200,
    cache: Path | str | None = None,
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
        cache: Folder for decoded pictures, which the trainings share; None for a passing one.

    Returns:
        ``networks``, ``reference``, ``margin``, ``machine``, and the ``claims`` in short.

    Raises:
        FileNotFoundError: If an export's training is gone.
        ValueError: If the reference is none of the backbones.
    """
    folders = [Path(folder) for folder in leaves(exported)]
    cells = [_cell_of(folder) for folder in folders]
    corpora = [Corpus(Path(folder)) for folder in leaves(corpus)]
    # without a cache the pictures lie in a file that is gone as soon as it is open
    with tempfile.TemporaryDirectory(dir=out) as place:
        pictures = decoded(corpora, Path(cache, "pictures") if cache else Path(place))
    against = _reference(cells, reference)
    rows: list[dict[str, Any]] = []
    tables: list[pd.DataFrame] = []
    with track(None, label="frontier", total=len(folders)) as bar, _one_thread():
        for places in _together(cells):
            group = [(folders[place], cells[place].folder) for place in places]
            for place, files in zip(places, _measured(group, rounds), strict=True):
                folder, cell = folders[place], cells[place]
                tested = pd.read_parquet(cell.folder / "predictions.parquet")
                variables = {name: cell.content["config"].get(name) for name in CELL}
                rows += [{**variables, "precision": name, **files[name]} for name in files]
                tables.append(tested.assign(precision=TORCH))
                faces = pictures[_rows(corpora, tested["picture"])]
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
    machine = {
        "processor": platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": 1,
    }
    told = ("database", "arm", "difference", "within")
    return {
        "networks": len(folders),
        "reference": against,
        "margin": margin,
        "machine": machine,
        "claims": [
            {name: claim[name] for name in told}
            for claim in summary["claims"]
            if claim["backbone"] != ALL
        ],
    }


def _rows(corpora: Sequence[Corpus], names: pd.Series) -> np.ndarray:
    """Return where the pictures of some names lie, all corpora one after the other."""
    known = pd.concat([corpus.facts["id"] for corpus in corpora], ignore_index=True)
    places = known.drop_duplicates()
    rows = pd.Series(places.index, index=places).reindex(names)
    if (missing := rows.isna()).any():
        raise ValueError(
            f"{int(missing.sum())} test pictures, {names[missing.to_numpy()].iloc[0]} for one, are "
            f"in none of the corpora {', '.join(str(corpus.path) for corpus in corpora)} "
            "(stages.frontier.reads.corpus)"
        )
    return rows.to_numpy(np.int64)


def _answered(tested: pd.DataFrame, answers: np.ndarray, emotions: Sequence[str]) -> pd.DataFrame:
    """Return the table of test pictures with other answers, (N, C) probabilities."""
    shares = {f"p_{name}": answers[:, code] for code, name in enumerate(emotions)}
    best = answers.argmax(1)
    return tested.assign(
        predicted=np.array(emotions, object)[best], confidence=answers.max(1), **shares
    )


def _together(cells: Sequence[Record]) -> list[list[int]]:
    """Return the places of the trainings that differ in nothing but their network."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, cell in enumerate(cells):
        variables = (cell.content["config"].get(name) for name in CELL if name != "backbone")
        groups.setdefault(tuple(variables), []).append(place)
    return list(groups.values())


def _measured(exports: Sequence[tuple[Path, Path]], rounds: int) -> list[dict[str, dict[str, Any]]]:
    """Return for each export, by precision, its bytes, milliseconds and the network's size.

    All take turns: how fast a shared machine is changes from one minute to the next.

    Args:
        exports: Folder of each export, and of the training that it comes from.
        rounds: Calls of each file that are timed.
    """
    weighs = {TORCH: WEIGHTS, **MODELS}
    found: list[dict[str, dict[str, Any]]] = []
    runners: dict[tuple[int, str], Callable[[], object]] = {}
    for place, (folder, cell) in enumerate(exports):
        judge = Predictor.load(cell, device="cpu")
        network, size = judge.networks[0], judge.size
        known = {"parameters": parameters(network), "multiply_adds": multiply_adds(network, size)}
        files = {name: (folder / file).stat() for name, file in weighs.items()}
        found.append({name: {"bytes": file.st_size, **known} for name, file in files.items()})
        face = np.random.default_rng(0).integers(0, 256, (1, 3, *size), np.uint8)
        own = runners_of(folder, face, eager(network, face))
        runners |= {(place, name): run for name, run in own.items()}
    for (place, name), took in least_milliseconds(runners, rounds=rounds).items():
        found[place][name]["milliseconds"] = took
    return found


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
    given = record.given("recogniser") if record else []
    cell = read_record(given[0]) if given else None
    if cell is None or not (cell.folder / "predictions.parquet").is_file():
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
        for teacher in cell.given("teacher"):
            if record := read_record(teacher):
                teachers[str(record.content["config"]["backbone"])] += 1
    if known := [name for name, _ in teachers.most_common() if name in backbones]:
        return known[0]
    sizes = [cell.content["facts"]["parameters"] for cell in cells]
    return backbones[int(np.argmax(sizes))]
