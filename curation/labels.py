"""Stage ``check_labels``: real faces whose label a classifier doubts, listed and held back.

Confident learning (Northcutt et al. 2021, arXiv:1911.00068) by cleanlab, on probabilities that
each face got from a network which never saw its person. A doubt is no error: faces that are merely
hard to read are among them, so look at the sheet before you hold anything back.
"""

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from curation.corpus import Corpus, decode_png, write_corpus
from curation.inspection.pictures import thumbnail
from curation.inspection.templates import environment

log = logging.getLogger(__name__)

OUT_OF_FOLD = "out_of_fold.parquet"
SHEET, TABLE = "suspects.html", "suspects.csv"
Method = Literal[
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
]


def check_labels(
    corpus: Path,
    classifier: Path,
    out: Path,
    *,
    emotions: Sequence[str],
    hold_back: bool = False,
    most: float = 0.2,
    method: Method = "prune_by_noise_rate",
    shown: int = 200,
) -> dict[str, Any]:
    """List real training faces with a doubtful label, and pass the corpus on with marks.

    Every judged face gets ``predicted``, ``agreement`` (the probability of its own label) and
    ``confidence``; a suspect, and every copy of one, also ``reason`` (``label: read as …``) and,
    where it is held back, ``keep`` false: no GAN, classifier or recipe learns from it then. Beside
    the corpus lie ``suspects.csv`` (one line a suspect, the most doubtful first) and
    ``suspects.html``, the same with pictures.

    Args:
        corpus: A standardised or augmented corpus.
        classifier: What `classifiers.train.train_gate` wrote with two folds or more: its
            ``out_of_fold.parquet`` has a probability of each emotion for each face.
        out: An existing empty folder.
        emotions: The emotions of the experiment.
        hold_back: Whether suspects are kept from whatever learns.
        most: Share of the labels that may be held back: a classifier that doubts more of them has
            learned too little to judge.
        method: Which faces are suspects (``filter_by`` of cleanlab's ``find_label_issues``).
        shown: Suspects on the sheet, at most.

    Returns:
        Faces judged, suspects in all and by given emotion, whether they are held back.

    Raises:
        ImportError: If cleanlab is not installed.
        FileNotFoundError: If the classifier has no out-of-fold probabilities.
        ValueError: If they do not cover the corpus's training faces, or `most` is exceeded.
    """
    source = Corpus(corpus)
    facts = source.facts
    judged = _judged(facts, classifier, emotions)
    probabilities = judged[list(emotions)].to_numpy(np.float64)
    given = judged["emotion"].map({name: code for code, name in enumerate(emotions)}).to_numpy(int)
    doubted = _doubted(given, probabilities, method)
    judged = judged.assign(
        suggested=np.array(emotions, object)[probabilities.argmax(1)],
        own=probabilities[np.arange(len(given)), given],
        best=probabilities.max(1),
        doubted=doubted,
    )
    suspects = judged[doubted].sort_values(["own", "id"]).reset_index(drop=True)
    log.info("check_labels: %d of %d labels are doubtful", len(suspects), len(judged))
    if hold_back and len(suspects) > most * len(judged):
        raise ValueError(
            f"{len(suspects)} of {len(judged)} labels are doubtful, by a classifier that reads "
            f"{(judged['suggested'] == judged['emotion']).mean():.0%} of the faces as named; no "
            f"more than {most:.0%} may be held back. Train it longer (classifier.training.phases), "
            "look at the suspects first (affectory check_labels), or raise "
            "stages.check_labels.call.most"
        )

    write_corpus(_marked(source, judged, hold_back), out, source.emotions)
    _write_table(suspects, out / TABLE)
    counts = {
        emotion: {
            "judged": int((judged["emotion"] == emotion).sum()),
            "suspects": int((suspects["emotion"] == emotion).sum()),
        }
        for emotion in emotions
    }
    sheet = _sheet(source, suspects.head(shown), counts, len(suspects), hold_back)
    (out / SHEET).write_text(sheet, encoding="utf-8")
    return {
        "judged": len(judged),
        "suspects": len(suspects),
        "emotions": counts,
        "held_back": hold_back,
    }


def _judged(facts: pd.DataFrame, classifier: Path, emotions: Sequence[str]) -> pd.DataFrame:
    """Return the real training faces with their out-of-fold probabilities, a column an emotion."""
    path = classifier / OUT_OF_FOLD
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: labels are judged by networks that never saw the person; train "
            "the classifier with two folds or more (classifier.gate_folds)"
        )
    table = pd.read_parquet(path)
    if absent := [name for name in emotions if name not in table]:
        raise ValueError(
            f"{path} has no probabilities of {', '.join(absent)}; train the classifier on the "
            "emotions of the experiment"
        )
    training = (facts["split"] == "train") & (facts["origin"] == "real")
    training &= facts["emotion"].isin(list(emotions))
    faces = facts.loc[training, ["id", "emotion", "subject", "source", "database"]]
    judged = faces.merge(table[["id", *emotions]], on="id", how="left")
    if lacking := int(judged[list(emotions)].isna().any(axis=1).sum()):
        raise ValueError(
            f"{lacking} of {len(judged)} training faces have no probabilities in {path}; train "
            "the classifier on this corpus (stages.check_labels.reads)"
        )
    return judged


def _doubted(given: np.ndarray, probabilities: np.ndarray, method: Method) -> np.ndarray:
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise ImportError(
            "check_labels needs cleanlab: pip install 'affectory[hygiene]'"
        ) from error
    issues = find_label_issues(given, probabilities, filter_by=method, n_jobs=1)
    return np.asarray(issues, bool)


def _marked(source: Corpus, judged: pd.DataFrame, hold_back: bool) -> Iterator[dict[str, Any]]:
    readings: dict[str, Any] = {str(row["id"]): row for row in judged.to_dict("records")}
    for row in source.rows():
        own, parent = readings.get(row["id"]), readings.get(row["parent"] or "")
        if own is not None:
            row |= {"predicted": own["suggested"]}
            row |= {"agreement": own["own"], "confidence": own["best"]}
        about = own or parent
        if about is not None and about["doubted"]:
            row["reason"] = f"label: read as {about['suggested']} with {about['best']:.2f}, " + (
                f"as {about['emotion']} with {about['own']:.2f}"
            )
            if hold_back:
                row["keep"] = False
        yield row


def _write_table(suspects: pd.DataFrame, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ("id", "database", "source", "subject", "given", "suggested", "p_given", "p_suggested")
        )
        for row in suspects.to_dict("records"):
            facts = [row[name] for name in ("id", "database", "source", "subject", "emotion")]
            shares = [f"{row[name]:.4f}" for name in ("own", "best")]
            writer.writerow([*facts, row["suggested"], *shares])


def _sheet(
    source: Corpus,
    suspects: pd.DataFrame,
    counts: Mapping[str, Mapping[str, int]],
    total: int,
    held_back: bool,
) -> str:
    wanted = set(suspects["id"])
    mask = source.facts["id"].isin(wanted).to_numpy(bool)
    pictures = {row["id"]: thumbnail(decode_png(row["image"])) for row in source.rows(mask)}
    return (
        environment(Path(__file__).parent)
        .get_template("labels.html.jinja")
        .render(
            suspects=suspects.to_dict("records"),
            pictures=pictures,
            counts=counts,
            total=total,
            judged=sum(count["judged"] for count in counts.values()),
            held_back=held_back,
            table=TABLE,
        )
    )
