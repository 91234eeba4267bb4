"""The command ``affectory rebuild``: a published data set, complete, for who holds the licences.

Where a licence keeps pictures from being passed on, a published folder says how they were made
(`curation.withheld`). Given the database, the same code with the recorded settings makes them
again; what comes out has the recorded digest, or nothing is left behind.
"""

import argparse
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from huggingface_hub import DatasetCard
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from curation.artifact import building, file_hash, locked, read_json
from curation.augment import augment
from curation.card import card_data
from curation.contract import describe_difference
from curation.corpus import Corpus, content_id
from curation.ingest import FILES, UnreadableImageError, ingest, read_image
from curation.shards import STEMS, Key, write_configurations
from curation.standardise import standardise
from curation.withheld import FOLDER, PLAN, ROWS, digest, masks_of, read_table, row_hashes

log = logging.getLogger(__name__)

# settings come from a published folder, which anybody may have written: only what makes faces
# out of pictures is ever called
ALLOWED = (
    "curation.databases.",
    "curation.detect.",
    "curation.align.",
    "curation.operators.",
    "curation.standardise.",
    "torchvision.transforms.v2.",
)
SHOWN = 10
_MADE_WITH = "The files are the same, so the code or the settings are not; it was made with {}"


def main(arguments: Sequence[str]) -> int:
    """Rebuild a published data set.

    Args:
        arguments: What follows ``affectory rebuild`` on the command line.

    Returns:
        0, or 2 if the database or the settings do not give what was published.
    """
    parser = argparse.ArgumentParser(
        prog="affectory rebuild",
        description="Make the pictures that a published data set may not contain, out of the "
        "database that you hold a licence for: the same rows, bit for bit.",
    )
    parser.add_argument("published", type=Path, help="the published folder")
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="where the database lies, such as database.root=/data/KDEF_and_AKDEF",
    )
    parser.add_argument("--to", type=Path, help="folder to make (default: <published>-rebuilt)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    given = parser.parse_args(list(arguments))
    published = given.published
    to = given.to or Path(f"{published.resolve()}-rebuilt")
    try:
        counts = rebuild(published, given.settings, to, workers=given.workers)
    except MissingMandatoryValue as error:
        print(  # noqa: T201
            f"affectory rebuild: {error.full_key} must be given: {error.full_key}=...",
            file=sys.stderr,
        )
        return 2
    except (ValueError, OSError, ImportError, OmegaConfBaseException) as error:
        print(f"affectory rebuild: {error}", file=sys.stderr)  # noqa: T201
        return 2
    for recipe, splits in counts.items():
        words = ", ".join(f"{rows} {split}" for split, rows in splits.items())
        print(f"{recipe}: {words}")  # noqa: T201
    print(f"rebuilt: {to}")  # noqa: T201
    return 0


@dataclass(frozen=True)
class Listed:
    """The pictures of a database that a table of files names, each with the split stated there."""

    listed: Sequence[dict[str, Any]]
    expected: Mapping[str, int] = field(default_factory=dict)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield them in the database's order."""
        yield from (dict(row) for row in self.listed)


def rebuild(
    published: Path, settings: Sequence[str], out: Path, *, workers: int = 1
) -> dict[str, dict[str, int]]:
    """Write the complete data set: what is published, and what the licence withholds.

    Args:
        published: A folder that `curation.publish` wrote.
        settings: ``key=value`` words: where the databases lie, and model files.
        out: Folder to make; must not exist.
        workers: Processes; changes nothing but the time.

    Returns:
        Configuration → split → rows, of all that was rebuilt.

    Raises:
        FileNotFoundError: If the folder has nothing to rebuild, or the database is not there.
        ValueError: If a file of the database is missing or altered, with its name; if a setting
            is unknown; or if what comes out is not what was published.
    """
    place = published / FOLDER
    if not (place / PLAN).is_file():
        raise FileNotFoundError(
            f"{published} has no {FOLDER}/{PLAN}: either nothing of it is withheld, or its maker "
            "had no record of how it was made"
        )
    if out.exists():
        raise ValueError(f"{out} exists; name another folder (--to)")
    plan = read_json(place / PLAN)
    recorded = plan["settings"]
    cfg = _configured(recorded, settings)
    stages = {stage: _plain(cfg[stage]) for stage in ("standardise", "augment")}
    for stage in stages.values():
        stage.pop("_target_", None)
    database = _built(_plain(cfg.database))
    made = {name: _built(value) for name, value in stages["standardise"].items()}
    copying = {name: _built(value) for name, value in stages["augment"].items()}

    rows = _checked(database, read_table(place / FILES))
    with (
        locked(out),
        building(out) as folder,
        tempfile.TemporaryDirectory(prefix=".", dir=folder) as name,
    ):
        work = Path(name)
        parts = {stage: work / stage for stage in ("ingest", "standardise", "augment")}
        for part in parts.values():
            part.mkdir()
        ingest(
            database=Listed(rows),
            split=lambda _: {},
            emotions=_plain(cfg.ingest.emotions),
            mapping=_plain(cfg.ingest.mapping),
            out=parts["ingest"],
            workers=workers,
        )
        _require_same_pixels(parts["ingest"], place / FILES, plan["versions"])
        facts = standardise(
            corpus=parts["ingest"], out=parts["standardise"], workers=workers, **made
        )
        if difference := describe_difference(plan["contract"], facts["contract"]):
            raise ValueError(
                f"faces would be cut in another way than the published ones: {difference}"
            )
        augment(corpus=parts["standardise"], out=parts["augment"], workers=workers, **copying)
        return _composed(published, plan, Corpus(parts["augment"]), folder)


def _configured(recorded: Mapping[str, Any], settings: Sequence[str]) -> DictConfig:
    cfg = OmegaConf.create(
        {
            "database": recorded["ingest"]["database"],
            "ingest": {key: recorded["ingest"][key] for key in ("emotions", "mapping")},
            "standardise": recorded["standardise"],
            "augment": recorded["augment"],
        }
    )
    OmegaConf.set_struct(cfg, True)
    for word in settings:
        if "=" not in word:
            raise ValueError(
                f"{word!r} is no setting; write key=value, such as database.root=/data"
            )
    merged = OmegaConf.merge(cfg, OmegaConf.from_dotlist(list(settings)))
    assert isinstance(merged, DictConfig)
    return merged


def _plain(value: Any) -> Any:
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
    return value


def _built(value: Any) -> Any:
    """Build what a setting names, if it names something that is allowed."""
    from hydra.utils import get_object, instantiate

    for target in _targets(value):
        module = getattr(get_object(target), "__module__", "") if _may_be(target) else ""
        if not f"{module}.".startswith(ALLOWED):
            raise ValueError(
                f"the settings of the published folder name {target!r}, which is nothing that "
                "makes faces out of pictures; it is not called"
            )
    return instantiate(value, _convert_="all") if isinstance(value, dict) else value


def _may_be(target: str) -> bool:
    return target.startswith(ALLOWED)


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield str(value["_target_"])
        for inner in value.values():
            yield from _targets(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _targets(inner)


def _checked(database: Any, files: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return the database's rows of these files, each the same file as then.

    Raises:
        ValueError: If files are missing or altered, with their names.
    """
    wanted = {(file["database"], file["source"]): file for file in files}
    rows: list[dict[str, Any]] = []
    found: set[tuple[str, str]] = set()
    altered: list[str] = []
    for row in database.rows():
        key = row.get("database"), row["source"]
        if "problem" in row or key not in wanted or key in found:
            continue
        image = row["image"]
        if isinstance(image, Path) and not image.is_file():
            continue
        found.add(key)
        if not _same(image, wanted[key]):
            altered.append(row["source"])
        rows.append({**row, "split": wanted[key]["split"]})
    missing = [source for name, source in wanted if (name, source) not in found]
    problems = [
        f"{len(names)} {'is' if len(names) == 1 else 'are'} {what}: {_some(names)}"
        for what, names in (("altered", altered), ("missing", missing))
        if names
    ]
    if problems:
        raise ValueError(
            f"of {len(wanted)} pictures of the database that the published data set was made "
            f"from, {'; '.join(problems)}. Take the files as the database's holders give them"
        )
    return rows


def _same(image: Any, file: Mapping[str, str]) -> bool:
    if isinstance(image, Path):
        return file_hash(image) == file["sha256"] if file["sha256"] else _id(image) == file["id"]
    return _id(image) == file["id"]


def _id(image: Any) -> str:
    try:
        if isinstance(image, Path):
            return content_id(read_image(image))
        return content_id(image if isinstance(image, np.ndarray) else image())
    except UnreadableImageError:
        return ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _require_same_pixels(ingested: Path, files: Path, versions: Mapping[str, str] | None) -> None:
    """Raise a ValueError unless the files were decoded to the pixels of then."""
    wanted = {row["id"]: row["source"] for row in read_table(files)}
    if other := sorted(wanted[name] for name in wanted.keys() - set(Corpus(ingested).facts["id"])):
        raise ValueError(
            f"{len(other)} of {len(wanted)} pictures are the same files and come out with other "
            f"pixels: {_some(other)}. {_MADE_WITH.format(_versions(versions))}"
        )


def _composed(
    published: Path, plan: Mapping[str, Any], corpus: Corpus, out: Path
) -> dict[str, dict[str, int]]:
    """Write the configurations out of the remade corpus and the published synthetic faces."""
    giver = plan["synthetic_from"]
    given = sorted((published / giver[0]).glob(f"{STEMS[giver[1]]}-*.parquet")) if giver else []
    sources = [corpus.shards, given]
    ids = [[name for path in files for name in _column(path, "id")] for files in sources]
    masks = masks_of(read_table(published / FOLDER / ROWS), ids)
    hashes = [row_hashes(files) if files else [] for files in sources]
    counts: dict[str, dict[str, int]] = {}
    for recipe, splits in plan["configurations"].items():
        for split, wants in splits.items():
            pair = masks[recipe, split]
            rows = sum(int(mask.sum()) for mask in pair)
            if rows != wants["rows"] or digest(hashes, pair) != wants["digest"]:
                raise ValueError(
                    f"{recipe}/{split} came out with {rows} of {wants['rows']} pictures as they "
                    f"were published, or with other facts. {_MADE_WITH}".format(
                        _versions(plan["versions"])
                    )
                )
            counts.setdefault(recipe, {})[split] = rows
    schema, (group_rows, file_rows) = corpus.features.arrow_schema, plan["layout"]
    write_configurations(sources, masks, out, schema, layout=(group_rows, file_rows))
    for recipe in plan["published"]:
        shutil.copytree(published / recipe, out / recipe)
    _add_card(plan, corpus, out)
    return counts


def _column(path: Path, name: str) -> list[Any]:
    return pq.read_table(path, columns=[name])[name].to_pylist()


def _versions(versions: Mapping[str, str] | None) -> str:
    return ", ".join(f"{name} {version}" for name, version in (versions or {}).items())


def _add_card(plan: Mapping[str, Any], corpus: Corpus, out: Path) -> None:
    """Write a card with which the folder opens, and which says that it must not travel."""
    sizes: dict[Key, tuple[int, int]] = {}
    for recipe in [*plan["configurations"], *plan["published"]]:
        for split, stem in STEMS.items():
            tables = [pq.read_table(path) for path in (out / recipe).glob(f"{stem}-*.parquet")]
            if tables:
                sizes[recipe, split] = sum(map(len, tables)), sum(one.nbytes for one in tables)
    data = card_data(plan["title"], sizes, out, corpus.features, licence="other")
    names = ", ".join(plan["licences"].values())
    text = (
        f"# {plan['title']}, complete\n\n"
        f"Rebuilt from the published data set `{plan['name']}`, version {plan['release']}, and a "
        f"licensed copy of its database.\n\n"
        "> **This folder holds pictures that may not be passed on.** It stands under the terms of "
        f"{names}. What may be passed on is the published data set.\n"
    )
    card = DatasetCard(f"---\n{data.to_yaml()}\n---\n{text}")
    (out / "README.md").write_text(str(card), encoding="utf-8")
