"""What a data set card tells, counted: gates, people, generators, distances, stages."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from curation.lineage import Record
from curation.shards import STEMS, Key

KINDS = {
    "real": "real",
    "geometric": "geometric copy",
    "gan": "synthetic",
    "imported": "imported",
}
MEASURES = {
    "frechet": "Fréchet distance",
    "frechet_infinity": "Fréchet distance, extrapolated to infinitely many",
    "kernel": "kernel distance",
    "vendi": "Vendi score",
    "classifier_score": "classifier score",
}
DOUBTED = 0.7  # share of faces read as named, under which the card warns
ONE_SIDED = 0.6  # share of pictures of one sex, over which the card warns


def reason_category(reason: object) -> str:
    """Return the kind of a rejection: the text before the first colon."""
    # a table hands over its own mark for a missing text
    return reason.split(":", 1)[0].strip() if isinstance(reason, str) else "no reason given"


def gate_table(facts: pd.DataFrame, emotions: Sequence[str]) -> list[dict[str, Any]]:
    """Count what the gates did, one dict an emotion.

    Args:
        facts: Rows of a selected corpus.
        emotions: Which emotions, in which order.

    Returns:
        ``emotion``, ``made``, ``kept``, ``agreed`` (given the intended label before any gate,
        None where nothing was predicted) and ``rejected`` (reason category → count).
    """
    made = _generated(facts, emotions)
    rows = []
    for emotion in emotions:
        own = [row for row in made if row["emotion"] == emotion]
        judged = [row for row in own if isinstance(row["predicted"], str)]
        refused = Counter(reason_category(row["reason"]) for row in own if not row["keep"])
        rows.append(
            {
                "emotion": emotion,
                "made": len(own),
                "kept": sum(row["keep"] for row in own),
                "agreed": sum(row["predicted"] == emotion for row in judged) if judged else None,
                "rejected": dict(refused),
            }
        )
    return rows


def _generated(facts: pd.DataFrame, emotions: Sequence[str]) -> list[dict[Any, Any]]:
    wanted = facts.assign(keep=facts["keep"].fillna(False).astype(bool))
    rows = wanted.drop(columns="id").to_dict("records")
    return [row for row in rows if row["origin"] == "gan" and row["emotion"] in emotions]


def gate_totals(facts: pd.DataFrame, emotions: Sequence[str]) -> dict[str, Any]:
    """Return ``made``, ``kept`` and ``rejected`` (reason category → count) over all emotions."""
    rows = gate_table(facts, emotions)
    rejected = sum((Counter(row["rejected"]) for row in rows), Counter[str]())
    return {
        "made": sum(row["made"] for row in rows),
        "kept": sum(row["kept"] for row in rows),
        "rejected": dict(sorted(rejected.items())),
    }


def kinds(contents: Mapping[Key, pd.DataFrame]) -> list[str]:
    """Return the origins that are published, in the order of `KINDS`."""
    there = {origin for facts in contents.values() for origin in facts["origin"].unique()}
    return [kind for kind in KINDS if kind in there]


def config_rows(
    contents: Mapping[Key, pd.DataFrame], emotions: Sequence[str]
) -> list[dict[str, Any]]:
    """Count each configuration and split: by emotion, by origin, and people."""
    return [
        {
            "name": (f"`{recipe}`", split),
            "total": len(facts),
            "emotions": [int((facts["emotion"] == emotion).sum()) for emotion in emotions],
            "origins": Counter(facts["origin"]),
            "people": int(facts["subject"].nunique()),
        }
        for (recipe, split), facts in contents.items()
    ]


def people(facts: pd.DataFrame, emotions: Sequence[str]) -> list[dict[str, Any]]:
    """Count the real people behind the data set: one line a split and sex, as databases state it.

    The generators learned from them, whether or not their pictures are published.
    """
    real = facts[(facts["origin"] == "real") & (facts["split"] != "test")]
    real = real[real["emotion"].isin(list(emotions))]
    sex = real["sex"].where(real["sex"].notna(), "not stated")
    lines = []
    for split in [name for name in STEMS if (real["split"] == name).any()]:
        for value in sorted(sex[real["split"] == split].unique()):
            own = real[(real["split"] == split) & (sex == value)]
            lines.append(
                {
                    "split": split,
                    "sex": value,
                    "people": int(own["subject"].nunique()) or "not known",
                    "emotions": [int((own["emotion"] == emotion).sum()) for emotion in emotions],
                    "total": len(own),
                }
            )
    return lines


def weak(gates: Sequence[Mapping[str, Any]], people: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the counts say against this data set."""
    found = []
    for row in gates:
        if row["made"] and not row["kept"]:
            found.append(
                f"No synthetic face of {row['emotion']} passed the gates: it has none here."
            )
        elif row["agreed"] is not None and row["made"] and row["agreed"] < DOUBTED * row["made"]:
            found.append(
                f"Of the synthetic faces of {row['emotion']} only "
                f"{100 * row['agreed'] / row['made']:.0f} % were read as {row['emotion']} before "
                "the gate: those that passed are its best, not its usual."
            )
    pictures = Counter[str]()
    for row in people:
        pictures[row["sex"]] += row["total"]
    sex, most = max(pictures.items(), key=lambda item: item[1], default=("", 0))
    if len(people) and sex != "not stated" and most > ONE_SIDED * pictures.total():
        found.append(
            f"{100 * most / pictures.total():.0f} % of the real pictures show {sex} people."
        )
    return found


def fidelity(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what ``metrics.json`` says over all emotions: one entry an extractor."""
    found = []
    for line in metrics.get("fidelity", []):
        if line.get("emotion") != "all":
            continue
        figures = {
            name: figure
            for name, figure in line.items()
            if isinstance(figure, Mapping) and "n_fake" in figure
        }
        found.append(
            {
                **{key: line.get(key) for key in ("extractor", "hash", "resizer", "k", "seed")},
                "missing": line.get("missing"),
                "classifier": line.get("classifier"),
                "figures": [
                    [
                        MEASURES.get(name, name),
                        _number(figure["value"]),
                        _interval(figure.get("interval")),
                        f"{figure['n_fake']:,} / {figure['n_real']:,}",
                        _number(figure.get("at_floor_n")),
                        _number(figure.get("floor")),
                        figure.get("n_floor") or "–",
                    ]
                    for name, figure in figures.items()
                ],
                "small": [
                    MEASURES.get(name, name)
                    for name, figure in figures.items()
                    if figure.get("small_sample")
                ],
            }
        )
    return found


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _interval(bounds: Sequence[float] | None) -> str:
    return "–" if not bounds else f"{bounds[0]:.3g} to {bounds[1]:.3g}"


def generators(facts: pd.DataFrame, emotions: Sequence[str]) -> list[dict[str, Any]]:
    """Count what each generator drew, one dict an emotion and generator."""
    groups: dict[tuple[str, str], list[dict[Any, Any]]] = {}
    for row in _generated(facts, emotions):
        generator = row["generator"] if isinstance(row["generator"], str) else "unknown"
        groups.setdefault((row["emotion"], generator), []).append(row)
    order = {emotion: place for place, emotion in enumerate(emotions)}
    rows = []
    for emotion, generator in sorted(groups, key=lambda key: (order[key[0]], key[1])):
        group = groups[emotion, generator]
        truncations = {round(row["truncation"], 4) for row in group if row["truncation"] >= 0}
        rows.append(
            {
                "emotion": emotion,
                "generator": generator,
                "made": len(group),
                "kept": sum(row["keep"] for row in group),
                "truncation": ", ".join(f"{value:g}" for value in sorted(truncations)) or "none",
            }
        )
    return rows


def stages(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return one line a stage; stages that differ in their emotion alone share a line."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        # the test databases are not part of what is published
        told = {
            key: value
            for key, value in record.settings.items()
            if not key.startswith("test_databases.")
            and key.split(".")[-1] != "emotions"
            and key != f"mapping.{value}"  # a label that is called as the emotion
            and value != ""
        }
        text = "; ".join(f"{key} {value}" for key, value in told.items())
        line = merged.setdefault((record.stage, text), {"names": [], "settings": text})
        line["stage"] = record.stage
        line["names"].append(record.name)
    return list(merged.values())
