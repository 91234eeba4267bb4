"""The data set card: the hub's YAML header, tables counted in what was written, and a preview."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
from curation.licences import Licence
from curation.lineage import Record
from curation.recipes import Recipe
from curation.shards import STEMS, Key, Masks

CARDS = Path(datasets_cards.__file__).parent
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
DOUBTED = 0.7  # share of faces read as named, under which the card warns
ONE_SIDED = 0.6  # share of pictures of one sex, over which the card warns
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


def card_data(
    title: str,
    sizes: Mapping[Key, tuple[int, int]],
    folder: Path,
    features: Features,
    *,
    licence: str,
    licence_link: str | None = None,
) -> DatasetCardData:
    """Return the card's header, by which the hub shows the folder and `datasets` opens it.

    Args:
        title: What people read.
        sizes: (configuration, split) → rows and bytes in memory.
        folder: Where the Parquet files lie.
        features: The schema.
        licence: As the hub spells it.
        licence_link: Where the terms are, of a licence that the hub does not know.
    """
    largest = max(rows for rows, _ in sizes.values())
    other = licence == "other"
    data = DatasetCardData(
        license=licence,
        license_name="terms-of-the-source" if other else None,
        license_link=licence_link if other else None,
        task_categories=["image-classification"],
        size_categories=next((text for top, text in _SIZE_STEPS if largest < top), "n>10M"),
        pretty_name=title,
        tags=["facial-expression-recognition", "emotion", "faces", "gan", "synthetic"],
    )
    infos, configs = DatasetInfosDict(), MetadataConfigs()
    for recipe in dict.fromkeys(recipe for recipe, _ in sizes):
        entries = {split: size for (name, split), size in sizes.items() if name == recipe}
        infos[recipe] = DatasetInfo(
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
        configs[recipe] = {
            "data_files": [
                {"split": split, "path": f"{recipe}/{STEMS[split]}-*.parquet"} for split in entries
            ]
        }
    configs[default_configuration(list(configs))]["default"] = True
    infos.to_dataset_card_data(data)
    configs.to_dataset_card_data(data)
    return data


def default_configuration(names: Sequence[str]) -> str:
    """Return the configuration that opens where none is named."""
    return "gan" if "gan" in names else names[0]


def hub_licence(licences: Iterable[Licence]) -> str:
    """Return one licence as the hub spells it: that of all of them, else ``other``."""
    spelled = {licence.hub_licence for licence in licences}
    return spelled.pop() if len(spelled) == 1 else "other"


def render(
    data: DatasetCardData,
    contents: Mapping[Key, pd.DataFrame],
    sources: tuple[Corpus, Corpus],
    *,
    facts: Mapping[str, Any],
    metrics: Mapping[str, Any],
    name: str,
    release: int,
    emotions: Sequence[str],
    recipes: Mapping[str, Recipe],
    licences: Mapping[str, Licence],
    records: Sequence[Record],
) -> str:
    """Return the text of README.md.

    Args:
        data: Its header, from `card_data`.
        contents: (configuration, split) → the facts of its rows, read from what was written.
        sources: The augmented and the selected corpus.
        facts: What `publish` returns.
        metrics: ``metrics.json`` of the selected corpus; empty if there is none.
        name: Short name for the citation.
        release: Which version of the data set this is.
        emotions: Published emotions.
        recipes: Name → recipe.
        licences: Database → terms.
        records: Records of the stages upstream.
    """
    environment = Environment(
        loader=FileSystemLoader(CARDS),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["table"] = table
    gates = gate_table(sources[1].facts, emotions)
    reasons = sorted({reason for row in gates for reason in row["rejected"]})
    generators = _generators(sources[1].facts, emotions)
    kinds, rows = _kinds(contents), _config_rows(contents, emotions)
    people = _people(sources[0].facts, emotions)
    body = environment.get_template("card.md.jinja").render(
        title=data.pretty_name,
        name=name,
        key=name.replace("-", "_"),
        release=release,
        emotions=list(emotions),
        label_names=sources[0].emotions,
        held_out=any(split == "validation" for _, split in contents),
        by_emotion=[[*row["name"], *row["emotions"], row["total"]] for row in rows],
        by_origin=[
            [*row["name"], *(row["origins"][kind] for kind in kinds), row["people"]] for row in rows
        ],
        kinds=kinds,
        kind_titles=[KINDS[kind] for kind in kinds],
        descriptions={name: recipe.describe() for name, recipe in recipes.items()},
        example=default_configuration(list(facts["configs"])),
        gates=gates,
        reasons=reasons,
        gated=[
            [
                row["emotion"],
                row["made"],
                row["kept"],
                *(row["rejected"].get(reason, 0) for reason in reasons),
            ]
            for row in [
                *gates,
                {"emotion": "all", **{key: facts[key] for key in ("made", "kept", "rejected")}},
            ]
        ],
        agreed=[
            [
                row["emotion"],
                row["agreed"],
                row["made"],
                f"{100 * row['agreed'] / row['made']:.0f} %",
            ]
            for row in gates
            if row["agreed"] is not None and row["made"]
        ],
        fidelity=_fidelity(metrics),
        people=people,
        sex_known=any(row["sex"] != "not stated" for row in people),
        weak=_weak(gates, people),
        shown_people=[
            [row["split"], row["sex"], row["people"], *row["emotions"], row["total"]]
            for row in people
        ],
        licences=licences,
        described=[[f"`{column}`", COLUMNS.get(column, "")] for column in sources[0].features],
        drawn=[
            [
                row["emotion"],
                f"`{row['generator'][:16]}`",
                row["made"],
                row["kept"],
                row["truncation"],
            ]
            for row in generators
        ],
        one_each=len({row["generator"] for row in generators}) == len(generators) > 1,
        told=[
            [line["stage"], ", ".join(line["names"]), line["settings"]] for line in _stages(records)
        ],
        **{key: facts[key] for key in ("configs", "withheld", "not_rebuildable", "made", "kept")},
    )
    return str(DatasetCard(f"---\n{data.to_yaml()}\n---\n{body}"))


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], right: int = 0) -> str:
    """Return a Markdown table.

    Args:
        header: Names of the columns.
        rows: Cells of each line; a pipe in one does no harm.
        right: The last so many columns hold numbers and are aligned to the right.
    """
    marks = ["---"] * (len(header) - right) + ["--:"] * right
    lines = [header, marks, *rows]
    cells = ([str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _kinds(contents: Mapping[Key, pd.DataFrame]) -> list[str]:
    there = {origin for facts in contents.values() for origin in facts["origin"].unique()}
    return [kind for kind in KINDS if kind in there]


def _config_rows(
    contents: Mapping[Key, pd.DataFrame], emotions: Sequence[str]
) -> list[dict[str, Any]]:
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


def _people(facts: pd.DataFrame, emotions: Sequence[str]) -> list[dict[str, Any]]:
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


def _weak(gates: Sequence[Mapping[str, Any]], people: Sequence[Mapping[str, Any]]) -> list[str]:
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


def _fidelity(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
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


def preview(
    sources: tuple[Corpus, Corpus],
    masks: Masks,
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
