"""Tables about the synthetic faces, the networks and their time."""

import numpy as np

from classifiers.report_parts import tables
from classifiers.report_parts.costs import seconds_per_epoch
from classifiers.report_parts.papers.reproduction import (
    HERE,
    PUBLISHED,
    Published,
    Reproduction,
    caption,
    file_name,
    share,
)
from classifiers.report_parts.tables import Column, Table


def agreement(whole: Reproduction, content: Published) -> Table | None:
    """Lay out how many synthetic faces are named as meant (protocol 1, table 8)."""
    if not whole.agreement:
        return None
    here = {row["emotion"]: row["synthetic"] for row in whole.agreement if row["emotion"] != "all"}
    rows = []
    for emotion in dict.fromkeys([*content["rows"], *here]):
        printed = content["rows"].get(emotion) or [None] * len(content["columns"])
        own = here.get(emotion)
        rows.append(
            [
                emotion,
                *map(share, printed),
                own.value if own else None,
                (own.low, own.high) if own else None,
                own.n if own else None,
            ]
        )
    columns = [
        Column("emotion", tables.TEXT),
        *(Column(name, tables.WHOLE_PERCENT, PUBLISHED) for name in content["columns"]),
        Column("gate's classifier", tables.PERCENT, HERE),
        Column("95 % interval", tables.BOUNDS, HERE),
        Column("n", tables.COUNT, HERE),
    ]
    text = (
        "Synthetic faces named as meant by classifiers that learned from no generated picture, per "
        "cent of 150 an emotion; here before any gate, Wilson intervals"
    )
    return Table(file_name(content, "agreement"), caption(content, text), columns, rows)


def epoch_seconds(whole: Reproduction, content: Published) -> Table | None:
    """Lay out the time of an epoch (protocol 1, table 9)."""
    cells = whole.bench.cells
    rows = []
    for corpus, arm in whole.corpora():
        for model, backbone in whole.models():
            printed = content["rows"].get(corpus, {}).get(model, [None, None])
            part = cells[(cells["arm"] == arm) & (cells["backbone"] == backbone)]
            seconds = seconds_per_epoch(part) if len(part) else np.nan
            own = None if np.isnan(seconds) else seconds
            if own is not None or printed[0] is not None:
                devices = sorted(set(part["device"].dropna())) if "device" in part else []
                rows.append([corpus, arm, model, *printed, own, ", ".join(devices) or None])
    columns = [
        Column("training set", tables.TEXT),
        Column("arm here", tables.TEXT),
        Column("model", tables.TEXT),
        Column("step 1", tables.decimals(0), f"{PUBLISHED}, {content['device']}"),
        Column("step 2", tables.decimals(0), f"{PUBLISHED}, {content['device']}"),
        Column("both steps", tables.decimals(2), HERE),
        Column("device", tables.TEXT, HERE),
    ]
    if all(row[5] is None for row in rows):
        return None
    text = "Seconds an epoch; here over all phases together, with the frozen part cached if it was"
    return Table(
        file_name(content, "epoch-seconds"), caption(content, text), columns, rows, merge=2
    )  # fmt: skip


def parameters(whole: Reproduction, content: Published) -> Table | None:
    """Lay out the networks' sizes (protocol 1, table 2)."""
    cells = whole.bench.cells
    rows = []
    for model, backbone in whole.models():
        printed = content["rows"].get(model, [None] * 4)
        part = cells[cells["backbone"] == backbone]
        own = [
            int(part[name].iloc[0]) if name in part and part[name].notna().any() else None
            for name in ("parameters", "trained_parameters")
        ]
        if any(value is not None for value in [*printed, *own]):
            rows.append([model, *printed, *own])
    columns = [
        Column("base model", tables.TEXT),
        *(Column(name, tables.COUNT, f"{PUBLISHED}, without head")
          for name in ("layers", "tuned", "parameters", "trainable")),
        Column("parameters", tables.COUNT, "here, with head"),
        Column("trained last", tables.COUNT, "here, with head"),
    ]  # fmt: skip
    text = "Networks: layers as Keras counts them, parameters without the head as published"
    return Table(file_name(content, "networks"), caption(content, text), columns, rows)
