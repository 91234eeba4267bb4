"""The preview of a data set: a sheet of published pictures, a row an emotion."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from curation.card_counts import KINDS
from curation.corpus import Corpus, decode_png
from curation.shards import Masks


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
