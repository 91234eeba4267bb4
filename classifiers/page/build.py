"""Builds the page: the site's own files, the runtime, recognisers, a detector and example faces."""

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from classifiers.page.cascades import write_cascade
from classifiers.page.runtime_web import VERSION, vendor
from classifiers.runtime import MODELS, PREPROCESSING, OnnxPredictor
from curation.artifact import building, file_hash, locked, read_json, write_json
from curation.corpus import EMOTIONS
from curation.puppets import render
from curation.standard import UnusableFaceError, recorded_standard
from curation.weights import YUNET, cached

log = logging.getLogger(__name__)

SITE = Path(__file__).with_name("site")
PAGE = "page.json"
EXAMPLE_SIDE = 192
"""Pixels of an example face."""
USUAL_CASCADES = (
    "haarcascade_frontalface_default.xml",
    "haarcascade_frontalface_alt2.xml",
    "haarcascade_frontalface_alt.xml",
)
"""What finds faces where a contract's own detector is not in the page; see ``recognise.js``."""
_STYLE = "studio"  # in colour, what recognisers of the embedded database learn from


def build(
    folders: Sequence[Path],
    to: Path,
    *,
    yunet: Path | None = None,
    ort: Path | None = None,
) -> dict[str, Any]:
    """Write the page as a folder that any static server gives out.

    Args:
        folders: What ``affectory export`` wrote, one folder for each recogniser.
        to: Folder to make; must not exist.
        yunet: YuNet's model file, which finds faces in the page where those that a recogniser
            learned from were not found by Haar cascades; None for the one in the cache. Without
            any, cascades find all faces, and the page says where that makes a difference.
        ort: Tarball or folder of ONNX Runtime Web; see `vendor`.

    Returns:
        What ``page.json`` says.

    Raises:
        FileNotFoundError: If a file is missing; with how to get it.
        ImportError: Without the extra ``onnx``.
        ValueError: If a recogniser's files do not belong together (`OnnxPredictor.load`), or `to`
            exists.
    """
    if to.exists():
        raise ValueError(f"{to} exists; name another folder (--to)")
    if not folders:
        raise ValueError("no exported recogniser was given")
    contracts = [
        OnnxPredictor.load(folder, precision=precision).contract
        for folder in folders
        for precision in MODELS
    ]
    if yunet is None and cached(YUNET).is_file():
        yunet = cached(YUNET)
    with locked(to), building(to) as made:
        shutil.copytree(SITE, made, dirs_exist_ok=True)
        shared = files("curation.inspection").joinpath("base.css")  # the style of all our pages
        (made / "base.css").write_bytes(shared.read_bytes())
        vendor(made / "ort", ort)
        content = {
            "runtime": VERSION,
            "models": [_model(folder, made, place, yunet) for place, folder in enumerate(folders)],
            "detector": None if yunet is None else _detector(yunet, made),
            "cascades": _cascades(contracts, made),
            "examples": _examples(made),
        }
        write_json(made / PAGE, content)
    kinds = {contract["detector"]["detector"] for contract in contracts} - {"none", "haar"}
    if kinds and yunet is None:
        log.warning(
            "faces were found by %s for training, and Haar cascades find them in the page, which "
            "cut otherwise; `affectory prefetch yunet`, or --yunet <file>, comes nearer",
            " and ".join(sorted(kinds)),
        )
    log.info("page of %d recognisers", len(folders))
    return content


def _model(folder: Path, made: Path, place: int, yunet: Path | None) -> dict[str, Any]:
    name = f"models/{place}"
    (made / name).mkdir(parents=True)
    for file in (*MODELS.values(), PREPROCESSING):
        shutil.copyfile(folder / file, made / name / file)
    content = read_json(folder / PREPROCESSING)
    faces = _example_faces(content["contract"], [] if yunet is None else [yunet])
    return {"folder": name, "name": content["name"], "example_faces": faces}


def _example_faces(contract: Mapping[str, Any], files: Sequence[Path]) -> dict[str, Any] | None:
    """Find the faces of the examples as for training, for a page that cannot; None nor can we."""
    try:
        standard = recorded_standard(contract, files)
        found = {emotion: standard.find(_example(emotion)) for emotion in EMOTIONS}
    except (ImportError, OSError, ValueError, UnusableFaceError) as error:
        log.info("faces of the examples are not noted for this recogniser: %s", error)
        return None
    return {
        emotion: {
            "box": face.box._asdict(),
            "score": face.score,
            # eyes alone, where no other points are known
            "landmarks": None if face.landmarks is None else _known(face.landmarks).tolist(),
        }
        for emotion, face in found.items()
    }


def _known(points: np.ndarray) -> np.ndarray:
    return points[~np.isnan(points).any(axis=1)]


def _detector(yunet: Path, made: Path) -> dict[str, str]:
    """Write YuNet for pictures of any size: published files state one, which OpenCV overlooks."""
    import onnx

    try:
        model = onnx.load(yunet)
        sides = model.graph.input[0].type.tensor_type.shape.dim
        names = {value.name for value in model.graph.output}
    except Exception as error:  # the reader's errors share no base but this one
        raise ValueError(f"{yunet} is no ONNX file (--yunet): {error}") from error
    wanted = {f"{part}_{step}" for part in ("cls", "obj", "bbox", "kps") for step in (8, 16, 32)}
    if len(sides) != 4 or names != wanted:
        raise ValueError(
            f"{yunet} is no YuNet of 2023 (--yunet): its outputs are {', '.join(sorted(names))}; "
            f"the published one is {YUNET.url}"
        )
    sides[2].dim_param, sides[3].dim_param = "height", "width"
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    path = made / "detector.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    return {
        "file": path.name,
        "sha256": file_hash(path),
        "source_sha256": file_hash(yunet),
    }


def _cascades(contracts: Iterable[Mapping[str, Any]], made: Path) -> dict[str, dict[str, str]]:
    """Write the cascades of all contracts, and those for faces that nothing else finds."""
    (made / "cascades").mkdir()
    wanted = dict.fromkeys(USUAL_CASCADES)
    for contract in contracts:
        if contract["detector"]["detector"] == "haar":
            wanted |= dict.fromkeys(contract["detector"]["cascades"])
    written = {}
    for name in wanted:
        path = made / "cascades" / f"{Path(name).stem}.json"
        write_cascade(name, path)
        written[name] = {"file": f"cascades/{path.name}", "sha256": file_hash(path)}
    return written


def _example(emotion: str) -> np.ndarray:
    """Draw a face, (`EXAMPLE_SIDE`, `EXAMPLE_SIDE`, 3) uint8 RGB; each emotion has its person."""
    person = 9001 + EMOTIONS.index(emotion)
    return render(_STYLE, person, 1, emotion, size=EXAMPLE_SIDE, difficulty=0.0)


def _examples(made: Path) -> list[dict[str, str]]:
    (made / "examples").mkdir()
    examples = []
    for emotion in EMOTIONS:
        file = f"examples/{emotion}.png"
        Image.fromarray(_example(emotion)).save(made / file)
        examples.append({"file": file, "emotion": emotion, "title": f"{emotion}, drawn"})
    return examples
