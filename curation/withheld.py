"""What a licence withholds: instead of pictures, all that its holder needs to make them again.

The folder ``withheld`` of a published data set holds no pixel:

- ``files.csv``: each file of the databases that went in, its SHA-256 and its split;
- ``rows.csv``: id of each row of the withheld configurations, and its split in each;
- ``rebuild.json``: the settings of `ingest`, `standardise` and `augment`, the standardisation
  contract, and a digest of what must come out.

`curation.rebuild` reads it.
"""

import csv
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.artifact import write_json
from curation.corpus import FACTS, Corpus
from curation.ingest import FILE_COLUMNS, FILES
from curation.lineage import Record
from curation.shards import Key, Masks

log = logging.getLogger(__name__)

FOLDER = "withheld"
ROWS = "rows.csv"
PLAN = "rebuild.json"
CHAIN = ("ingest", "standardise", "augment")
_FROM_INGEST = ("database", "emotions", "mapping")
_ASK = "???"  # OmegaConf's word for a value that must be given


def write_withheld(
    out: Path,
    sources: tuple[Corpus, Corpus],
    *,
    published: Masks,
    withheld: Masks,
    permitted: tuple[np.ndarray, np.ndarray],
    records: Sequence[Record],
    layout: tuple[int, int],
    about: Mapping[str, Any],
) -> dict[str, str]:
    """Write the folder by which a licence holder rebuilds the withheld configurations.

    Args:
        out: The published folder.
        sources: The augmented corpus and the selected one.
        published: Rows of each configuration whose pictures are in the published folder.
        withheld: Rows of each other configuration.
        permitted: For each source, which rows may be passed on.
        records: Lineage of the augmented corpus.
        layout: Rows a group and rows a file, of `curation.shards`.
        about: Name, title and licences, for whoever opens the rebuilt folder.

    Returns:
        Configuration → why it cannot be rebuilt, of those that cannot. If that is all of them,
        nothing is written.
    """
    if problem := _off_the_road(records):
        return dict.fromkeys((recipe for recipe, _ in withheld), problem)
    # the synthetic faces of withheld configurations are read from one published configuration
    givers = [key for key, pair in published.items() if pair[1].any()]
    giver = max(givers, key=lambda key: published[key][1].sum(), default=None)
    given = published[giver][1] if giver else np.zeros(len(sources[1]), bool)
    lost: dict[str, str] = {}
    for (recipe, _), pair in withheld.items():
        if (pair[1] & ~permitted[1]).any():
            lost[recipe] = "it holds synthetic faces that may not be passed on"
        elif (pair[1] & ~given).any():
            lost[recipe] = "its synthetic faces are in no published configuration"
    withheld = {key: pair for key, pair in withheld.items() if key[0] not in lost}
    if not withheld:
        return lost

    chain = {record.stage: record for record in records}
    folder = out / FOLDER
    folder.mkdir()
    _write_files(chain["ingest"].folder, folder / FILES)
    _write_rows(sources, withheld, folder / ROWS)
    configurations: dict[str, dict[str, Any]] = {}
    hashes = [row_hashes(source.shards) for source in sources]
    for (recipe, split), pair in withheld.items():
        configurations.setdefault(recipe, {})[split] = {
            "rows": sum(int(mask.sum()) for mask in pair),
            "digest": digest(hashes, pair),
        }
    settings = {stage: dict(chain[stage].content["config"]) for stage in CHAIN}
    settings["ingest"] = {key: settings["ingest"].get(key) for key in _FROM_INGEST}
    plan = {
        **about,
        "configurations": configurations,
        "published": list(dict.fromkeys(recipe for recipe, _ in published)),
        "synthetic_from": giver,
        "layout": layout,
        "contract": chain["augment"].contract,
        "settings": _portable(settings),
        "versions": chain["augment"].content.get("versions"),
    }
    write_json(folder / PLAN, plan)
    return lost


def _off_the_road(records: Sequence[Record]) -> str:
    """Return why a corpus with this lineage cannot be made again; empty if it can."""
    if sorted(record.stage for record in records) != sorted(CHAIN):
        came = ", ".join(record.stage for record in records) or "no stage on record"
        return f"the corpus was not made by {', '.join(CHAIN)}, but by {came}"
    ingested = next(record.folder for record in records if record.stage == "ingest")
    return "" if (ingested / FILES).is_file() else f"the ingested corpus has no {FILES}"


def row_hashes(files: Sequence[Path]) -> list[str]:
    """Return a hash of each row of a corpus: all columns but the picture, for which its id stands.

    Args:
        files: Parquet files with the columns of a corpus.
    """
    rows = pa.concat_tables([pq.read_table(path, columns=FACTS) for path in files]).to_pylist()
    return [
        hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:20] for row in rows
    ]


def digest(hashes: Sequence[Sequence[str]], masks: Sequence[np.ndarray]) -> str:
    """Return one hash over the rows of a configuration, in order.

    Args:
        hashes: Of each source, as `row_hashes` gives them.
        masks: Of each source, which rows; (N,) bool.
    """
    total = hashlib.sha256()
    for one, mask in zip(hashes, masks, strict=True):
        for row in compress(one, mask):
            total.update(row.encode())
    return total.hexdigest()


def read_table(path: Path) -> list[dict[str, str]]:
    """Read one of the folder's tables."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write_files(ingested: Path, path: Path) -> None:
    # all that was taken in but the test databases, which are never part of what is published
    facts = Corpus(ingested).facts
    splits = dict(zip(facts["id"], facts["split"], strict=True))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*FILE_COLUMNS, "split"))
        for row in read_table(ingested / FILES):
            if splits[row["id"]] != "test":
                writer.writerow((*(row[column] for column in FILE_COLUMNS), splits[row["id"]]))


def _write_rows(sources: tuple[Corpus, Corpus], withheld: Masks, path: Path) -> None:
    names = list(dict.fromkeys(recipe for recipe, _ in withheld))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", *names))
        for index, source in enumerate(sources):
            cells = {name: np.full(len(source), "", dtype=object) for name in names}
            for (recipe, split), pair in withheld.items():
                cells[recipe][pair[index]] = split
            for row in zip(source.facts["id"], *cells.values(), strict=True):
                if any(row[1:]):
                    writer.writerow(row)


def masks_of(rows: Sequence[Mapping[str, str]], ids: Sequence[Sequence[str]]) -> dict[Key, Any]:
    """Return what ``rows.csv`` says as masks over other sources, by id.

    Args:
        rows: The table.
        ids: For each source, the ids of its rows in order.
    """
    members: dict[Key, set[str]] = {}
    for row in rows:
        for name, split in row.items():
            if name != "id" and split:
                members.setdefault((name, split), set()).add(row["id"])
    return {
        key: tuple(np.array([name in wanted for name in one], dtype=bool) for one in ids)
        for key, wanted in members.items()
    }


def _portable(value: Any, key: str = "") -> Any:
    """Leave out where somebody keeps files: a database's place is asked for, a model's is null."""
    if isinstance(value, Mapping):
        return {str(name): _portable(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(inner, key) for inner in value]
    if key in ("root", "path"):
        return _ASK
    if isinstance(value, str) and (value[:1] in ("/", "~", "\\") or value[1:3] == ":\\"):
        return None
    return value
