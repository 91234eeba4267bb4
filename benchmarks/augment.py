"""How fast faces are augmented, on one core: ``python benchmarks/augment.py [folder ...]``.

Protocol 1's six operators, ours beside torchvision's, Keras's and albumentations'. The last two are
measured where they are installed, or lie in a folder that is given (``pip install --target``).
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from curation.corpus import content_id, encode_png
from curation.operators import Chain
from curation.puppets import STYLES, render

SIDE, ROUNDS, FACES = 224, 15, 24
CONF = Path(__file__).parents[1] / "conf" / "augment"
Way = Callable[[np.ndarray, np.random.Generator], object]
Batch = Callable[[list[np.ndarray], np.random.Generator], object]


def recipe(preset: str) -> Way:
    """Return the operators of a preset."""
    return instantiate(OmegaConf.load(CONF / f"{preset}.yaml").operators)


def one_warp(image: np.ndarray, rng: np.random.Generator) -> object:
    """Warp by one affine map of the recipe's kind, mirrored at the edge, and nothing else."""
    matrix = cv2.getRotationMatrix2D(((SIDE - 1) / 2,) * 2, 72 * rng.random() - 36, 0.9)
    return cv2.warpAffine(image, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)


def torchvision_chain() -> Way:
    """Return the six operators as torchvision has them; three resamplings, black outside."""

    class Stretch(v2.Transform):
        def make_params(self, flat_inputs: list) -> dict:
            return {"side": [int(SIDE * float(torch.empty(1).uniform_(0.8, 1.2))) for _ in "hw"]}

        def transform(self, inpt: torch.Tensor, params: dict) -> torch.Tensor:
            stretched = functional.resize(inpt, params["side"], antialias=False)
            return functional.center_crop(stretched, [SIDE, SIDE])

    bilinear = InterpolationMode.BILINEAR
    chain = v2.Compose(
        [
            v2.RandomAffine(36, scale=(0.9, 1.1), interpolation=bilinear),
            v2.RandomHorizontalFlip(),
            Stretch(),
            v2.ColorJitter(contrast=0.2),
        ]
    )
    return lambda image, _: chain(torch.from_numpy(image).permute(2, 0, 1))


def keras_chain() -> Batch:
    """Return Keras's own layers, on a batch of faces, with PyTorch below.

    Keras 3 has RandomHeight and RandomWidth with TensorFlow only: two more zooms, of one axis
    each, take their places.
    """
    os.environ.setdefault("KERAS_BACKEND", "torch")
    from keras import layers

    chain = [
        layers.RandomRotation(0.1),
        layers.RandomZoom(0.1),
        layers.RandomFlip("horizontal"),
        layers.RandomZoom(0.2, 0.0),
        layers.RandomZoom(0.0, 0.2),
        layers.RandomContrast((0.2, 0.2)),
    ]

    def run(faces: list[np.ndarray], _: np.random.Generator) -> object:
        batch = torch.from_numpy(np.stack(faces)).float()
        for layer in chain:
            batch = layer(batch, training=True)
        return batch.round().byte().numpy()

    return run


def albumentations_ways() -> dict[str, Way]:
    """Return albumentations (2.0) as a chain of the six, and with the geometry as one affine."""
    os.environ |= {"NO_ALBUMENTATIONS_UPDATE": "1", "ALBUMENTATIONS_NO_TELEMETRY": "1"}
    import albumentations as al

    reflect = {"border_mode": cv2.BORDER_REFLECT, "p": 1.0}
    contrast = al.RandomBrightnessContrast(0, 0.2, p=1.0)
    chain = al.Compose(
        [
            al.Rotate(36, **reflect),
            al.Affine(scale=(0.9, 1.1), keep_ratio=True, **reflect),
            al.HorizontalFlip(p=0.5),
            al.Affine(scale={"x": 1.0, "y": (0.8, 1.2)}, **reflect),
            al.Affine(scale={"x": (0.8, 1.2), "y": 1.0}, **reflect),
            contrast,
        ]
    )
    both = {"x": (0.73, 1.33), "y": (0.73, 1.33)}
    affine = al.Affine(scale=both, rotate=(-36, 36), **reflect)
    single = al.Compose([al.HorizontalFlip(p=0.5), affine, contrast])
    alone = al.Compose([affine])
    black = al.Compose([al.Affine(scale=both, rotate=(-36, 36), p=1.0)])
    return {
        "albumentations, a chain of six": lambda image, _: chain(image=image)["image"],
        "albumentations, flip, one affine, contrast": lambda image, _: single(image=image)["image"],
        "albumentations, one affine alone": lambda image, _: alone(image=image)["image"],
        "the same, black outside": lambda image, _: black(image=image)["image"],
    }


def each(way: Way) -> Batch:
    """Turn what changes one face into what changes a list of them."""
    return lambda faces, rng: [way(face, rng) for face in faces]


def main() -> None:
    """Print faces a second of processor time; all take turns, since machines have moods."""
    sys.path += sys.argv[1:]
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    ours = recipe("randellini2022")
    assert isinstance(ours, Chain)
    ways: dict[str, Way] = {
        "one cv2.warpAffine, mirrored": one_warp,
        "ours": ours,
        "ours, and the PNG and its id": lambda image, rng: [
            encode(ours(image, rng)) for encode in (content_id, encode_png)
        ],
        "torchvision, a chain": torchvision_chain(),
        "RandAugment (torchvision)": recipe("randaugment"),
        "TrivialAugmentWide (torchvision)": recipe("trivialaugment"),
    }
    batches: dict[str, Batch] = {name: each(way) for name, way in ways.items()}
    for module, more in (
        (
            "albumentations",
            lambda: {name: each(way) for name, way in albumentations_ways().items()},
        ),
        ("Keras", lambda: {"Keras, a chain": keras_chain()}),
    ):
        try:
            batches |= more()
        except (ModuleNotFoundError, ValueError) as error:  # or another version's arguments
            print(f"{module} is left out: {error}")
    faces = [render(STYLES[n % 3], n, 1, "happy", size=SIDE) for n in range(1, FACES + 1)]
    seen: dict[str, list[float]] = {name: [] for name in batches}
    for turn in range(-1, ROUNDS):
        for name, batch in batches.items():
            rng = np.random.default_rng(turn + 1)
            started = time.process_time()
            batch(faces, rng)
            if turn >= 0:  # the first one warms up
                seen[name].append(FACES / (time.process_time() - started))
    print(f"faces of {SIDE} px a second of one core, {ROUNDS} rounds of {FACES}")
    for name, rates in seen.items():
        against = np.median(np.array(rates) / seen["ours"])
        print(f"{name:45s} median {np.median(rates):6.0f}  best {max(rates):6.0f}", end="")
        print(f"  {against:5.2f} of ours")


if __name__ == "__main__":
    main()
