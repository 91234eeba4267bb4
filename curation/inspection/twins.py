"""Near-duplicates within a corpus: pictures that are one picture, recompressed, resized or moved.

Two steps. All pairs are compared by how light and dark lie in them (`curation.duplicates.describe`)
and none is missed by hashing: the patterns are turned into their 40 lowest spatial frequencies,
whose distance never exceeds the full one, so that most pairs fall away cheaply; a mirrored picture
differs by the signs of the odd frequencies only. Pairs that lie close, as they are or mirrored, are
then compared that way by their fine detail, which faces of one pose in one light do not share, and
copies do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from scipy.fft import dctn

from curation.progress import track

ALIKE = 0.8
SAME = 0.95
CLOSE = 0.3  # distance of patterns; recompressed, mirrored and moved copies lie below
_CELLS = 16
_KEPT = 40
_ROWS, _COLUMNS = 256, 1024  # of a block of products, small enough for a processor's cache
_REACH = 3  # pixels of 64 by which detail may be moved
_DETAIL = 2.5  # standard deviation in pixels of 64 of the blur whose remainder is detail
_FLAT = 0.5  # grey levels of detail under which there is nothing to compare
_MOST_CHECKED = 20_000
_MOST_KNOWN = 4096  # pictures' details in memory, 16 kB each
KINDS = {
    "split": "on two sides of a split",
    "label": "under two labels",
    "database": "in two databases",
    "subject": "under two subjects",
    "person": "of one subject",
}


@dataclass(frozen=True)
class Pair:
    """Two rows of a corpus that look alike.

    Attributes:
        first: The earlier row.
        second: The later row.
        detail: Correlation of their fine detail, in [-1, 1].
        kinds: Names of `KINDS` that apply.
    """

    first: int
    second: int
    detail: float
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Twins:
    """All near-duplicates counted, those most alike named.

    Attributes:
        counts: Kind → number of pairs; a pair can be of several kinds.
        total: Number of pairs.
        pairs: Kind → the most alike, in order. A pair stands under its first kind only.
        alike: Correlation of detail from which two pictures count as near-duplicates.
        searched: Rows that were compared: those that are not copies of another row.
        close: Pairs that lay close enough to look at their detail.
        checked: How many of them were looked at; the closest, if not all.
    """

    counts: dict[str, int]
    total: int
    pairs: dict[str, list[Pair]]
    alike: float
    searched: int
    close: int
    checked: int


@dataclass(frozen=True)
class _Close:
    """Pairs of rows whose patterns lie close: (M,) each, `distances` (M, 2)."""

    first: np.ndarray
    second: np.ndarray
    distances: np.ndarray  # as they are, and with one of them mirrored
    crossing: np.ndarray  # of two splits, databases or subjects, or under two labels

    def nearest(self, most: int) -> "_Close":
        """Drop the farthest of either sort, so that one person's many do not crowd out others."""
        order = np.lexsort((self.second, self.first, self.distances.min(axis=1)))
        crossing = self.crossing[order]
        rank = np.where(crossing, np.cumsum(crossing), np.cumsum(~crossing))
        kept = np.sort(order[rank <= np.where(crossing, most, most // 10)])
        return _Close(
            self.first[kept], self.second[kept], self.distances[kept], self.crossing[kept]
        )


def find_twins(
    patterns: np.ndarray,
    greys: np.ndarray,
    facts: pd.DataFrame,
    *,
    alike: float = ALIKE,
    close: float = CLOSE,
    most: int = 24,
    most_checked: int = _MOST_CHECKED,
) -> Twins:
    """Find pictures that are one picture; copies of one parent are left aside.

    Args:
        patterns: `curation.duplicates.describe` of each row, (N, 256) float32.
        greys: Each row at 64 px, (N, 64, 64) uint8; may be mapped from a file.
        facts: The rows: ``split``, ``database``, ``subject``, ``emotion``, ``parent``.
        alike: Correlation of detail from which on two are near-duplicates, in (0, 1]. At 0.8,
            copies are found that were recompressed, halved in size, brightened, mirrored, or moved
            by two per cent of the frame; half of those cropped by two per cent, none by five.
        close: Distance of patterns below which detail is compared at all, in (0, 2]. Copies that
            keep to their frame lie below 0.1, which spares most of the comparisons.
        most: Pairs to name of each kind.
        most_checked: Pairs across splits, databases, subjects or labels whose detail is compared;
            a tenth of it for the others.

    Raises:
        ValueError: If `alike` or `close` is out of range.
    """
    if not 0 < close <= 2:
        raise ValueError(f"close={close} is a distance of patterns in (0, 2]; 0.3 is ample")
    if not 0 < alike <= 1:
        raise ValueError(f"--alike {alike} is a correlation in (0, 1]; 0.8 suits photographs")
    # a geometric copy is like its parent by intention, and like its parent's twins through it
    rows = np.flatnonzero(facts["parent"].isna().to_numpy())
    codes = {
        name: pd.factorize(facts[name].iloc[rows], use_na_sentinel=True)[0]
        for name in ("split", "database", "subject", "emotion")
    }
    found, candidates = _close_pairs(patterns[rows], codes, close, most_checked)
    detail = _details(greys, rows[found.first], rows[found.second], found.distances < close)
    flags = _kinds(codes, found.first, found.second, detail)
    near = detail >= alike
    pairs: dict[str, list[Pair]] = {}
    untold = near.copy()
    for kind, flag in flags.items():
        own = np.flatnonzero(flag & untold)
        untold &= ~flag
        order = own[np.lexsort((found.second[own], found.first[own], -detail[own]))[:most]]
        pairs[kind] = [
            Pair(
                int(rows[found.first[at]]),
                int(rows[found.second[at]]),
                float(detail[at]),
                tuple(name for name, other in flags.items() if other[at]),
            )
            for at in order
        ]
    return Twins(
        counts={kind: int((flag & near).sum()) for kind, flag in flags.items()},
        total=int(near.sum()),
        pairs=pairs,
        alike=alike,
        searched=len(rows),
        close=candidates,
        checked=len(detail),
    )


def detail_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Correlate the fine detail of two grey pictures, the best of all small shifts and mirrored.

    Detail is what a Gaussian of 2.5 px takes away. The inner 58 x 58 pixels of one are held
    against the other at shifts of up to 3 px.

    Args:
        one: (64, 64) uint8.
        other: (64, 64) uint8.

    Returns:
        Pearson's correlation in [-1, 1]; 0 where either is flat, unless both are equal: then 1.
    """
    if np.array_equal(one, other):
        return 1.0
    return _correlation(_detail(one), _detail(other), (True, True))


def _details(
    greys: np.ndarray, first: np.ndarray, second: np.ndarray, ways: np.ndarray
) -> np.ndarray:
    """Return `detail_correlation` of pairs of rows, (M,) float64.

    `ways`, (M, 2) bool: whether to compare a pair as it is, and with one of it mirrored.
    """
    found = np.empty(len(first))
    known: dict[int, np.ndarray] = {}
    pairs = zip(first.tolist(), second.tolist(), ways.tolist(), strict=True)
    for place, (one, other, way) in enumerate(pairs):
        for row in (one, other):
            if row not in known:
                known[row] = _detail(greys[row])
        same = np.array_equal(greys[one], greys[other])
        found[place] = 1.0 if same else _correlation(known[one], known[other], way)
        if len(known) > _MOST_KNOWN:
            known.clear()
    return found


def _correlation(one: np.ndarray, other: np.ndarray, ways: Sequence[bool]) -> float:
    inner = np.ascontiguousarray(other[_REACH:-_REACH, _REACH:-_REACH])
    if cv2.meanStdDev(inner)[1][0, 0] < _FLAT or cv2.meanStdDev(one)[1][0, 0] < _FLAT:
        return 0.0
    best = -1.0
    for mirrored in (place for place in (False, True) if ways[place]):
        variant = cv2.flip(one, 1) if mirrored else one
        best = max(best, cv2.minMaxLoc(cv2.matchTemplate(variant, inner, cv2.TM_CCOEFF_NORMED))[1])
        if best >= SAME:
            break  # a copy for certain, whatever its mirrored picture would add
    return min(best, 1.0)


def _detail(grey: np.ndarray) -> np.ndarray:
    picture = np.ascontiguousarray(grey, dtype=np.float32)
    return picture - cv2.GaussianBlur(picture, (0, 0), _DETAIL)


def _kinds(
    codes: dict[str, np.ndarray], first: np.ndarray, second: np.ndarray, detail: np.ndarray
) -> dict[str, np.ndarray]:
    differs = {name: code[first] != code[second] for name, code in codes.items()}
    known = (codes["subject"][first] >= 0) & (codes["subject"][second] >= 0)
    flags = {
        "split": differs["split"],
        # frames of one person go over from one expression to another; one frame has one label
        "label": differs["emotion"] & ((known & differs["subject"]) | (detail >= SAME)),
        "database": differs["database"],
        # two pictures of unknown people may well be of one person
        "subject": known & differs["subject"],
    }
    return {**flags, "person": ~np.logical_or.reduce(list(flags.values()))}


def _close_pairs(
    vectors: np.ndarray, codes: dict[str, np.ndarray], within: float, most: int
) -> tuple[_Close, int]:
    """Return the closest pairs within a distance, and how many there were."""
    even, odd = _lowest(vectors)
    half = 0.5 * (np.einsum("nk,nk->n", even, even) + np.einsum("nk,nk->n", odd, odd))
    total = 0
    nothing = np.empty(0, np.intp)
    close = _Close(nothing, nothing, np.empty((0, 2), np.float32), np.empty(0, bool))
    for start in track(range(0, len(vectors), _ROWS), label="compare", unit="block"):
        first, second, distances = _block(vectors, even, odd, half, start, within)
        if not len(first):
            continue
        total += len(first)
        crossing = np.zeros(len(first), bool)
        for code in codes.values():
            crossing |= code[first] != code[second]
        found = _Close(first, second, distances, crossing)
        joined = (
            np.concatenate([getattr(close, name), getattr(found, name)])
            for name in ("first", "second", "distances", "crossing")
        )
        close = _Close(*joined).nearest(most)
    return close, total


def _lowest(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest frequencies: those that a mirror keeps, and those that it negates."""
    across, down = np.meshgrid(np.arange(_CELLS), np.arange(_CELLS))
    order = np.argsort((across**2 + down**2).ravel(), kind="stable")[:_KEPT]
    cells = np.eye(_CELLS**2, dtype=np.float32).reshape(-1, _CELLS, _CELLS)
    basis = np.asarray(dctn(cells, axes=(1, 2), norm="ortho")).reshape(_CELLS**2, -1)
    odd = across.ravel()[order] % 2 == 1
    return vectors @ basis[:, order[~odd]], vectors @ basis[:, order[odd]]


def _block(
    vectors: np.ndarray,
    even: np.ndarray,
    odd: np.ndarray,
    half: np.ndarray,
    start: int,
    within: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare a block of rows with itself and all later ones: rows, rows, distances (M, 2)."""
    stop = min(start + _ROWS, len(vectors))
    rows = slice(start, stop)
    limit = -0.5 * within**2 - 1e-5
    found = []
    for begin in range(start, len(vectors), _COLUMNS):
        end = min(begin + _COLUMNS, len(vectors))
        # −d²/2 of the pair, or of the pair with one mirrored: the sign of the odd part is free
        bound = np.abs(odd[rows] @ odd[begin:end].T)
        bound += even[rows] @ even[begin:end].T
        bound -= half[rows, None]
        bound -= half[begin:end]
        if bound.max() < limit:
            continue
        places = np.argwhere(bound >= limit) + np.array([start, begin])
        found.append(places[places[:, 0] < places[:, 1]])
    first, second = np.concatenate([np.empty((0, 2), np.intp), *found]).T
    distances = np.empty((len(first), 2), np.float32)
    for begin in range(0, len(first), 65536):
        part = slice(begin, begin + 65536)
        this, that = vectors[first[part]], vectors[second[part]]
        mirrored = this.reshape(-1, _CELLS, _CELLS)[..., ::-1].reshape(this.shape)
        for way, variant in enumerate((this, mirrored)):
            products = np.einsum("nk,nk->n", variant, that)
            distances[part, way] = np.sqrt(np.maximum(2 - 2 * products, 0))
    keep = distances.min(axis=1) < within
    return first[keep], second[keep], distances[keep]


def exact(ids: Sequence[str]) -> list[list[int]]:
    """Group the rows that have the very same pixels: lists of two rows and more."""
    groups = pd.Series(range(len(ids))).groupby(np.asarray(ids, dtype=object), sort=False)
    return [list(map(int, group)) for _, group in groups if len(group) > 1]
