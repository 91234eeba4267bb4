"""Stage ``publish``: a data set that Hugging Face opens, with a card, under the licences' terms.

Every training recipe becomes one configuration: a sub-folder of Parquet shards, complete in
itself. A database that may not be passed on leaves no pixel of a real face here, nor of a
geometric copy: then only the generated faces that passed the gates are written.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from curation import card
from curation.corpus import Corpus
from curation.lineage import lineage
from curation.recipes import Recipe

logger = logging.getLogger(__name__)

FILE_ROWS = 5000
BATCH_ROWS = 500

Masks = Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Licence:
    """The terms of one database, read from ``datasets_cards/licences/<database>.yaml``."""

    name: str
    databases: tuple[str, ...]
    redistribute: bool
    terms: str
    hub_licence: str = "other"
    url: str = ""
    contact: str = ""
    citation: str = ""


def read_licences(folders: Sequence[Path]) -> dict[str, Licence]:
    """Read licence records: database → licence. A later folder's record wins.

    Args:
        folders: Folders of YAML files with the fields of `Licence`.

    Raises:
        ValueError: If a record lacks a field, has an unknown one, or does not say in so many
            words (``redistribute: true`` or ``false``) whether pictures may be passed on.
    """
    found: dict[str, Licence] = {}
    for path in [path for folder in folders for path in sorted(folder.glob("*.yaml"))]:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        try:
            licence = Licence(**{**content, "databases": tuple(content["databases"])})
        except (TypeError, KeyError) as error:
            raise ValueError(
                f"{path} is no licence record ({error}); it needs name, databases, "
                "redistribute and terms"
            ) from error
        if not isinstance(licence.redistribute, bool):
            raise ValueError(
                f"{path}: redistribute is {licence.redistribute!r}; write true or false"
            )
        found |= dict.fromkeys(licence.databases, licence)
    return found


def unknown_licence(database: str) -> Licence:
    """Return the record of a database that has none: nothing of it may be passed on."""
    return Licence(
        name=database,
        databases=(database,),
        redistribute=False,
        terms="No licence record, so the pictures are not passed on.",
    )


def publish(
    corpus: Path,
    synthetic: Path,
    out: Path,
    *,
    name: str,
    title: str,
    emotions: Sequence[str],
    recipes: Mapping[str, Recipe],
    licences: Path | None = None,
    preview_columns: int = 3,
    seed: int = 0,
) -> dict[str, Any]:
    """Write a folder that ``datasets.load_dataset(folder, "gan", split="train")`` opens.

    Rows of split ``test`` (other databases, or the test people of a fold) are never published.

    Args:
        corpus: The augmented corpus: real faces and their geometric copies.
        synthetic: The selected corpus: every generated face with ``keep`` and ``reason``.
        out: An empty folder to fill: ``<recipe>/*.parquet``, ``README.md``, ``preview.png``.
        name: Short name for the citation, such as ``affectory-kdef``.
        title: Heading of the card.
        emotions: The emotions to publish; label codes are those of the corpus in any case.
        recipes: Configurations to write: name → recipe.
        licences: A folder of further licence records, for databases of one's own.
        preview_columns: Pictures of each kind in a row of the preview.
        seed: Which pictures the preview shows.

    Returns:
        ``configs`` (recipe → split → rows), ``made``, ``kept``, ``rejected`` (by reason),
        ``redistributable`` and ``licences`` (database → name of the terms).

    Raises:
        ValueError: If an emotion is unknown, a recipe takes faces that passed no gate or asks for
            more than there are, or nothing may be published.
    """
    sources = Corpus(corpus), Corpus(synthetic)
    for source in sources:
        source.check_emotions(emotions)
    if sources[0].emotions != sources[1].emotions:
        raise ValueError(
            f"{corpus} is labelled {', '.join(sources[0].emotions)}, {synthetic} "
            f"{', '.join(sources[1].emotions)}; make both with the same emotions"
        )
    schema = sources[0].features.arrow_schema
    databases, imported = _databases(sources[0].facts), _imported(sources[1].facts)
    known = read_licences([card.CARDS / "licences", *([licences] if licences else [])])
    terms = {name: known.get(name) or unknown_licence(name) for name in [*databases, *imported]}
    closed = {database for database, licence in terms.items() if not licence.redistribute}
    # several databases in one training set: the strictest terms hold for all of it
    free = bool(databases) and not closed & set(databases)
    logger.info("publish: %s, may be passed on: %s", ", ".join(databases), free)

    masks = choose(sources, emotions, recipes, closed)
    if not masks:
        raise ValueError(
            f"nothing can be published for {', '.join(emotions)}: no generated face in "
            f"{synthetic} passed the gates, or no recipe is of such faces alone, and the pictures "
            f"of {', '.join(databases)} {'are absent' if free else 'may not be passed on'}"
        )
    inside = _imported(sources[1].facts[np.any([pair[1] for pair in masks.values()], axis=0)])
    terms = {name: terms[name] for name in [*databases, *inside]}
    shards = {key: _Shards(out / key[0], card.STEMS[key[1]], masks[key], schema) for key in masks}
    for index, source in enumerate(sources):
        _stream(source, {key: pair[index] for key, pair in masks.items()}, shards)
    for writer in shards.values():
        writer.close()

    facts = {
        "configs": _nested({key: writer.rows for key, writer in shards.items()}),
        "redistributable": free,
        "licences": {database: licence.name for database, licence in terms.items()},
        **card.gate_totals(sources[1].facts, emotions),
    }
    card.preview(sources, masks, emotions, preview_columns, seed).save(out / "preview.png")
    text = card.render(
        sources,
        masks,
        recipes=recipes,
        facts=facts,
        sizes={key: (writer.rows, writer.bytes) for key, writer in shards.items()},
        folder=out,
        name=name,
        title=title,
        emotions=emotions,
        licences=terms,
        records=lineage([corpus, synthetic]),
    )
    (out / "README.md").write_text(text, encoding="utf-8")
    logger.info("publish: wrote %s", facts["configs"])
    return facts


def choose(
    sources: tuple[Corpus, Corpus],
    emotions: Sequence[str],
    recipes: Mapping[str, Recipe],
    closed: Collection[str] = (),
) -> Masks:
    """Choose rows: (recipe, split) → one boolean a row of the corpus and of the synthetic one.

    Args:
        sources: The augmented and the selected corpus.
        emotions: The emotions to publish.
        recipes: Name → recipe.
        closed: Databases whose pictures may not be passed on: a recipe that holds one is left out
            as a whole. What a generator drew is no picture of its database.

    Raises:
        ValueError: If a recipe takes faces that passed no gate, or asks for more than there are.
    """
    real, made = (source.facts for source in sources)
    held = (real["split"] == "validation") & (real["origin"] == "real")
    held &= real["emotion"].isin(list(emotions))
    masks = {}
    for name, recipe in recipes.items():
        if not recipe.gated:
            raise ValueError(
                f"recipe {name!r} takes faces that the gates have not passed, copies of training "
                "faces perhaps; it is for benchmarks (protocol.arms), not for publishing "
                "(stages.publish.call.recipes)"
            )
        chosen = recipe.choose(real, made, emotions, label=f"recipe {name!r}")
        inside = {
            *(_databases(real) if chosen.corpus.any() else []),
            *_imported(made[chosen.synthetic]),
        }
        if len(chosen) and not inside & set(closed):
            masks[name, "train"] = chosen.corpus, chosen.synthetic
            if chosen.corpus.any() and held.any():
                masks[name, "validation"] = (held.to_numpy(bool), np.zeros(len(made), bool))
    return masks


def _databases(facts: pd.DataFrame) -> list[str]:
    return _names(facts[facts["split"] != "test"])


def _imported(facts: pd.DataFrame) -> list[str]:
    return _names(facts[facts["origin"] == "imported"])


def _names(facts: pd.DataFrame) -> list[str]:
    return sorted(facts["database"].fillna("unnamed").astype(str).unique())


def _nested(rows: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (recipe, split), count in rows.items():
        nested.setdefault(recipe, {})[split] = count
    return nested


def _stream(
    source: Corpus,
    masks: Mapping[tuple[str, str], np.ndarray],
    shards: Mapping[tuple[str, str], "_Shards"],
) -> None:
    """Read a corpus once and hand every row, still encoded, to the configurations it is in."""
    start = 0
    for shard in source.shards:
        for batch in pq.ParquetFile(shard).iter_batches(batch_size=BATCH_ROWS):
            table = pa.Table.from_batches([batch]).cast(source.features.arrow_schema)
            for key, mask in masks.items():
                part = mask[start : start + len(table)]
                if part.any():
                    shards[key].add(table.filter(pa.array(part)))
            start += len(table)


class _Shards:
    """The Parquet files of one configuration and split, a batch in memory at a time."""

    def __init__(
        self, folder: Path, stem: str, masks: tuple[np.ndarray, np.ndarray], schema: pa.Schema
    ) -> None:
        folder.mkdir(exist_ok=True)
        self._schema = schema
        self.rows = sum(int(mask.sum()) for mask in masks)
        self.bytes = 0
        self._files = -(-self.rows // FILE_ROWS)
        self._stem = folder / stem
        self._pending = schema.empty_table()
        self._written = 0
        self._file: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        self._pending = pa.concat_tables([self._pending, table])
        while len(self._pending) >= BATCH_ROWS:
            self._write(self._pending.slice(0, BATCH_ROWS))
            self._pending = self._pending.slice(BATCH_ROWS)

    def close(self) -> None:
        if len(self._pending):
            self._write(self._pending)
        if self._file is not None:
            self._file.close()

    def _write(self, group: pa.Table) -> None:
        # FILE_ROWS is a multiple of BATCH_ROWS, so a group never straddles two files
        if self._written % FILE_ROWS == 0:
            if self._file is not None:
                self._file.close()
            number = self._written // FILE_ROWS
            path = self._stem.with_name(
                f"{self._stem.name}-{number:05d}-of-{self._files:05d}.parquet"
            )
            self._file = pq.ParquetWriter(path, self._schema)
        assert self._file is not None
        self._file.write_table(group.combine_chunks())
        self._written += len(group)
        self.bytes += group.nbytes
