"""Fixtures that several test files share."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from classifiers.summary import results_of, summarise
from curation.artifact import write_json

SEVEN = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
_CELL = ["fold", "split", "part", "backbone", "arm", "seed"]


def pytest_collection_modifyitems(items):
    """Begin with the files that have slow tests, or one process would end with them alone."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def made_up_pictures(database, *, people=6, takes=2, emotions=SEVEN):
    """Test pictures of people: id, database, subject, origin, emotion."""
    return pd.DataFrame(
        [
            {
                "id": f"{database}-{person}-{emotion}-{take}",
                "database": database,
                "subject": f"{database}/{person}",
                "origin": "real",
                "emotion": emotion,
            }
            for person in range(people)
            for emotion in emotions
            for take in range(takes)
        ]
    )


@dataclass
class MadeUpBenchmark:
    """Builds a benchmark folder as the stage does, out of predictions that are made up.

    A network is right about a picture by the skill of its backbone, the gain of its arm, luck of
    the seed, and how hard person and picture are; the same for all of a run's pictures.
    """

    pictures: pd.DataFrame
    gains: Mapping[str, float] = field(
        default_factory=lambda: {"original": -0.6, "geometric": 0.0, "gan": 0.9, "synthetic": -1.4}
    )
    references: Mapping[str, str] = field(
        default_factory=lambda: {
            "original": "geometric", "gan": "geometric", "synthetic": "geometric"
        }
    )  # fmt: skip
    skills: Mapping[str, float] = field(default_factory=lambda: {"small_cnn": 1.2})
    seeds: Sequence[int] = range(3)
    emotions: Sequence[str] = SEVEN
    # split → parts, and what it adds to every skill, since it tests on known faces
    splits: Mapping[str, tuple[int, float]] = field(default_factory=lambda: {"external": (1, 0.0)})
    train_rows: Mapping[str, int] = field(default_factory=dict)
    device: str = "cpu"
    luck: float = 0.15

    def predictions(self) -> pd.DataFrame:
        """A row for each cell and test picture."""
        frames = []
        for split, (parts, easier) in self.splits.items():
            people = self.pictures["subject"].fillna(self.pictures["id"])
            codes = pd.factorize(people)[0] if "subject" in split else np.arange(len(people))
            for part in range(parts):
                tested = self.pictures[codes % parts == part]
                for backbone, skill in self.skills.items():
                    for arm, gain in self.gains.items():
                        for seed in self.seeds:
                            cell = self._cell(tested, skill + easier + gain, arm, backbone, seed)
                            place = {"fold": None, "split": split, "part": part}
                            place |= {"backbone": backbone, "arm": arm, "seed": seed}
                            frames.append(cell.assign(**place))
        table = pd.concat(frames, ignore_index=True)
        table["fold"] = pd.array([pd.NA] * len(table), "Int64")
        first = [*_CELL, "database", "id", "subject", "origin", "emotion"]
        return table[[*first, *(name for name in table if name not in first)]]

    def _cell(self, tested, skill, arm, backbone, seed):
        names = list(self.emotions)
        truth = tested["emotion"].map({name: code for code, name in enumerate(names)}).to_numpy()
        ids = [sum(map(ord, name)) for name in tested["id"]]
        who = [sum(map(ord, str(name))) for name in tested["subject"]]
        hard = np.array([np.random.default_rng([7, n]).normal(0, 0.9, len(names)) for n in ids])
        hard[np.arange(len(ids)), truth] += [np.random.default_rng([8, n]).normal() for n in who]
        mark = [sum(map(ord, word)) for word in (arm, backbone)]
        draw = np.random.default_rng([seed, *mark])
        logits = hard + draw.normal(0, 0.7, hard.shape)
        logits[np.arange(len(ids)), truth] += skill + draw.normal(0, self.luck)
        powers = np.exp(1.3 * (logits - logits.max(1, keepdims=True)))
        shares = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
        columns = {f"p_{name}": shares[:, code] for code, name in enumerate(names)}
        return tested.assign(
            predicted=np.array(names, object)[shares.argmax(1)],
            confidence=shares.max(1),
            **columns,
        )

    def write(self, folder: Path) -> Path:
        """Write ``predictions.parquet``, ``results.parquet`` and ``summary.json``."""
        folder.mkdir(parents=True)
        table = self.predictions()
        facts = self.facts(table)
        leaky = {split for split, (_, easier) in self.splits.items() if easier}
        summary = summarise(
            table, self.references, emotions=self.emotions, cells=facts, leaky=leaky, resamples=200
        )
        table.to_parquet(folder / "predictions.parquet", index=False)
        table = table.merge(facts[[*_CELL, "cell"]].astype({"fold": "Int64"}), on=_CELL)
        known = {fact["cell"]: fact for fact in facts.to_dict("records")}
        results_of(table, known, self.emotions).to_parquet(folder / "results.parquet")
        write_json(folder / "summary.json", summary)
        return folder

    def facts(self, table: pd.DataFrame) -> pd.DataFrame:
        """What the records of the cells say."""
        sizes = {name: 2_000_000 * (2 + place) for place, name in enumerate(self.skills)}
        rows = []
        for key, part in table.groupby(_CELL, sort=False, dropna=False):
            cell = dict(zip(_CELL, key, strict=True))
            trained = self.train_rows.get(cell["arm"], 1000 + 100 * len(cell["arm"]))
            leaky = self.splits[cell["split"]][1] > 0
            rows.append(
                {
                    **cell,
                    "train_rows": trained,
                    "steps": 750,
                    "epochs": 75.0,
                    "parameters": sizes[cell["backbone"]],
                    "trained_parameters": sizes[cell["backbone"]] // 2,
                    "seconds": trained * sizes[cell["backbone"]] / 1e8 + cell["seed"],
                    "prefix": [{"cached": cell["seed"] != 0}],
                    "shared_subjects": int(0.9 * len(part)) if leaky else 0,
                    "device": self.device,
                    "cell": "-".join(str(cell[name]) for name in _CELL[1:]),
                }
            )
        return pd.DataFrame(rows).astype({"fold": "Int64"})


@pytest.fixture(scope="session")
def made_up():
    """The builder of benchmark folders, and of test pictures."""
    return MadeUpBenchmark


@pytest.fixture(scope="session")
def test_pictures():
    return made_up_pictures
