"""Stage ``report``: one page that shows what was made, how good it is, and whether it helps.

The page holds everything that it shows: no network, no file beside it. All figures are read from
finished folders; nothing is trained or measured here, but for what one classifier sees.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from classifiers.report_parts import evidence, pictures
from classifiers.report_parts.benchmark import benchmark_section, points
from classifiers.report_parts.explain import explain_section
from classifiers.report_parts.fidelity import fidelity_section, read_metrics
from classifiers.report_parts.gates import gate_section
from classifiers.report_parts.training import (
    Training,
    collapse_warning,
    read_training,
    training_section,
)
from curation.corpus import Corpus
from curation.lineage import Record

logger = logging.getLogger(__name__)

# what the pipeline hands over: by fold, by emotion, or one folder
Folders: TypeAlias = "Path | Sequence[Folders] | Mapping[str, Folders] | None"

PARTS = Path(__file__).parent / "report_parts"
SECTIONS = {
    "samples": "Samples",
    "gates": "What the gates did",
    "agreement": "Agreement before the gate",
    "explain": "What the gate's classifier sees",
    "fidelity": "Distance from the real faces",
    "benchmark": "Benchmark",
    "training": "How the GANs trained",
    "time": "Time",
    "provenance": "Provenance",
    "caveats": "Caveats",
}
CAVEATS = (
    "The gate's classifier learned from the same people as the benchmark's training sets. Passing "
    "the gate says that a face looks like its emotion to that classifier, not that it is useful; "
    "usefulness is what the benchmark measures, on databases that chose nothing.",
    "The intervals over runs cover the randomness of training. Who happened to be photographed "
    "for the test database is covered by the interval over people only, and with few people that "
    "one is itself rough.",
    "Several arms and databases are compared. At 95 % each, one in twenty comparisons without "
    "any effect looks like one.",
    "Distances between sets depend on how many pictures they rest on. Those of small samples are "
    "comparable with their floor and at equal n, not with published figures.",
    "Labels of synthetic faces are intentions. Agreement with a classifier is no human judgement.",
)
FEW_PEOPLE = 20
FEW_RUNS = 5


def report(
    *,
    corpus: Folders,
    synthetic: Folders,
    out: Path,
    title: str,
    emotions: Sequence[str],
    scored: Folders = (),
    classifier: Folders = (),
    gans: Folders = (),
    results: Folders = (),
    columns: int = 8,
    seed: int = 0,
    explain: bool = True,
    command: str | None = None,
) -> dict[str, Any]:
    """Write ``report.html``, one self-contained page.

    Every input is a finished folder, or a list (by fold) or dict (by emotion) of them, nested as
    they come. Absent ones leave their sections saying so.

    Args:
        corpus: Augmented corpora: real faces and their geometric copies.
        synthetic: Selected corpora: every generated face with its verdict.
        out: An empty folder; receives ``report.html``.
        title: Heading of the page.
        emotions: Which emotions, in which order.
        scored: Folders with the set-level figures (``metrics.json``); those of `synthetic`,
            which carries them along, where absent.
        classifier: Folders of the gate's classifiers.
        gans: Folders of trained GANs.
        results: Benchmark folders.
        columns: Sample pictures in a strip.
        seed: Which samples are shown.
        explain: Whether to look into the first classifier (`explain_section`): half a minute for
            the small network, much longer for a large one without a GPU.
        command: The command that made all this; None for the one that is running.

    Returns:
        ``verdicts`` (database, arm, verdict, gain and its intervals), ``made``, ``kept``,
        ``warnings`` and ``bytes``.

    Raises:
        ValueError: If an emotion is unknown or a folder lacks what it should hold.
    """
    corpora, selected = _listed(corpus), _listed(synthetic)
    judges, networks, benches = _listed(classifier), _listed(gans), _listed(results)
    if not corpora or not selected:
        raise ValueError("report needs at least one corpus and one synthetic folder")
    for folder in corpora:
        Corpus(folder).check_emotions(emotions)
    faces = evidence.synthetic_faces(selected)
    metrics = read_metrics(_listed(scored) or selected)
    gates = {
        **evidence.gate_outcomes(faces, emotions),
        "copies": evidence.copy_notes(metrics),
        **gate_section(read_metrics(selected)),
    }
    agreement = evidence.agreement(faces, judges, emotions)
    fidelity = fidelity_section(metrics)
    bench = benchmark_section(benches, emotions)
    records = evidence.upstream(corpora, selected, _listed(scored), judges, networks, benches)
    timings = evidence.timings(records)
    trainings = _trainings(networks, records)
    people = _people(corpora)
    warnings = _warnings(gates, agreement, fidelity, bench, trainings)
    page = (
        environment()
        .get_template("page.html.jinja")
        .render(
            title=title,
            sections=SECTIONS,
            headline=_headline(people, gates, bench, timings, emotions, faces, warnings),
            samples=pictures.sample_strips(corpora, selected, emotions, columns=columns, seed=seed),
            seed=seed,
            folds_note=f", the faces of {len(corpora)} folds together" if len(corpora) > 1 else "",
            gates=gates,
            agreement=agreement,
            explain=explain_section(judges[0], corpora[0], None, emotions, seed=seed)
            if explain and judges
            else None,
            fidelity=fidelity,
            benchmark=bench,
            training=training_section(trainings),
            timings=timings,
            provenance=evidence.provenance(records, faces),
            command=command or evidence.command_line(),
            caveats=CAVEATS,
        )
    )
    (out / "report.html").write_text(page, encoding="utf-8")
    logger.info("report: %s, %.1f MB", out / "report.html", len(page) / 1e6)
    return {
        "verdicts": bench["verdicts"] if bench else [],
        "made": gates["made"],
        "kept": gates["kept"],
        "warnings": warnings,
        "bytes": len(page.encode()),
    }


def _listed(folders: Folders) -> list[Path]:
    if folders is None:
        return []
    if isinstance(folders, Path | str):
        return [Path(folders)]
    inner = folders.values() if isinstance(folders, Mapping) else folders
    return [path for entry in inner for path in _listed(entry)]


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
    gates: Mapping[str, Any],
    bench: Mapping[str, Any] | None,
    timings: Mapping[str, Any],
    emotions: Sequence[str],
    faces: Sequence[evidence.Face],
    warnings: Sequence[str],
) -> dict[str, Any]:
    generators = len({face["generator"] for face in faces} - {None})
    source = ", ".join(people["databases"]) or "an unnamed database"
    summary = (
        f"From {people['faces']:,} real faces of {people['people']} people ({source}), "
        f"{generators} generator{'s' if generators != 1 else ''} drew {gates['made']:,} faces of "
        f"{len(emotions)} emotions, of which {gates['kept']:,} passed the gates."
    )
    figures = {
        "real training faces": f"{people['faces']:,}",
        "people": people["people"],
        "synthetic made": f"{gates['made']:,}",
        "passed": f"{gates['kept']:,}",
    }
    if bench:
        figures["trainings an arm"] = bench["runs"]
    if timings["rows"]:
        figures["time in all"] = timings["total"]
    return {
        "summary": summary,
        "verdicts": bench["headline"] if bench else [],
        "facts": figures,
        "warnings": warnings,
    }


def _warnings(
    gates: Mapping[str, Any],
    agreement: Mapping[str, Any],
    fidelity: Sequence[Mapping[str, Any]],
    bench: Mapping[str, Any] | None,
    trainings: Sequence[Training],
) -> list[str]:
    found = []
    if collapsed := collapse_warning(trainings):
        found.append(collapsed)
    if empty := [row["emotion"] for row in gates["rows"][:-1] if row["made"] and not row["kept"]]:
        found.append(f"No synthetic face of {', '.join(empty)} passed the gates.")
    easy = [
        row["emotion"]
        for row in agreement["rows"][:-1]
        if row["real"] is not None and row["synthetic"].low > row["real"].high
    ]
    if easy:
        found.append(
            f"Synthetic faces of {', '.join(easy)} are named more surely than real ones: they "
            "may be caricatures of their emotion."
        )
    tables = [table for part in fidelity for table in part["distances"]]
    small = [row for table in tables for row in table["rows"] if row["small"]]
    if small:
        least = min(min(row["n_real"], row["n_fake"]) for row in small)
        found.append(
            f"Distances rest on small samples (down to n = {least}): read them against their floor."
        )
    if bench:
        for database, count in bench["people"].items():
            if count is not None and count < FEW_PEOPLE:
                found.append(f"{database} shows only {count} people to test on.")
        if bench["runs"] < FEW_RUNS:
            found.append(
                f"{bench['runs']} training{'s' if bench['runs'] != 1 else ''} an arm: "
                "intervals over trainings are wide or absent."
            )
    return found
