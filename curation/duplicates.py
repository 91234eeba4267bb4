"""Near-duplicates: generated faces that copy a training face, or each other.

A face is described by how light and dark lie in it at low resolution, after brightness and
contrast are taken out. Both sides lose the same fine detail, so that generated pictures, which are
smoother than photographs, look no closer or farther for it. What counts as too close comes from
the real faces themselves: from how near the pictures of *different* people come to each other.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

_SIDE = 64  # pictures are compared at this size
_REACH = 2  # pixels of `_SIDE` that a copy may be shifted by
_CELLS = 16  # descriptor cells a side
_SHIFTS = 2 * _REACH + 1
_ZOOMS = (0.96, 1.04)  # of a copy, tried on the likeliest faces
_LIKELIEST = 8
_ZOOM_HIDES = 0.4  # a copy zoomed by 4 % lies nearer than that before zooms are tried
_CHUNK_BYTES = 64e6


@dataclass(frozen=True)
class Calibration:
    """What the real faces say about how near is too near.

    Attributes:
        strangers: Distance of each real face to the nearest face of somebody else, (N,).
        planted: Distance of altered copies of real faces to the nearest real face, (P,).
        n_subjects: People among the faces; N where nobody knows who is who.
    """

    strangers: np.ndarray
    planted: np.ndarray
    n_subjects: int

    def summary(self, share: float) -> dict[str, float]:
        """Return the threshold for a share, what it rests on, and what it is able to see.

        ``threshold``, ``quantile`` (the share), ``n_faces``, ``n_subjects``, ``closest`` and
        ``median`` of the strangers' distances, ``n_planted`` and ``planted_caught``, the share of
        planted copies below the threshold.
        """
        threshold = lower_limit(self.strangers, share, least=1)
        return {
            "threshold": threshold,
            "quantile": share,
            "n_faces": len(self.strangers),
            "n_subjects": self.n_subjects,
            "closest": float(self.strangers.min()),
            "median": float(np.median(self.strangers)),
            "n_planted": len(self.planted),
            "planted_caught": float((self.planted < threshold).mean()),
        }


def lower_limit(honest: np.ndarray, share: float, *, least: int = 0) -> float:
    """Return the limit that a share of further honest values falls below, at most.

    The r-th smallest of n: a further value falls below it with probability r / (n + 1), the
    argument of conformal prediction (Vovk et al. 2005); between quantiles of n it would be more.
    Distances to the nearest stranger come in twos, since the two who are closest share theirs:
    there it is r / (n + 1) for an even r and (r + 1) / (n + 1) for an odd one.

    Args:
        honest: Values of real faces, (n,).
        share: In [0, 1].
        least: Smallest r. With 0, values too few for the share give no limit (−∞); with 1 they
            give the smallest of them, which a share of 1 / (n + 1) falls below, of distances to
            strangers 2 / (n + 1).

    Raises:
        ValueError: If the share is outside [0, 1] or there is no value.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a gate's share is {share}; it lies in [0, 1], such as 0.01 (gate.*)")
    if not len(honest):
        raise ValueError("no real face has a value that a limit could be taken from")
    # the small addend: 0.29 * 100 is 28.999999999999996
    rank = min(max(least, int(share * (len(honest) + 1) + 1e-9)), len(honest))
    if rank == 0:
        return -math.inf
    return float(np.partition(honest, rank - 1)[rank - 1])


def describe(images: np.ndarray) -> np.ndarray:
    """Describe faces by their low-resolution grey pattern.

    Grey pictures at 64 px, Gaussian-weighted means on a grid of 16 x 16 cells (standard deviation
    half a cell, 1.9 px), mean removed, unit length.

    Args:
        images: (N, 3, H, W) uint8 RGB, or (N, 1, H, W) uint8 grey.

    Returns:
        (N, 256) float32.
    """
    if images.ndim != 4 or images.shape[1] != 1 or images.dtype != np.uint8:
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
    """Find the nearest training face of every picture.

    Each picture is compared with all faces in 50 variants: shifted by −2 … 2 px (of 64) in both
    directions, and the same mirrored. The eight nearest faces are compared again with the picture
    4 % smaller and 4 % larger in all these variants: a copy of another crop moves its outer parts
    by more than a cell's width, yet its face is among the eight.

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
        likeliest = np.argpartition(found, min(_LIKELIEST, len(faces)) - 1, axis=1)[:, :_LIKELIEST]
        here = np.arange(len(found))
        refined = np.minimum(
            found[here[:, None], likeliest], _zoomed_distances(images[chunk], faces[likeliest])
        )
        if subjects is not None:
            refined[subjects[0][chunk, None] == subjects[1][likeliest]] = np.inf
        best = refined.argmin(axis=1)
        places[chunk] = likeliest[here, best]
        distances[chunk] = refined[here, best]
    return [ids[place] for place in places.tolist()], distances


def calibrate(
    images: np.ndarray,
    *,
    subjects: Sequence[str | None] | np.ndarray | None = None,
    seed: int = 0,
) -> Calibration:
    """Learn from real faces how near two faces of different people come.

    A generated face that is nearer to a training face than all but a small share of people are to
    their nearest stranger is more likely a copy than a chance likeness. The distances come from
    the same search, mirrored, shifted and zoomed variants included.

    Args:
        images: The training faces, (N, 3, H, W) uint8 RGB.
        subjects: Who is on each, (N,). None, or None for one picture, counts it as a person of
            its own: several pictures of one person then lower the threshold.
        seed: Which faces are planted as copies.

    Returns:
        The distances, and those of planted copies (mirrored, shifted, zoomed, compressed,
        brightened) to the faces.

    Raises:
        ValueError: If fewer than two people are there.
    """
    people = people_of(subjects, len(images))
    if (count := len(np.unique(people))) < 2:
        raise ValueError(
            f"{len(images)} faces of {count} person cannot tell how near strangers are; "
            "two people at least are needed (column subject of the corpus)"
        )
    ids = [str(place) for place in range(len(images))]
    faces = describe(images)
    _, distances = nearest(images, faces, ids, subjects=(people, people))
    generator = np.random.default_rng([seed, len(images)])
    drawn = generator.choice(len(images), min(100, len(images)), replace=False)
    copies = np.stack([_altered(images[place], generator) for place in drawn])
    _, to_copies = nearest(copies, faces, ids)
    return Calibration(distances, to_copies, count)


def own_distances(images: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Return the distance of each face to the nearest other face of the same person.

    Args:
        images: (N, 3, H, W) uint8 RGB.
        people: Who is on each, (N,).

    Returns:
        (N,) float32, infinity where a person has one picture only; the measure is `nearest`'s.
    """
    found = np.full(len(images), np.inf, np.float32)
    codes = np.unique(people, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    for rows in (group for group in groups if len(group) > 1):
        between = _all_variants(images[rows], describe(images[rows]))
        np.fill_diagonal(between, np.inf)
        found[rows] = between.min(axis=1)
    return found


def close_pairs(images: np.ndarray, within: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find pairs of pictures that lie close to each other.

    Args:
        images: (N, 3, H, W) uint8 RGB.
        within: Distance (`nearest`) below which a pair counts.

    Returns:
        The earlier and the later place of each pair and their distance, sorted by the later.
    """
    faces = describe(images)
    found = []
    for chunk in _chunks(len(images), len(images)):
        between = _distances(images[chunk], faces[: chunk.stop])
        later, earlier = np.nonzero(between < max(within, _ZOOM_HIDES))
        keep = earlier < later + chunk.start
        for place in np.unique(later[keep]):
            mates = earlier[keep & (later == place)]
            zoomed = _zoomed_distances(images[[chunk.start + place]], faces[mates][None])[0]
            closest = np.minimum(between[place, mates], zoomed)
            near = closest < within
            found.append(
                np.stack(
                    [mates[near], np.full(near.sum(), chunk.start + place), closest[near]], axis=1
                )
            )
    pairs = np.concatenate([np.empty((0, 3)), *found])
    return (
        pairs[:, 0].astype(np.int64),
        pairs[:, 1].astype(np.int64),
        pairs[:, 2].astype(np.float32),
    )


def _chunks(count: int, faces: int) -> Iterator[slice]:
    step = min(256, max(1, int(_CHUNK_BYTES / (8 * _SHIFTS**2 * max(1, faces)))))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _distances(images: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the distance of every picture to every described face, over all variants, (N, M)."""
    cells = _cells(images, range(-_REACH, _REACH + 1))  # (n, shifts, cells)
    best = np.full((len(images), len(faces)), -1, np.float32)
    for variants in _with_mirrored(cells):
        products = variants.reshape(-1, _CELLS**2) @ faces.T
        np.maximum(best, products.reshape(*cells.shape[:2], -1).max(axis=1), out=best)
    # rounding lifts a correlation of equal pictures above 1
    return np.sqrt(np.maximum(2 - 2 * best, 0))


def distance_matrix(images: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the distances of (N, 3, H, W) pictures to (M, 256) described faces, (N, M) float32.

    Shifted and mirrored variants count, zoomed ones do not.
    """
    _require_faces(images)
    parts = [_distances(images[chunk], faces) for chunk in _chunks(len(images), len(faces))]
    return np.concatenate([np.empty((0, len(faces)), np.float32), *parts])


def _all_variants(images: np.ndarray, faces: np.ndarray) -> np.ndarray:
    everybody = np.broadcast_to(faces, (len(images), *faces.shape))
    return np.minimum(_distances(images, faces), _zoomed_distances(images, everybody))


def _zoomed_distances(images: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return distances (N, k) of zoomed pictures (N, 3, H, W) to faces of their own (N, k, 256)."""
    grey = _grey(images)
    best = np.full(faces.shape[:2], -1, np.float32)
    middle = (_SIDE - 1) / 2
    for zoom in _ZOOMS:
        # about the middle of the picture; what comes in at the edge is mirrored
        matrix = np.array([[zoom, 0, middle - zoom * middle], [0, zoom, middle - zoom * middle]])
        zoomed = np.stack(
            [
                cv2.warpAffine(one, matrix, (_SIDE, _SIDE), borderMode=cv2.BORDER_REFLECT)
                for one in grey
            ]
        )
        for variants in _with_mirrored(_cells_of(zoomed, range(-_REACH, _REACH + 1))):
            np.maximum(best, (variants @ faces.transpose(0, 2, 1)).max(axis=1), out=best)
    return np.sqrt(np.maximum(2 - 2 * best, 0))


def _with_mirrored(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mirrored = cells.reshape(*cells.shape[:2], _CELLS, _CELLS)[..., ::-1].reshape(cells.shape)
    return cells, mirrored


def _cells(images: np.ndarray, shifts: Sequence[int]) -> np.ndarray:
    """Return unit descriptors at all pairs of shifts, (N, len(shifts)², 256) float32."""
    return _cells_of(_grey(images), shifts)


def _cells_of(grey: np.ndarray, shifts: Sequence[int]) -> np.ndarray:
    """Return what `_cells` does, of (N, 64, 64) float32."""
    # one row of Gaussian weights for every shift and cell; a border leaves room for the shift
    cell = (_SIDE - 2 * _REACH) / _CELLS
    starts = _REACH + np.array(shifts)
    centres = starts[:, None] + cell * (np.arange(_CELLS) + 0.5) - 0.5  # (shifts, cells)
    offsets = np.arange(_SIDE) - centres.reshape(-1, 1)
    weights = np.exp(-0.5 * (offsets / (0.5 * cell)) ** 2)
    weights[weights < 1e-6] = 0  # denormal numbers would make the products ten times slower
    filters = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)

    cells = filters @ grey @ filters.T  # all shifts at once
    cells = cells.reshape(len(grey), len(starts), _CELLS, len(starts), _CELLS)
    cells = cells.transpose(0, 1, 3, 2, 4).reshape(len(grey), -1, _CELLS**2)
    cells -= cells.mean(axis=2, keepdims=True)
    lengths = np.sqrt(np.einsum("nsc,nsc->ns", cells, cells))[..., None]
    # one grey level of contrast at least, so that noise on a blank picture is not blown up
    cells /= np.maximum(lengths, _CELLS)
    return cells


def _require_faces(images: np.ndarray) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != np.uint8:
        raise ValueError(f"faces must be (N, 3, H, W) uint8 RGB, got {images.shape} {images.dtype}")


def _grey(images: np.ndarray) -> np.ndarray:
    """Return RGB or grey, (N, 3 or 1, H, W) uint8, as (N, 64, 64) float32 grey (ITU-R BT.601)."""
    if images.shape[1] == 1:
        grey = images[:, 0].astype(np.float32)
    else:
        weights = np.array([0.299, 0.587, 0.114], np.float32)
        grey = np.einsum("nchw,c->nhw", images, weights)
    if grey.shape[1:] == (_SIDE, _SIDE):
        return grey
    method = cv2.INTER_AREA if max(grey.shape[1:]) > _SIDE else cv2.INTER_CUBIC
    return np.stack([cv2.resize(one, (_SIDE, _SIDE), interpolation=method) for one in grey])


def people_of(subjects: Sequence[str | None] | np.ndarray | None, count: int) -> np.ndarray:
    """Number the people, (count,): a picture of an unknown person is a person of its own."""
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
    """Return a copy (3, H, W) as a thief would hide it: moved, zoomed, compressed, relit."""
    copy = np.ascontiguousarray(image.transpose(1, 2, 0))
    height, width = copy.shape[:2]
    if generator.random() < 0.5:
        copy = copy[:, ::-1]
    reach = _REACH * min(height, width) / _SIDE
    across, down = generator.uniform(-reach, reach, 2)
    zoom = generator.uniform(*_ZOOMS)
    across += (1 - zoom) * (width - 1) / 2
    down += (1 - zoom) * (height - 1) / 2
    move = np.array([[zoom, 0, across], [0, zoom, down]])
    copy = cv2.warpAffine(
        np.ascontiguousarray(copy), move, (width, height), borderMode=cv2.BORDER_REPLICATE
    )
    gain, offset = generator.uniform(0.8, 1.2), generator.uniform(-20, 20)
    copy = np.clip(copy * gain + offset, 0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(generator.integers(60, 95))]
    data = cv2.imencode(".jpg", copy[..., ::-1], quality)[1]
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return decoded[..., ::-1].transpose(2, 0, 1)
