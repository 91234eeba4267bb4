"""What the finished folders say: gate outcomes, agreement, time and provenance."""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.report_parts import charts, pictures, tables
from classifiers.report_parts.tables import CODE, SECONDS, Column, Table, duration
from classifiers.statistics import Estimate, wilson
from curation.artifact import read_json
from curation.corpus import Corpus
from curation.lineage import Record, lineage, read_record

Face = dict[Any, Any]  # a row of a corpus without its picture
ALL = "all"
CELL = "train_cell"  # the stage whose results a benchmark gathers, many of a kind
_CELL_PLACE = ("fold", "split", "part", "backbone", "arm", "trial")


def synthetic_faces(folders: Sequence[Path]) -> list[Face]:
    """Return every generated face of the selected corpora, absent values as None."""
    faces = []
    for folder in folders:
        facts = Corpus(folder).facts
        judged = facts.assign(keep=facts["keep"].fillna(False).astype(bool)).astype(object)
        rows = judged.where(judged.notna(), None).to_dict("records")
        faces += [row for row in rows if row["origin"] in pictures.SYNTHETIC]
    return faces


def gate_outcomes(faces: Sequence[Face], emotions: Sequence[str]) -> dict[str, Any]:
    """Count what the gates did with each emotion's faces.

    Args:
        faces: Generated faces with ``keep`` and ``reason``.
        emotions: Which emotions; a line for all of them follows.

    Returns:
        ``made``, ``kept``, ``share``, ``rows``, ``table``, ``series`` (name, CSS class) and
        ``chart``.
    """
    rows = []
    for emotion in (*emotions, ALL):
        part = _of(faces, emotion, emotions)
        passed = sum(face["keep"] for face in part)
        rows.append(
            {
                "emotion": emotion,
                "made": len(part),
                "kept": passed,
                "share": f"{100 * passed / len(part):.0f} %" if part else charts.DASH,
                "rejected": Counter(
                    (face["reason"] or "no reason given").split(":", 1)[0].strip()
                    for face in part
                    if not face["keep"]
                ),
            }
        )
    reasons = [reason for reason, _ in rows[-1]["rejected"].most_common()]
    # the eighth colour is the last: rarer reasons share it
    series = [("passed", "s0")] + [
        (reason, f"s{min(number, 7)}") for number, reason in enumerate(reasons, start=1)
    ]
    bars = [
        (row["emotion"], [row["kept"], *(row["rejected"].get(reason, 0) for reason in reasons)])
        for row in rows[:-1]
    ]
    return {
        "made": rows[-1]["made"],
        "kept": rows[-1]["kept"],
        "share": rows[-1]["share"],
        "rows": rows,
        "table": _outcome_table(rows, reasons),
        "series": series,
        "chart": charts.stacked_bars(
            bars, series, title="Synthetic faces made, passed and rejected, for each emotion"
        ),
    }


def _outcome_table(rows: Sequence[Mapping[str, Any]], reasons: Sequence[str]) -> Table:
    columns = [
        Column("emotion", tables.TEXT),
        *(Column(name, tables.COUNT) for name in ("made", "passed")),
        Column("share"),
        *(Column(reason, tables.COUNT) for reason in reasons),
    ]
    lines = [
        [
            *(row[key] for key in ("emotion", "made", "kept", "share")),
            *(row["rejected"].get(reason, 0) for reason in reasons),
        ]
        for row in rows
    ]
    caption = "Synthetic faces by outcome"
    return Table("gate-outcomes", caption, columns, lines, totals=[len(lines) - 1])


def _of(faces: Sequence[Face], emotion: str, emotions: Sequence[str]) -> list[Face]:
    wanted = emotions if emotion == ALL else [emotion]
    return [face for face in faces if face["emotion"] in wanted]


def agreement(
    faces: Sequence[Face], classifiers: Sequence[Path], emotions: Sequence[str]
) -> dict[str, Any]:
    """Hold agreement before the gate against the classifier's accuracy on unseen people.

    Args:
        faces: Generated faces with ``predicted``.
        classifiers: Folders of the gate's classifiers, one a fold.
        emotions: Which emotions; a line for all of them follows.

    Returns:
        ``rows`` (emotion, ``synthetic`` and ``real`` as `Estimate`, real may be None), ``chart``
        and ``table``.
    """
    judged = [face for face in _of(faces, ALL, emotions) if face["predicted"]]
    if not judged:
        return {"rows": []}
    ceiling = _out_of_fold(classifiers, emotions)
    rows = []
    for emotion in (*emotions, ALL):
        part = _of(judged, emotion, emotions)
        hits = sum(face["predicted"] == face["emotion"] for face in part)
        rows.append(
            {
                "emotion": emotion,
                "synthetic": wilson(hits, len(part)),
                "real": ceiling.get(emotion),
                "otherwise": _otherwise(part) if emotion != ALL else "",
            }
        )
    lines = [
        (
            row["emotion"],
            [
                _point(series, estimate, f"{row['emotion']}, {name}")
                for series, name, estimate in (
                    (0, "synthetic", row["synthetic"]),
                    (1, "real, out of fold", row["real"]),
                )
                if estimate is not None
            ],
        )
        for row in rows
    ]
    chart = charts.intervals(
        lines,
        title="Agreement of synthetic faces and accuracy on real ones, for each emotion",
        unit="per cent named as intended",
        bounds=(0, 100),
    )
    return {"rows": rows, "chart": chart, "table": _agreement_table(rows)}


def _agreement_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = [Column("emotion", tables.TEXT)]
    for group in ("synthetic, before the gates", "real, out of fold"):
        columns += [
            Column("%", tables.PERCENT, group),
            Column("95 % interval", tables.BOUNDS, group),
            Column("n", tables.COUNT, group),
        ]
    columns.append(Column("otherwise named as", tables.TEXT))
    lines = [
        [
            row["emotion"],
            *(
                cell
                for estimate in (row["synthetic"], row["real"])
                for cell in (
                    (estimate.value, (estimate.low, estimate.high), estimate.n)
                    if estimate
                    else (None, None, None)
                )
            ),
            row["otherwise"],
        ]
        for row in rows
    ]
    caption = (
        "Faces named as meant, per cent; Wilson 95 % intervals count pictures as independent, "
        "which faces of one person are not"
    )
    return Table("agreement", caption, columns, lines, totals=[len(lines) - 1])


def _otherwise(part: Sequence[Face]) -> str:
    named = Counter(face["predicted"] for face in part)
    wrong = Counter({name: n for name, n in named.items() if name != part[0]["emotion"]})
    return ", ".join(f"{name} {count}" for name, count in wrong.most_common(2))


def copy_notes(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what the copy threshold rests on and what it is able to see, one sentence a fold."""
    notes = []
    for number, content in enumerate(metrics):
        if copies := content.get("copies"):
            fold = f"Fold {number}: a" if len(metrics) > 1 else "A"
            notes.append(
                f"{fold} face nearer than {copies['threshold']:.3f} to a training face counts as "
                f"its copy: {100 * copies['quantile']:g} % of {copies['n_faces']} real faces of "
                f"{copies['n_subjects']} people lie that near to somebody else's. Of "
                f"{copies['n_planted']} altered copies planted as a trial, "
                f"{100 * copies['planted_caught']:.0f} % were found."
            )
    return notes


def out_of_fold(folder: Path) -> Mapping[str, Any] | None:
    """Return a gate classifier's figures on unseen people, or None where it has none."""
    record = read_record(folder)
    places = [(record.content.get("facts") or {}) if record else {}]
    if (card := folder / "recogniser.json").is_file():
        places.append(read_json(card))
    return next((place["out_of_fold"] for place in places if place.get("out_of_fold")), None)


def _out_of_fold(folders: Sequence[Path], emotions: Sequence[str]) -> dict[str, Estimate]:
    figures = [found for folder in folders if (found := out_of_fold(folder))]
    # with k folds each real face is judged k − 1 times: n must count faces, not judgements
    repeats = max(len(figures) - 1, 1)
    totals = {
        emotion: np.sum(
            [
                [figure["recall"][emotion]["value"] * figure["recall"][emotion]["n"],
                 figure["recall"][emotion]["n"]]
                for figure in figures
                if figure["recall"].get(emotion, {}).get("n")
            ]
            or [[0, 0]],
            axis=0,
        )
        for emotion in emotions
    }  # fmt: skip
    totals[ALL] = np.sum(list(totals.values()), axis=0)
    return {
        emotion: wilson(round(hits / repeats), round(n / repeats))
        for emotion, (hits, n) in totals.items()
        if n
    }


def _point(series: int, estimate: Estimate, name: str) -> charts.Point:
    value, low, high = (100 * bound for bound in estimate[:3])
    return charts.Point(
        series,
        value,
        low,
        high,
        f"{name}: {value:.1f} % ({low:.1f} to {high:.1f}), n = {estimate.n}",
    )


def names_of(records: Sequence[Record]) -> list[str]:
    """Return a short name for each record; the fold is named only where there are several."""
    several = len({record.fold for record in records} - {None}) > 1
    return [
        f"{record.name}, fold {record.fold}" if several and record.fold is not None else record.name
        for record in records
    ]


def timings(records: Sequence[Record]) -> dict[str, Any]:
    """Say how long each stage took, in the order in which they were made; cells count as one.

    Returns:
        ``total`` in words, and ``table``, or None without records.
    """
    total = duration(sum(_seconds(record) for record in records))
    cells = [record for record in records if record.stage == CELL]
    rows = []
    for record, name in zip(records, names_of(records), strict=True):
        if record.stage != CELL:
            seed = record.content.get("seed", charts.DASH)
            rows.append([record.stage, name, _seconds(record), str(seed), _content(record)])
        elif record is cells[0]:
            spent = sum(_seconds(cell) for cell in cells)
            rows.append(
                [CELL, f"{len(cells):,} trainings", spent, "each its own", "see Provenance"]
            )
    columns = [
        Column("stage", tables.TEXT),
        Column("name", tables.TEXT),
        Column("time", SECONDS),
        Column("seed"),
        Column("content", CODE),
    ]
    caption = f"Wall-clock time of each stage that led here; {total} in all"
    return {"total": total, "table": Table("time", caption, columns, rows) if rows else None}


def _seconds(record: Record) -> float:
    return float(record.content.get("seconds") or 0)


def _content(record: Record) -> str:
    return str(record.content.get("content", "") or record.folder.name)[:16]


def provenance(records: Sequence[Record], faces: Sequence[Face]) -> dict[str, Any]:
    """Collect versions, checkpoints and settings of everything upstream."""
    versions: dict[str, set[str]] = {}
    for record in records:
        for name, version in (record.content.get("versions") or {}).items():
            versions.setdefault(name, set()).add(str(version))
    groups: dict[tuple[str, str], list[Face]] = {}
    for face in faces:
        groups.setdefault((face["emotion"], face["generator"] or "unknown"), []).append(face)
    generators = []
    for (emotion, generator), group in sorted(groups.items(), key=lambda item: item[0]):
        truncations = {face["truncation"] for face in group} - {None}
        generators.append(
            [
                emotion,
                generator,
                len(group),
                ", ".join(f"{value:g}" for value in sorted(truncations)) or "none",
            ]
        )
    return {
        "versions": _version_table(versions) if versions else None,
        "generators": _generator_table(generators) if generators else None,
        "cells": _cell_table([record for record in records if record.stage == CELL]),
        "settings": _settings(records),
    }


def _version_table(versions: Mapping[str, set[str]]) -> Table:
    several = any(len(found) > 1 for found in versions.values())
    return Table(
        "versions",
        "Versions" + (" of the stages; several where they differ" if several else ""),
        [Column("package", tables.TEXT), Column("version", tables.TEXT)],
        [[name, ", ".join(sorted(found))] for name, found in versions.items()],
    )


def _generator_table(rows: Sequence[Sequence[Any]]) -> Table:
    return Table(
        "generators",
        "Generator checkpoints; with seed and truncation every synthetic face can be drawn again",
        [
            Column("emotion", tables.TEXT),
            Column("checkpoint", CODE),
            Column("faces", tables.COUNT),
            Column("truncation"),
        ],
        rows,
    )


def _cell_table(cells: Sequence[Record]) -> Table | None:
    """Name every training of the benchmark with the hash of what it left."""
    if not cells:
        return None
    used = [key for key in _CELL_PLACE if any(cell.content.get(key) is not None for cell in cells)]
    columns = [*(Column(key, tables.TEXT) for key in used), Column("content", CODE)]
    columns += [Column("time", SECONDS)]
    rows = [
        [*(cell.content.get(key) for key in used), _content(cell), _seconds(cell)] for cell in cells
    ]
    return Table("cells", "Trainings of the benchmark", columns, rows)


def _settings(records: Sequence[Record]) -> list[dict[str, str]]:
    """Return the settings of each stage; of cells that differ by fold or seed alone, once."""
    found: dict[str, str] = {}
    for record, name in zip(records, names_of(records), strict=True):
        if not record.content.get("config"):
            continue
        if record.stage == CELL:
            name = ", ".join(str(record.content.get(key)) for key in ("split", "backbone", "arm"))
        text = json.dumps(record.content.get("config"), indent=1, default=str)
        place = f"{record.stage} {name}"
        # two stages of one name are both shown, two cells of one arm are the same but for the seed
        while place in found and record.stage != CELL:
            place += "'"
        found.setdefault(place, text)
    return [{"name": name, "text": text} for name, text in found.items()]


def upstream(*folders: Sequence[Path]) -> list[Record]:
    """Return the records of all given folders and of everything they were made from."""
    return lineage(path for group in folders for path in group)


def command_line() -> str:
    """Return the command that is running now, as one would type it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
