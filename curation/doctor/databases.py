"""Databases: which can be read and on what terms, and whether a user's copy is complete."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curation.cli import CONF
from curation.doctor.facts import Fact


def named_roots(arguments: Sequence[str]) -> dict[str, str]:
    """Return database → root ("" for one that is drawn by code), or raise ValueError."""
    roots: dict[str, str] = {}
    for argument in arguments:
        name, _, root = argument.partition("=")
        if name not in _options():
            raise ValueError(f"no database {name!r}; known are {', '.join(_options())}")
        key = _key(name)
        if key and not root:
            raise ValueError(f"{name} needs to know where it lies: {name}=/path")
        if root and not key:
            raise ValueError(f"{name} is drawn by code and lies nowhere; write {name} alone")
        if name in roots:
            raise ValueError(f"{name} is named twice")
        roots[name] = root
    return roots


def databases() -> Iterator[Fact]:
    """Yield the databases that can be read, with the first sentence of their terms."""
    from curation.licences import RECORDS, read_licences

    known = read_licences([RECORDS])
    for name in _options():
        licence = _terms(name, known)
        yield Fact(
            name,
            "",
            licence.terms.split(". ")[0].strip().rstrip(".") + ".",
            figures={
                "key": _key(name),
                "licence": licence.name,
                "terms": licence.terms.strip(),
                "redistribute": licence.redistribute,
                "url": licence.url,
            },
        )
    yield Fact("to count one", "", "affectory doctor kdef=/data/KDEF_and_AKDEF ckplus=/data/CK+")


def counts(roots: Mapping[str, str]) -> Iterator[Fact]:
    """Yield the databases that are named: found against expected by label, and their terms."""
    from curation.licences import RECORDS, read_licences

    known = read_licences([RECORDS])
    for name, root in roots.items():
        licence = _terms(name, known)
        yield _count(name, root, ", ".join(filter(None, (licence.url, licence.contact))))
        yield Fact(
            "  its licence",
            "free" if licence.redistribute else "not passed on",
            f"{licence.name}. {licence.terms.strip()} {licence.url}".strip(),
            figures={"terms": licence.terms.strip(), "redistribute": licence.redistribute},
        )


def _count(name: str, root: str, source: str) -> Fact:
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from curation.ingest import count

    key = _key(name)
    try:
        place = Path(root).expanduser().absolute()
        if key and not place.exists():  # asked here: a name would be looked up on the hub
            return Fact(name, "missing", f"there is no {place}", f"get it: {source}", wrong=True)
        with initialize_config_dir(str(CONF), version_base="1.3"):
            settings = compose("config", overrides=[f"database={name}"])
        database = instantiate(settings.database, _partial_=True)(**({key: place} if key else {}))
        facts = count(database)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        return Fact(name, "unreadable", str(error), wrong=True)  # which says what it should hold
    found, expected, missing = facts["found"], facts["expected"], facts["missing"]
    labels = sorted({*found, *expected})
    told = ", ".join(
        f"{label} {found.get(label, 0):,}"
        + (f" of {expected[label]:,}" if label in expected else "")
        for label in labels
    )
    reasons: dict[str, list[str]] = {}
    for place_of, reason, _ in facts["skipped"]:
        reasons.setdefault(reason, []).append(place_of)
    left_out = "".join(
        f"; {len(places):,} × {reason}, the first {places[0]}" for reason, places in reasons.items()
    )
    if any(short > 0 for short in missing.values()):
        state = "incomplete"
    elif missing:
        state = "too many"
    else:
        state = "complete" if expected else "there"
    return Fact(
        name,
        state,
        f"{sum(found.values()):,} pictures: {told}{left_out}",
        f"get what is missing: {source}" if state == "incomplete" else "",
        wrong=bool(missing),
        figures={
            "root": root,
            "found": found,
            "expected": expected,
            "missing": missing,
            "skipped": {reason: len(places) for reason, places in reasons.items()},
        },
    )


def _options() -> list[str]:
    return sorted(path.stem for path in (CONF / "database").glob("*.yaml"))


def _key(name: str) -> str | None:
    """Return the key that says where a database lies; None for one that is drawn by code."""
    import yaml

    settings = yaml.safe_load((CONF / "database" / f"{name}.yaml").read_text(encoding="utf-8"))
    return next((key for key, value in settings.items() if value == "???"), None)


def _terms(name: str, known: Mapping[str, Any]) -> Any:
    from curation.licences import unknown_licence

    # puppets stand in records by their style: puppets_studio
    styles = (licence for other, licence in known.items() if other.startswith(f"{name}_"))
    return known.get(name) or next(styles, None) or unknown_licence(name)
