"""The data set card: the hub's YAML header, and tables counted in what was written."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import DatasetInfo, Features, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard, DatasetCardData

import datasets_cards
from curation import card_counts as counts
from curation.corpus import Corpus
from curation.licences import Licence
from curation.lineage import Record
from curation.recipes import Recipe
from curation.shards import STEMS, Key

CARDS = Path(datasets_cards.__file__).parent
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
    environment = datasets_cards.markdown(CARDS)
    environment.globals["table"] = table
    gates = counts.gate_table(sources[1].facts, emotions)
    reasons = sorted({reason for row in gates for reason in row["rejected"]})
    generators = counts.generators(sources[1].facts, emotions)
    kinds, rows = counts.kinds(contents), counts.config_rows(contents, emotions)
    people = counts.people(sources[0].facts, emotions)
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
        kind_titles=[counts.KINDS[kind] for kind in kinds],
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
        fidelity=counts.fidelity(metrics),
        people=people,
        sex_known=any(row["sex"] != "not stated" for row in people),
        weak=counts.weak(gates, people),
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
            [line["stage"], ", ".join(line["names"]), line["settings"]]
            for line in counts.stages(records)
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
