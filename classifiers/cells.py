"""Stage ``train_cell``: one training of the benchmark, and what it makes of every test picture.

A cell is a backbone trained on an arm's faces with one seed, for one part of one split. Each is
a task of its own: it is made once, whatever is added to the benchmark later.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from classifiers.finetune import fit
from classifiers.networks import Network, Recogniser
from classifiers.objectives import ccc
from classifiers.predict import Predictor, pick_device, save_ensemble
from classifiers.predictions import CELL
from classifiers.prefix import PrefixCache
from classifiers.splits import Splitter, people_of
from classifiers.training import Training
from curation.artifact import write_json
from curation.corpus import Corpus
from curation.decoded import decoded
from curation.recipes import GENERATED, Recipe

logger = logging.getLogger(__name__)

_NEEDED = [
    "id",
    "emotion",
    "valence",
    "arousal",
    "database",
    "subject",
    "parent",
    "split",
    "origin",
]
_NEEDED += ["keep", "source"]
AFFECT = ("valence", "arousal")
Match = Literal["id", "source"]


@dataclass(frozen=True)
class _Bench:
    """The pictures of a cell: rows of the corpus, then of the generated faces."""

    facts: pd.DataFrame
    labels: np.ndarray  # (N,) codes of emotions, or (N, 2) valence and arousal; 0 where not used
    train: np.ndarray  # rows
    test: np.ndarray  # rows
    short: dict[str, Any]
    shared: int  # test pictures of people who are trained on


def train_cell(
    corpus: Path,
    synthetic: Path | None,
    out: Path,
    *,
    teacher: Path | None = None,
    emotions: Sequence[str],
    network: Network | None,
    training: Training,
    recipe: Recipe,
    splitter: Splitter,
    match: Match = "id",
    fold: int | None,
    split: str,
    part: int,
    backbone: str,
    arm: str,
    seed: int,
    keep: int | str = "none",
    cache: Path | str | None = None,
    accelerator: str = "auto",
) -> dict[str, Any]:
    """Train one backbone on one arm's faces with one seed, and test it.

    Args:
        corpus: The augmented corpus: real faces and their copies.
        synthetic: The selected corpus of generated faces; None where no arm has any.
        out: An empty folder; receives ``predictions.parquet`` (a row for each test picture: the
            cell's variables, what the picture is, ``predicted``, ``confidence`` and, as
            ``p_<emotion>``, the probability of each emotion; or ``valence``, ``arousal`` and
            what was said of them, ``p_valence`` and ``p_arousal``), ``history.json``
            (`classifiers.finetune.Fitted`) and, if asked for, the network
            (`classifiers.predict.save_ensemble`).
        teacher: The cell of another backbone with the same fold, split, part, arm and seed, which
            so saw the same people: its network teaches this one, or is gone on with. None for none.
        emotions: The outputs, in order; other rows are left out.
        network: Builds the network for a number of classes; None for the teacher's.
        training: How it is trained.
        recipe: The arm: which faces it is trained on.
        splitter: Who is trained on and who is tested on.
        match: What makes pictures of two arms the same: ``id`` (their pixels), or ``source`` (the
            file that they were cut from), where the arms are cut in several ways.
        fold: Fold of the whole road that the corpora belong to; None where there is one only.
        split: Name of the splitter.
        part: Which part of the split is tested on.
        backbone: Name of the network.
        arm: Name of the recipe.
        seed: Seed of the training.
        keep: The seed whose network is kept; or ``all``, or ``none``. Only of those that tell
            emotions.
        cache: Folder for decoded pictures and frozen features, which cells share; None keeps
            the features in memory and the pictures below `out` while the cell is made.
        accelerator: Lightning's: ``auto``, ``cpu``, ``gpu``, …

    Returns:
        ``train_rows``, ``trained_on`` (``databases``, also of the generators whose faces it saw,
        ``faces`` by origin, number of ``people``), ``test_rows`` by database, ``short`` (faces
        that the arm asked for in vain), ``leaky``, ``shared_subjects`` (test pictures whose person
        is trained on), ``steps``, ``epochs``, ``parameters``, ``trained_parameters`` and ``prefix``
        of each phase, ``device`` and a ``headline``.

    Raises:
        FileNotFoundError: If the teacher's cell kept no network.
        ValueError: If there is nothing to test on, a tested person, picture or copy of it would
            be trained on (unless the split is declared leaky), or the arm lacks an emotion.
    """
    real = Corpus(corpus)
    drawn = Corpus(synthetic) if synthetic else None
    bench = _prepare(real, drawn, emotions, recipe, splitter, match, part, arm)
    outputs = list(emotions)
    told = training.target == "emotion"
    if not told:
        bench, outputs = _with_affect(bench, arm), list(AFFECT)
    corpora = [real, *([drawn] if drawn else [])]
    # without a cache the pictures lie in a file that is gone as soon as it is open
    with tempfile.TemporaryDirectory(dir=out) as folder:
        images = decoded(corpora, Path(cache, "pictures") if cache else Path(folder))
    prefix = PrefixCache(Path(cache, "prefix") if cache else None)
    ids = bench.facts["pixels"].to_numpy(object)
    fitted = fit(
        images,
        bench.labels,
        classes=len(emotions),
        network=network,
        training=training,
        seed=seed,
        teacher=_network_of(teacher, outputs) if teacher else None,
        rows=bench.train,
        subjects=_persons(bench.facts),
        ids=ids,
        prefix=prefix,
        label=f"{arm}, {backbone}, seed {seed}",
        accelerator=accelerator,
    )
    probabilities = fitted.predict(images[bench.test], ids=ids[bench.test])
    variables = dict(zip(CELL, (fold, split, part, backbone, arm, seed), strict=True))
    table = _predictions(bench, probabilities, outputs, variables)
    table.to_parquet(out / "predictions.parquet", index=False)
    write_json(out / "history.json", {"history": fitted.history})
    if told and keep in ("all", seed):
        save_ensemble([fitted.recogniser], out, emotions=emotions, size=images.shape[2:])
    return {
        "train_rows": len(bench.train),
        "trained_on": _learned_from(bench),
        "test_rows": table["database"].value_counts().sort_index().to_dict(),
        "short": bench.short,
        "leaky": splitter.leaky,
        "shared_subjects": bench.shared,
        "steps": fitted.steps,
        "epochs": round(fitted.steps / training.epoch_steps(fitted.train_rows), 2),
        "parameters": fitted.parameters,
        "trained_parameters": fitted.trained,
        "prefix": fitted.prefix,
        "device": str(pick_device(accelerator)),
        "headline": _headline(table),
    }


def _network_of(cell: Path, emotions: Sequence[str]) -> Recogniser:
    if not (cell / "recogniser.json").is_file():
        raise FileNotFoundError(
            f"{cell} kept no network to learn from; set protocol.keep=all, which makes it again"
        )
    known = Predictor.load(cell, device="cpu")
    if list(known.emotions) != list(emotions):
        raise ValueError(
            f"the teacher in {cell} tells {', '.join(known.emotions)} apart, the pupil is to learn "
            f"{', '.join(emotions)}"
        )
    return known.networks[0]


def _prepare(
    real: Corpus,
    drawn: Corpus | None,
    emotions: Sequence[str],
    recipe: Recipe,
    splitter: Splitter,
    match: Match,
    part: int,
    arm: str,
) -> _Bench:
    label = f"arm {arm!r}"
    generated = drawn.facts if drawn else real.facts.iloc[:0]
    facts = pd.concat([real.facts[_NEEDED], generated[_NEEDED]], ignore_index=True)
    facts["database"] = facts["database"].fillna("unknown")
    facts["pixels"] = facts["id"]
    if match == "source":
        facts = _by_source(facts, real.path)
    facts["split"] = splitter.assign(facts, part)
    count = len(real.facts)
    chosen = recipe.choose(facts[:count], facts[count:], emotions, label=label)
    train = np.r_[chosen.corpus, chosen.synthetic]
    tested = (facts["split"] == "test") & facts["emotion"].isin(emotions)
    if splitter.tests == "real":
        tested &= facts["origin"] == "real"
    else:
        # what the arm would train on, were it not tested on
        turned = facts.assign(split=facts["split"].map({"test": "train"}))
        tested &= recipe.candidates(turned, emotions)
    if not tested.any():
        raise ValueError(
            f"{real.path} has no {'real face' if splitter.tests == 'real' else 'face'} with split "
            f"'test' and one of the emotions {', '.join(emotions)}; ingest a test database or "
            "split off test subjects"
        )
    shared = _overlap(facts[train], facts[tested])
    if shared and not splitter.leaky:
        _refuse(arm, facts[train], facts[tested])
    if missing := [name for name in emotions if not (facts["emotion"][train] == name).any()]:
        raise ValueError(
            f"{label} has no training picture of {', '.join(missing)} (of {int(train.sum())} in "
            "all); loosen the gates, or take the arm or the emotion out"
        )
    codes = facts["emotion"].map({name: code for code, name in enumerate(emotions)})
    return _Bench(
        facts,
        codes.fillna(0).to_numpy(np.int64),
        np.flatnonzero(train),
        np.flatnonzero(tested),
        dict(chosen.short),
        shared,
    )


def _with_affect(bench: _Bench, arm: str) -> _Bench:
    """Keep the pictures whose valence and arousal somebody has judged, and learn those."""
    values = bench.facts[list(AFFECT)].to_numpy(np.float32)
    known = np.asarray(bench.facts[list(AFFECT)].notna().all(axis=1), bool)
    train, test = bench.train[known[bench.train]], bench.test[known[bench.test]]
    for rows, use in ((train, f"arm {arm!r} would train on"), (test, "are tested on")):
        if not len(rows):
            raise ValueError(
                f"none of the pictures that {use} has valence and arousal; databases like "
                "AffectNet have them, others need training.target=emotion"
            )
    return replace(bench, labels=np.nan_to_num(values), train=train, test=test)


def _by_source(facts: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Call real pictures by the file that they come from, in place of their pixels."""
    real = facts["origin"] == "real"
    if (unnamed := facts["source"][real].isna()).any():
        raise ValueError(
            f"{int(unnamed.sum())} real faces of {path} do not say which file they come from; "
            "arms that are cut in several ways cannot be matched (protocol.match)"
        )
    files = (facts["database"] + ":" + facts["source"].astype(object))[real]
    names = dict(zip(facts["id"][real], files, strict=True))
    named = facts.assign(parent=facts["parent"].replace(names))
    named["id"] = facts["id"].map(names).fillna(facts["id"])
    if (twice := named["id"][real].duplicated()).any():
        first = named["id"][real][twice].iloc[0]
        raise ValueError(f"two faces of {path} come from {first}; they cannot be matched by file")
    return named


# column of what is trained on, column of what is tested on, what the two have in common
_LEAKS = (
    ("subject", "subject", "subject"),
    ("parent", "id", "test picture (as the parent of a copy)"),
    ("parent", "parent", "parent of a test picture"),
    ("id", "parent", "parent of a test picture (the picture itself)"),
    ("id", "id", "test picture"),
)


def _overlap(train: pd.DataFrame, test: pd.DataFrame) -> int:
    """Count the test pictures that share a person or an origin with a training picture."""
    found = np.zeros(len(test), bool)
    for ours, theirs, _ in _LEAKS:
        known = set(train[ours].dropna())
        found |= test[theirs].isin(known).to_numpy(bool)
    return int(found.sum())


def _refuse(arm: str, train: pd.DataFrame, test: pd.DataFrame) -> None:
    for ours, theirs, what in _LEAKS:
        if shared := sorted(set(train[ours].dropna()) & set(test[theirs].dropna())):
            more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
            raise ValueError(
                f"arm {arm!r} would train on the {what} {shared[0]!r}{more}, which it is tested "
                "on; split by subject before augmentation"
            )


def _learned_from(bench: _Bench) -> dict[str, Any]:
    facts = bench.facts.iloc[bench.train]
    # a generated face names all databases that its generator learned from, whose terms hold for it
    databases = {name for names in facts["database"].unique() for name in names.split("+")}
    return {
        "databases": sorted(databases),
        "faces": {str(origin): int(n) for origin, n in facts["origin"].value_counts().items()},
        "people": int(facts["subject"].nunique()),
    }


def _persons(facts: pd.DataFrame) -> list[str | None]:
    """Return whom each picture shows, (N,); None for generated faces, which judge no training."""
    return [
        None if origin in GENERATED else person
        for origin, person in zip(facts["origin"], people_of(facts), strict=True)
    ]


def _predictions(
    bench: _Bench,
    answers: np.ndarray,
    outputs: Sequence[str],
    variables: Mapping[Any, Any],
) -> pd.DataFrame:
    known = ["database", "id", "pixels", "subject", "origin", "emotion"]
    table = bench.facts.iloc[bench.test][known].reset_index(drop=True)
    table = table.rename(columns={"pixels": "picture"})
    for place, (name, value) in enumerate(variables.items()):
        table.insert(place, name, value)
    table["fold"] = pd.array([variables["fold"]] * len(table), dtype="Int64")
    if list(outputs) == list(AFFECT):
        table[list(AFFECT)] = bench.facts.iloc[bench.test][list(AFFECT)].to_numpy(np.float32)
    else:
        table["predicted"] = np.array(outputs, object)[answers.argmax(1)]
        table["confidence"] = answers.max(1)
    for code, name in enumerate(outputs):
        table[f"p_{name}"] = answers[:, code].astype(np.float32)
    return table


def _headline(table: pd.DataFrame) -> str:
    said = []
    for name, part in table.groupby("database"):
        if "predicted" in part:
            said.append(f"{name} {(part['emotion'] == part['predicted']).mean():.1%}")
        else:
            agreed = [ccc(part[each].to_numpy(), part[f"p_{each}"].to_numpy()) for each in AFFECT]
            said.append(f"{name} CCC {agreed[0]:.2f} and {agreed[1]:.2f}")
    return ", ".join(said)
