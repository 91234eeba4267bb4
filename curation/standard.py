"""The standard face: picture in, face out, cut in one way that is written down as a contract."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import cv2
import numpy as np

from curation.align import (
    Border,
    BoxFrame,
    EyeFrame,
    Fit,
    Frame,
    TemplateFrame,
    cut,
    eyes_of,
    fitted,
    inner_size,
    padded,
    share_outside,
    supposed_upright,
)
from curation.artifact import file_hash
from curation.contract import describe_difference
from curation.detect import (
    Detector,
    DnnSsd,
    EyeCascades,
    Face,
    Haar,
    Mtcnn,
    WholePicture,
    YuNet,
    choose_face,
)
from curation.quality import measure

EyesMissing = Literal["skip", "upright"]
NO_EYES = "eyes not found"


@dataclass(frozen=True)
class Clahe:
    """Contrast-limited adaptive histogram equalisation of the luminance (Zuiderveld 1994).

    Hue and saturation stay: it works on Y of Y'CrCb, which keeps grey pictures exactly grey.

    Attributes:
        clip_limit: How much steeper than even a histogram may get, over 0; OpenCV's example has 2,
            its default is 40.
        tiles: Tiles across and down.
        scope: ``face`` equalises the standard face; ``picture`` the whole picture before the face
            is cut out of it, as van der Weel 2019 does, so that tiles are larger than on a face.
    """

    clip_limit: float = 2.0
    tiles: int = 8
    scope: Literal["face", "picture"] = "face"

    def __post_init__(self) -> None:
        if self.clip_limit <= 0 or self.tiles < 1:
            raise ValueError(
                f"CLAHE needs a clip limit over 0 and 1 tile or more, got {self.clip_limit} and "
                f"{self.tiles} (standardise.clahe)"
            )
        if self.scope not in ("face", "picture"):
            raise ValueError(
                f"CLAHE works on the face or on the picture, not on {self.scope!r} "
                "(standardise.clahe.scope)"
            )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Equalise (H, W, 3) uint8 RGB."""
        # OpenCV's object cannot be pickled and costs microseconds
        equalise = cv2.createCLAHE(self.clip_limit, (self.tiles, self.tiles))
        separated = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
        separated[..., 0] = equalise.apply(separated[..., 0])
        return cv2.cvtColor(separated, cv2.COLOR_YCrCb2RGB)


class UnusableFaceError(Exception):
    """A picture that gives no standard face; the text is the reason to report.

    Attributes:
        detail: What is particular to this picture.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


class StandardFace(NamedTuple):
    """A face brought to the standard, with what was measured on the way."""

    image: np.ndarray
    """(size, size, 3) uint8 RGB."""
    measures: dict[str, float | None]
    """A value for each of `curation.quality.MEASURES`."""


@dataclass(frozen=True)
class Standard:
    """The standard that faces are brought to: picture in, standard face out.

    Attributes:
        detector: Finds faces.
        frame: Says which part of the picture is cut out, and whether it is turned.
        size: Side of the standard face in pixels, 16 or more.
        fit: What happens to a region that is no square: ``square`` shows more of the picture on
            the shorter side, ``stretch`` squeezes it, ``pad`` adds black bars.
        border: What is seen beyond the picture's border: ``mirror``, ``edge`` or ``black``; see
            `cut`.
        grey: Whether to take the colour away (three equal channels).
        clahe: Equalises the luminance; None leaves it.
        eyes: Adds eyes to a face whose detector knows none; None for no search.
        eyes_missing: What to do where the frame needs eyes and none are known: ``skip`` the
            picture, or take the face to be ``upright`` with eyes at the usual place in its box.
        several: What to do with several faces; see `choose_face`.
        min_face: Smallest face; see `choose_face`.
    """

    detector: Detector
    frame: Frame
    size: int
    fit: Fit = "square"
    border: Border = "mirror"
    grey: bool = False
    clahe: Clahe | None = None
    eyes: Callable[[np.ndarray, Face], Face] | None = None
    eyes_missing: EyesMissing = "skip"
    several: Literal["choose", "skip"] = "choose"
    min_face: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 16:
            raise ValueError(
                f"size {self.size} is too small for a face; use 16 pixels or more (size)"
            )
        for name, value, choices in (
            ("fit", self.fit, get_args(Fit)),
            ("border", self.border, get_args(Border)),
            ("eyes_missing", self.eyes_missing, get_args(EyesMissing)),
            ("several", self.several, ("choose", "skip")),
        ):
            if value not in choices:
                raise ValueError(
                    f"{name} {value!r} is unknown; use one of {', '.join(choices)} "
                    f"(standardise.{name})"
                )
        if self.min_face < 0:
            raise ValueError(f"min_face {self.min_face} must be 0 or more (standardise.min_face)")

    @property
    def contract(self) -> dict[str, Any]:
        """All that decides how a face looks, in JSON values; not which pictures give one."""
        turned = self.frame.needs_eyes
        return {
            "detector": self.detector.settings,
            "frame": self.frame.settings,
            "fit": self.fit,
            "border": self.border,
            "size": self.size,
            "colour": "grey" if self.grey else "RGB",
            "clahe": None if self.clahe is None else asdict(self.clahe),
            "eyes": None if self.eyes is None else getattr(self.eyes, "settings", {}),
            "eyes_missing": self.eyes_missing if turned else None,
            "resample": "halved, bilinear at twice the size, mean" if turned else "Pillow bicubic",
        }

    def __call__(self, image: np.ndarray) -> StandardFace:
        """Bring the face of a picture, (H, W, 3) uint8 RGB, to the standard.

        Raises:
            UnusableFaceError: If there is no face, several, a small one or one without eyes, as
                far as the settings refuse these.
        """
        return self.cut(image, self.find(image))

    def find(self, image: np.ndarray) -> Face:
        """Return the face that a picture, (H, W, 3) uint8 RGB, is of, with eyes if needed.

        Raises:
            UnusableFaceError: As `__call__`.
        """
        face = choose_face(
            self.detector(image), image, several=self.several, min_face=self.min_face
        )
        if isinstance(face, str):
            raise UnusableFaceError(face)
        return self.completed(image, face)

    def completed(self, image: np.ndarray, face: Face) -> Face:
        """Return a known face with the eyes that the frame needs.

        Raises:
            UnusableFaceError: If there are none, and the settings want the picture skipped then.
        """
        if self.eyes is not None and eyes_of(face) is None:
            face = self.eyes(image, face)
        if self.frame.needs_eyes and self.eyes_missing == "skip" and eyes_of(face) is None:
            raise UnusableFaceError(NO_EYES)
        return face

    def cut(self, image: np.ndarray, face: Face) -> StandardFace:
        """Cut a known face out of its picture, (H, W, 3) uint8 RGB, and measure it."""
        missing = self.frame.needs_eyes and eyes_of(face) is None
        region = fitted(self.frame(supposed_upright(face) if missing else face), self.fit)
        width, height = inner_size(region, self.size, self.fit)

        def part(of: np.ndarray) -> np.ndarray:
            return cut(
                of,
                region,
                width=width,
                height=height,
                turned=self.frame.needs_eyes,
                border=self.border,
            )

        if self.clahe is not None and self.clahe.scope == "picture":
            pixels = part(self.clahe(image))
            plain = part(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        else:
            pixels = plain = part(image)
        measures = measure(plain, face, outside=share_outside(region, image))
        if self.grey:
            pixels = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if self.clahe is not None and self.clahe.scope == "face":
            pixels = self.clahe(pixels)
        if self.fit == "pad":  # last, or the equalisation would lift the bars
            pixels = padded(pixels, self.size)
        return StandardFace(pixels, measures)


_DETECTORS: dict[str, Callable[..., Any]] = {
    "none": WholePicture,
    "haar": Haar,
    "yunet": YuNet,
    "dnn_ssd": DnnSsd,
    "mtcnn": Mtcnn,
}
_FRAMES = {"box": BoxFrame, "eyes": EyeFrame, "template": TemplateFrame}
# argument of a detector that is a file → where its settings note the file's SHA-256
_FILES = {"model": "sha256", "network": "network_sha256", "weights": "weights_sha256"}
# what settings state that is no argument
_STATED = ("package", "side", "mean_bgr", *_FILES.values())


def recorded_standard(contract: Mapping[str, Any], files: Iterable[Path] = ()) -> Standard:
    """Build the standard that a contract describes, and see that it would cut faces as it says.

    Args:
        contract: As `Standard.contract` gave it.
        files: Model files that the detector may need; each is recognised by its SHA-256, whatever
            it is called. Without the right one the cache is asked, as always.

    Raises:
        ValueError: If the contract is damaged, or this installation would cut otherwise.
        FileNotFoundError: If a model file is missing; with how to get it.
        ImportError: If the detector's package is not installed.
    """
    known = {file_hash(path): path for path in files}
    try:
        detector = dict(contract["detector"])
        kind = _DETECTORS[detector.pop("detector")]
        for argument, noted in _FILES.items():
            if argument in detector:
                detector[argument] = known.get(detector[noted])
        frame = dict(contract["frame"])
        shape = _FRAMES[frame.pop("frame")]
        frame.pop("template", None)
        eyes, clahe = contract["eyes"], contract["clahe"]
        standard = Standard(
            detector=kind(**{key: detector[key] for key in detector if key not in _STATED}),
            frame=shape(**frame),
            size=contract["size"],
            fit=contract["fit"],
            border=contract["border"],
            grey=contract["colour"] == "grey",
            clahe=None if clahe is None else Clahe(**clahe),
            eyes=None
            if eyes is None
            else EyeCascades(**{key: eyes[key] for key in eyes if key != "eyes"}),
            eyes_missing=contract["eyes_missing"] or "skip",
        )
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"the standardisation contract is damaged, or of another version "
            f"({type(error).__name__}: {error}): {dict(contract)}"
        ) from error
    if difference := describe_difference(_unnamed(contract), _unnamed(standard.contract)):
        raise ValueError(
            f"faces would be cut in another way than the contract says: {difference}. Give the "
            "detector's model file that has the recorded SHA-256, or use the version that wrote it"
        )
    return standard


def _unnamed(contract: Mapping[str, Any]) -> dict[str, Any]:
    """Return a contract without the names of model files, whose bytes it states."""
    detector = {key: value for key, value in contract["detector"].items() if key not in _FILES}
    return {**contract, "detector": detector}
