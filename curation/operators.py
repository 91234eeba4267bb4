"""Operators: what makes a changed copy of a face.

An operator is anything that is called with a face and a random generator. `Rotation`, `Zoom`,
`Flip`, `Height`, `Width` and `Contrast` are Keras's preprocessing layers of these names,
`Torchvision` and `Albumentations` run those libraries' own recipes, and `Chain` puts operators one
after another.
"""

import math
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import cv2
import numpy as np
from PIL import Image

# xx, xy, yx, yy: x' = xx·x + xy·y and y' = yx·x + yy·y, from the centre of the picture, y downwards
Linear: TypeAlias = tuple[float, float, float, float]


class Operator(Protocol):
    """Makes one copy of a face, which depends on the two arguments only.

    With several workers an operator has to be picklable.
    """

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a changed copy; (H, W, 3) uint8 RGB in and out, the face itself untouched."""
        ...


class Geometric(ABC):
    """An operator that is a linear map about the picture's centre; `Chain` fuses neighbours."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Linear:
        """Draw a map from places in the copy to places in the face."""

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change one face, (H, W, 3) uint8 RGB."""
        return warp(image, self.draw(rng))


@dataclass(frozen=True)
class Ranged:
    """An operator with one number, drawn uniformly from a range within [−1, 1].

    Attributes:
        factor: The range: a number for ± that number, or [lowest, highest].

    Raises:
        ValueError: If the range is none, or reaches where the operator has no meaning.
    """

    factor: float | Sequence[float]
    low: float = field(init=False, repr=False)
    high: float = field(init=False, repr=False)
    collapses = True  # whether a factor of −1 leaves nothing of a face

    def __post_init__(self) -> None:
        given = self.factor
        ends = tuple(given) if isinstance(given, Sequence) else (-given, given)
        within = len(ends) == 2 and -1 <= ends[0] <= ends[1] <= 1  # false for NaN
        if not within or (self.collapses and ends[0] == -1):
            raise ValueError(
                f"{type(self).__name__}.factor is {self.factor}; it must be a number from 0 to 1 "
                f"or [lowest, highest] between -1 and 1{', over -1' * self.collapses} "
                "(augment.operators)"
            )
        object.__setattr__(self, "low", float(ends[0]))
        object.__setattr__(self, "high", float(ends[1]))

    def drawn(self, rng: np.random.Generator) -> float:
        """Draw the number."""
        return self.low + (self.high - self.low) * rng.random()

    @property
    def idle(self) -> bool:
        """Whether the operator never changes a face."""
        return self.low == self.high == 0


class Rotation(Ranged, Geometric):
    """Keras RandomRotation: a turn by up to this share of a full turn, counter-clockwise."""

    collapses = False

    def draw(self, rng: np.random.Generator) -> Linear:
        """Draw a turn."""
        angle = 2 * math.pi * self.drawn(rng)
        sine, cosine = math.sin(angle), math.cos(angle)
        return cosine, -sine, sine, cosine


class Zoom(Ranged, Geometric):
    """Keras RandomZoom: a frame larger by this share is taken in, so positive shrinks the face."""

    def draw(self, rng: np.random.Generator) -> Linear:
        """Draw a zoom, the same for both axes."""
        scale = 1 + self.drawn(rng)
        return scale, 0.0, 0.0, scale


class Height(Ranged, Geometric):
    """Keras RandomHeight: the face becomes taller by this share.

    In Keras the picture's height changes with it. Here, where all faces keep one size, the face is
    stretched about the centre of the same canvas.
    """

    def draw(self, rng: np.random.Generator) -> Linear:
        """Draw a stretch."""
        return 1.0, 0.0, 0.0, 1 / (1 + self.drawn(rng))


class Width(Ranged, Geometric):
    """Keras RandomWidth: the face becomes wider by this share; see `Height`."""

    def draw(self, rng: np.random.Generator) -> Linear:
        """Draw a stretch."""
        return 1 / (1 + self.drawn(rng)), 0.0, 0.0, 1.0


@dataclass(frozen=True)
class Flip(Geometric):
    """Keras RandomFlip("horizontal"): the face is mirrored left to right.

    A recipe has to ask for it. Expressions are not symmetric: the left half of a face shows posed
    emotions more strongly (Sackeim et al. 1978), contempt is one raised corner of the mouth, and a
    mirrored half profile looks the other way while its ``pose`` still names the parent's.

    Attributes:
        probability: Share of the copies that are mirrored; Keras's is 0.5.
    """

    probability: float

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(
                f"Flip.probability is {self.probability}; it must lie in [0, 1] (augment.operators)"
            )

    def draw(self, rng: np.random.Generator) -> Linear:
        """Draw whether the face is mirrored."""
        return (-1.0 if rng.random() < self.probability else 1.0), 0.0, 0.0, 1.0

    @property
    def idle(self) -> bool:
        """Whether the operator never changes a face."""
        return self.probability == 0


class Contrast(Ranged):
    """Keras RandomContrast: distances from each channel's mean grow by this share.

    0.2 scales them by 0.8 to 1.2, as Keras documents and as Keras 2 does. (Keras 3, seen in
    3.15.1, draws from 1 to 1.2 unless it is given two numbers.)
    """

    collapses = False

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change one face, (H, W, 3) uint8 RGB; values are rounded and clipped to 0 … 255."""
        return scale_contrast(image, 1 + self.drawn(rng))


@dataclass(frozen=True)
class Chain:
    """Operators one after another; neighbouring geometric ones resample the face once.

    Their maps are composed as Keras composes layers: the first named acts first. Only what a
    later layer mirrors in from beyond the edge differs: here it is the face, in Keras the canvas
    that the layers before have left.

    Attributes:
        steps: The operators.

    Raises:
        ValueError: If they can change nothing.
    """

    steps: Sequence[Operator]

    def __post_init__(self) -> None:
        if all(getattr(step, "idle", False) for step in self.steps):
            raise ValueError(
                f"augment.operators changes nothing ({', '.join(map(repr, self.steps)) or 'empty'})"
                ": its copies would be the faces themselves; widen a range, or use augment=none"
            )
        object.__setattr__(self, "steps", tuple(self.steps))

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change one face, (H, W, 3) uint8 RGB."""
        waiting: Linear | None = None
        for step in self.steps:
            if isinstance(step, Geometric):
                drawn = step.draw(rng)
                waiting = drawn if waiting is None else compose(waiting, drawn)
                continue
            if waiting is not None:
                image, waiting = warp(image, waiting), None
            image = step(image, rng)
        return image if waiting is None else warp(image, waiting)


def compose(first: Linear, second: Linear) -> Linear:
    """Return the map of two layers one after another: from the last copy back to the face."""
    a, b, c, d = first
    e, f, g, h = second
    return a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h


def warp(image: np.ndarray, linear: Linear) -> np.ndarray:
    """Resample a face about its centre, bilinearly, on the same canvas.

    What comes in from outside is mirrored with the edge pixel twice (Keras ``reflect``,
    d c b a | a b c d | d c b a).

    Args:
        image: (H, W, 3) uint8 RGB.
        linear: From places in the result to places in `image`.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    x, y = (width - 1) / 2, (height - 1) / 2
    xx, xy, yx, yy = linear
    # OpenCV mirrors pixel by pixel: a frame of what will be read, mirrored before, costs half of it
    left = max(0, math.ceil(abs(xx) * x + abs(xy) * y - x) + 1)
    top = max(0, math.ceil(abs(yx) * x + abs(yy) * y - y) + 1)
    framed = cv2.copyMakeBorder(image, top, top, left, left, cv2.BORDER_REFLECT)
    matrix = np.array(
        [[xx, xy, left + x - xx * x - xy * y], [yx, yy, top + y - yx * x - yy * y]], np.float64
    )
    return cv2.warpAffine(
        framed, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )


def scale_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Scale the distance of every value from its channel's mean.

    Args:
        image: (H, W, 3) uint8 RGB.
        factor: 1 changes nothing, 0 gives the mean everywhere.

    Returns:
        (H, W, 3) uint8 RGB, rounded and clipped; at 1 ± 0.2 within 0.6 of the exact value.
    """
    height, width = image.shape[:2]
    # cv2.sumElems is ten times as fast as cv2.mean
    shifts = [(1 - factor) * total / (height * width) for total in cv2.sumElems(image)[:3]]
    # factor · image + shift is three times as fast by cv2.addWeighted as by a table, but there the
    # shifts must be bytes too: counted in steps of 1/255 of their span, they are as good as exact
    least, span = min(shifts), max(shifts) - min(shifts)
    steps = [round(255 * (shift - least) / span) if span else 0 for shift in shifts]
    rows = image.reshape(height, width * 3)
    shifted = np.empty_like(rows)
    shifted[:] = np.tile(np.array(steps, np.uint8), width)
    cv2.addWeighted(rows, factor, shifted, span / 255, least, dst=shifted)
    return shifted.reshape(image.shape)


@dataclass(frozen=True)
class Torchvision:
    """A transform of torchvision (``torchvision.transforms.v2``), such as RandAugment.

    It sees a Pillow picture, on which torchvision's own operations are faster than on tensors, and
    may return one or a tensor.

    Attributes:
        transform: The transform, which draws from PyTorch's generator only.
    """

    transform: Callable[[Any], Any]

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change one face, (H, W, 3) uint8 RGB; PyTorch's own generator is left as it was."""
        import torch  # here: who uses other operators starts a worker in half the time

        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(rng.integers(2**63)))
            changed = self.transform(Image.fromarray(image))
        if isinstance(changed, torch.Tensor):
            from torchvision.transforms.v2 import functional

            changed = functional.to_pil_image(changed)
        return np.array(changed.convert("RGB"))


@dataclass(frozen=True)
class Albumentations:
    """A pipeline of albumentations, or of its successor albumentationsx, if one is installed.

    Attributes:
        pipeline: What ``albumentations.to_dict(pipeline)["transform"]`` returns: nested dicts
            with ``__class_fullname__``, the arguments, and ``transforms`` for what contains others.

    Raises:
        ModuleNotFoundError: If neither is installed.
        ValueError: If albumentations does not take the pipeline.
    """

    pipeline: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_composed", _albumentations(self.pipeline))

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change one face, (H, W, 3) uint8 RGB."""
        composed = self.__dict__["_composed"]
        composed.set_random_seed(int(rng.integers(2**32)))
        return composed(image=image)["image"]


def _albumentations(pipeline: Mapping[str, Any]) -> Any:
    # one asks the network for its newest version at import, the other reports what is composed
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    os.environ.setdefault("ALBUMENTATIONS_NO_TELEMETRY", "1")
    try:
        import albumentations  # type: ignore[import-not-found]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"augment=albumentations needs a package that is not installed ({error}). Beware: "
            "albumentations brings opencv-python-headless, which overwrites opencv-python. So: "
            "pip install --no-deps albumentations==2.0.8 albucore==0.0.24, then pip install "
            "stringzilla simsimd pydantic; or pip install albumentationsx, its successor, which "
            "brings no OpenCV and is under the AGPL"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # a misspelt argument is only warned of
            return albumentations.from_dict({"transform": pipeline})
    except (KeyError, TypeError, ValueError, UserWarning) as error:
        raise ValueError(
            f"albumentations {albumentations.__version__} does not take "
            f"augment.operators.pipeline: {type(error).__name__}: {error}"
        ) from error
