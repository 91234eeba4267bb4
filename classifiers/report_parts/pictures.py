"""Pictures of a corpus as data URIs: drawn at random by a seed, never picked by eye.

A page is made to be passed on, so it shows a picture only where the licence record of its database
lets that picture be passed on (`Showing`).
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from curation.corpus import Corpus, decode_png
from curation.licences import Licence, permitted

LARGEST = 112  # px; larger faces are averaged down, so that a page of 300 stays a few megabytes
LOSSLESS = 96
SHOWN = 64  # px, a face in a film of a training
SHEET_COLUMNS = 10
SYNTHETIC = ("gan", "imported")
KINDS = {
    "real": "real",
    "geometric": "geometric copy",
    "kept": "synthetic, passed",
    "rejected": "synthetic, rejected",
}


@dataclass(frozen=True)
class Showing:
    """Which pictures may stand on a page.

    Attributes:
        terms: Database → its licence; one that is not in it allows nothing.
        trained_on: Databases of the real training faces, which bind the faces of their GANs.
        restricted: Whether the page is private and shows everything.
    """

    terms: Mapping[str, Licence]
    trained_on: frozenset[str]
    restricted: bool = False

    def allowed(self, facts: pd.DataFrame) -> np.ndarray:
        """Return one boolean a row of facts with ``origin`` and ``database``."""
        if self.restricted:
            return np.ones(len(facts), bool)
        return permitted(facts, self.terms, set(self.trained_on))

    @property
    def synthetic(self) -> bool:
        """Whether the GANs' faces may be shown."""
        facts = pd.DataFrame({"origin": ["gan"], "database": [None]})
        return bool(self.allowed(facts)[0])


@dataclass(frozen=True)
class Picture:
    """One picture, ready for an ``<img>``.

    Attributes:
        uri: The picture itself.
        alt: What it shows, in words.
        width: Displayed width in CSS pixels.
        caption: Written below it; may be empty.
    """

    uri: str
    alt: str
    width: int
    caption: str = ""


@dataclass(frozen=True)
class Strip:
    """Pictures of one kind and emotion, drawn at random among `among` that may be shown."""

    kind: str
    pictures: Sequence[Picture]
    among: int
    withheld: str = ""  # how many others there are, and whose


def sample_strips(
    corpora: Sequence[Path],
    synthetic: Sequence[Path],
    emotions: Sequence[str],
    *,
    columns: int,
    seed: int,
    showing: Showing,
) -> dict[str, list[Strip]]:
    """Draw examples at random: emotion → a strip of each kind.

    Args:
        corpora: Augmented corpora; those of several folds share their faces.
        synthetic: Selected corpora.
        emotions: Which emotions.
        columns: Pictures in a strip.
        seed: Which pictures; the same seed gives the same whatever the order of the rows.
        showing: Which may be shown.
    """
    places = _places([*corpora, *synthetic], showing)
    judged = ("kept", "rejected") if synthetic else ()
    kinds = [kind for kind in KINDS if kind in judged or (places["kind"] == kind).any()]
    drawn: dict[tuple[str, str], tuple[list[tuple[Path, int]], int]] = {}
    withheld: dict[tuple[str, str], str] = {}
    for emotion in emotions:
        for number, kind in enumerate(kinds):
            found = places[(places["kind"] == kind) & (places["emotion"] == emotion)]
            withheld[emotion, kind] = _withheld(found[~found["allowed"]])
            found = found[found["allowed"]]
            order = np.random.default_rng([seed, number, len(found)]).permutation(len(found))
            rows = found.iloc[order[:columns]]
            drawn[emotion, kind] = (
                list(zip(rows["folder"], rows["index"], strict=True)),
                len(found),
            )
    pictures = read_pictures({place for chosen, _ in drawn.values() for place in chosen})
    return {
        emotion: [
            Strip(
                KINDS[kind],
                [pictures[place] for place in chosen],
                among,
                withheld[emotion, kind],
            )
            for kind in kinds
            for chosen, among in [drawn[emotion, kind]]
        ]
        for emotion in emotions
    }


def data_uri(data: bytes, kind: str) -> str:
    """Inline a file of media type ``image/<kind>``."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def inline(image: np.ndarray) -> tuple[str, int]:
    """Return a data URI and the displayed width of an (H, W, 3) uint8 RGB picture."""
    height, width = image.shape[:2]
    if width > LARGEST:
        size = (LARGEST, max(1, round(height * LARGEST / width)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    shown = image.shape[1]
    suffix, options = ("png", []) if width <= LOSSLESS else ("webp", [cv2.IMWRITE_WEBP_QUALITY, 90])
    done, buffer = cv2.imencode(f".{suffix}", np.ascontiguousarray(image[..., ::-1]), options)
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {image.shape} as {suffix}")
    scale = 2 if shown <= 48 else 1.5 if shown <= 72 else 1
    return data_uri(buffer.tobytes(), suffix), round(shown * scale)


def row_of_faces(path: Path, *, side: int | None, first_of_each: bool) -> tuple[str, int]:
    """Return one row of a sheet that a GAN drew while it trained, as a data URI and its width.

    Args:
        path: A sheet of ten faces a row.
        side: Of a face in pixels; a tenth of the sheet's width where unknown.
        first_of_each: Whether to show the first face of each row, since the rows are classes,
            instead of the first row.

    Returns:
        The picture, and its displayed width in CSS pixels.

    Raises:
        ValueError: If the sheet is no readable picture.
    """
    sheet = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if sheet is None:
        raise ValueError(f"{path} is not a readable picture")
    height, width = sheet.shape[:2]
    face = min(side or width // SHEET_COLUMNS, height, width)
    row = sheet[:face]
    if first_of_each:
        starts = range(0, height - face + 1, face)
        row = np.hstack([sheet[start : start + face, :face] for start in starts])
    if face > SHOWN:
        size = (max(1, round(row.shape[1] * SHOWN / face)), SHOWN)
        row = cv2.resize(row, size, interpolation=cv2.INTER_AREA)
    done, buffer = cv2.imencode(".webp", row, [cv2.IMWRITE_WEBP_QUALITY, 90])
    if not done:
        raise ValueError(f"OpenCV could not encode {path} as WebP")
    return data_uri(buffer.tobytes(), "webp"), row.shape[1] * max(1, SHOWN // row.shape[0])


def _withheld(hidden: pd.DataFrame) -> str:
    if hidden.empty:
        return ""
    databases = ", ".join(sorted(set(hidden["database"].fillna("unnamed").astype(str))))
    return f"{len(hidden):,} of {databases} are not shown: their licence does not let them be"


def _places(folders: Sequence[Path], showing: Showing) -> pd.DataFrame:
    """List every picture once: kind, emotion, id, folder, index of its row, whether to show it."""
    frames = []
    for folder in folders:
        facts = Corpus(folder).facts
        made = facts["origin"].isin(SYNTHETIC)
        verdict = np.where(facts["keep"].fillna(False).astype(bool), "kept", "rejected")
        kind = np.where(made, verdict, facts["origin"])
        frame = facts[["id", "emotion", "split", "database"]].assign(
            kind=kind,
            folder=np.full(len(facts), folder, object),
            index=np.arange(len(facts)),
            allowed=showing.allowed(facts),
        )
        # a corpus that no gate has judged yet says nothing about its synthetic faces
        judged = ~made | facts["keep"].notna()
        frames.append(frame[judged & (facts["split"] == "train")])
    every = pd.concat(frames).sort_values(["id", "kind"], kind="stable")
    return every.drop_duplicates(["id", "kind"]).reset_index(drop=True)


def read_pictures(places: set[tuple[Path, int]]) -> dict[tuple[Path, int], Picture]:
    """Read pictures: (folder of a corpus, index of the row) → picture."""
    pictures = {}
    for folder in {folder for folder, _ in places}:
        corpus = Corpus(folder)
        keep = np.zeros(len(corpus), bool)
        indices = sorted(index for where, index in places if where == folder)
        keep[indices] = True
        for index, row in zip(indices, corpus.rows(keep), strict=True):
            uri, width = inline(decode_png(row["image"]))
            pictures[folder, index] = Picture(uri, _words(row), width, _caption(row))
    return pictures


def _words(row: dict) -> str:
    origin = {"real": "real face", "geometric": "geometric copy of a face"}.get(
        row["origin"], "synthetic face"
    )
    words = f"{origin}, {row['emotion']}"
    if row["origin"] in SYNTHETIC and row["predicted"]:
        words += f", named {row['predicted']} by the gate's classifier"
    return f"{words}, rejected: {row['reason']}" if row["reason"] else words


def _caption(row: dict) -> str:
    return (row["reason"] or "no reason given") if row["keep"] is False else ""
