"""The faces that a recogniser is explained on: which, how it read them, which may be shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from classifiers.predict import Predictor
from curation.corpus import Corpus
from curation.licences import RECORDS, Licence, permitted, read_licences

MOST = 3000  # faces, drawn at random; a mean face needs no more
UNNAMED = "unnamed"


@dataclass(frozen=True)
class Faces:
    """Faces with a recogniser's judgements.

    Attributes:
        images: (N, 3, H, W) uint8 RGB.
        table: A line a face: ``id``, ``database``, ``emotion``, ``predicted``, ``confidence`` (of
            what was predicted), ``free`` (whether it may be passed on) and ``shown``.
        choice: In words, which faces these are.
    """

    images: np.ndarray
    table: pd.DataFrame
    choice: str

    @property
    def hit(self) -> np.ndarray:
        """(N,) bool: read as what it is labelled."""
        return (self.table["predicted"] == self.table["emotion"]).to_numpy(bool)


def read_faces(
    folder: Path,
    judge: Predictor,
    corpus: Path,
    predictions: pd.DataFrame | None = None,
    *,
    member: int = 0,
    most: int = MOST,
    seed: int = 0,
    terms: Mapping[str, Licence] | None = None,
    show_restricted: bool = False,
) -> Faces:
    """Choose faces of a corpus, if possible of people whom a recogniser never saw.

    Args:
        folder: The recogniser's. Where it holds ``predictions.parquet``, those are the faces;
            where it holds ``out_of_fold.parquet`` (a cross-fitted gate), they are the faces of
            people that `member` never saw, and the corpus's test faces.
        judge: The one network that is explained.
        corpus: A corpus of its size.
        predictions: ``id`` and ``predicted`` of one training, in place of the folder's.
        member: Which network of a cross-fitted ensemble `judge` is.
        most: At most so many faces, drawn at random.
        seed: Which.
        terms: Database → its licence; None for the records that come with Affectory.
        show_restricted: Show faces although the licence record of their database does not allow
            to pass them on; for pages that stay private.

    Raises:
        ValueError: If nothing is left, or `predictions` hold a picture twice.
    """
    data = Corpus(corpus)
    facts = data.facts
    usable = facts["emotion"].isin(judge.emotions) & ~facts["id"].duplicated()
    if predictions is None:
        predictions = cell_predictions(folder)
    if predictions is not None:
        if predictions["id"].duplicated().any():
            raise ValueError(
                "the predictions hold pictures more than once: give those of one training, that "
                "of the recogniser"
            )
        chosen, choice = facts["id"].isin(predictions["id"]), "those it was tested on"
    else:
        chosen, choice = _unseen(folder, facts, member)
    keep = (usable & chosen).to_numpy(bool)
    if not keep.any():
        raise ValueError(
            f"{corpus} holds no face ({choice}) with an emotion of {folder}: "
            f"{', '.join(judge.emotions)}"
        )
    if (found := int(keep.sum())) > most:
        drawn = np.random.default_rng([seed, found]).choice(np.flatnonzero(keep), most, False)
        keep = np.zeros(len(facts), bool)
        keep[drawn] = True
        choice = f"drawn at random among {found:,}; {choice}"
    images = data.images(keep)
    table = facts.loc[keep, ["id", "database", "emotion"]].reset_index(drop=True)
    table["database"] = table["database"].fillna(UNNAMED).astype(str)
    probabilities = judge.probabilities(images)
    names = np.array(judge.emotions, dtype=object)
    table["predicted"] = names[probabilities.argmax(1)]
    if predictions is not None:
        table["predicted"] = table["id"].map(predictions.set_index("id")["predicted"])
    codes = table["predicted"].map({name: code for code, name in enumerate(judge.emotions)})
    table["confidence"] = probabilities[np.arange(len(table)), codes.to_numpy(np.int64)]
    # a generated face names all databases that its generator learned from
    learned = facts.loc[facts["origin"] == "gan", "database"].fillna(UNNAMED).astype(str)
    sources = {name for names in learned for name in names.split("+")}
    allowed = permitted(facts, read_licences([RECORDS]) if terms is None else terms, sources)[keep]
    table["free"] = allowed
    table["shown"] = allowed | show_restricted
    return Faces(images, table, choice)


def cell_predictions(folder: Path) -> pd.DataFrame | None:
    """Return ``id`` (of the pixels) and ``predicted`` of a benchmark's cell; None for others."""
    path = folder / "predictions.parquet"
    if not path.is_file():
        return None
    names = {"picture": "id", "predicted": "predicted"}
    return pd.read_parquet(path, columns=list(names)).rename(columns=names)


def _unseen(folder: Path, facts: pd.DataFrame, member: int) -> tuple[pd.Series, str]:
    """Return which rows to take where no predictions say so, and what they are."""
    origin = facts["origin"] == "real" if (facts["origin"] == "real").any() else facts["id"].notna()
    test = origin & (facts["split"] == "test")
    if (folder / "out_of_fold.parquet").is_file():
        judged = pd.read_parquet(folder / "out_of_fold.parquet", columns=["id", "fold"])
        mine = judged.loc[judged["fold"] == member, "id"]
        return test | facts["id"].isin(mine), "of people whom it never saw"
    if test.any():
        return test, "the test split"
    return origin, "all of the corpus; it may have learned from them"
