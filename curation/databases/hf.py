"""Any Hugging Face data set with pictures and labels, on disk or on the hub.

Layout: a folder of Parquet files, an image folder, a data set saved to disk, a corpus of ours
(``shard-*.parquet``), a published folder of ours, one Parquet file, or the name of a data set on
the hub. `datasets.load_dataset` finds out which; it keeps an Arrow copy in its cache
(``HF_DATASETS_CACHE``), from which pictures are read one by one. Without a network the cache is
used, and ``HF_HUB_OFFLINE=1`` saves the try.

Label codes: names of the ClassLabel, or strings, or integers with ``label_names``.

Splits: by the names train, validation (val, dev) and test, or as ``splits`` says; a column
``split`` of the rows has precedence over names. A lone split called train says nothing, since that
is what `datasets` calls whatever has no splits.

Subject rule: from a column, if there is one. Rows of a corpus keep their database's name, so that
its licence holds for them here too.

Expected counts: none. Licence: that of the data set; nothing of it is published without a record.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetDict, Image, load_dataset, load_from_disk
from datasets import config as settings
from datasets.exceptions import DatasetBuildError, DatasetsError
from huggingface_hub import HfApi

from curation.databases.layout import LINK_OUTSIDE
from curation.databases.spelling import emotion_of, split_of
from curation.databases.table import problem_row
from curation.ingest import read_image

log = logging.getLogger(__name__)

LABELS = ("emotion", "label", "labels")
KEPT = ("database", "subject", "session", "pose", "sex", "split", "valence", "arousal", "origin")
SEXES = {"female": "female", "f": "female", "male": "male", "m": "male"}
ANSWER_SECONDS = 10


@dataclass(frozen=True)
class HuggingFace:
    """A data set that `datasets` can load, in the order of its rows.

    Attributes:
        path: A folder, a Parquet file, or a name on the hub.
        database: Name in the corpus, and prefix of subjects; None for the last part of `path`. A
            column of this name has precedence.
        config: Which configuration of the data set; None for its default.
        revision: Which commit, tag or branch on the hub; None for the newest.
        columns: Our name → the data set's: ``image``, ``emotion`` (None: the only column of
            pictures; ``emotion``, ``label`` or ``labels``), and ``subject``, ``session``,
            ``pose``, ``sex``, ``split``, ``valence``, ``arousal``, ``database``, ``origin``,
            which are taken from a column of the same name unless it says otherwise (None: not at
            all).
        label_names: The data set's label (an integer, or a name) → emotion.
        splits: The data set's split → ours; others are not read. Empty: all, by their names.
        synthetic: Whether to take in rows that a corpus says were generated, as ``imported``;
            geometric copies are never taken in.
    """

    path: Path | str
    database: str | None = None
    config: str | None = None
    revision: str | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)
    label_names: Mapping[str | int, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    synthetic: bool = False

    def __post_init__(self) -> None:
        known = ("image", "emotion", *KEPT)
        if unknown := [name for name in self.columns if name not in known]:
            raise ValueError(
                f"columns names {unknown[0]!r}, which is none of {', '.join(known)} "
                "(database.columns)"
            )
        if wrong := [ours for ours in self.splits.values() if split_of(ours) is None]:
            raise ValueError(
                f"splits leads to {wrong[0]!r}; our splits are train, validation and test "
                "(database.splits)"
            )

    @property
    def expected(self) -> Mapping[str, int]:
        """Nothing: a data set on disk is as complete as it says."""
        return {}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one row a picture.

        Yields:
            Rows whose ``image`` is a function that gives (H, W, 3) uint8 RGB, or a path where
            the data set holds paths; ``source`` is split and row number.

        Raises:
            FileNotFoundError: If the folder is not there.
            ConnectionError: If the hub gives no such data set and the cache has none.
            ValueError: If columns, labels or splits are not as the settings say.
        """
        root, loaded = _load(str(self.path), self.config, self.revision)
        if unknown := [name for name in self.splits if name not in loaded]:
            raise ValueError(
                f"{self.path} has no split {unknown[0]!r}, only {', '.join(map(str, loaded))} "
                "(database.splits)"
            )
        for name, table in loaded.items():
            if self.splits and name not in self.splits:
                continue
            alone = list(loaded) == ["train"] and not self.splits
            stated = None if alone else split_of(self.splits.get(str(name), str(name)))
            yield from self._split(table, str(name), stated, root)

    def _split(
        self, table: Dataset, name: str, stated: str | None, root: Path | None
    ) -> Iterator[dict[str, Any]]:
        column, label, kept = self._columns(table)
        pictures = _images(table, column, root)
        facts = table.select_columns(sorted({label, *kept.values()}))
        listed = cast(Iterable[dict[str, Any]], facts)  # the stubs take rows for lists
        database = self.database or Path(self.path).stem
        for index, (picture, values) in enumerate(zip(pictures, listed, strict=True)):
            source = f"{name}/{index}"
            row = {
                ours: _value(ours, facts.features[theirs], values[theirs])
                for ours, theirs in kept.items()
            }
            emotion = self._emotion(table.features[label], label, values[label])
            origin = row.pop("origin", None) or "real"
            if emotion is None:
                yield problem_row(source, "no label")
            elif "problem" in picture:
                yield {"source": source, **picture}
            elif origin == "geometric":
                yield problem_row(source, "copy of another picture, made by augmentation")
            elif origin != "real" and not self.synthetic:
                yield problem_row(source, "generated picture (database.synthetic)", origin)
            else:
                home = row.get("database") or database
                own = None if name in self.splits else split_of(row.get("split") or "")
                yield {
                    **row,
                    **picture,
                    "emotion": emotion,
                    "database": home,
                    "subject": _person(home, row.get("subject")),
                    "split": own or stated,
                    "source": source,
                    "origin": "real" if origin == "real" else "imported",
                }

    def _columns(self, table: Dataset) -> tuple[str, str, dict[str, str]]:
        """Return the columns of pictures and labels, and our name → column for the rest."""
        there = list(table.features)
        for ours, column in self.columns.items():
            if column is not None and column not in there:
                raise ValueError(
                    f"{self.path} has no column {column!r}, only {', '.join(there)} "
                    f"(database.columns.{ours})"
                )
        picture = self.columns.get("image")
        if picture is None:
            pictures = [name for name in there if isinstance(table.features[name], Image)]
            pictures = pictures or [name for name in there if name == "image"]
            if len(pictures) != 1:
                raise ValueError(
                    f"{self.path} has {len(pictures)} columns of pictures among "
                    f"{', '.join(there)}; name the one (database.columns.image)"
                )
            picture = pictures[0]
        label = self.columns.get("emotion") or next((c for c in LABELS if c in there), None)
        if label is None:
            raise ValueError(
                f"{self.path} has no column {', '.join(LABELS)}, only {', '.join(there)}; name "
                "the one of labels (database.columns.emotion)"
            )
        named = ((ours, self.columns.get(ours, ours)) for ours in KEPT)
        return str(picture), label, {ours: name for ours, name in named if name and name in there}

    def _emotion(self, feature: Any, column: str, value: Any) -> str | None:
        names = {str(key): emotion for key, emotion in self.label_names.items()}
        if value is None or value == "" or (isinstance(feature, ClassLabel) and value < 0):
            return None
        if isinstance(feature, ClassLabel):
            word = feature.names[value]
            return emotion_of(names.get(word) or names.get(str(value)) or word)
        if str(value) in names:
            return emotion_of(names[str(value)])
        if isinstance(value, str):
            return emotion_of(value)
        raise ValueError(
            f"column {column!r} of {self.path} holds {value!r}, which no name belongs to; say what "
            "it means, such as label_names={0: angry} (database.label_names)"
        )


def _person(database: str, subject: str | None) -> str | None:
    if subject is None or subject.startswith(f"{database}/"):
        return subject
    return f"{database}/{subject}"


def _value(ours: str, feature: Any, value: Any) -> Any:
    """Return a value of the data set as our column holds it; None for one that it cannot hold."""
    if isinstance(feature, ClassLabel) and value is not None:
        value = feature.names[value] if value >= 0 else None
    if value is None or value == "":
        return None
    if ours in ("valence", "arousal"):
        try:
            return float(value)
        except (TypeError, ValueError):
            return None
    if ours == "sex":
        return SEXES.get(str(value).strip().lower())
    return str(value)


def _load(path: str, config: str | None, revision: str | None) -> tuple[Path | None, DatasetDict]:
    """Load a data set: its folder (None on the hub) and its splits."""
    local = Path(path).expanduser().absolute()  # `datasets` reads some bare words otherwise
    if local.is_file():
        return local.parent, _loaded("parquet", None, data_files=str(local))
    if local.is_dir():
        if (local / "state.json").is_file():
            return local, DatasetDict({"train": cast(Dataset, load_from_disk(str(local)))})
        if (local / "dataset_dict.json").is_file():
            return local, cast(DatasetDict, load_from_disk(str(local)))
        # a corpus of ours: beside its shards lie tables that are no data
        files = "shard-*.parquet" if any(local.glob("shard-*.parquet")) else None
        try:
            return local, _loaded(str(local), config, data_files=files)
        except (FileNotFoundError, DatasetBuildError) as error:
            raise ValueError(
                f"{local} is no data set that Hugging Face's `datasets` can load (database.path): "
                f"{error}"
            ) from error
    if path.count("/") > 1 or path.startswith((".", "~", "/")) or local.suffix == ".parquet":
        raise FileNotFoundError(
            f"no folder and no Parquet file {path}, nor can it be a name on the hub, such as "
            "user/name (database.path)"
        )
    return None, _from_hub(path, config, revision)


def _from_hub(name: str, config: str | None, revision: str | None) -> DatasetDict:
    before = settings.HF_HUB_OFFLINE
    try:
        # asked first, once: load_dataset repeats its question for half a minute
        HfApi().dataset_info(name, revision=revision, timeout=ANSWER_SECONDS)
    except Exception as error:  # whatever library huggingface_hub uses for the network
        log.info("the hub does not give %s (%s); looking in the cache", name, error)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        settings.HF_HUB_OFFLINE = True
    else:
        reason = None
    try:
        return _loaded(name, config, revision=revision)
    except (OSError, DatasetsError) as error:
        if reason is None:
            raise
        raise ConnectionError(
            f"{name} is no folder here, the hub does not give it ({reason}), and it is not in the "
            f"cache ({settings.HF_DATASETS_CACHE}). Fetch it where there is a network, "
            f"`hf download {name} --repo-type dataset --local-dir FOLDER`, and name the folder "
            "(database.path=FOLDER)"
        ) from error
    finally:
        settings.HF_HUB_OFFLINE = before


def _loaded(path: str, config: str | None, **options: Any) -> DatasetDict:
    try:
        return cast(DatasetDict, load_dataset(path, config, **options))
    except ValueError as error:  # which configurations there are
        raise ValueError(f"{path}: {' '.join(str(error).split())} (database.config)") from error


def _images(table: Dataset, column: str, root: Path | None) -> Iterator[dict[str, Any]]:
    """Yield for each row its ``image`` (a path, or a function that reads it) or a ``problem``."""
    kind = table.data.schema.field(column).type
    struct, text = pa.types.is_struct(kind), pa.types.is_string(kind)
    if not (struct or text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise ValueError(
            f"column {column!r} holds {kind}, which is no picture; cast it to datasets.Image, or "
            "name another (database.columns.image)"
        )
    lengths = {item["filename"]: len(_open(item["filename"])) for item in table.cache_files}
    places = ((file, index) for file, length in lengths.items() for index in range(length))
    for chunk in table.data.column(column).chunks:
        data = chunk.field("bytes") if struct else chunk
        paths = chunk.field("path") if struct else chunk
        # the bytes are not touched here, only whether there are any
        stored = [False] * len(chunk) if text else data.is_valid().to_pylist()
        for index, is_stored in enumerate(stored):
            file, place = next(places, ("", 0))
            name = paths[index].as_py() if struct or text else None
            if is_stored and not file:  # the user told `datasets` to hold it in memory
                yield {"image": partial(read_image, data[index].as_py())}
            elif is_stored:
                yield {"image": partial(_stored, file, column, place)}
            elif name:
                yield _on_disk(Path(name) if root is None else root / name, root)
            else:
                yield {"problem": "no picture in the row", "detail": ""}


def _on_disk(path: Path, root: Path | None) -> dict[str, Any]:
    if root and path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        return {"problem": LINK_OUTSIDE, "detail": str(path.resolve())}
    return {"image": path}


@lru_cache(maxsize=16)
def _open(file: str) -> Dataset:
    return Dataset.from_file(file)


def _stored(file: str, column: str, index: int) -> np.ndarray:
    """Read a picture from an Arrow file: (H, W, 3) uint8 RGB."""
    value = _open(file).data.column(column)[index].as_py()
    return read_image(value["bytes"] if isinstance(value, dict) else value)
