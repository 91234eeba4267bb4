"""The model card: the hub's YAML header, what the recogniser learned from, and the parity table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from classifiers.runtime import MODELS, PREPROCESSING
from curation.artifact import read_json
from curation.licences import RECORDS, Licence, hub_licence, read_licences, unknown_licence
from datasets_cards import markdown

CARD = "README.md"
_ORIGINS = {
    "real": "real faces",
    "geometric": "geometric copies of them",
    "gan": "synthetic faces, drawn by GANs",
    "imported": "synthetic faces of a third party",
}


@dataclass(frozen=True)
class TrainedOn:
    """What a recogniser learned from.

    Attributes:
        databases: Their names; also of those that the generators learned from whose faces it saw.
        faces: Origin → faces.
        people: How many, as far as the databases say who is who.
    """

    databases: Sequence[str]
    faces: Mapping[str, int]
    people: int


def write(
    folder: Path,
    facts: Mapping[str, Any],
    trained_on: TrainedOn,
    *,
    name: str,
    size: Sequence[int],
    emotions: Sequence[str],
) -> None:
    """Write the card of an exported folder.

    Args:
        folder: Where everything else of it lies already.
        facts: Of ``export.json``.
        trained_on: See `TrainedOn`.
        name: Of the recogniser.
        size: (H, W) of its faces.
        emotions: Its outputs, in order.
    """
    known = read_licences([RECORDS])
    licences = [known.get(each, unknown_licence(each)) for each in trained_on.databases]
    environment = markdown(Path(__file__).parent)
    environment.filters["percent"] = _percent
    text = environment.get_template("card.md.jinja").render(
        name=name,
        size=size,
        emotions=emotions,
        facts=facts,
        files=MODELS,
        trained_on=trained_on,
        origins=_ORIGINS,
        licences={each.name: each for each in licences},
        preprocessing=read_json(folder / PREPROCESSING),
    )
    header = _header(name, facts, licences).to_yaml()
    (folder / CARD).write_text(f"---\n{header}\n---\n\n{text}", encoding="utf-8")


def _header(name: str, facts: Mapping[str, Any], licences: Sequence[Licence]) -> ModelCardData:
    # what a database's terms say of its pictures, they may say of what learned from them
    licence = hub_licence(licences)
    link = next((each.url for each in licences if each.url), None)
    measured: dict[str, Any] = {}
    if right := facts["parity"]["fp32"]["right"]:
        result = EvalResult(
            task_type="image-classification",
            dataset_type="affectory",
            dataset_name=facts["compared_on"],
            metric_type="accuracy",
            metric_value=round(right["value"], 4),
        )
        measured = {"model_name": name, "eval_results": [result]}
    return ModelCardData(
        license=licence,
        license_name="terms-of-the-source" if licence == "other" else None,
        license_link=link if licence == "other" else None,
        library_name="onnx",
        pipeline_tag="image-classification",
        tags=["facial-expression-recognition", "emotion", "faces", "onnx"],
        **measured,
    )


def _percent(estimate: Mapping[str, Any] | None) -> str:
    """Return a share with its 95 % interval in per cent, as ``91.2 (88.0 to 93.6)``."""
    if estimate is None:
        return "–"
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"
