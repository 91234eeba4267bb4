"""Ingest: the pictures of databases, as they are, become a corpus with splits by subject."""

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from curation.corpus import EMOTIONS, content_id, label_code, write_corpus
from curation.progress import track
from curation.skipped import Skipped

log = logging.getLogger(__name__)

Adapter = Callable[[], Iterable[Mapping[str, Any]]]
MAX_PIXELS = 100_000_000


class UnreadableImageError(Exception):
    """A file that is not a picture we can use; the text is the reason to report."""


def read_image(path: Path) -> np.ndarray:
    """Read a picture of any usual format: turned by its EXIF flag, 8 bits, RGB.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UnreadableImageError: If the file is absent, empty, damaged, no picture or absurdly large.
    """
    try:
        if path.stat().st_size == 0:
            raise UnreadableImageError("empty file")
        with warnings.catch_warnings():
            # Pillow warns of large pictures before we have looked at their size
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise UnreadableImageError("more than 100 million pixels")
                return _as_rgb(ImageOps.exif_transpose(picture))
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("more than 100 million pixels") from error
    except FileNotFoundError as error:
        raise UnreadableImageError("file not found") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise
        raise UnreadableImageError("damaged or not a picture") from error


def _as_rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode == "F":  # 0–1, 0–255 or anything else
        raise UnreadableImageError("floating-point pixels of unknown range")
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scale
        grey = (np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.array(picture.convert("RGB"))


def ingest(
    *,
    database: Adapter,
    split: Callable[[Iterable[str]], Mapping[str, str]],
    out: Path,
    emotions: Sequence[str] = EMOTIONS,
    test_databases: Mapping[str, Adapter] | None = None,
) -> dict[str, Any]:
    """Read databases into one corpus.

    Args:
        database: Yields the rows of the training database. ``image`` is a path, a picture
            (H, W, 3) uint8 RGB or a function that draws one; ``subject`` a name or None.
        split: Subjects → split of each, before anything is augmented. A split that the
            database itself states wins. Without a subject, a picture counts as its own person.
        out: Empty folder to fill.
        emotions: Emotions to keep; other pictures are skipped and counted.
        test_databases: More databases; every row of these is a test row.

    Returns:
        Counts of rows by database and emotion, of subjects by split, of skipped by reason.

    Raises:
        ValueError: If an emotion has no picture in a database, two databases have one name, or
            the database states a split that has a subject on two sides.
    """
    for emotion in emotions:
        label_code("emotion", emotion)
    listed = list(database())
    assignment = split(_person(row) for row in listed)
    rows: list[dict[str, Any]] = [
        {**row, "split": row.get("split") or assignment[_person(row)]} for row in listed
    ]
    _require_one_side(rows)
    for key, adapter in (test_databases or {}).items():
        added = [{**row, "split": "test"} for row in adapter()]
        if same := {row["database"] for row in rows} & {row["database"] for row in added}:
            raise ValueError(
                f"two databases are called {min(same)!r}, so that nothing could tell their rows "
                f"apart; give one another name or style (test_databases.{key})"
            )
        rows += added

    skipped = Skipped()
    counts: dict[str, Counter[str]] = {row["database"]: Counter() for row in rows}
    people: dict[str, set[tuple[str, str]]] = {}

    def accepted() -> Iterator[dict[str, Any]]:
        seen: dict[str, str] = {}
        for row in track(rows, label="ingest"):
            source, emotion = row["source"], row["emotion"]
            if emotion not in emotions:
                skipped.add(source, "not one of the emotions wanted", emotion)
                continue
            try:
                image = _picture(row["image"])
            except UnreadableImageError as error:
                skipped.add(source, str(error))
                continue
            identity = content_id(image)
            if identity in seen:
                skipped.add(source, "same pixels as another picture", seen[identity])
                continue
            seen[identity] = source
            counts[row["database"]][emotion] += 1
            people.setdefault(row["split"], set()).add((row["database"], _person(row)))
            yield {**row, "id": identity, "image": image, "origin": "real"}

    total = write_corpus(accepted(), out)
    skipped.write(out)
    for name, found in counts.items():
        if missing := [emotion for emotion in emotions if not found[emotion]]:
            raise ValueError(
                f"database {name!r} has no usable picture of {', '.join(missing)} "
                f"(skipped: {skipped.counts() or 'nothing'}); drop them from "
                f"emotions=[{','.join(emotions)}] or look at what the folder holds"
            )
    return {
        "rows": total,
        "databases": {name: dict(sorted(found.items())) for name, found in counts.items()},
        "subjects": {name: len(found) for name, found in sorted(people.items())},
        "skipped": skipped.counts(),
    }


def _person(row: Mapping[str, Any]) -> str:
    return row["subject"] or row["source"]


def _require_one_side(rows: Iterable[Mapping[str, Any]]) -> None:
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(_person(row), set()).add(row["split"])
    if crossing := sorted(name for name, found in sides.items() if len(found) > 1):
        raise ValueError(
            f"the database's own split has {len(crossing)} subjects on two sides, the first "
            f"{crossing[0]!r} in {' and '.join(sorted(sides[crossing[0]]))}; take the split "
            "folders away, or the subjects if they are wrong (database.root)"
        )


def _picture(image: Path | np.ndarray | Callable[[], np.ndarray]) -> np.ndarray:
    if isinstance(image, Path):
        return read_image(image)
    return image() if callable(image) else image
