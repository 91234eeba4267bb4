"""The command ``affectory push``: a published folder onto the hub, as a version that stays.

A data set on the hub holds one folder a version, ``v1``, ``v2`` …, each exactly what was published,
and tags of the same names. Only the card in front of them changes: it opens the newest version and
lists them all. What lies in a version's folder is never written again.
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, DatasetCard, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import validate_repo_id

from curation import croissant
from curation.artifact import file_hash, folder_hash, read_json

RECORD = "publication.json"  # what this machine did and when: not for others
HERE = "path/to/this/folder"
SHOWN = 5


def main(arguments: Sequence[str], api: HfApi | None = None) -> int:
    """Show what would be uploaded; with ``--for-real`` upload it.

    Args:
        arguments: What follows ``affectory push`` on the command line.
        api: The hub; None for the one of HF_ENDPOINT, with the token that is stored or in HF_TOKEN.

    Returns:
        0, or 2 if the folder is no published one, or the hub or an earlier version refuses it.
    """
    parser = argparse.ArgumentParser(
        prog="affectory push",
        description="Upload a published folder to the Hugging Face hub as a new version. Nothing "
        "is uploaded without --for-real, and no earlier version is ever changed.",
    )
    parser.add_argument("published", type=Path, help="the published folder")
    parser.add_argument("name", metavar="owner/name", help="the data set on the hub")
    parser.add_argument("--for-real", action="store_true", help="upload, and tag the version")
    parser.add_argument("--private", action="store_true", help="if it is new, make it private")
    given = parser.parse_args(list(arguments))
    api = api or HfApi()
    try:
        plan = prepare(given.published, given.name, api)
        for line in describe(plan):
            print(line)  # noqa: T201
        if not given.for_real:
            print("Nothing was uploaded; --for-real does it.")  # noqa: T201
            return 0
        print(upload(plan, api, private=given.private))  # noqa: T201
    except (ValueError, OSError, HfHubHTTPError) as error:
        print(f"affectory push: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


@dataclass(frozen=True)
class Plan:
    """What a push would do.

    Attributes:
        name: The data set on the hub.
        version: Such as ``v2``: folder and tag.
        files: Path in the data set → local file; empty if the hub has this version already.
        card: Text of the card in front.
        versions: Version → files and bytes, of all that the hub will hold, newest first.
        head: Commit that was looked at; None if the data set is new or empty.
        exists: Whether the hub has the data set; None if it could not be asked.
        tagged: Whether the hub has the tag.
        unasked: Why the hub could not be asked; empty if it could.
    """

    name: str
    version: str
    files: Mapping[str, Path]
    card: str
    versions: Mapping[str, tuple[int, int]]
    head: str | None
    exists: bool | None
    tagged: bool
    unasked: str = ""


def prepare(published: Path, name: str, api: HfApi) -> Plan:
    """Look at the folder and at the hub, and change neither.

    Args:
        published: A folder that `curation.publish` wrote.
        name: ``owner/name``.
        api: The hub.

    Raises:
        ValueError: If the folder is no published one or was changed since, or if the hub holds
            another version of this number, or a newer one.
    """
    published = published.resolve()
    _require_whole(published)
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ValueError(f"{name!r} is no name of a data set: {error}") from error
    if name.count("/") != 1:
        raise ValueError(f"{name!r} is no name of a data set; write owner/name")
    release = int(read_json(published / croissant.FILE)["version"].split(".")[0])
    version = f"v{release}"
    files = {
        f"{version}/{path.relative_to(published).as_posix()}": path
        for path in sorted(published.rglob("*"))
        if path.is_file() and path.name != RECORD and not path.name.startswith(".")
    }
    head, exists, there, tags, unasked = None, None, dict[str, RepoFile](), set[str](), ""
    try:
        head = api.repo_info(name, repo_type="dataset").sha
        exists = True
        tree = api.list_repo_tree(name, repo_type="dataset", recursive=True) if head else []
        there = {item.path: item for item in tree if isinstance(item, RepoFile)}
        tags = {ref.name for ref in api.list_repo_refs(name, repo_type="dataset").tags}
    except RepositoryNotFoundError:
        exists = False
    except OfflineModeIsEnabled:
        unasked = "HF_HUB_OFFLINE is set"
    except HfHubHTTPError:
        raise
    except Exception as error:  # whatever library huggingface_hub uses for the network
        unasked = str(error).strip() or type(error).__name__
    held = _versions(there)
    _require_new(version, files, there, tags, held)
    if version in held:
        files = {}
    else:
        held[version] = len(files), sum(path.stat().st_size for path in files.values())
    versions = dict(sorted(held.items(), key=lambda item: -int(item[0][1:])))
    card = front_card(published, name, version, versions)
    return Plan(name, version, files, card, versions, head, exists, version in tags, unasked)


def describe(plan: Plan) -> list[str]:
    """Return, in lines, what a push would do."""
    lines = [f"could not ask the hub ({plan.unasked}): as if it held nothing"] * bool(plan.unasked)
    if plan.exists is False:
        lines.append(f"new data set {plan.name}")
    if not plan.files:
        return [*lines, f"{plan.name} holds {plan.version} already, exactly as it is here"]
    lines += [f"{path.stat().st_size:>14,}  {place}" for place, path in plan.files.items()]
    lines.append(f"{len(plan.card.encode()):>14,}  README.md (the card in front)")
    return [*lines, f"{'tag':>14}  {plan.version}"]


def upload(plan: Plan, api: HfApi, *, private: bool = False) -> str:
    """Do what `prepare` found: one commit with everything, then the tag.

    Args:
        plan: What `prepare` returned.
        api: The hub.
        private: Whether a new data set is private.

    Returns:
        Where it is, in words.

    Raises:
        ValueError: If the hub could not be asked what it holds.
    """
    if plan.unasked:
        raise ValueError(f"the hub cannot be reached ({plan.unasked}); nothing was uploaded")
    head = plan.head
    if plan.files:
        if not plan.exists:
            api.create_repo(plan.name, repo_type="dataset", private=private or None)
        operations = [
            CommitOperationAdd(path_in_repo=place, path_or_fileobj=path)
            for place, path in plan.files.items()
        ]
        operations.append(
            CommitOperationAdd(path_in_repo="README.md", path_or_fileobj=plan.card.encode())
        )
        # the parent makes sure that nobody else has pushed since the hub was asked
        commit = api.create_commit(
            plan.name,
            operations,
            commit_message=f"Version {plan.version[1:]}",
            repo_type="dataset",
            parent_commit=plan.head,
        )
        head = commit.oid
    if not plan.tagged:
        api.create_tag(plan.name, tag=plan.version, revision=head, repo_type="dataset")
    return f'{plan.name}: load_dataset("{plan.name}", revision="{plan.version}")'


def front_card(
    published: Path, name: str, version: str, versions: Mapping[str, tuple[int, int]]
) -> str:
    """Return the card in front of all versions, which opens the newest one.

    Args:
        published: The folder of the newest version.
        name: ``owner/name``.
        version: The newest version.
        versions: Version → files and bytes, newest first.
    """
    card = DatasetCard.load(published / "README.md", ignore_metadata_errors=False)
    configs = card.data.to_dict()["configs"]
    for config in configs:
        for entry in config["data_files"]:
            entry["path"] = f"{version}/{entry['path']}"
    card.data["configs"] = configs
    text = card.text.replace("](preview.png)", f"]({version}/preview.png)")
    text = text.replace(
        f"affectory rebuild {HERE}",
        f"hf download {name} --repo-type dataset --local-dir faces\n"
        f"affectory rebuild faces/{version}",
    ).replace(HERE, name)
    lines = [
        "## Versions",
        "",
        "| version | files | megabytes | |",
        "| --- | --: | --: | --- |",
        *(
            f"| `{one}` | {count} | {size / 1e6:,.1f} | "
            f'`load_dataset("{name}", revision="{one}")` |'
            for one, (count, size) in versions.items()
        ),
        "",
        f"What a version holds is never changed. This page describes `{version}`; each folder has "
        "its own card.",
        "",
        "## Configurations",
    ]
    text = text.replace("## Configurations", "\n".join(lines), 1)
    return str(DatasetCard(f"---\n{card.data.to_yaml()}\n---\n{text.lstrip()}"))


def _require_whole(published: Path) -> None:
    for name in ("README.md", croissant.FILE):
        if not (published / name).is_file():
            raise ValueError(f"{published} has no {name}; name a folder that `publish` wrote")
    record = published / RECORD
    if not record.is_file():
        raise ValueError(
            f"{published} has no {RECORD}, so nobody knows whether it is as it was published"
        )
    if folder_hash(published, without=RECORD) != read_json(record)["content"]:
        raise ValueError(
            f"{published} was changed after it was published; publish again into another folder"
        )


def _versions(there: Mapping[str, RepoFile]) -> dict[str, tuple[int, int]]:
    held: dict[str, tuple[int, int]] = {}
    for path, file in there.items():
        if found := re.match(r"(v[1-9]\d*)/", path):
            count, size = held.get(found[1], (0, 0))
            held[found[1]] = count + 1, size + file.size
    return held


def _require_new(
    version: str,
    files: Mapping[str, Path],
    there: Mapping[str, RepoFile],
    tags: set[str],
    held: Mapping[str, tuple[int, int]],
) -> None:
    newest = max((int(one[1:]) for one in held), default=0)
    if int(version[1:]) < newest:
        raise ValueError(
            f"the hub holds v{newest}, so this cannot be {version}; publish with "
            f"release={newest + 1}"
        )
    if version in held:
        old = {path for path in there if path.startswith(f"{version}/")}
        other = {path for path in old & files.keys() if not _same(files[path], there[path])}
        if changed := sorted(other | (old ^ files.keys())):
            more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
            raise ValueError(
                f"{version} is on the hub, and {len(changed)} of its files would not be the same "
                f"({', '.join(changed[:SHOWN])}{more}). What was published is never changed: "
                f"publish with release={newest + 1}"
            )
    elif version in tags:
        raise ValueError(
            f"the hub has a tag {version} without its folder; publish with "
            f"release={int(version[1:]) + 1}"
        )


def _same(path: Path, file: RepoFile) -> bool:
    if path.stat().st_size != file.size:
        return False
    if file.lfs is not None:
        return file_hash(path) == file.lfs.sha256
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.blob_id
