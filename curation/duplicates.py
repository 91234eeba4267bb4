"""Near-duplicates: generated faces that copy a training face, or each other.

A face is described by how light and dark lie in it at low resolution, after brightness and
contrast are taken out. Both sides lose the same fine detail, so that generated pictures, which are
smoother than photographs, look no closer or farther for it. What counts as too close comes from
the real faces themselves: from how near the pictures of *different* people come to each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

_SIDE = 64  # pictures are compared at this size
_REACH = 2  # pixels of `_SIDE` that a copy may be shifted by
_CELLS = 16  # descriptor cells a side
_SHIFTS = 2 * _REACH + 1
_CHUNK_BYTES = 64e6


@dataclass(frozen=True)
class Calibration:
    """What the real faces say about how near is too near.

    Attributes:
        threshold: Distance below which a face counts as a copy.
        quantile: Share of real faces that have another person's face nearer than that.
        n_faces: Real faces that it rests on.
        n_subjects: People among them; equal to `n_faces` where nobody knows who is who.
        closest: Smallest distance between faces of different people.
        median: Median over the faces of the distance to the nearest face of somebody else.
        n_planted: Altered copies of real faces that were tried.
        planted_caught: Share of them below the threshold: what the threshold is able to see.
    """

    threshold: float
    quantile: float
    n_faces: int
    n_subjects: int
    closest: float
    median: float
    n_planted: int
    planted_caught: float


def describe(images: np.ndarray) -> np.ndarray:
    """Describe faces by their low-resolution grey pattern.

    Grey pictures at 64 px, Gaussian-weighted means on a grid of 16 x 16 cells (standard deviation
    half a cell, 1.9 px), mean removed, unit length.

    Args:
        images: (N, 3, H, W) uint8 RGB.

    Returns:
        (N, 256) float32.
    """
    _require_faces(images)
    batches = [_cells(images[start : start + 256], [0]) for start in range(0, len(images), 256)]
    return np.concatenate([np.empty((0, 1, _CELLS**2), np.float32), *batches])[:, 0]


def nearest(
    images: np.ndarray,
    faces: np.ndarray,
    ids: Sequence[str],
    *,
    subjects: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[list[str], np.ndarray]:
    """Find the nearest training face of every picture, exactly.

    Each picture is compared in 50 variants: shifted by −2 … 2 px (of 64) in both directions, and
    the same mirrored.

    Args:
        images: The pictures in question, (N, 3, H, W) uint8 RGB.
        faces: The training faces, described (`describe`), (M, 256).
        ids: Identity of each training face, (M,).
        subjects: Who is on the pictures (N,) and on the faces (M,); then only faces of *other*
            people count.

    Returns:
        The nearest face's id, and the distance in [0, 2]: Euclidean between unit descriptors,
        √(2 − 2r) with r the correlation of the two patterns in the best variant. A picture
        without any face of another person gets infinity.
    """
    if len(ids) != len(faces) or not len(faces):
        raise ValueError(f"{len(ids)} ids were given for {len(faces)} faces; at least 1 is needed")
    _require_faces(images)
    places = np.empty(len(images), dtype=np.intp)
    distances = np.empty(len(images), dtype=np.float32)
    for chunk in _chunks(len(images), len(faces)):
        found = _distances(images[chunk], faces)  # (n, M)
        if subjects is not None:
            found[subjects[0][chunk, None] == subjects[1]] = np.inf
        places[chunk] = found.argmin(axis=1)
        distances[chunk] = found.min(axis=1)
    return [ids[place] for place in places.tolist()], distances


def calibrate(
    images: np.ndarray,
    *,
    subjects: Sequence[str | None] | np.ndarray | None = None,
    quantile: float = 0.01,
    seed: int = 0,
) -> Calibration:
    """Learn from real faces how near two faces of different people come.

    A generated face that is nearer to a training face than all but a small share of people are to
    their nearest stranger is more likely a copy than a chance likeness. The share is taken over
    the same search, mirrored and shifted variants included.

    Args:
        images: The training faces, (N, 3, H, W) uint8 RGB.
        subjects: Who is on each, (N,). None, or None for one picture, counts it as a person of
            its own: several pictures of one person then lower the threshold.
        quantile: Share of real faces that may have a stranger's face nearer than the threshold;
            about this share of honest generated faces is refused too. In [0, 1].
        seed: Which faces are planted as copies.

    Returns:
        The threshold with how it came about, and the share of planted copies (mirrored, shifted,
        compressed, brightened) that it catches.

    Raises:
        ValueError: If the quantile is outside [0, 1] or fewer than two people are there.
    """
    if not 0 <= quantile <= 1:
        raise ValueError(f"gate.quantile is {quantile}; it is a share in [0, 1], such as 0.01")
    people = _people(subjects, len(images))
    if (count := len(np.unique(people))) < 2:
        raise ValueError(
            f"{len(images)} faces of {count} person cannot tell how near strangers are; "
            "two people at least are needed (column subject of the corpus)"
        )
    ids = [str(place) for place in range(len(images))]
    faces = describe(images)
    _, distances = nearest(images, faces, ids, subjects=(people, people))
    # the r-th smallest of n: a further face falls below it with probability r / (n + 1), the
    # argument of conformal prediction (Vovk et al. 2005); between quantiles of n it would be more
    rank = min(max(1, int(quantile * (len(distances) + 1) + 1e-9)), len(distances))
    threshold = float(np.sort(distances)[rank - 1])

    generator = np.random.default_rng([seed, len(images)])
    drawn = generator.choice(len(images), min(100, len(images)), replace=False)
    copies = np.stack([_altered(images[place], generator) for place in drawn])
    _, to_copies = nearest(copies, faces, ids)
    return Calibration(
        threshold=threshold,
        quantile=quantile,
        n_faces=len(images),
        n_subjects=count,
        closest=float(distances.min()),
        median=float(np.median(distances)),
        n_planted=len(copies),
        planted_caught=float((to_copies < threshold).mean()),
    )


def repeats(images: np.ndarray, ids: Sequence[str], threshold: float) -> list[str | None]:
    """Find pictures that nearly repeat an earlier one.

    Args:
        images: (N, 3, H, W) uint8 RGB, in order.
        ids: Their identities, (N,).
        threshold: Distance (`nearest`) below which two are the same.

    Returns:
        For each picture the id of the nearest earlier one below the threshold among those that
        repeat nothing themselves, else None.
    """
    found: list[str | None] = [None] * len(ids)
    originals: list[int] = []
    faces = describe(images)
    for chunk in _chunks(len(ids), len(ids)):
        for place, row in enumerate(_distances(images[chunk], faces[: chunk.stop]), chunk.start):
            near = [earlier for earlier in originals if row[earlier] < threshold]
            if near:
                found[place] = ids[min(near, key=row.__getitem__)]
            else:
                originals.append(place)
    return found


def _chunks(count: int, faces: int) -> Iterator[slice]:
    step = min(256, max(1, int(_CHUNK_BYTES / (8 * _SHIFTS**2 * max(1, faces)))))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _distances(images: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the distance of every picture to every described face, over all variants, (N, M)."""
    cells = _cells(images, range(-_REACH, _REACH + 1))  # (n, shifts, cells)
    mirrored = cells.reshape(*cells.shape[:2], _CELLS, _CELLS)[..., ::-1].reshape(cells.shape)
    best = np.full((len(images), len(faces)), -1, np.float32)
    for variants in (cells, mirrored):
        products = variants.reshape(-1, _CELLS**2) @ faces.T
        np.maximum(best, products.reshape(*cells.shape[:2], -1).max(axis=1), out=best)
    # rounding lifts a correlation of equal pictures above 1
    return np.sqrt(np.maximum(2 - 2 * best, 0))


def _cells(images: np.ndarray, shifts: Sequence[int]) -> np.ndarray:
    """Return unit descriptors at all pairs of shifts, (N, len(shifts)², 256) float32."""
    grey = _grey(images)
    # one row of Gaussian weights for every shift and cell; a border leaves room for the shift
    cell = (_SIDE - 2 * _REACH) / _CELLS
    starts = _REACH + np.array(shifts)
    centres = starts[:, None] + cell * (np.arange(_CELLS) + 0.5) - 0.5  # (shifts, cells)
    offsets = np.arange(_SIDE) - centres.reshape(-1, 1)
    weights = np.exp(-0.5 * (offsets / (0.5 * cell)) ** 2)
    weights[weights < 1e-6] = 0  # denormal numbers would make the products ten times slower
    filters = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)

    cells = filters @ grey @ filters.T  # all shifts at once
    cells = cells.reshape(len(images), len(starts), _CELLS, len(starts), _CELLS)
    cells = cells.transpose(0, 1, 3, 2, 4).reshape(len(images), -1, _CELLS**2)
    cells -= cells.mean(axis=2, keepdims=True)
    lengths = np.sqrt(np.einsum("nsc,nsc->ns", cells, cells))[..., None]
    # one grey level of contrast at least, so that noise on a blank picture is not blown up
    cells /= np.maximum(lengths, _CELLS)
    return cells


def _require_faces(images: np.ndarray) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != np.uint8:
        raise ValueError(f"faces must be (N, 3, H, W) uint8 RGB, got {images.shape} {images.dtype}")


def _grey(images: np.ndarray) -> np.ndarray:
    """Return (N, 3, H, W) uint8 RGB as (N, 64, 64) float32 grey, ITU-R BT.601 weights."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    grey = np.einsum("nchw,c->nhw", images, weights)
    if grey.shape[1:] == (_SIDE, _SIDE):
        return grey
    method = cv2.INTER_AREA if max(grey.shape[1:]) > _SIDE else cv2.INTER_CUBIC
    return np.stack([cv2.resize(one, (_SIDE, _SIDE), interpolation=method) for one in grey])


def _people(subjects: Sequence[str | None] | np.ndarray | None, count: int) -> np.ndarray:
    known = [None] * count if subjects is None else list(subjects)
    if len(known) != count:
        raise ValueError(f"{len(known)} subjects were given for {count} faces")
    codes: dict[str, int] = {}
    people = np.empty(count, dtype=np.intp)
    for place, name in enumerate(known):
        # a picture without a name is a person of its own; pandas turns None into NaN ≠ NaN
        if name is None or name != name:
            people[place] = -1 - place
        else:
            people[place] = codes.setdefault(name, len(codes))
    return people


def _altered(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return a copy (3, H, W) as a thief would hide it: moved, compressed, relit, half mirrored."""
    copy = np.ascontiguousarray(image.transpose(1, 2, 0))
    height, width = copy.shape[:2]
    if generator.random() < 0.5:
        copy = copy[:, ::-1]
    reach = _REACH * min(height, width) / _SIDE
    across, down = generator.uniform(-reach, reach, 2)
    move = np.array([[1, 0, across], [0, 1, down]])
    copy = cv2.warpAffine(
        np.ascontiguousarray(copy), move, (width, height), borderMode=cv2.BORDER_REPLICATE
    )
    gain, offset = generator.uniform(0.8, 1.2), generator.uniform(-20, 20)
    copy = np.clip(copy * gain + offset, 0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(generator.integers(60, 95))]
    data = cv2.imencode(".jpg", copy[..., ::-1], quality)[1]
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return decoded[..., ::-1].transpose(2, 0, 1)
