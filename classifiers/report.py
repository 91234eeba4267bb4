"""Stage ``report``: one page that shows what was made, how good it is, and whether it helps.

The page holds everything that it shows: no network, no file beside it. All figures are read from
finished folders; nothing is trained or measured here, but for what one classifier sees. Every table
is written beside the page too, as CSV and for LaTeX.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from classifiers.explain.faces import cell_predictions
from classifiers.report_parts import evidence, pictures
from classifiers.report_parts.benchmark import Bench, design, plural, read_bench
from classifiers.report_parts.costs import cost_section
from classifiers.report_parts.explain import explain_section
from classifiers.report_parts.fidelity import fidelity_section, read_metrics
from classifiers.report_parts.frontier import frontier_section
from classifiers.report_parts.gates import gate_section
from classifiers.report_parts.mistakes import mistake_section
from classifiers.report_parts.papers import paper_section
from classifiers.report_parts.ratios import ratio_section
from classifiers.report_parts.scores import score_section
from classifiers.report_parts.tables import points, tables_in, write_tables
from classifiers.report_parts.training import collapse_warning, training_section
from classifiers.report_parts.training_folder import Training, read_training
from classifiers.report_parts.verdicts import verdict_section
from curation.artifact import Folders, leaves
from curation.corpus import Corpus
from curation.licences import RECORDS, read_licences
from curation.lineage import Record
from curation.recipes import Recipe

logger = logging.getLogger(__name__)

PARTS = Path(__file__).parent / "report_parts"
SECTIONS = {
    "samples": "Samples",
    "gates": "What the gates did",
    "agreement": "Agreement before the gate",
    "explain": "What a recogniser sees",
    "fidelity": "Distance from the real faces",
    "benchmark": "Benchmark",
    "papers": "The paper's tables",
    "ratios": "How much synthetic data",
    "mistakes": "Surest mistakes",
    "frontier": "Accuracy, latency and size",
    "costs": "Cost of the trainings",
    "training": "How the GANs trained",
    "time": "Time",
    "provenance": "Provenance",
    "caveats": "Caveats",
}
OF_GANS = ("gates", "agreement", "fidelity", "training")  # sections that need synthetic faces
CAVEATS = (
    "A verdict covers how trainings differ and who happened to be photographed. It does not cover "
    "another choice of training people or another laboratory; with few people the spread over "
    "people is itself rough.",
)
CAVEATS_OF_GANS = (
    "The gate's classifier learned from the same people as the benchmark's training sets. Passing "
    "the gate says that a face looks like its emotion to that classifier, not that it is useful; "
    "usefulness is what the benchmark measures, on databases that chose nothing.",
    "Each GAN was trained once: another training of it would draw other faces, and no interval "
    "covers that.",
    "Distances between sets depend on how many pictures they rest on. Those of small samples are "
    "comparable with their floor and at equal n, not with published figures.",
    "Labels of synthetic faces are intentions. Agreement with a classifier is no human judgement.",
)
ALWAYS = ("fidelity", "benchmark")  # these say so where they have nothing
FEW_PEOPLE = 20
FEW_RUNS = 5


def report(
    *,
    corpus: Folders,
    out: Path,
    title: str,
    emotions: Sequence[str],
    synthetic: Folders = (),
    scored: Folders = (),
    classifier: Folders = (),
    gans: Folders = (),
    results: Folders = (),
    cells: Folders = (),
    frontier: Folders = (),
    licences: Path | None = None,
    arms: Mapping[str, Recipe] | None = None,
    paper: str | None = None,
    show_restricted: bool = False,
    columns: int = 8,
    seed: int = 0,
    explain: bool = True,
    command: str | None = None,
) -> dict[str, Any]:
    """Write ``report.html``, one self-contained page, and ``tables/``.

    Every input is a finished folder, or a list (by fold) or dict (by emotion) of them, nested as
    they come. Absent ones leave their sections out, or saying so.

    Args:
        corpus: Augmented corpora: real faces and their geometric copies.
        out: An empty folder; receives ``report.html`` and, of every table, ``tables/<name>.csv``
            and ``tables/<name>.tex`` (for the LaTeX package booktabs).
        title: Heading of the page.
        emotions: Which emotions, in which order.
        synthetic: Selected corpora: every generated face with its verdict.
        scored: Folders with the set-level figures (``metrics.json``); those of `synthetic`,
            which carries them along, where absent.
        classifier: Folders of the gate's classifiers.
        gans: Folders of trained GANs.
        results: The benchmark's folder.
        cells: Folders of its trainings.
        frontier: What stage ``frontier`` measured of its networks.
        licences: A folder of further licence records, for databases of one's own.
        arms: What each arm of the benchmark is trained on.
        paper: Whose tables are laid out with the benchmark's figures (`classifiers.papers`).
        show_restricted: Show faces whose licence forbids passing them on, for a private page.
        columns: Sample pictures in a strip.
        seed: Which samples are shown.
        explain: Whether to look into the gate's classifier, or where there is none into the first
            network that the benchmark kept (`explain_section`): half a minute for
            the small network, much longer for a large one without a GPU.
        command: The command that made all this; None for the one that is running.

    Returns:
        ``verdicts`` (the benchmark's claims over all backbones: ``split``, ``database``, ``arm``,
        ``verdict``, ``gain`` and its interval ``both``), ``made``, ``kept``, ``warnings``,
        ``tables`` (their names) and ``bytes``.

    Raises:
        ValueError: If an emotion or the paper is unknown or a folder lacks what it should hold.
    """
    corpora, selected = _listed(corpus), _listed(synthetic)
    judges, networks = _listed(classifier), _listed(gans)
    # networks that tell valence and arousal leave a table of figures and no claims
    benches = [each for each in _listed(results) if (each / "summary.json").is_file()]
    if not corpora:
        raise ValueError("report needs at least one corpus (stages.report.reads.corpus)")
    for folder in corpora:
        Corpus(folder).check_emotions(emotions)
    # the gate's classifier; on a road without gates a network that the benchmark kept
    seen = judges or [folder for folder in _listed(cells) if _kept(folder, corpora[0])][:1]
    people = _people(corpora)
    terms = read_licences([RECORDS, *([licences] if licences else [])])
    showing = pictures.Showing(terms, frozenset(people["databases"]), show_restricted)
    faces = evidence.synthetic_faces(selected)
    metrics = read_metrics(_listed(scored) or selected)
    records = evidence.upstream(corpora, selected, _listed(scored), judges, networks, benches)
    trainings = _trainings(networks, records)
    # where faces are cut in several ways, the page was given one of them
    cut = [record.folder for record in records if record.stage.startswith("standardise")]
    bench = read_bench(benches, arms or {})
    agreement = evidence.agreement(faces, judges, emotions)
    parts: dict[str, Any] = {
        "samples": pictures.sample_strips(
            corpora, selected, emotions, columns=columns, seed=seed, showing=showing
        ),
        "gates": {
            **evidence.gate_outcomes(faces, emotions),
            "copies": evidence.copy_notes(metrics),
            **gate_section(read_metrics(selected)),
        },
        "agreement": agreement,
        "explain": explain_section(
            seen[0],
            corpora[0],
            None,
            emotions,
            seed=seed,
            terms=terms,
            show_restricted=show_restricted,
        )
        if explain and seen
        else None,
        "fidelity": fidelity_section(metrics),
        "training": training_section(trainings, faces=showing.synthetic),
        "timings": evidence.timings(records),
        "provenance": evidence.provenance(records, faces),
        **_benchmark(bench, paper, agreement["rows"], people["databases"]),
        "frontier": frontier_section(next(iter(_listed(frontier)), None)),
        "mistakes": mistake_section(bench, [*cut, *corpora, *selected], showing) if bench else None,
    }
    left_out = () if selected else OF_GANS
    sections = {
        key: name
        for key, name in SECTIONS.items()
        if key not in left_out and (key not in parts or parts[key] or key in ALWAYS)
    }
    warnings = _warnings(parts, bench, trainings)
    page = (
        environment()
        .get_template("page.html.jinja")
        .render(
            title=title,
            sections=sections,
            headline=_headline(people, parts, bench, emotions, faces, warnings),
            seed=seed,
            folds_note=f", the faces of {len(corpora)} folds together" if len(corpora) > 1 else "",
            command=command or evidence.command_line(),
            caveats=[*CAVEATS, *(CAVEATS_OF_GANS if selected else ())],
            **parts,
        )
    )
    (out / "report.html").write_text(page, encoding="utf-8")
    tables = list(tables_in([part for key, part in parts.items() if key not in left_out]))
    write_tables(tables, out / "tables")
    logger.info("report: %s, %.1f MB; %d tables", out / "report.html", len(page) / 1e6, len(tables))
    return {
        "verdicts": [_plain_verdict(claim) for claim in bench.overall] if bench else [],
        "made": parts["gates"]["made"],
        "kept": parts["gates"]["kept"],
        "warnings": warnings,
        "tables": [table.name for table in tables],
        "bytes": len(page.encode()),
    }


def _benchmark(
    bench: Bench | None,
    paper: str | None,
    agreement: Sequence[Mapping[str, Any]],
    trained_on: Sequence[str],
) -> dict[str, Any]:
    if bench is None:
        return dict.fromkeys(("benchmark", "papers", "ratios", "costs"))
    return {
        "benchmark": {
            "design": design(bench),
            "arms": {arm: bench.words(arm) for arm in bench.arms},
            "emotions": bench.emotions,
            "verdicts": verdict_section(bench),
            "scores": score_section(bench),
        },
        "papers": paper_section(paper, bench, agreement, trained_on),
        "ratios": ratio_section(bench),
        "costs": cost_section(bench),
    }


def _plain_verdict(claim: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("split", "backbone", "database", "arm", "reference", "verdict", "both")
    return {**{key: claim[key] for key in kept}, "gain": claim["difference"]}


def _listed(folders: Folders) -> list[Path]:
    return [Path(folder) for folder in leaves(folders)]


def _kept(cell: Path, corpus: Path) -> bool:
    """Whether the benchmark kept the network of a cell, which was tested on a corpus's faces."""
    if not (cell / "recogniser.json").is_file():
        return False
    tested = cell_predictions(cell)
    return tested is not None and bool(Corpus(corpus).facts["id"].isin(tested["id"]).any())


def environment() -> Environment:
    """Return the page's templates, to be rendered from plain figures."""
    found = Environment(
        loader=FileSystemLoader(PARTS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["points"] = points
    return found


def _trainings(networks: Sequence[Path], records: Sequence[Record]) -> list[Training]:
    """Read the GANs, before them the trunks that they started from."""
    names = dict(
        zip([record.folder for record in records], evidence.names_of(records), strict=True)
    )
    trunks = [record.folder for record in records if record.stage == "train_trunk"]
    return [read_training(path, names.get(path.resolve())) for path in [*trunks, *networks]]


def _people(folders: Sequence[Path]) -> dict[str, Any]:
    """Count real training faces and people over all folds, each once."""
    faces: dict[str, dict[Any, Any]] = {}
    for folder in folders:
        facts = Corpus(folder).facts.query("origin == 'real' and split != 'test'")
        faces |= {row["id"]: row for row in facts.to_dict("records")}
    subjects = {row["subject"] for row in faces.values() if isinstance(row["subject"], str)}
    databases = {row["database"] for row in faces.values() if isinstance(row["database"], str)}
    return {"faces": len(faces), "people": len(subjects), "databases": sorted(databases)}


def _headline(
    people: Mapping[str, Any],
    parts: Mapping[str, Any],
    bench: Bench | None,
    emotions: Sequence[str],
    faces: Sequence[evidence.Face],
    warnings: Sequence[str],
) -> dict[str, Any]:
    gates, verdicts = parts["gates"], (parts["benchmark"] or {}).get("verdicts")
    source = ", ".join(people["databases"]) or "an unnamed database"
    real = f"{people['faces']:,} real faces of {plural(people['people'], 'person')} ({source})"
    figures = {"real training faces": f"{people['faces']:,}", "people": people["people"]}
    if faces:
        generators = len({face["generator"] for face in faces} - {None})
        summary = (
            f"From {real}, {plural(generators, 'generator')} drew {gates['made']:,} faces of "
            f"{len(emotions)} emotions, of which {gates['kept']:,} passed the gates."
        )
        figures |= {"synthetic made": f"{gates['made']:,}", "passed": f"{gates['kept']:,}"}
    else:
        summary = f"Trained on {real}; {len(emotions)} emotions, no synthetic face."
    if bench:
        figures |= {"trainings": f"{len(bench.cells):,}", "seeds an arm": bench.runs}
    if frontier := parts["frontier"]:
        summary = f"{summary} {frontier['sentence']}".strip()
    if parts["timings"]["table"]:
        figures["time in all"] = parts["timings"]["total"]
    return {
        "summary": summary,
        "verdicts": verdicts["headline"] if verdicts else [],
        "tally": verdicts["tally"] if verdicts else "",
        "facts": figures,
        "warnings": warnings,
    }


def _warnings(
    parts: Mapping[str, Any], bench: Bench | None, trainings: Sequence[Training]
) -> list[str]:
    found = []
    if collapsed := collapse_warning(trainings):
        found.append(collapsed)
    outcomes = parts["gates"]["rows"][:-1]
    if empty := [row["emotion"] for row in outcomes if row["made"] and not row["kept"]]:
        found.append(f"No synthetic face of {', '.join(empty)} passed the gates.")
    easy = [
        row["emotion"]
        for row in parts["agreement"]["rows"][:-1]
        if row["real"] is not None and row["synthetic"].low > row["real"].high
    ]
    if easy:
        found.append(
            f"Synthetic faces of {', '.join(easy)} are named more surely than real ones: they "
            "may be caricatures of their emotion."
        )
    tables = [table for part in parts["fidelity"] for table in part["distances"]]
    small = [row for table in tables for row in table["rows"] if row["small"]]
    if small:
        least = min(min(row["n_real"], row["n_fake"]) for row in small)
        found.append(
            f"Distances rest on small samples (down to n = {least}): read them against their floor."
        )
    return found + (_bench_warnings(bench) if bench else [])


def _bench_warnings(bench: Bench) -> list[str]:
    people = {figure["database"]: figure["subjects"] for figure in bench.figures}
    found = [
        f"{database} shows only {plural(count, 'person')} to test on."
        for database, count in people.items()
        if count < FEW_PEOPLE
    ]
    if bench.runs < FEW_RUNS:
        found.append(f"{plural(bench.runs, 'seed')} an arm: intervals are wide or absent.")
    known = bench.results.get("shared_subjects")
    if known is not None and (leaky := bench.results.loc[known.fillna(0) > 0, "split"]).any():
        names = ", ".join(sorted(set(leaky)))
        found.append(
            f"Split {names} tests on people who were trained on: its accuracies are of known faces."
        )
    return found
