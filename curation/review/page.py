"""Puts the review page together: one file with all faces, which asks nothing of a network."""

import base64
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from curation.artifact import read_json
from curation.inspection import pictures
from curation.inspection.pictures import thumbnail
from curation.inspection.reading import Reader
from curation.inspection.templates import environment
from curation.review.decisions import VERSION, reviewed_hash

log = logging.getLogger(__name__)

LONGEST = 128  # px, the longer side of a face on the page
MOST_BYTES = 50_000_000
# column → what it is called on the page; the first that a corpus has is what faces are sorted by
MEASURES = {
    "agreement": "agreement",
    "confidence": "confidence",
    "nearest_distance": "distance to the nearest training face",
    "off_manifold": "radii from the real faces",
    "identity_distance": "distance to the nearest training person",
}
_FOLDER = Path(__file__).parent


def render(corpus: Path, *, training: Path | None = None, longest: int = LONGEST) -> str:
    """Return the review page of a corpus; the same corpus gives the same bytes.

    Args:
        corpus: Its folder: what `score` or `select` wrote.
        training: A corpus that holds the training faces, which are then shown beside the
            generated ones; None shows none of them.
        longest: Longer side of a face on the page in pixels.

    Raises:
        FileNotFoundError: If a folder holds no corpus.
        ValueError: If the corpus has no scores, or `training` has none of the nearest faces.
    """
    if longest < 16:
        raise ValueError(f"--side {longest} is too small to judge a face by; use 16 or more")
    reader = Reader(corpus)
    facts = reader.facts
    scored = facts["predicted"].notna()
    if not len(facts) or not scored.all():
        raise ValueError(
            f"{int((~scored).sum())} of {len(facts)} rows of {corpus} have no scores, so `select` "
            "could not apply what you say of them; review what `score` or `select` wrote"
        )
    measures = [name for name in MEASURES if name in facts and facts[name].notna().any()]
    faces = [_picture(image, longest) for _, image in reader.pictures(range(len(facts)))]
    data = {
        "version": VERSION,
        "corpus": reviewed_hash(corpus),
        "safety": _safety(corpus),
        "emotions": [name for name in reader.emotions if (facts["emotion"] == name).any()],
        "measures": [[name, MEASURES[name]] for name in measures],
        "rows": [_row(fact, measures) for fact in facts.to_dict("records")],
        "faces": faces,
        "training": _training(training, facts, longest) if training else None,
    }
    script, style = _text("page.js"), _style()
    page = (
        environment(_FOLDER)
        .get_template("page.html.jinja")
        .render(
            title=f"Review: {corpus.resolve().name}",
            policy=_policy(script, style),
            script=Markup(script),
            style=Markup(style),
            data=Markup(_embedded(data)),
            emotions=data["emotions"],
            measures={name: MEASURES[name] for name in measures},
            with_training=training is not None,
        )
    )
    if (size := len(page)) > MOST_BYTES:
        log.warning(
            "the page of %s has %.0f MB, which browsers are slow with; --side %d would do",
            corpus,
            size / 1e6,
            max(16, int(longest * (MOST_BYTES / size) ** 0.5)),
        )
    return page


def _row(fact: Mapping[Any, Any], measures: list[str]) -> list[Any]:
    """Say what the page's script knows of a face; a list, for there are thousands."""
    keep = fact["keep"]
    return [
        fact["id"],
        fact["emotion"],
        fact["predicted"],
        None if pd.isna(keep) else bool(keep),
        _given(fact["reason"]),
        _given(fact["nearest_id"]),
        _given(fact["duplicate_of"]),
        # as many digits as tell two faces apart
        [None if pd.isna(fact[name]) else float(f"{fact[name]:.4g}") for name in measures],
    ]


def _safety(corpus: Path) -> list[str]:
    """Return the first words of reasons that a keep does not override, as `select` noted them."""
    path = corpus / "metrics.json"
    gates = read_json(path).get("gates", {}) if path.is_file() else {}
    return list(gates.get("safety", []))


def _given(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _picture(image: Any, longest: int) -> str:
    return thumbnail(image, longest)[0].removeprefix("data:image/webp;base64,")


def _training(training: Path, facts: pd.DataFrame, longest: int) -> dict[str, str]:
    """Return the pictures of the nearest training faces by id."""
    reader = Reader(training)
    wanted = set(facts["nearest_id"].dropna())
    places = {name: row for row, name in enumerate(reader.facts["id"]) if name in wanted}
    if not places:
        raise ValueError(
            f"--training {training} holds none of the {len(wanted)} nearest training faces; give "
            "the corpus that `score` compared with (inputs.corpus in its corpus.json)"
        )
    if lacking := len(wanted) - len(places):
        log.warning("%s lacks %d of %d nearest training faces", training, lacking, len(wanted))
    found = dict(reader.pictures(places.values()))
    return {name: _picture(found[row], longest) for name, row in places.items()}


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _style() -> str:
    shared = Path(pictures.__file__).with_name("base.css").read_text(encoding="utf-8")
    return shared + _text("page.css")


def _policy(script: str, style: str) -> str:
    """Return a policy that runs this script and style, shows inline pictures, and nothing else."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_source(script)}",
            f"style-src {_source(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _embedded(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # neither </script> nor <!-- may stand in a script element
    return text.replace("<", "\\u003c")
