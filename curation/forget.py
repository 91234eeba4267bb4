"""The command ``affectory forget``: what a person's pictures have touched, and putting it away."""

import argparse
import difflib
import os
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from curation.artifact import read_json, write_json
from curation.traces import (
    RETIRED,
    Artifact,
    Touch,
    Trace,
    find_artifacts,
    subjects_of,
    trace,
)

FORGOTTEN = "forgotten.json"
TRAINING_CACHE = "cache"  # conf/stage/train_cell.yaml
_CORPUS_OF_PAGE = re.compile(r'<meta name="affectory-corpus" content="([^"]*)">')


@dataclass(frozen=True)
class Findings:
    """What some people have touched in one experiment.

    Attributes:
        root: The experiment's folder.
        touched: Finished folders that hold, learned from or were measured with them, inputs first.
        unchecked: Folders of which that could not be found out.
        passed: Folders that read a corpus with the person, and used other rows of it.
        pages: Inspection pages of touched corpora.
        features: Cached features of sets of pictures with some of theirs or drawn from them, or
            with some of which nobody can tell whose they are; and all that trainings of
            recognisers keep, decoded pictures and frozen features.
        unfinished: Folders that a killed run left; nobody knows what they hold.
        clean: How many finished folders have nothing to do with them.
    """

    root: Path
    touched: list[Trace]
    unchecked: list[Trace]
    passed: list[Trace]
    pages: list[Path]
    features: list[Path]
    unfinished: list[Path]
    clean: int


def main(arguments: Sequence[str]) -> int:
    """List everything that people have touched; with ``--retire`` move it out of the way.

    Args:
        arguments: What follows ``affectory forget`` on the command line.

    Returns:
        0, or 2 if a subject is unknown, a folder is not there, or a run is at work in it.
    """
    parser = argparse.ArgumentParser(
        prog="affectory forget",
        description="List all that a person's pictures have touched: rows, checkpoints, "
        "classifiers, scores, published folders and results. Nothing is changed without --retire.",
    )
    parser.add_argument(
        "subjects", nargs="+", metavar="subject=NAME", help="such as subject=kdef/AF01"
    )
    parser.add_argument(
        "--in",
        dest="roots",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="experiments to look at (default: all folders below out/)",
    )
    parser.add_argument(
        "--retire",
        action="store_true",
        help=f"move every touched folder whole into <experiment>/{RETIRED}/ and delete cached "
        "features",
    )
    given = parser.parse_args(arguments)
    try:
        subjects = sorted({_subject(word) for word in given.subjects})
        roots = _roots(given.roots)
        findings = find(roots, subjects)
        for each in findings:
            _say("\n".join(_lines(each, subjects)))
        if not given.retire:
            _say("Nothing was changed; --retire puts the touched folders away.")
            return 0
        for each in findings:
            if each.touched or each.pages or each.features:
                away = retire(each, subjects)
                _say(f"{each.root}: moved to {away}. Delete that folder to be rid of it for good.")
                if each.passed:
                    _say(
                        f"{len(each.passed)} folders that stay were made from other rows of what "
                        "was moved. Once that is deleted, nobody can tell whom they learned from: "
                        "run the experiment again first, so that others take their place."
                    )
        _say(_advice(findings, subjects))
    except (ValueError, OSError) as error:
        print(f"affectory forget: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def find(roots: Sequence[Path], subjects: Sequence[str]) -> list[Findings]:
    """Look through experiments for all that people have touched.

    Args:
        roots: Folders of experiments; what one reads from another is followed.
        subjects: Names as the corpora have them.

    Raises:
        ValueError: If none of the corpora knows one of the names.
    """
    scanned = {root.resolve(): find_artifacts(root) for root in roots}
    artifacts = [artifact for finished, _ in scanned.values() for artifact in finished]
    # what was retired earlier is not looked for, but tells whom the rest has learned from
    for root in scanned:
        for place in sorted((root / RETIRED).glob("*")):
            artifacts += find_artifacts(place)[0]
    _require_known(subjects, subjects_of(artifacts), roots)
    traces = trace(artifacts, subjects)
    theirs = {name for each in traces for name in each.ids}
    known = {name for each in artifacts for _, rows in each.tables for name in rows["id"]}
    findings = []
    for root, (_, unfinished) in scanned.items():
        own = [each for each in traces if each.artifact.root == root]
        touched = [each for each in own if each.touches]
        unchecked = [each for each in own if each.unchecked]
        rest = [each for each in own if not each.touches and not each.unchecked]
        passed = [each for each in rest if each.passed]
        findings.append(
            Findings(
                root=root,
                touched=touched,
                unchecked=unchecked,
                passed=passed,
                pages=list(_pages(root, [each.artifact for each in touched])),
                features=[
                    *_features(root, known - theirs),
                    *(_training_cache(root) if touched else ()),
                ],
                unfinished=unfinished,
                clean=len(rest) - len(passed),
            )
        )
    return findings


def retire(findings: Findings, subjects: Sequence[str], *, stamp: str | None = None) -> Path:
    """Move all that was touched into ``<experiment>/retired/<time>``, and note it.

    Each folder is renamed whole, those that depend on others first: if this is interrupted, what
    is left can still be traced, and a second call puts it away. Plain links to it are removed, and
    so are cached features, which can be computed again. ``forgotten.json`` lists what was moved or
    removed, and why.

    Args:
        findings: Of one experiment.
        subjects: Whom to forget.
        stamp: Name of the folder; the time (UTC) where absent.

    Returns:
        Where everything lies now.

    Raises:
        ValueError: If a run is at work in the experiment.
    """
    root = findings.root
    _require_idle(root)
    moment = time.gmtime()
    stamp = stamp or time.strftime("%Y-%m-%dT%H%M%SZ", moment)
    away = root / RETIRED / stamp
    book = root / FORGOTTEN
    earlier = read_json(book)["forgotten"] if book.exists() else []
    note: dict[str, Any] = {
        "subjects": list(subjects),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", moment),
        "retired": [],
        "links_removed": [],
        "features_removed": [],
        "could_not_be_checked": {
            each.artifact.place: each.unchecked for each in findings.unchecked
        },
        "unfinished": [path.relative_to(root).as_posix() for path in findings.unfinished],
    }
    gone = [each.artifact.folder for each in findings.touched]
    for link in _links(root, gone):
        link.unlink()
        note["links_removed"].append(link.relative_to(root).as_posix())
    # before the rows that tell whose they are
    for path in findings.features:
        path.unlink(missing_ok=True)
        note["features_removed"].append(path.relative_to(root).as_posix())
    for page in findings.pages:
        _move(page, away / page.relative_to(root))
        note["retired"].append({"place": page.relative_to(root).as_posix(), "what": "page"})
    for each in reversed(findings.touched):
        artifact = each.artifact
        _move(artifact.folder, away / artifact.place)
        note["retired"].append(
            {
                "place": artifact.place,
                "what": artifact.stage,
                "content": artifact.content,
                "touched": [{"how": touch.how, "words": touch.words} for touch in each.touches],
            }
        )
        # after each move, so that the list is true whenever this is interrupted
        write_json(book, {"forgotten": [*earlier, note]})
    write_json(book, {"forgotten": [*earlier, note]})
    return away


def forgotten(root: Path) -> list[str]:
    """Return the names of all people that were forgotten in an experiment, sorted."""
    book = root / FORGOTTEN
    notes = read_json(book)["forgotten"] if book.exists() else []
    return sorted({name for note in notes for name in note["subjects"]})


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def _subject(word: str) -> str:
    key, equals, name = word.partition("=")
    if not equals or key != "subject" or not name:
        raise ValueError(f"{word!r} names nobody; write subject=<name>, such as subject=kdef/AF01")
    return name


def _roots(given: Sequence[Path] | None) -> list[Path]:
    if given is None:
        found = sorted(path for path in Path("out").glob("[!.]*") if path.is_dir())
        if not found:
            raise ValueError("there is no experiment below out/; say where with --in <folder>")
        return found
    for root in given:
        if not root.is_dir():
            raise ValueError(f"there is no folder {root} (--in)")
    return list({root.resolve(): root for root in given}.values())


def _require_known(subjects: Sequence[str], known: set[str], roots: Sequence[Path]) -> None:
    for name in subjects:
        if name not in known:
            # the database's own name of a person lacks the prefix
            close = sorted(each for each in known if each.endswith(f"/{name}"))
            close = close or difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(
                f"nobody is called {name!r} among the {len(known)} people of "
                f"{', '.join(map(str, roots))}{hint}"
            )


def _require_idle(root: Path) -> None:
    for lock in sorted(root.rglob(".*.lock")):
        try:
            with FileLock(lock, timeout=0):
                pass
        except Timeout as error:
            raise ValueError(
                f"a run is at work in {root} ({lock.name} is held); wait until it is done"
            ) from error


def _links(root: Path, gone: Sequence[Path]) -> Iterator[Path]:
    for path in sorted(root.iterdir()):
        if path.is_symlink():
            target = Path(os.path.normpath(root / path.readlink()))
            if any(target == folder or folder in target.parents for folder in gone):
                yield path


def _pages(root: Path, touched: Sequence[Artifact]) -> Iterator[Path]:
    """Yield the inspection pages of touched corpora: they show their pictures."""
    contents = {artifact.content for artifact in touched} - {""}
    names = {f"inspect-{artifact.folder.name}.html" for artifact in touched}
    for page in sorted(root.glob("inspect-*.html")):
        with page.open(encoding="utf-8") as file:
            found = _CORPUS_OF_PAGE.search(file.read(4096))
        if page.name in names or (found and found[1] in contents):
            yield page


def _features(root: Path, others: set[str]) -> Iterator[Path]:
    """Yield the cached features of sets that are not of these other pictures alone."""
    from curation.features import cached_files, cached_ids  # loads torch: not before it is needed

    for path in cached_files(root):
        ids = cached_ids(path)
        if ids is None or not ids <= others:
            yield path


def _training_cache(root: Path) -> Iterator[Path]:
    """Yield what the cells of a benchmark share: whole corpora in one file, by no name."""
    for path in sorted((root / TRAINING_CACHE).rglob("*")):
        if path.is_file():
            yield path


def _lines(findings: Findings, subjects: Sequence[str]) -> Iterator[str]:
    count = len(findings.touched)
    total = count + len(findings.passed) + findings.clean
    total += sum(not each.touches for each in findings.unchecked)
    yield f"{', '.join(subjects)} in {findings.root}: {count} of {total} finished folders touched"
    for each in findings.touched:
        yield f"  {each.artifact.place} ({each.artifact.stage})"
        for words in _told(each.touches):
            yield f"    {words}"
    for page in findings.pages:
        yield f"  {page.relative_to(findings.root).as_posix()}"
        yield "    shows pictures of a touched corpus"
    if findings.features:
        folders = Counter(path.parent for path in findings.features)
        for folder, count in folders.items():
            yield f"  {folder.relative_to(findings.root).as_posix()}"
            if findings.root / TRAINING_CACHE in (folder, *folder.parents):
                yield "    what trainings of recognisers keep, which can be computed again"
                continue
            sets = "1 set" if count == 1 else f"{count} sets"
            yield f"    features of {sets} of pictures, theirs or of unknown people among them"
    if findings.passed:
        yield "  not touched, though they read a corpus with them: other rows were used"
        for each in findings.passed:
            yield f"    {each.artifact.place} ({each.artifact.stage})"
    if findings.unchecked:
        yield "  could not be checked"
        for each in findings.unchecked:
            yield f"    {each.artifact.place}: {'; '.join(sorted(set(each.unchecked)))}"
    if findings.unfinished:
        yield "  left by a killed run, not looked into"
        for path in findings.unfinished:
            yield f"    {path.relative_to(findings.root).as_posix()}"
    yield ""


def _told(touches: Sequence[Touch]) -> Iterator[str]:
    """Put what is the same of many inputs into one line."""
    suffix = ", which is touched"
    plain = [touch.words for touch in touches if not touch.words.endswith(suffix)]
    yield from plain
    rest = sorted(touch.words.removesuffix(suffix) for touch in touches if touch.words not in plain)
    for verb, group in groupby(rest, key=lambda words: words.rsplit(" ", 1)[0]):
        places = [words.rsplit(" ", 1)[1] for words in group]
        yield f"{verb} {', '.join(places)}"


def _advice(findings: Sequence[Findings], subjects: Sequence[str]) -> str:
    names = sorted({*subjects, *(name for each in findings for name in forgotten(each.root))})
    quoted = [name if re.fullmatch(r"[A-Za-z][\w./-]*", name) else f'"{name}"' for name in names]
    return (
        "The pictures are still in the database. So that they are not taken in again, add this to "
        f"the command line of every further run, or to its experiment file:\n"
        f"  {shlex.quote('forget=[' + ','.join(quoted) + ']')}\n"
        "Copies that were made elsewhere (pushed, sent, saved by hand) are out of reach from here."
    )


def _say(text: str) -> None:
    print(text)  # noqa: T201  the command's own words go to standard output
