"""Stage ``publish``: a data set that Hugging Face opens, with a card, under the licences' terms.

Every training recipe becomes one configuration: a sub-folder of Parquet files, complete in
itself. One that holds a picture which may not be passed on is withheld: no pixel of it is here, but
what its licence holder needs to rebuild it (`curation.withheld`). What was written is read again
before the folder counts as published: a picture that should not be there stops it.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from curation import card, card_counts, croissant
from curation.artifact import read_json
from curation.corpus import FACTS, ORIGINS, Corpus, content_id, decode_png
from curation.disclosure import is_disclosed
from curation.gates import METRICS
from curation.licences import (
    RECORDS,
    Licence,
    hub_licence,
    permitted,
    read_licences,
    unknown_licence,
)
from curation.lineage import lineage
from curation.preview import preview
from curation.recipes import Recipe
from curation.shards import Key, Masks, Written, layout_of, write_configurations
from curation.withheld import write_withheld

logger = logging.getLogger(__name__)

GAN = ORIGINS.index("gan")


def publish(
    corpus: Path,
    synthetic: Path,
    out: Path,
    *,
    name: str,
    title: str,
    emotions: Sequence[str],
    recipes: Mapping[str, Recipe],
    release: int = 1,
    date: str | None = None,
    url: str | None = None,
    licences: Path | None = None,
    preview_columns: int = 3,
    seed: int = 0,
) -> dict[str, Any]:
    """Write a folder that ``datasets.load_dataset(folder, "gan", split="train")`` opens.

    Rows of split ``test`` (other databases, or the test people of a fold) are never published.
    The same inputs and settings give the same bytes.

    Args:
        corpus: The augmented corpus: real faces and their geometric copies.
        synthetic: The selected corpus: every generated face with ``keep`` and ``reason``.
        out: An empty folder to fill: ``<recipe>/*.parquet``, ``README.md``, ``croissant.json``,
            ``preview.png``, ``metrics.json`` and, where pictures may not be passed on,
            ``withheld/``.
        name: Short name for the citation, such as ``affectory-kdef``.
        title: Heading of the card.
        emotions: The emotions to publish; label codes are those of the corpus in any case.
        recipes: Configurations to write: name → recipe.
        release: Version of the data set, 1 or more; raise it when what was published changes.
        date: Day of publication, ``2026-11-26``, for the Croissant file.
        url: Page of the data set, for the Croissant file.
        licences: A folder of further licence records, for databases of one's own.
        preview_columns: Pictures of each kind in a row of the preview.
        seed: Which pictures the preview shows.

    Returns:
        ``configs`` (recipe → split → rows), ``withheld`` (the same of what is not there),
        ``not_rebuildable`` (recipe → why, of those that nobody can rebuild), ``made``, ``kept``,
        ``rejected`` (by reason), ``redistributable`` and ``licences`` (database → its terms).

    Raises:
        ValueError: If an emotion is unknown, a recipe takes faces that passed no gate or asks for
            more than there are, or nothing may be published.
        RuntimeError: If what was written holds a picture that may not be passed on.
    """
    if release < 1:
        raise ValueError(f"release is {release}; the first is 1 (release)")
    sources = Corpus(corpus), Corpus(synthetic)
    for source in sources:
        source.check_emotions(emotions)
    if sources[0].emotions != sources[1].emotions:
        raise ValueError(
            f"{corpus} is labelled {', '.join(sources[0].emotions)}, {synthetic} "
            f"{', '.join(sources[1].emotions)}; make both with the same emotions"
        )
    databases, imported = _databases(sources[0].facts), _imported(sources[1].facts)
    known = read_licences([RECORDS, *([licences] if licences else [])])
    terms = {name: known.get(name) or unknown_licence(name) for name in [*databases, *imported]}
    free = (
        permitted(sources[0].facts, terms, set(databases)),
        permitted(sources[1].facts, terms, set(databases)),
    )
    masks = choose(sources, emotions, recipes)
    closed = {
        recipe
        for (recipe, _), pair in masks.items()
        if any((mask & ~allowed).any() for mask, allowed in zip(pair, free, strict=True))
    }
    published = {key: pair for key, pair in masks.items() if key[0] not in closed}
    withheld = {key: pair for key, pair in masks.items() if key[0] in closed}
    if not published:
        raise ValueError(_nothing(synthetic, emotions, terms, masks))
    logger.info("publish: %s; withheld: %s", _names(published), _names(withheld) or "nothing")

    schema = sources[0].features.arrow_schema
    shards = [source.shards for source in sources]
    layout = layout_of(shards)
    written = write_configurations(shards, published, out, schema, layout=layout)
    contents = check_written(written, sources, free)

    records = lineage([corpus, synthetic])
    lost: Mapping[str, str] = {}
    if withheld:
        lost = write_withheld(
            out,
            sources,
            published=published,
            withheld=withheld,
            permitted=free,
            records=lineage([corpus]),
            layout=layout,
            about={
                "name": name,
                "title": title,
                "release": release,
                "licences": {database: licence.name for database, licence in terms.items()},
            },
        )
        for recipe, why in lost.items():
            logger.warning("publish: %s is withheld and cannot be rebuilt: %s", recipe, why)
    facts = {
        "configs": _nested({key: one.rows for key, one in written.items()}),
        "withheld": _nested(
            {key: sum(int(mask.sum()) for mask in pair) for key, pair in withheld.items()}
        ),
        "not_rebuildable": dict(lost),
        "redistributable": not withheld,
        "licences": {database: licence.name for database, licence in terms.items()},
        **card_counts.gate_totals(sources[1].facts, emotions),
    }
    metrics = synthetic / METRICS
    if metrics.is_file():
        shutil.copyfile(metrics, out / METRICS)
    preview(sources, published, emotions, preview_columns, seed).save(out / "preview.png")
    urls = {licence.url for licence in terms.values() if licence.url}
    data = card.card_data(
        title,
        {key: (one.rows, one.bytes) for key, one in written.items()},
        out,
        sources[0].features,
        licence=hub_licence(terms.values()),
        licence_link=urls.pop() if len(urls) == 1 else None,
    )
    text = card.render(
        data,
        contents,
        sources,
        facts=facts,
        metrics=read_json(metrics) if metrics.is_file() else {},
        name=name,
        release=release,
        emotions=emotions,
        recipes=recipes,
        licences=terms,
        records=records,
    )
    (out / "README.md").write_text(text, encoding="utf-8")
    croissant.write(
        out,
        written,
        sources[0].features,
        name=name,
        title=title,
        release=release,
        date=date,
        url=url,
        columns=card.COLUMNS,
        licences=terms,
        records=records,
        reads=[corpus, synthetic],
    )
    logger.info("publish: wrote %s", facts["configs"])
    return facts


def choose(
    sources: tuple[Corpus, Corpus], emotions: Sequence[str], recipes: Mapping[str, Recipe]
) -> Masks:
    """Choose rows: (recipe, split) → one boolean a row of the corpus and of the synthetic one.

    Raises:
        ValueError: If a recipe takes faces that passed no gate, or asks for more than there are.
    """
    real, made = (source.facts for source in sources)
    held = (real["split"] == "validation") & (real["origin"] == "real")
    held &= real["emotion"].isin(list(emotions))
    masks = {}
    for name, recipe in recipes.items():
        if not recipe.gated:
            raise ValueError(
                f"recipe {name!r} takes faces that the gates have not passed, copies of training "
                "faces perhaps; it is for benchmarks (protocol.arms), not for publishing "
                "(stages.publish.call.recipes)"
            )
        chosen = recipe.choose(real, made, emotions, label=f"recipe {name!r}")
        if len(chosen):
            masks[name, "train"] = chosen.corpus, chosen.synthetic
            if chosen.corpus.any() and held.any():
                masks[name, "validation"] = (held.to_numpy(bool), np.zeros(len(made), bool))
    return masks


def check_written(
    written: Mapping[Key, Written],
    sources: tuple[Corpus, Corpus],
    permitted: tuple[np.ndarray, np.ndarray],
) -> dict[Key, pd.DataFrame]:
    """Read again what was written, whoever chose it, and make sure that it may be passed on.

    A picture is known by its pixels: neither a wrong label nor a wrong id lets it through.

    Args:
        written: The files of each configuration and split.
        sources: The augmented and the selected corpus.
        permitted: For each, which rows may be passed on.

    Returns:
        (configuration, split) → the facts of its rows.

    Raises:
        RuntimeError: If a picture may not be passed on, is a test picture, is not what its id
            says, or is synthetic without saying so.
    """
    refused: dict[str, str] = {}
    for source, allowed in zip(sources, permitted, strict=True):
        tested = (source.facts["split"] == "test").to_numpy(bool)
        for mask, why in ((~allowed, "may not be passed on"), (tested, "is a test picture")):
            own = source.facts[mask]
            labels = zip(own["database"], own["source"], own["origin"], strict=True)
            words = [f"{origin} of {place or 'a generator'} ({db})" for db, place, origin in labels]
            refused |= {name: f"{word}, {why}" for name, word in zip(own["id"], words, strict=True)}
    contents = {}
    for key, one in written.items():
        for path in one.files:
            for batch in pq.ParquetFile(path).iter_batches(columns=["id", "image", "origin"]):
                for row in batch.to_pylist():
                    picture = row["image"]["bytes"]
                    pixels = content_id(decode_png(picture))
                    problem = refused.get(pixels) or refused.get(row["id"])
                    if problem is None and pixels != row["id"]:
                        problem = f"has pixels of id {pixels}"
                    if problem is None and row["origin"] == GAN and not is_disclosed(picture):
                        problem = "is synthetic and does not say so"
                    if problem:
                        raise RuntimeError(
                            f"publish stopped: row {row['id']} of {'/'.join(key)} {problem}. "
                            "Nothing was published; this is an error in the choice of rows"
                        )
        tables = [pq.read_table(path, columns=FACTS).to_pandas() for path in one.files]
        frame = pd.concat(tables, ignore_index=True)
        for column in ("emotion", "origin", "split"):
            names = dict(enumerate(sources[0].features[column].names))
            frame[column] = frame[column].map(names)
        contents[key] = frame
    return contents


def _databases(facts: pd.DataFrame) -> list[str]:
    return _named(facts[facts["split"] != "test"])


def _imported(facts: pd.DataFrame) -> list[str]:
    return _named(facts[facts["origin"] == "imported"])


def _named(facts: pd.DataFrame) -> list[str]:
    return sorted(facts["database"].fillna("unnamed").astype(str).unique())


def _names(masks: Masks) -> str:
    return ", ".join(dict.fromkeys(recipe for recipe, _ in masks))


def _nothing(
    synthetic: Path, emotions: Sequence[str], terms: Mapping[str, Licence], masks: Masks
) -> str:
    words = f"nothing can be published for {', '.join(emotions)}: "
    strict = [name for name, licence in terms.items() if not licence.redistribute_synthetic]
    if strict and any(pair[1].any() for pair in masks.values()):
        return words + (
            f"the record of {', '.join(strict)} does not let even synthetic faces be passed on "
            "(redistribute_synthetic)"
        )
    closed = [name for name, licence in terms.items() if not licence.redistribute]
    state = (
        f"{', '.join(closed)} may not be passed on" if closed else f"{', '.join(terms)} are absent"
    )
    return words + (
        f"no generated face in {synthetic} passed the gates, or no recipe is of such faces alone, "
        f"and the pictures of {state}"
    )


def _nested(rows: Mapping[Key, int]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (recipe, split), count in rows.items():
        nested.setdefault(recipe, {})[split] = count
    return nested
