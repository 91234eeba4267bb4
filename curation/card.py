"""The data set card: the hub's YAML header, tables taken from the data, and a preview picture."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from datasets import DatasetInfo, Features, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard, DatasetCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, ImageDraw, ImageFont

import datasets_cards
from curation.corpus import Corpus, decode_png
from curation.lineage import Record
from curation.recipes import Recipe

if TYPE_CHECKING:
    from curation.publish import Licence, Masks

CARDS = Path(datasets_cards.__file__).parent
# a file named after a split swallows other splits' files wherever Hugging Face has to guess
STEMS = {"train": "data", "validation": "held"}
KINDS = {
    "real": "real",
    "geometric": "geometric copy",
    "gan": "synthetic",
    "imported": "imported",
}
COLUMNS = {
    "id": "hash of the pixels",
    "image": "the picture, PNG, RGB",
    "emotion": "label; the order is fixed",
    "database": "where the real face, or the generator's training faces, come from",
    "subject": "the person; null for a synthetic face",
    "session": "recording session, where the database knows one",
    "pose": "head pose, where the database knows one",
    "sex": "as the database states it",
    "valence": "unpleasant (-1) to pleasant (1), where the database knows it",
    "arousal": "calm (-1) to excited (1), where the database knows it",
    "source": "where the picture lies in its database",
    "split": "by person, decided before any augmentation",
    "origin": "real, geometric (a copy), gan, or imported (synthetic, of a third party)",
    "parent": "id of the real face that a geometric copy was made from",
    "detector_score": "the face detector's own confidence, where it has one",
    "face_px": "side of the detected face in the original, pixels",
    "sharpness": "sharpness of the standardised face; small is blurred",
    "exposure": "mean luminance of the standardised face, 0 to 1",
    "angle_deg": "in-plane angle of the eye line before alignment, degrees",
    "landmark_error": "distance of the landmarks from the template, in inter-eye distances",
    "generator": "hash of the generator checkpoint",
    "seed": "latent seed: with generator and truncation the picture can be drawn again",
    "truncation": "truncation of the latent, 1 = none",
    "predicted": "label given by a classifier that saw no generated picture",
    "agreement": "that classifier's calibrated probability of the intended label",
    "confidence": "that classifier's calibrated probability of its own first choice",
    "nearest_id": "the real training face that looks most alike",
    "nearest_distance": "distance to it between low-resolution grey patterns; small is alike",
    "duplicate_of": "an earlier synthetic face of the same emotion that this one nearly repeats",
    "off_manifold": "distance to the nearest ball around a real face of its emotion, in its radii; "
    "up to 1 lies inside",
    "identity_id": "the real training face whose person looks most alike to a face embedding",
    "identity_distance": "distance to it between unit embeddings, 0 to 2; null if not checked",
    "keep": "the gates' verdict; null for faces that no gate judged",
    "reason": "why a face was rejected; null for a kept one",
}
_SIZE_STEPS = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K")]
_SIZE_STEPS += [(1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M")]


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


def render(
    sources: tuple[Corpus, Corpus],
    masks: "Masks",
    *,
    recipes: Mapping[str, Recipe],
    facts: Mapping[str, Any],
    sizes: Mapping[tuple[str, str], tuple[int, int]],
    folder: Path,
    name: str,
    title: str,
    emotions: Sequence[str],
    licences: Mapping[str, "Licence"],
    records: Sequence[Record],
) -> str:
    """Return the text of README.md: YAML header and card.

    Args:
        sources: The augmented and the selected corpus.
        masks: Which of their rows each (recipe, split) holds.
        recipes: Name → recipe.
        facts: What `publish` returns.
        sizes: (recipe, split) → rows and bytes in memory.
        folder: Where the Parquet files have been written.
        name: Short name for the citation.
        title: Heading.
        emotions: Published emotions.
        licences: Database → terms.
        records: Records of the stages upstream.
    """
    environment = Environment(
        loader=FileSystemLoader(CARDS),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Markdown, not HTML; a pipe in a value would break a table's row
        finalize=lambda value: value.replace("|", "\\|") if isinstance(value, str) else value,
    )
    gates = gate_table(sources[1].facts, emotions)
    generators = _generators(sources[1].facts, emotions)
    rows = _config_rows(sources, masks, emotions)
    body = environment.get_template("card.md.jinja").render(
        title=title,
        name=name,
        key=name.replace("-", "_"),
        emotions=list(emotions),
        label_names=sources[0].emotions,
        rows=rows,
        kinds=[kind for kind in KINDS if any(row["origins"][kind] for row in rows)],
        descriptions={name: recipe.describe() for name, recipe in recipes.items()},
        example="gan" if "gan" in facts["configs"] else next(iter(facts["configs"])),
        gates=gates,
        reasons=sorted({reason for row in gates for reason in row["rejected"]}),
        licences=licences,
        columns={column: COLUMNS.get(column, "") for column in sources[0].features},
        generators=generators,
        one_each=len({row["generator"] for row in generators}) == len(generators) > 1,
        stages=_stages(records),
        **{key: facts[key] for key in ("configs", "redistributable", "made", "kept", "rejected")},
    )
    header = _header(title, sizes, folder, facts, licences, sources[0].features)
    return str(DatasetCard(f"---\n{header}\n---\n{body}"))


def _header(
    title: str,
    sizes: Mapping[tuple[str, str], tuple[int, int]],
    folder: Path,
    facts: Mapping[str, Any],
    licences: Mapping[str, "Licence"],
    features: Features,
) -> str:
    hub_licences = {licence.hub_licence for licence in licences.values()}
    licence = hub_licences.pop() if len(hub_licences) == 1 else "other"
    largest = max(rows for rows, _ in sizes.values())
    data = DatasetCardData(
        language=None,
        license=licence,
        license_name="terms-of-the-source" if licence == "other" else None,
        task_categories=["image-classification"],
        size_categories=next((text for top, text in _SIZE_STEPS if largest < top), "n>10M"),
        pretty_name=title,
        tags=["facial-expression-recognition", "emotion", "faces", "gan", "synthetic"],
    )
    infos, configs = DatasetInfosDict(), MetadataConfigs()
    for recipe, splits in facts["configs"].items():
        entries = {split: sizes[recipe, split] for split in splits}
        info = DatasetInfo(
            features=features,
            splits=SplitDict(
                {
                    split: SplitInfo(split, num_bytes=size, num_examples=rows)
                    for split, (rows, size) in entries.items()
                }
            ),
            download_size=sum(path.stat().st_size for path in (folder / recipe).iterdir()),
            dataset_size=sum(size for _, size in entries.values()),
        )
        infos[recipe] = info
        configs[recipe] = {
            "data_files": [
                {"split": split, "path": f"{recipe}/{STEMS[split]}-*.parquet"} for split in splits
            ]
        }
    default = "gan" if "gan" in configs else next(iter(configs))
    configs[default]["default"] = True
    infos.to_dataset_card_data(data)
    configs.to_dataset_card_data(data)
    return data.to_yaml()


def _config_rows(
    sources: tuple[Corpus, Corpus], masks: "Masks", emotions: Sequence[str]
) -> list[dict[str, Any]]:
    rows = []
    for (recipe, split), pair in masks.items():
        counts = Counter[tuple[str, str]]()
        for source, mask in zip(sources, pair, strict=True):
            shown = source.facts.loc[mask, ["emotion", "origin"]]
            counts.update(shown.itertuples(index=False, name=None))
        rows.append(
            {
                "recipe": recipe,
                "split": split,
                "total": counts.total(),
                "emotions": [
                    sum(n for key, n in counts.items() if key[0] == emotion) for emotion in emotions
                ],
                "origins": {
                    kind: sum(n for key, n in counts.items() if key[1] == kind) for kind in KINDS
                },
            }
        )
    order = list(dict.fromkeys(recipe for recipe, _ in masks))
    return sorted(rows, key=lambda row: (order.index(row["recipe"]), row["split"]))


def _generators(facts: pd.DataFrame, emotions: Sequence[str]) -> list[dict[str, Any]]:
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


def _stages(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return one line a stage; stages that differ in their emotion alone share a line."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        # the test databases are not part of what is published
        told = {
            key: value
            for key, value in record.settings.items()
            if not key.startswith("test_databases.") and key.split(".")[-1] != "emotions"
        }
        text = "; ".join(f"{key} {value}" for key, value in told.items())
        line = merged.setdefault((record.stage, text), {"names": [], "settings": text})
        line["stage"] = record.stage
        line["names"].append(record.name)
    return list(merged.values())


def preview(
    sources: tuple[Corpus, Corpus],
    masks: "Masks",
    emotions: Sequence[str],
    columns: int,
    seed: int,
) -> Image.Image:
    """Draw a sheet of published pictures: a row an emotion; real, geometric, synthetic.

    Args:
        sources: The augmented and the selected corpus.
        masks: What is published; nothing else is shown.
        emotions: Rows.
        columns: Pictures of each kind in a row.
        seed: Which pictures.
    """
    published = [
        np.any([pair[index] for key, pair in masks.items() if key[1] == "train"], axis=0)
        for index in range(2)
    ]
    shown: dict[tuple[str, str], list[np.ndarray]] = {}
    for source, mask in zip(sources, published, strict=True):
        places: dict[tuple[str, str], list[int]] = {}
        labels = source.facts[["origin", "emotion"]].itertuples(index=False, name=None)
        for index, key in enumerate(labels):
            if mask[index]:
                places.setdefault(key, []).append(index)
        picked: list[int] = []
        for key in sorted(places):
            draw = np.random.default_rng([seed, len(places[key])])
            picked += list(draw.permutation(places[key])[:columns])
        keep = np.zeros(len(source), bool)
        keep[picked] = True
        for row in source.rows(keep):
            place = shown.setdefault((row["origin"], row["emotion"]), [])
            place.append(decode_png(row["image"]))
    kinds = [kind for kind in KINDS if any(key[0] == kind for key in shown)]
    return _sheet(shown, kinds, emotions, columns)


def _sheet(
    shown: Mapping[tuple[str, str], Sequence[np.ndarray]],
    kinds: Sequence[str],
    emotions: Sequence[str],
    columns: int,
) -> Image.Image:
    cell, gap, left, top = 98, 16, 96, 32
    width = left + len(kinds) * (columns * cell + gap)
    sheet = Image.new("RGB", (width, top + len(emotions) * (cell + 4) + 4), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for block, kind in enumerate(kinds):
        x = left + block * (columns * cell + gap)
        draw.text((x, 7), KINDS[kind], fill="#222222", font=font)
        for line, emotion in enumerate(emotions):
            y = top + line * (cell + 4)
            draw.text((10, y + cell // 2 - 9), emotion, fill="#222222", font=font)
            for column, picture in enumerate(shown.get((kind, emotion), [])[:columns]):
                height, breadth = picture.shape[:2]
                # small faces keep their pixels visible, large ones are averaged down
                way = Image.Resampling.NEAREST if breadth <= cell else Image.Resampling.BOX
                scale = (cell - 2) / max(height, breadth)
                size = (round(breadth * scale), round(height * scale))
                sheet.paste(Image.fromarray(picture).resize(size, way), (x + column * cell, y))
    return sheet
