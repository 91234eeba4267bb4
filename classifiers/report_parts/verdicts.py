"""Does it help? Each claim of a benchmark in words, as a drawing and as tables."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from classifiers.report_parts import charts, tables
from classifiers.report_parts.benchmark import ALL, Bench, Claim, by_database, plural
from classifiers.report_parts.tables import Column, Table, points
from classifiers.statistics import Estimate

MOST_LINES = 8  # of verdicts at the top of the page
MOST_ROWS = 24  # of a drawing
INTERVALS = (("both", "trainings and people"), ("seeds", "trainings"), ("subjects", "people"))


def verdict_section(bench: Bench) -> dict[str, Any]:
    """Arrange the claims.

    Returns:
        ``headline`` (`headline`), ``tally`` (a sentence), ``charts`` (``name`` and ``chart``),
        ``keys`` (their legend), ``table``, ``per_backbone``, ``evidence`` (tables), ``by_backbone``
        (drawings) and ``backbones`` (their legend), ``emotions`` (gain of each, drawings and a
        table) and ``missing`` (a sentence on cells that are not there).
    """
    several = len(bench.backbones) > 1
    single = [claim for claim in bench.claims if several and claim["backbone"] != ALL]
    return {
        "headline": headline(bench),
        "tally": _tally(bench),
        "charts": _charts(bench),
        "keys": [words for _, words in INTERVALS],
        "by_backbone": _by_backbone(bench),
        "backbones": bench.backbones,
        "table": _verdict_table(bench, "verdicts", bench.overall) if bench.overall else None,
        "per_backbone": _verdict_table(bench, "verdicts-per-backbone", single) if single else None,
        "evidence": _evidence_table(bench) if bench.claims else None,
        "emotions": _emotions(bench),
        "missing": _missing(bench),
    }


def estimate(plain: Mapping[str, Any] | None) -> Estimate:
    """Return an `Estimate` from its JSON form; all nan for None."""
    found = plain or {}

    def number(key: str) -> float:
        return math.nan if found.get(key) is None else float(found[key])

    return Estimate(
        number("value"), number("low"), number("high"), int(found.get("n") or 0), number("p")
    )


def headline(bench: Bench) -> list[dict[str, str]]:
    """Return the verdicts for the top of the page; of many, those that are decided.

    Returns:
        ``place``, ``arm``, ``word`` (helps, hurts, no evidence) and ``sentence``.
    """
    claims = bench.overall or bench.claims
    if len(claims) > MOST_LINES:
        claims = [claim for claim in claims if claim["verdict"] != "no evidence"][:MOST_LINES]
    return [
        {
            "place": bench.place(claim),
            "arm": claim["arm"],
            "word": claim["verdict"],
            "sentence": _sentence(bench, claim),
        }
        for claim in claims
    ]


def _sentence(bench: Bench, claim: Claim) -> str:
    both = estimate(claim["both"])
    text = f"{points(claim['difference'])} points of accuracy against {claim['reference']}"
    if math.isnan(both.low):
        text += " (no interval: one training or one person)"
    else:
        text += f" (95 % interval {_range(both)})"
    rest = [
        f"{plural(estimate(claim['seeds']).n, 'paired training')}",
        f"{plural(estimate(claim['subjects']).n, 'person')}",
    ]
    if claim["backbone"] == ALL:
        rest.insert(0, plural(len(bench.backbones), "backbone"))
    if claim.get("p_adjusted") is not None:
        rest.append(_p_words(claim["p_adjusted"]))
    text += f"; {', '.join(rest)}."
    if claim["verdict"] == "no evidence" and (more := _more_words(claim)):
        text += f" {more}"
    return text


def _p_words(p: float) -> str:
    written = tables.p_value(p)
    return "adjusted p < 0.001" if written.startswith("<") else f"adjusted p = {written}"


def _more_words(claim: Claim) -> str:
    advice = str(claim.get("advice") or "")
    return f"{advice[0].upper()}{advice[1:].rstrip('.')}." if advice else ""


def _range(value: Estimate) -> str:
    return f"{points(value.low)} to {points(value.high)}"


def _tally(bench: Bench) -> str:
    counts = Counter(claim["verdict"] for claim in bench.claims)
    words = [f"{counts[word]} {word}" for word in ("helps", "hurts", "no evidence")]
    if not bench.claims:
        return ""
    return (
        f"{plural(len(bench.claims), 'claim')}: {', '.join(words)}. P-values are adjusted for how "
        "many there are (Holm 1979) and decide; intervals are each its own."
    )


def _missing(bench: Bench) -> str:
    missing = bench.summary.get("missing") or []
    if not missing:
        return ""
    names = [
        " ".join(f"{key} {value}" for key, value in cell.items() if value is not None)
        if isinstance(cell, Mapping)
        else str(cell)
        for cell in missing[:5]
    ]
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    return (
        f"{plural(len(missing), 'training')} of the plan are missing ({'; '.join(names)}{more}); "
        "each claim rests on the seeds that both of its arms have."
    )


def _charts(bench: Bench) -> list[dict[str, str]]:
    """Draw the claims over all backbones, one drawing a split, every interval apart."""
    found = []
    for split in bench.splits:
        claims = [claim for claim in bench.overall if claim["split"] == split][:MOST_ROWS]
        if not claims:
            continue
        rows = []
        for claim in claims:
            label = f"{claim['arm']} on {claim['database']}"
            row = [
                _point(number, estimate(claim[key]), f"{label}, over {words}")
                for number, (key, words) in enumerate(INTERVALS)
            ]
            rows.append((label, row))
        found.append({"name": _split_name(bench, split), "chart": _forest(rows)})
    return found


def _by_backbone(bench: Bench) -> list[dict[str, str]]:
    """Draw the claims of each backbone beside each other, where there are several."""
    if len(bench.backbones) < 2:
        return []
    found = []
    for split in bench.splits:
        claims = [c for c in bench.claims if c["split"] == split and c["backbone"] != ALL]
        lines: dict[str, list[charts.Point]] = {}
        for claim in claims:
            label = f"{claim['arm']} on {claim['database']}"
            series = bench.backbones.index(claim["backbone"])
            note = f"{label}, {claim['backbone']}"
            lines.setdefault(label, []).append(_point(series % 8, estimate(claim["both"]), note))
        if lines:
            rows = list(lines.items())[:MOST_ROWS]
            found.append({"name": _split_name(bench, split), "chart": _forest(rows)})
    return found


def _split_name(bench: Bench, split: str) -> str:
    return split.replace("_", " ") if len(bench.splits) > 1 else ""


def _point(series: int, value: Estimate, label: str) -> charts.Point:
    return charts.Point(
        series,
        *(100 * bound for bound in value[:3]),
        note=f"{label}: {points(value.value)} ({_range(value)}), n = {value.n}",
    )


def _forest(rows: Sequence[tuple[str, Sequence[charts.Point]]]) -> str:
    return charts.intervals(
        rows,
        title="Gain in accuracy of each arm against its reference, with 95 % intervals",
        unit="percentage points of accuracy",
        zero=True,
    )


def place_columns(bench: Bench) -> list[Column]:
    """Return the columns that say where a figure belongs, of those that the benchmark needs."""
    columns = [Column("split", tables.TEXT)] if len(bench.splits) > 1 else []
    columns.append(Column("test database", tables.TEXT))
    return [*columns, *([Column("backbone", tables.TEXT)] if len(bench.backbones) > 1 else [])]


def place_values(bench: Bench, entry: Mapping[str, Any]) -> list[str]:
    """Return the values of `place_columns`."""
    values = [str(entry["split"])] if len(bench.splits) > 1 else []
    values.append(str(entry["database"]))
    return [*values, *([str(entry["backbone"])] if len(bench.backbones) > 1 else [])]


def _verdict_table(bench: Bench, name: str, claims: Sequence[Claim]) -> Table:
    places = place_columns(bench)
    references = list(dict.fromkeys(claim["reference"] for claim in bench.claims))
    columns = [
        *places,
        Column("arm", tables.TEXT),
        *([Column("against", tables.TEXT)] if len(references) > 1 else []),
        Column("gain", tables.POINTS),
        Column("95 % interval", tables.GAIN),
        Column("p, adjusted", tables.P_VALUE),
        Column("verdict", tables.VERDICT),
        Column("seeds needed in all", tables.COUNT),
    ]
    rows = [
        [
            *place_values(bench, claim),
            claim["arm"],
            *([claim["reference"]] if len(references) > 1 else []),
            claim["difference"],
            _bounds(claim["both"]),
            claim.get("p_adjusted"),
            claim["verdict"],
            claim.get("seeds_needed"),
        ]
        for claim in claims
    ]
    against = f" against {references[0]}" if len(references) == 1 else ""
    return Table(
        name,
        f"Gain in accuracy{against}, percentage points; interval over {plural(bench.runs, 'seed')} "
        f"and the test people together; p adjusted for {plural(len(bench.claims), 'claim')}",
        columns,
        rows,
        merge=len(places),
    )


def _evidence_table(bench: Bench) -> Table:
    places = place_columns(bench)
    columns = [
        *places,
        Column("arm", tables.TEXT),
        Column("gain", tables.POINTS),
        Column("interval", tables.GAIN, "over trainings"),
        Column("n", tables.COUNT, "over trainings"),
        Column("interval", tables.GAIN, "over people"),
        Column("n", tables.COUNT, "over people"),
        Column("effect size", tables.decimals(2)),
        Column("p", tables.P_VALUE),
        Column("McNemar p", tables.P_VALUE),
        Column("χ² p", tables.P_VALUE),
    ]
    rows = [
        [
            *place_values(bench, claim),
            claim["arm"],
            claim["difference"],
            _bounds(claim["seeds"]),
            estimate(claim["seeds"]).n,
            _bounds(claim["subjects"]),
            estimate(claim["subjects"]).n,
            claim.get("effect_size"),
            claim.get("p"),
            (claim.get("mcnemar") or {}).get("p"),
            (claim.get("chi_square") or {}).get("p"),
        ]
        for claim in bench.claims
    ]
    return Table(
        "evidence",
        "What the verdicts rest on: 95 % intervals over trainings alone (paired by seed) and over "
        "people alone, effect size (Hedges' g over trainings), p over both before its adjustment; "
        "percentage points",
        columns,
        rows,
        merge=len(places),
        note="McNemar's test and χ² take pictures as independent, which faces of one person are "
        "not: they are given for comparison with other papers and decide nothing here.",
    )


def _bounds(plain: Mapping[str, Any]) -> tuple[Any, Any]:
    return plain.get("low"), plain.get("high")


def _emotions(bench: Bench) -> dict[str, Any] | None:
    claims = [claim for claim in bench.overall if claim.get("gain_per_emotion")]
    if not claims:
        return None
    drawings = []
    for split in bench.splits:
        for database, group in by_database(c for c in claims if c["split"] == split).items():
            arms = list(dict.fromkeys(claim["arm"] for claim in group))[:4]
            rows = [
                (
                    emotion,
                    [
                        _point(
                            arms.index(claim["arm"]),
                            estimate(claim["gain_per_emotion"].get(emotion)),
                            f"{emotion}, {claim['arm']}",
                        )
                        for claim in group
                        if claim["arm"] in arms
                    ],
                )
                for emotion in bench.emotions
            ]
            chart = charts.intervals(
                rows,
                title=f"Gain in recall of each emotion on {database}",
                unit="percentage points of recall",
                zero=True,
                width=330,
            )
            name = bench.place({"database": database, "split": split, "backbone": ALL})
            drawings.append({"name": name, "chart": chart, "arms": arms})
    rows = [
        [*place_values(bench, claim), claim["arm"], emotion, value.value, value[1:3], value.n]
        for claim in claims
        for emotion, plain in claim["gain_per_emotion"].items()
        for value in [estimate(plain)]
    ]
    places = place_columns(bench)
    columns = [
        *places,
        Column("arm", tables.TEXT),
        Column("emotion", tables.TEXT),
        Column("gain", tables.POINTS),
        Column("95 % interval", tables.GAIN),
        Column("n", tables.COUNT),
    ]
    caption = "Gain in recall of each emotion against the reference, percentage points"
    return {
        "charts": drawings,
        "table": Table("gain-per-emotion", caption, columns, rows, merge=len(places) + 1),
    }
