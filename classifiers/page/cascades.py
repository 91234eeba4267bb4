"""OpenCV's cascades of Haar features as JSON, for the page, which finds faces by them as we do."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curation.artifact import write_text
from curation.detect.haar import cascade_paths


def write_cascade(name: str, to: Path) -> None:
    """Write one of the cascades that OpenCV carries, with its licence.

    The file holds ``width`` and ``height`` of the window in pixels; ``features``, each a flat list
    of (left, top, width, height, weight), two or three rectangles; and ``stages``, each a
    ``threshold`` and ``trees``: for each tree its nodes, flat (left, right, feature, threshold),
    and its leaves. A branch over 0 is a node, one of 0 or less a leaf, as OpenCV has them.

    Args:
        name: Of OpenCV's file.
        to: File to write.

    Raises:
        ValueError: If OpenCV carries no such cascade, or its features are tilted.
    """
    (path,) = cascade_paths([name], kind="face", key="detector.cascades")
    text = path.read_text(encoding="utf-8")
    (cascade,) = ElementTree.fromstring(text)
    features = []
    for feature in cascade.findall("features/_"):
        if int(feature.findtext("tilted", "0")):
            raise ValueError(f"{name} has tilted features, which the page does not compute")
        rectangles = (each.text or "" for each in feature.findall("rects/_"))
        features.append([_number(value) for each in rectangles for value in each.split()])
    licence = re.search(r"<!--(.*?)-->", text, re.DOTALL)
    content: dict[str, Any] = {
        "licence": licence[1].strip() if licence else "see OpenCV",
        "width": int(cascade.findtext("width", "")),
        "height": int(cascade.findtext("height", "")),
        "features": features,
        "stages": [
            {
                "threshold": float(stage.findtext("stageThreshold", "")),
                "trees": [
                    [_numbers(tree, "internalNodes"), _numbers(tree, "leafValues")]
                    for tree in stage.findall("weakClassifiers/_")
                ],
            }
            for stage in cascade.findall("stages/_")
        ],
    }
    write_text(to, json.dumps(content, separators=(",", ":")))


def _numbers(tree: ElementTree.Element, part: str) -> Sequence[float]:
    return [_number(value) for value in tree.findtext(part, "").split()]


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() else value
