"""What is exported: a recogniser, and the faces that it learned from and never saw."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from classifiers.export import card
from classifiers.predict import Predictor
from curation.artifact import folder_hash
from curation.contract import contract_id, describe_difference
from curation.corpus import ORIGINS, Corpus
from curation.lineage import Record, read_record
from curation.recipes import trainable

PREDICTIONS = "predictions.parquet"  # of a training of the benchmark
COMPARED = 2_000
"""Faces, at most, that the files are compared on."""
_SEED = 0


@dataclass(frozen=True)
class Faces:
    """Faces to compare on.

    Attributes:
        images: (N, 3, H, W) uint8 RGB.
        labels: (N,) integers in the order of the recogniser's emotions; None if it learned from
            these faces, or from the people whom they show.
        what: In words.
    """

    images: np.ndarray
    labels: np.ndarray | None
    what: str


class Source:
    """A recogniser, with what its record says of the faces that it learned from."""

    def __init__(self, folder: Path, corpus: Path | None, member: int | None) -> None:
        self.folder = folder
        self.member = "all" if member is None else member
        whole = Predictor.load(folder, device="cpu")
        if member is not None and not 0 <= member < len(whole.networks):
            raise ValueError(
                f"{folder} has {len(whole.networks)} networks, 0 to {len(whole.networks) - 1}; "
                f"there is no {member} (--member)"
            )
        self.predictor = Predictor(
            whole.networks if member is None else [whole.networks[member]],
            emotions=whole.emotions,
            size=whole.size,
            hash=whole.hash,
            calibration=whole.calibration,
            device="cpu",
        )
        self.record: Record | None = read_record(folder)
        self.corpus = Corpus(corpus or self._recorded_corpus())
        self.contract = self._contract()

    @property
    def temperature(self) -> float:
        """What logits are divided by."""
        known = self.predictor.calibration
        return float(known["temperature"]) if known else 1.0

    @property
    def unseen(self) -> dict[str, Any] | None:
        """What the training noted of faces of people whom a network never saw."""
        return (self._noted.get("out_of_fold") or {}).get("accuracy")

    @property
    def _noted(self) -> Mapping[str, Any]:
        """What the training noted, besides."""
        return (self.record.content.get("facts") if self.record else None) or {}

    @property
    def inputs(self) -> dict[str, Any]:
        """What the record says it was made from, as the pipeline does: by place and content."""
        given = {"recogniser": self.folder, "corpus": self.corpus.path}
        return {name: _entry(path) for name, path in given.items()}

    @cached_property
    def trained_on(self) -> card.TrainedOn:
        """The faces that it learned from."""
        if noted := self._noted.get("trained_on"):
            return card.TrainedOn(**noted)
        facts = self.corpus.facts[self._training]
        databases = facts["database"].fillna("unnamed").astype(str).unique()
        origins = facts["origin"].value_counts()
        return card.TrainedOn(
            databases=sorted(databases),
            faces={origin: int(origins[origin]) for origin in ORIGINS if origin in origins},
            people=int(facts["subject"].nunique()),
        )

    @cached_property
    def _training(self) -> np.ndarray:
        facts = self.corpus.facts
        chosen = trainable(facts, ["real", "geometric"])
        if self._tested is not None:  # the benchmark may split the corpus's people otherwise
            tested = facts["id"].isin(self._tested) | facts["parent"].isin(self._tested)
            people = facts.loc[tested, "subject"].dropna()
            chosen &= ~(tested | facts["subject"].isin(people))
        return (chosen & facts["emotion"].isin(self.predictor.emotions)).to_numpy(bool)

    @cached_property
    def _tested(self) -> set[str] | None:
        """The pictures that a training of the benchmark was tested on; None for other trainings."""
        path = self.folder / PREDICTIONS
        return (
            set(pd.read_parquet(path, columns=["picture"])["picture"]) if path.is_file() else None
        )

    def calibration_faces(self, count: int) -> np.ndarray:
        """Return training faces, evenly of each emotion: (N, 3, H, W) uint8 RGB."""
        if count < 1:
            raise ValueError(f"{count} calibration faces; give 1 or more (--calibration)")
        chosen = np.zeros(len(self._training), bool)
        emotions = self.corpus.facts["emotion"].to_numpy()
        for code, emotion in enumerate(self.predictor.emotions):
            own = np.flatnonzero(self._training & (emotions == emotion))
            share = -(-count // len(self.predictor.emotions))
            chosen[np.random.default_rng([_SEED, code]).permutation(own)[:share]] = True
        if not chosen.any():
            raise ValueError(
                f"{self.corpus.path} has no training face of {', '.join(self.predictor.emotions)}; "
                "give the corpus that the recogniser was trained on (--corpus)"
            )
        return self._images(self.corpus, chosen)

    def compared_faces(self, held_out: Path | None) -> Faces:
        """Return faces to compare on, with labels if the recogniser never saw them."""
        data = self.corpus
        if held_out is not None:
            data = Corpus(held_out)
            self._require_contract(data.path)
        facts = data.facts
        known = facts["emotion"].isin(self.predictor.emotions) & (facts["origin"] == "real")
        unseen = known
        if held_out is None:
            tested = self._tested
            unseen = known & (
                facts["split"] != "train" if tested is None else facts["id"].isin(tested)
            )
        name = "+".join(sorted(facts.loc[unseen, "database"].fillna("unnamed").unique()))
        what, labelled = f"real faces of {name} that it never saw", True
        if held_out is None and self._noted.get("shared_subjects"):
            # a protocol that lets people, or copies of a picture, fall on both sides
            what, labelled = f"real faces of {name}, some of people whom it learned from", False
        if not unseen.any():
            if held_out is not None:
                raise ValueError(f"{held_out} has no real face of the recogniser's emotions")
            unseen, labelled = known, False
            what = "real faces that it learned from, for want of others"
        rows = np.flatnonzero(unseen.to_numpy(bool))
        rows = np.sort(np.random.default_rng([_SEED, len(rows)]).permutation(rows)[:COMPARED])
        chosen = np.zeros(len(facts), bool)
        chosen[rows] = True
        codes = {name: code for code, name in enumerate(self.predictor.emotions)}
        labels = facts["emotion"].iloc[rows].map(codes).to_numpy(np.int64)
        return Faces(self._images(data, chosen), labels if labelled else None, what)

    def _images(self, data: Corpus, chosen: np.ndarray) -> np.ndarray:
        images = data.images(chosen)
        if images.shape[2:] != self.predictor.size:
            height, width = self.predictor.size
            raise ValueError(
                f"faces of {data.path} are {images.shape[2]}x{images.shape[3]}, the recogniser "
                f"was trained on {height}x{width}; give the corpus that it was trained on"
            )
        return images

    def _recorded_corpus(self) -> Path:
        given = self.record.given("corpus") if self.record else []
        if not given:
            raise ValueError(
                f"{self.folder} has no record of the corpus that it was trained on; name it by "
                "--corpus <folder>"
            )
        path = given[0]
        if not path.is_dir():
            raise FileNotFoundError(
                f"the corpus that {self.folder} was trained on, {path}, is not there any more; "
                "name it by --corpus <folder>"
            )
        return path

    def _contract(self) -> Mapping[str, Any]:
        contract = _contract_of(self.record) or _contract_of(read_record(self.corpus.path))
        if not contract:
            raise ValueError(
                f"neither {self.folder} nor {self.corpus.path} says how its faces were cut; only "
                "what was trained on standardised faces can be exported (affectory standardise)"
            )
        self.contract = contract
        self._require_contract(self.corpus.path)
        return contract

    def _require_contract(self, corpus: Path) -> None:
        there = _contract_of(read_record(corpus))
        if there and contract_id(there) != contract_id(self.contract):
            raise ValueError(
                f"the faces of {corpus} were cut in another way than those that the recogniser "
                f"learned from: {describe_difference(self.contract, there)}"
            )


def _contract_of(record: Record | None) -> Mapping[str, Any] | None:
    return record.contract if record else None


def _entry(path: Path) -> dict[str, str]:
    record = read_record(path)
    content = record.content.get("content") if record else None
    # the last two parts, as in an experiment: where it lies otherwise is private
    place = Path(*path.resolve().parts[-2:]).as_posix()
    return {"path": place, "content": content or folder_hash(path, without="")}
