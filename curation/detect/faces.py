"""Faces: what a detector says of a picture, and which face the picture is of."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

NO_FACE = "no face found"
TOO_SMALL = "face too small"
SEVERAL = "several faces"


class Box(NamedTuple):
    """A face in pixels: left, top, width, height; may reach beyond the picture."""

    left: float
    top: float
    width: float
    height: float


class Face(NamedTuple):
    """One face that a detector found.

    Attributes:
        box: Where it is, in pixels of the picture.
        score: The detector's own confidence in [0, 1], which no two detectors scale alike; None
            where it has none.
        landmarks: (5, 2) float32 pixels (x, y): the eye at the image's left, the eye at its right,
            tip of the nose, corner of the mouth at the left, at the right, all as in an upright
            face. The first pixel reaches from 0 to 1. Rows of NaN for points that the detector
            does not know; None if it knows none.
    """

    box: Box
    score: float | None = None
    landmarks: np.ndarray | None = None


class Detector(Protocol):
    """Finds faces: (H, W, 3) uint8 RGB → faces, in any order, empty if there is none.

    ``settings`` says in JSON values how, as part of the contract: for a model file its name and
    SHA-256, never its path.
    """

    @property
    def settings(self) -> dict[str, Any]:
        """How it searches."""
        ...

    def __call__(self, image: np.ndarray) -> list[Face]:
        """Find faces."""
        ...


def choose_face(
    faces: Sequence[Face],
    image: np.ndarray,
    *,
    several: Literal["choose", "skip"] = "choose",
    min_face: float = 0.0,
) -> Face | str:
    """Return the face that the picture is of, large and near the centre, or why there is none.

    Boxes on one face are one face: they are grouped first (`same_face`), and the detector's own
    score times the side chooses among them, so that a loose box does not win by being larger; of
    boxes without scores the one that the others agree with most. Between faces the area counts,
    halved for a centre that lies a quarter of the diagonal off.

    Args:
        faces: What a detector found, in any order.
        image: The picture, (H, W, 3).
        several: What to do with several faces: ``choose`` the best, or ``skip`` the picture.
        min_face: Smallest side of a face: in pixels, or, if under 1, as a share of the picture's
            shorter side. Smaller ones are taken for background.

    Returns:
        The face, or a reason: "no face found", "face too small", "several faces".

    Raises:
        ValueError: If `several` is neither word, or `min_face` is negative.
    """
    if several not in ("choose", "skip"):
        raise ValueError(
            f"several={several!r} is unknown; use 'choose' or 'skip' (standardise.several)"
        )
    if min_face < 0:
        raise ValueError(f"min_face {min_face} must be 0 or more (standardise.min_face)")
    if not faces:
        return NO_FACE
    height, width = image.shape[:2]
    smallest = min_face if min_face >= 1 else min_face * min(height, width)
    chosen = [
        face for face in distinct_faces(faces) if max(face.box.width, face.box.height) >= smallest
    ]
    if not chosen:
        return TOO_SMALL
    if len(chosen) > 1 and several == "skip":
        return SEVERAL
    diagonal = float(np.hypot(height, width))

    def prominence(face: Face) -> tuple[float, Box]:
        box = face.box
        across = box.left + box.width / 2 - width / 2
        down = box.top + box.height / 2 - height / 2
        central = 0.5 ** (4 * float(np.hypot(across, down)) / diagonal)
        return box.width * box.height * central, box  # the box itself breaks ties in any order

    return max(chosen, key=prominence)


def distinct_faces(faces: Sequence[Face]) -> list[Face]:
    """Return one face for each that a picture shows: the best of boxes on one (`same_face`)."""
    return [_best_of_one(group) for group in _groups(faces)]


def same_face(one: Box, other: Box) -> bool:
    """Return whether two boxes lie on one face.

    They do if they share 40 % of their union, or if 70 % of the smaller lies in the larger: a
    cascade's hit on a mouth, or a box around head and shoulders.
    """
    smaller = min(one.width * one.height, other.width * other.height)
    return iou(one, other) >= 0.4 or _overlap(one, other) >= 0.7 * smaller


def _overlap(one: Box, other: Box) -> float:
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    return max(width, 0.0) * max(height, 0.0)


def iou(one: Box, other: Box) -> float:
    """Return the share of their union that two boxes share, in [0, 1]."""
    common = _overlap(one, other)
    union = one.width * one.height + other.width * other.height - common
    return common / union if union else 0.0


def _groups(faces: Sequence[Face]) -> list[list[Face]]:
    """Group faces whose boxes lie on one face, directly or through others."""
    groups: list[list[Face]] = []
    for face in faces:
        near = [any(same_face(face.box, each.box) for each in group) for group in groups]
        joined = [
            each for group, is_near in zip(groups, near, strict=True) if is_near for each in group
        ]
        groups = [group for group, is_near in zip(groups, near, strict=True) if not is_near]
        groups.append([face, *joined])
    return groups


def _best_of_one(group: list[Face]) -> Face:
    """Return the box that shows a face best, of several that lie on it."""

    def rank(face: Face) -> tuple[float, float, Box]:
        # Neither alone: a cascade hits a mouth more often than the large face around it, but a
        # loose box around a head is hit less often by far than the face in it.
        evidence = (face.score or 0.0) * max(face.box.width, face.box.height)
        return evidence, sum(iou(face.box, each.box) for each in group), face.box

    return max(group, key=rank)
