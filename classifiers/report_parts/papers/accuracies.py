"""Accuracy tables across databases: training sets by networks, peers, emotions, scores."""

from typing import Any

import numpy as np

from classifiers.report_parts import tables
from classifiers.report_parts.benchmark import ALL, Figure, plural
from classifiers.report_parts.papers.reproduction import (
    HERE,
    PUBLISHED,
    Published,
    Reproduction,
    caption,
    file_name,
    pair,
    share,
)
from classifiers.report_parts.scores import spread
from classifiers.report_parts.tables import Column, Table
from classifiers.statistics import precision_recall
from classifiers.summary import confusion_of


def cross_database(whole: Reproduction, content: Published) -> Table | None:
    """Lay out training sets by networks on each test database (protocol 1, table 3)."""
    if not whole.external:
        return None
    here = whole.bench.databases
    columns = [Column("training set", tables.TEXT), Column("arm here", tables.TEXT)]
    columns.append(Column("model", tables.TEXT))
    ours = {whole.paper.databases.get(name): name for name in here}
    tested: list[tuple[str | None, str | None]] = []  # the paper's name, the one here
    for name in whole.paper.databases.values():
        tested.append((name, ours.get(name)))
        columns.append(Column(PUBLISHED, tables.spread_of(2), name))
        if name in ours:
            columns += [
                Column(HERE, tables.spread_of(2), name),
                Column("difference", tables.POINTS, name),
            ]
    others = [name for name in here if name not in whole.paper.databases]
    tested += [(None, name) for name in others]
    columns += [Column(HERE, tables.spread_of(2), name) for name in others]
    figures = {(f["arm"], f["backbone"], f["database"]): f for f in whole.external}
    rows = []
    for corpus, arm in whole.corpora():
        for model, backbone in whole.models():
            published = content["rows"].get(corpus, {}).get(model, {})
            cells: list[Any] = []
            for name, database in tested:
                figure = figures.get((arm or "", backbone or "", database or ""))
                printed = pair(published.get(name)) if name else None
                cells += [printed] if name else []
                if database:
                    cells.append(spread(figure, "accuracy") if figure else None)
                if name and database:
                    cells.append(
                        figure["accuracy"]["mean"] - printed[0] if printed and figure else None
                    )
            if any(cell is not None for cell in cells):
                rows.append([corpus, arm, model, *cells])
    text = (
        "Accuracy in per cent, mean ± standard deviation: published over ten runs, here over "
        f"{plural(whole.bench.runs, 'run')}"
    )
    return Table(
        file_name(content, "cross-database"), caption(content, text), columns, rows, merge=2
    )


def gains(whole: Reproduction, content: Published) -> Table | None:
    """Lay out what each training set gains over the first: published means, and claims here."""
    first, *corpora = whole.paper.arms.values()
    ours = {whole.paper.databases.get(name): name for name in whole.bench.databases}
    claims = {
        (claim["arm"], claim["backbone"], claim["database"]): claim
        for claim in whole.bench.claims
        if claim["split"] not in whole.bench.folded
        and whole.paper.arms.get(claim["reference"]) == first
    }
    if not claims:
        return None
    rows = []
    for corpus, arm in whole.corpora():
        if corpus not in corpora:
            continue
        for model, backbone in whole.models():
            published, plain = (
                content["rows"].get(name, {}).get(model, {}) for name in (corpus, first)
            )
            for name in dict.fromkeys([*whole.paper.databases.values(), *whole.bench.databases]):
                database = ours.get(name) or name
                claim = claims.get((arm or "", backbone or "", database))
                known = name in published
                if database in whole.paper.databases and name == database:
                    continue
                if not known and claim is None:
                    continue
                both = (claim or {}).get("both") or {}
                rows.append(
                    [
                        corpus,
                        model,
                        name,
                        share(published[name][0] - plain[name][0]) if known else None,
                        claim["difference"] if claim else None,
                        (both.get("low"), both.get("high")),
                        claim["verdict"] if claim else None,
                    ]
                )
    columns = [
        Column("training set", tables.TEXT),
        Column("model", tables.TEXT),
        Column("tested on", tables.TEXT),
        Column("gain", tables.POINTS, PUBLISHED),
        Column("gain", tables.POINTS, HERE),
        Column("95 % interval", tables.GAIN, HERE),
        Column("verdict", tables.VERDICT, HERE),
    ]
    text = (
        f"What each training set gains over {first}, percentage points: published, the difference "
        "of two means without an interval; here, over trainings and people"
    )
    return Table(file_name(content, "gains"), caption(content, text), columns, rows, merge=2)


def peers(whole: Reproduction, content: Published) -> Table | None:
    """List what others reached on a database (protocol 1, tables 4 and 5; protocol 2, table 4)."""
    rows: list[list[Any]] = [
        [method, trained_on, content["database"], PUBLISHED, (share(value), None)]
        for method, trained_on, value in content["rows"]
    ]
    # the paper's own folds stand beside folds, tests on other databases beside the like
    figures = [
        figure
        for figure in whole.bench.figures
        if (figure["split"] in whole.bench.folded) == content.get("folds", False)
    ]
    if not figures:
        return None
    same = [f for f in figures if whole.shown(f["database"]) == content["database"]]
    for database in dict.fromkeys(figure["database"] for figure in same or figures):
        best = whole.best([f for f in figures if f["database"] == database])
        if best is None:
            continue
        model = whole.paper.model(best["backbone"]) or best["backbone"]
        method = f"{model}, the best of {plural(len(whole.bench.cells), 'training')}"
        corpus = whole.paper.arms.get(best["arm"], best["arm"])
        rows.append([method, corpus, whole.shown(database), HERE, spread(best, "accuracy")])
    text = f"Other methods on {content['database']}; accuracy in per cent"
    columns = [
        Column("method", tables.TEXT),
        Column("trained on", tables.TEXT),
        Column("tested on", tables.TEXT),
        Column("source", tables.TEXT),
        Column("accuracy", tables.spread_of(2)),
    ]
    note = "The best of several is a flattering choice, there as here."
    return Table(file_name(content, "peers"), caption(content, text), columns, rows, note=note)


def per_emotion(whole: Reproduction, content: Published) -> Table | None:
    """Lay out each emotion's precision and recall (protocol 1, table 6)."""
    figures = whole.external
    # as near to the paper's choice as the benchmark comes
    for wanted in (
        lambda f: whole.shown(f["database"]) == content["database"],
        lambda f: whole.paper.arms.get(f["arm"]) == content["corpus"],
        lambda f: whole.paper.model(f["backbone"]) == content["model"],
    ):
        figures = [figure for figure in figures if wanted(figure)] or figures
    figure = whole.best(figures)
    if figure is None:
        return None
    predictions = whole.bench.predictions_of(figure)
    right = (predictions["emotion"] == predictions["predicted"]).groupby(predictions["seed"]).mean()
    seed = right.idxmax()
    best = confusion_of(predictions[predictions["seed"] == seed], whole.bench.emotions)
    pairs = list(zip(*precision_recall(best), strict=True))
    emotions = list(dict.fromkeys([*content["rows"], *whole.bench.emotions]))
    rows = []
    for emotion in emotions:
        own = emotion in whole.bench.emotions
        run = pairs[whole.bench.emotions.index(emotion)] if own else (np.nan, np.nan)
        pooled = (figure["precision"].get(emotion), figure["recall"].get(emotion))
        printed = pair(content["rows"].get(emotion)) or (None, None)
        single = tuple(None if np.isnan(value) else float(value) for value in run)
        rows.append([emotion, *printed, *single, *pooled])
    columns = [
        Column("emotion", tables.TEXT),
        *(
            Column(name, tables.WHOLE_PERCENT, group)
            for group in (PUBLISHED, "here, best run", "here, all runs")
            for name in ("precision", "recall")
        ),
    ]
    text = (
        f"Precision and recall in per cent. Published: {content['model']} on {content['corpus']}, "
        f"{content['database']}, best of ten runs ({content['accuracy']} %). Here: "
        f"{figure['backbone']} on {figure['arm']}, {figure['database']}; its best run has seed "
        f"{seed} ({100 * right.max():.1f} %)"
    )
    return Table(file_name(content, "per-emotion"), caption(content, text), columns, rows)


def scores(whole: Reproduction, content: Published) -> Table | None:
    """Lay out scores of networks on one database (protocol 4, tables 3 to 7; protocol 3).

    Returns:
        None where the paper's table is of another number of classes.
    """
    if content.get("classes", len(whole.bench.emotions)) != len(whole.bench.emotions):
        return None
    names = list(content["columns"])
    rows: list[list[Any]] = []
    for model, backbone in whole.models():
        for variant, values in content["rows"].get(model, {}).items():
            rows.append([model, PUBLISHED, variant, *((share(value), None) for value in values)])
        for figure in whole.bench.figures:
            if figure["backbone"] == backbone:
                arm = whole.paper.arms.get(figure["arm"], figure["arm"])
                words = f"{arm}, {whole.bench.place({**figure, 'backbone': ALL})}"
                rows.append([model, HERE, words, *(_score(figure, name) for name in names)])
    columns = [
        Column("network", tables.TEXT),
        Column("source", tables.TEXT),
        Column("pictures", tables.TEXT),
        *(Column(name, tables.spread_of(2)) for name in names),
    ]
    text = (
        f"{content['database']}, {len(whole.bench.emotions)} classes, per cent; precision, recall "
        "and F1 weighted by class size"
    )
    return Table(file_name(content, "scores"), caption(content, text), columns, rows, merge=1)


def _score(figure: Figure, name: str) -> tuple[Any, Any]:
    if name in ("top-1", "accuracy"):
        return spread(figure, "accuracy")
    if name == "top-2":
        return spread(figure, "top2")
    confusion = np.asarray(figure["confusion"])
    precision, recall = (np.nan_to_num(value) for value in precision_recall(confusion))
    f1 = 2 * precision * recall / np.where(precision + recall > 0, precision + recall, 1)
    weights = confusion.sum(axis=1) / confusion.sum()
    return float(weights @ {"precision": precision, "recall": recall, "F1": f1}[name]), None
