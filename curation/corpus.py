"""The corpus: labelled faces with provenance, as Parquet shards that Hugging Face reads.

A corpus is a folder of ``shard-00000.parquet`` files with one schema (`features`), whose only
freedom is the names and the order of the emotions. Stages read corpora and write new ones; nobody
edits a corpus in place.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from datasets import Features
EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
SPLITS = ("train", "validation", "test")
ORIGINS = ("real", "geometric", "gan", "imported")

QUALITY = (
    "detector_score",
    "face_px",
    "sharpness",
    "exposure",
    "angle_deg",
    "landmark_error",
)


# column → its type in datasets' words, or which names its labels have
_KINDS = {
    "id": "string",
    "image": "image",
    "emotion": "emotions",
    "database": "string",
    "subject": "string",
    "session": "string",
    "pose": "string",
    "sex": "string",
    "valence": "float32",
    "arousal": "float32",
    "source": "string",
    "split": "splits",
    "origin": "origins",
    "parent": "string",
    **dict.fromkeys(QUALITY, "float32"),
    "generator": "string",
    "seed": "int64",
    "truncation": "float32",
    "predicted": "emotions",
    "agreement": "float32",
    "confidence": "float32",
    "nearest_id": "string",
    "nearest_distance": "float32",
    "duplicate_of": "string",
    "off_manifold": "float32",
    "identity_id": "string",
    "identity_distance": "float32",
    "keep": "bool",
    "reason": "string",
}
COLUMNS = tuple(_KINDS)


def features(emotions: Sequence[str] = EMOTIONS) -> "Features":
    """Return the schema of a corpus whose labels are these emotions, in this order."""
    # a second and a half to import, which worker processes would each pay
    from datasets import ClassLabel, Features, Image, Value

    names = {"emotions": emotions, "splits": SPLITS, "origins": ORIGINS}

    def feature(kind: str) -> ClassLabel | Image | Value:
        if kind == "image":
            return Image()
        return ClassLabel(names=list(names[kind])) if kind in names else Value(kind)

    return Features({column: feature(kind) for column, kind in _KINDS.items()})


REQUIRED = ("image", "emotion", "split", "origin")
FACTS = [name for name in COLUMNS if name != "image"]
SHARD_ROWS = 5000
GROUP_ROWS, GROUP_BYTES = 500, 64 << 20  # held in memory at a time


def content_id(image: np.ndarray) -> str:
    """Return the identity of a picture: a hash of its shape and pixels.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        20 hexadecimal digits; equal pixels give equal ids whatever file they came from.
    """
    _require_rgb(image)
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()[:20]


def encode_png(image: np.ndarray) -> bytes:
    """Encode (H, W, 3) uint8 RGB losslessly."""
    _require_rgb(image)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    # twice as fast as OpenCV's defaults, and a tenth larger at most
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    done, buffer = cv2.imencode(".png", bgr, options)
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {image.shape} as PNG")
    return buffer.tobytes()


def decode_png(data: bytes) -> np.ndarray:
    """Decode what `encode_png` wrote: (H, W, 3) uint8 RGB."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{len(data)} bytes of a corpus are not a readable picture")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _require_rgb(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"a corpus holds (H, W, 3) uint8 RGB pictures, got {image.shape} {image.dtype}"
        )


def write_corpus(
    rows: Iterable[Mapping[str, Any]], out: Path, emotions: Sequence[str] = EMOTIONS
) -> int:
    """Write rows as Parquet shards, a few hundred rows in memory at a time.

    Args:
        rows: Each a mapping with at least ``image`` ((H, W, 3) uint8 RGB, or the PNG bytes of a
            row read from another corpus), ``emotion``, ``split`` and ``origin`` (by name).
            Missing columns become null; ``id`` is computed from the pixels where absent.
        out: An existing folder without shards.
        emotions: Names of the labels, in order; a stage passes on those of the corpus it reads.

    Returns:
        The number of rows written.

    Raises:
        ValueError: If a row has a column that the schema does not know, an unknown label, or
            lacks one of the four columns above.
    """
    schema = features(emotions)
    names = _names(schema)
    total = held = 0
    batch: list[dict[str, Any]] = []
    writer: pq.ParquetWriter | None = None

    def flush() -> None:
        nonlocal writer, held, total
        if writer is None:
            path = out / f"shard-{total // SHARD_ROWS:05d}.parquet"
            # the feature types travel in the schema's metadata: load_dataset sees ClassLabel
            writer = pq.ParquetWriter(path, schema.arrow_schema)
        writer.write_table(pa.Table.from_pylist(batch, schema=schema.arrow_schema))
        total += len(batch)
        batch.clear()
        held = 0

    try:
        for row in rows:
            batch.append(_storable(row, names))
            held += len(batch[-1]["image"]["bytes"])
            full = (total + len(batch)) % SHARD_ROWS == 0
            if full or len(batch) == GROUP_ROWS or held > GROUP_BYTES:
                flush()
            if full and writer is not None:
                writer.close()
                writer = None
        if batch or total == 0:
            flush()
        return total
    finally:
        if writer is not None:
            writer.close()


def _names(schema: "Features") -> dict[str, list[str]]:
    return {name: kind.names for name, kind in schema.items() if hasattr(kind, "names")}


def _storable(row: Mapping[str, Any], names: Mapping[str, list[str]]) -> dict[str, Any]:
    if unknown := row.keys() - set(COLUMNS):
        raise ValueError(f"a corpus has no column {sorted(unknown)}; it has {list(COLUMNS)}")
    if missing := [name for name in REQUIRED if row.get(name) is None]:
        raise ValueError(f"a row of a corpus needs {', '.join(missing)}; it has {list(row)}")
    stored: dict[str, Any] = dict.fromkeys(COLUMNS)
    stored.update(row)
    for column, known in names.items():
        if stored[column] is not None:
            stored[column] = label_code(column, stored[column], known)
    picture = row["image"]
    if isinstance(picture, np.ndarray):
        stored["id"] = row.get("id") or content_id(picture)
        picture = encode_png(picture)
    elif row.get("id") is None:
        raise ValueError("a row given as PNG bytes needs its id")
    stored["image"] = {"bytes": picture, "path": None}
    return stored


def label_code(column: str, name: str, names: Sequence[str]) -> int:
    """Return the place of a label among its names, or raise a ValueError that lists them."""
    if name not in names:
        raise ValueError(f"{column} {name!r} is unknown; it is one of {', '.join(names)}")
    return names.index(name)


@dataclass(frozen=True)
class Corpus:
    """A corpus on disk. Facts are read at once, pictures when asked for."""

    path: Path

    def __post_init__(self) -> None:
        if not self.shards:
            raise FileNotFoundError(f"{self.path} holds no corpus (no shard-*.parquet in it)")

    @property
    def shards(self) -> list[Path]:
        """The Parquet files, in order."""
        return sorted(self.path.glob("shard-*.parquet"))

    @cached_property
    def features(self) -> "Features":
        """The schema, with this corpus's emotions."""
        from datasets import Features

        return Features.from_arrow_schema(pq.read_schema(self.shards[0]))

    @property
    def emotions(self) -> list[str]:
        """Names of the labels, in order."""
        return _names(self.features)["emotion"]

    def check_emotions(self, emotions: Sequence[str]) -> None:
        """Raise a ValueError that lists the corpus's labels unless each emotion is one of them."""
        for emotion in emotions:
            label_code("emotion", emotion, self.emotions)

    @cached_property
    def facts(self) -> pd.DataFrame:
        """All columns but ``image``, one line a row, class labels by name.

        Columns that an older corpus lacks are null.
        """
        present = [name for name in FACTS if name in self.features]
        tables = [pq.read_table(shard, columns=present) for shard in self.shards]
        # nullable types, so that a 64-bit seed beside nulls keeps all its digits
        nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
        frame = pa.concat_tables(tables).to_pandas(types_mapper=nullable.get)
        for column, names in _names(self.features).items():
            frame[column] = frame[column].map(dict(enumerate(names))).astype(object)
            frame[column] = frame[column].where(frame[column].notna(), None)
        # a corpus of before a column was invented knows nothing there
        return frame.reindex(columns=FACTS)

    def __len__(self) -> int:
        return sum(pq.read_metadata(shard).num_rows for shard in self.shards)

    def rows(self, keep: Sequence[bool] | np.ndarray | None = None) -> Iterator[dict[str, Any]]:
        """Yield rows as dicts: labels by name, ``image`` as PNG bytes (see `decode_png`).

        Args:
            keep: One boolean a row; None for all of them.

        Raises:
            ValueError: If there are not as many booleans as rows.
        """
        mask = None if keep is None else np.asarray(keep, dtype=bool)
        if mask is not None and len(mask) != len(self):
            raise ValueError(
                f"{len(mask)} booleans cannot choose among the {len(self)} rows of {self.path}"
            )
        labels = _names(self.features)
        index = 0
        for shard in self.shards:
            file = pq.ParquetFile(shard, pre_buffer=False)  # else the whole shard is read at once
            for batch in file.iter_batches(batch_size=500):
                for row in batch.to_pylist():
                    if mask is None or mask[index]:
                        for column, names in labels.items():
                            if row[column] is not None:
                                row[column] = names[row[column]]
                        row["image"] = row["image"]["bytes"]
                        yield row
                    index += 1

    def images(self, keep: Sequence[bool] | np.ndarray | None = None) -> np.ndarray:
        """Decode pictures of one size: (N, 3, H, W) uint8 RGB, in row order.

        Args:
            keep: One boolean a row; None for all of them.

        Raises:
            ValueError: If the pictures differ in size (an ingested corpus: standardise it first).
        """
        pictures = [decode_png(row["image"]) for row in self.rows(keep)]
        if not pictures:
            raise ValueError(f"no picture of {self.path} was selected")
        if len({picture.shape for picture in pictures}) > 1:
            raise ValueError(f"the pictures of {self.path} differ in size; standardise them first")
        return np.stack(pictures).transpose(0, 3, 1, 2)

    def require_emotions(self, emotions: Sequence[str], *, minimum: int = 1, key: str = "") -> None:
        """Raise a ValueError unless every emotion has at least ``minimum`` training pictures."""
        self.check_emotions(emotions)
        counts = self.facts.query("split == 'train'")["emotion"].value_counts()
        for emotion in emotions:
            if (found := int(counts.get(emotion, 0))) < minimum:
                hint = f" ({key})" if key else ""
                raise ValueError(
                    f"emotion {emotion!r} has {found} training pictures in {self.path}; "
                    f"{minimum} are needed{hint}"
                )


def copy_corpus(source: Corpus, out: Path, columns: Mapping[str, Sequence[Any]]) -> int:
    """Write a corpus again with other values in some columns; pictures pass through encoded.

    Batches go through Arrow and become no Python rows: ten thousand faces take a second.

    Args:
        source: The corpus; columns that an older one lacks become null.
        out: An existing folder without shards.
        columns: Column → a value for every row, class labels by name, None or NaN for null.

    Returns:
        The number of rows written.

    Raises:
        ValueError: If a column is unknown, its length is wrong, or a label is unknown.
    """
    schema = features(source.emotions)
    names = _names(schema)
    if unknown := columns.keys() - set(COLUMNS):
        raise ValueError(f"a corpus has no column {sorted(unknown)}; it has {list(COLUMNS)}")
    arrays: dict[str, pa.Array] = {}
    for column, given in columns.items():
        if len(given) != len(source):
            raise ValueError(
                f"column {column} has {len(given)} values for the {len(source)} rows of "
                f"{source.path}"
            )
        values = [None if pd.isna(value) else value for value in given]
        if known := names.get(column):
            values = [value and label_code(column, value, known) for value in values]
        arrays[column] = pa.array(values, type=schema.arrow_schema.field(column).type)
    start = 0
    for shard in source.shards:
        file = pq.ParquetFile(shard, pre_buffer=False)
        with pq.ParquetWriter(out / shard.name, schema.arrow_schema) as writer:
            for batch in file.iter_batches(batch_size=GROUP_ROWS):
                rows = len(batch)
                present = set(batch.schema.names)
                parts = [
                    arrays[field.name].slice(start, rows)
                    if field.name in arrays
                    else batch.column(field.name).cast(field.type)
                    if field.name in present
                    else pa.nulls(rows, field.type)
                    for field in schema.arrow_schema
                ]
                writer.write_table(pa.Table.from_arrays(parts, schema=schema.arrow_schema))
                start += rows
    return start


def split_subjects(
    subjects: Iterable[str], *, validation: float = 0.0, test: float = 0.0, seed: int = 0
) -> dict[str, str]:
    """Assign every subject to one split, so that no person is on two sides.

    Args:
        subjects: Subject names; repetitions are allowed.
        validation: Share of subjects for validation, in [0, 1].
        test: Share of subjects for test, in [0, 1].
        seed: Which random assignment.

    Returns:
        Subject → ``train``, ``validation`` or ``test``. Independent of the order of `subjects`.
    """
    if min(validation, test) < 0 or validation + test > 1:
        raise ValueError(f"shares validation={validation} and test={test} must be ≥ 0, sum ≤ 1")
    names = _shuffled(subjects, seed)
    # the sum is rounded, not its parts: 0.5 and 0.5 of three people are three, not four
    n_test, n_held_out = round(test * len(names)), round((test + validation) * len(names))
    labels = ["test"] * n_test + ["validation"] * (n_held_out - n_test)
    labels += ["train"] * (len(names) - len(labels))
    return dict(zip(names, labels, strict=True))


def fold_subjects(
    subjects: Iterable[str], *, folds: int, fold: int, seed: int = 0
) -> dict[str, str]:
    """Assign subjects to train and test for one fold of a k-fold by subject.

    Args:
        subjects: Subject names; a name that occurs more often counts more, so that folds
            are balanced by pictures and not by heads.
        folds: Number of folds, at least 2.
        fold: Which fold is the test fold, 0 … folds − 1.
        seed: Which random assignment.

    Returns:
        Subject → ``train`` or ``test``. Over all folds each subject is tested exactly once.
    """
    pictures = pd.Series(list(subjects)).value_counts()
    if not 2 <= folds <= len(pictures) or not 0 <= fold < folds:
        raise ValueError(
            f"fold {fold} of {folds} is impossible with {len(pictures)} subjects; "
            "choose 2 ≤ folds ≤ subjects and 0 ≤ fold < folds"
        )
    load = np.zeros(folds)
    assigned: dict[str, int] = {}
    order = _shuffled(pictures.index, seed)
    # greedy: the person with most pictures first, each to the lightest fold
    for name in sorted(order, key=lambda name: -pictures[name]):
        lightest = int(load.argmin())
        assigned[name] = lightest
        load[lightest] += pictures[name]
    return {name: "test" if where == fold else "train" for name, where in assigned.items()}


def _shuffled(subjects: Iterable[str], seed: int) -> list[str]:
    names = np.array(sorted(set(subjects)), dtype=object)
    np.random.default_rng([seed, len(names)]).shuffle(names)
    return list(names)
