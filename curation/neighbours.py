"""Exact nearest neighbours and balls among rows of features, fast on a CPU.

A first pass in a short number format brackets every distance: each value comes with a bound on its
error, from the rounding of every row (known exactly) and the worst case of the summation. Only
what the brackets leave open is computed, in float64, from the differences of the rows. So the
answer is that of float64 throughout, whatever the format of the first pass.

The first pass takes bfloat16 on processors that compute with it (x86: avx512_bf16 or amx_bf16),
else float32. Rows that it cannot tell apart, as in tight clusters, are passed again in a longer
format. Rows are centred first, since only differences matter and short vectors round to less.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

_GROUP = 32  # scores that are looked at through their maximum first
_CHUNK = 4096  # rows of the bank in one product: fits the processor's cache with the queries
_SCORES = 128 << 20  # bytes of scores held at a time
_EXACT = 1 << 16  # numbers compared exactly at a time: what stays in a core's cache
_OPEN = 1 / (
    2 * _GROUP
)  # share of pairs left open above which a longer format costs less than they do
_TILE = 1 << 25  # pairs of a ball and a point judged at a time


def nearest(
    queries: np.ndarray, among: np.ndarray, k: int, *, itself: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest rows to each query, exactly.

    Args:
        queries: (n, d) float.
        among: (N, d) float; where to look.
        k: How many neighbours, at most N, or N − 1 with `itself`.
        itself: Whether `queries` are the rows of `among`, and no row counts as its own
            neighbour; an equal row elsewhere does.

    Returns:
        Places in `among` (n, k) int64 and Euclidean distances (n, k) float64, nearest first; of
        equal distances the lower place first, unless hundreds are equal.

    Raises:
        ValueError: If the widths differ, a value is not finite, or `among` has too few rows.
    """
    queries, among = _checked(queries, among)
    if not 1 <= k <= len(among) - itself:
        raise ValueError(f"{k} neighbours were asked for among {len(among) - itself} rows")
    if itself and len(queries) != len(among):
        raise ValueError(f"{len(queries)} queries cannot be the {len(among)} rows themselves")
    frame = _Frame.around(among, queries)
    bank = _Side(among, frame)
    return _nearest(bank if itself else _Side(queries, frame), bank, k, itself=itself)


def nearly_nearest(
    queries: np.ndarray, among: np.ndarray, k: int, *, probes: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Return k near rows to each query, by an inverted file that looks into some cells only.

    For banks of millions; may miss neighbours. Needs the package faiss-cpu (extra ``faiss``).

    Args:
        queries: (n, d) float.
        among: (N, d) float.
        k: How many.
        probes: Cells looked into, of about √N; more find more.

    Returns:
        Places in `among` (n, k) int64, −1 where the cells held too few, and Euclidean distances
        (n, k) float64, nearest first.

    Raises:
        ImportError: Without faiss.
        ValueError: As `nearest`.
    """
    try:
        import faiss  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(
            "approximate search needs faiss: pip install 'affectory[faiss]'; "
            "curation.neighbours.nearest is exact and needs nothing"
        ) from None
    queries, among = _checked(queries, among)
    if not 1 <= k <= len(among):
        raise ValueError(f"{k} neighbours were asked for among {len(among)} rows")
    bank = np.ascontiguousarray(among, np.float32)
    cells = max(1, int(len(bank) ** 0.5))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(bank.shape[1]), bank.shape[1], cells)
    index.cp.min_points_per_centroid = 1  # few rows are no reason to warn
    index.train(bank)
    index.add(bank)
    index.nprobe = min(probes, cells)
    squares, places = index.search(np.ascontiguousarray(queries, np.float32), k)
    return places, np.sqrt(np.maximum(squares, 0).astype(np.float64))


def inside(
    centres: np.ndarray, radii: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count which points lie inside which balls, exactly.

    Args:
        centres: (n, d) float.
        radii: Of each ball, (n,) ≥ 0; a point on the sphere is outside.
        points: (m, d) float.

    Returns:
        Points in each ball (n,) and balls around each point (m,), both int64.

    Raises:
        ValueError: If the widths differ, a value is not finite, or radii are too many or few.
    """
    centres, points = _checked(centres, points)
    if radii.shape != (len(centres),):
        raise ValueError(f"radii of shape {radii.shape} were given for {len(centres)} centres")
    frame = _Frame.around(points, centres)
    return _inside(_Side(centres, frame), radii, _Side(points, frame))


def across(one: np.ndarray, other: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count how two sets lie in each other's neighbourhoods, exactly.

    The ball of a row reaches to its k-th neighbour within its own set, which is outside.

    Args:
        one: (n, d) float.
        other: (m, d) float.
        k: Below both n and m.

    Returns:
        Rows of `other` in the ball of each of `one` (n,), balls of `one` around each of `other`
        (m,), and balls of `other` around each of `one` (n,), all int64.

    Raises:
        ValueError: As `nearest`.
    """
    one, other = _checked(one, other)
    if not 1 <= k < min(len(one), len(other)):
        raise ValueError(f"neighbour {k} was asked for among {len(one)} and {len(other)} rows")
    frame = _Frame.around(one, other)
    sides = _Side(one, frame), _Side(other, frame)
    radii = [_nearest(side, side, k, itself=True)[1][:, -1] for side in sides]
    in_ball, around_other = _inside(sides[0], radii[0], sides[1])
    return in_ball, around_other, _inside(sides[1], radii[1], sides[0])[1]


def _nearest(
    queries: "_Side", among: "_Side", k: int, *, itself: bool
) -> tuple[np.ndarray, np.ndarray]:
    count, size = len(queries.rows), len(among.rows)
    places, squares = np.empty((count, k), np.int64), np.empty((count, k))
    dtype = _formats()[0]
    block = max(1, _SCORES // (4 * size))
    for start in range(0, count, block):
        own = slice(start, min(start + block, count))
        rows = queries.rows[own]
        most = len(rows) * max(_OPEN * size, 16 * k)
        while True:
            bank, asked = among.bank(dtype), queries.short(dtype).part(own)
            if (found := _candidates(bank, asked, k + itself, most)) is not None:
                break
            if (longer := _longer(dtype)) is None:
                found = _highest(bank, asked, k + itself)
                break
            dtype = longer  # for good: the next rows are no easier
        owners, others = found
        if itself:
            owners, others = (side[others != owners + start] for side in (owners, others))
        exact = _exact(rows, among.rows, owners, others)
        order = np.lexsort((others, exact, owners))
        first = np.searchsorted(owners, np.arange(len(rows)))  # owners come in order
        chosen = order[first[:, None] + np.arange(k)]
        places[own], squares[own] = others[chosen], exact[chosen]
    return places, np.sqrt(squares)


def _inside(centres: "_Side", radii: np.ndarray, points: "_Side") -> tuple[np.ndarray, np.ndarray]:
    # half the squared radii, in the frame's unit
    squares = (radii.astype(np.float64) / centres.frame.scale) ** 2 / 2
    in_ball = np.zeros(len(centres.rows), np.int64)
    around = np.zeros(len(points.rows), np.int64)
    dtype = _formats()[0]
    block = max(1, _TILE // len(points.rows))
    for start in range(0, len(in_ball), block):
        own = slice(start, start + block)
        most = _OPEN * len(in_ball[own]) * len(around)
        while True:
            asked = centres.short(dtype).part(own)
            longer = _longer(dtype)
            most = most if longer else float("inf")
            tiles = _ball_tiles(points.bank(dtype), asked, squares[own], most)
            if tiles is not None or longer is None:
                break
            dtype = longer  # for good: the next balls are no easier
        for sums, (places, columns), (owners, others) in tiles or ():
            in_ball[own] += sums
            around[places] += columns
            apart = np.sqrt(_exact(centres.rows[own], points.rows, owners, others))
            within = apart < radii[own][owners]
            np.add.at(in_ball, start + owners[within], 1)
            np.add.at(around, others[within], 1)
    return in_ball, around


@dataclass(frozen=True)
class _Frame:
    """Where the origin lies and how long 1 is: rows are short then, and no product overflows."""

    centre: np.ndarray
    scale: float

    @classmethod
    def around(cls, rows: np.ndarray, others: np.ndarray) -> "_Frame":
        centre = rows.mean(axis=0, dtype=np.float64)
        longest = 0.0
        for side in (rows,) if rows is others else (rows, others):
            for part in _parts(side):
                apart = part - centre
                longest = max(longest, float(np.einsum("nd,nd->n", apart, apart).max()))
        return cls(centre, longest**0.5 or 1.0)

    def enter(self, rows: np.ndarray) -> np.ndarray:
        return (rows - self.centre) / self.scale  # float64


@dataclass(frozen=True)
class _Short:
    """Rows in a short format, with the lengths that bound what the rounding changed.

    Attributes:
        rows: (n, d) in the format.
        length: Of the rounded rows, at most, (n,) float64.
        lost: Length of what rounding took off each row, at most, (n,) float64.
        half: Half the squared length of the unrounded rows, (n,) float64.
    """

    rows: torch.Tensor
    length: np.ndarray
    lost: np.ndarray
    half: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, frame: _Frame, dtype: torch.dtype) -> "_Short":
        short = torch.empty(rows.shape, dtype=dtype)
        length, lost, half = (np.empty(len(rows)) for _ in range(3))
        # bfloat16 from float32: half the memory to go through, for a rounding of its own
        from_float = dtype == torch.bfloat16
        # and a sum of squares in float32 is off by far less than a thousandth
        margin = 1.001 if from_float else 1.0
        for start in range(0, len(rows), _CHUNK):
            own = slice(start, start + _CHUNK)
            entered = frame.enter(rows[own])
            half[own] = np.einsum("nd,nd->n", entered, entered) / 2
            whole = torch.from_numpy(entered)
            whole = whole.float() if from_float else whole
            short[own] = whole
            back = short[own].to(whole.dtype)
            length[own] = margin * torch.linalg.vector_norm(back, dim=1).numpy()
            lost[own] = margin * torch.linalg.vector_norm(whole - back, dim=1).numpy()
        if from_float:
            lost += 2.0**-23 * length
        return cls(short, length, lost, half)

    def part(self, own: slice) -> "_Short":
        return _Short(self.rows[own], self.length[own], self.lost[own], self.half[own])


class _Side:
    """Rows with what was made of them in the format that was last asked for."""

    def __init__(self, rows: np.ndarray, frame: _Frame) -> None:
        self.rows, self.frame = rows, frame
        self._short: _Short | None = None
        self._bank: _Bank | None = None

    def short(self, dtype: torch.dtype) -> _Short:
        if self._short is None or self._short.rows.dtype != dtype:
            self._short = _Short.of(self.rows, self.frame, dtype)
        return self._short

    def bank(self, dtype: torch.dtype) -> "_Bank":
        if self._bank is None or self._bank.rows.dtype != dtype:
            self._bank = _Bank(self.short(dtype))
        return self._bank


class _Bank:
    """Rows to look among, shortest first, in chunks; a score is large for near rows.

    It is q·b − b·b / 2 + `shift`, with which the scores of near rows are small numbers, since a
    short format stores small numbers more exactly.
    """

    def __init__(self, short: _Short) -> None:
        count, width = short.rows.shape
        dtype = short.rows.dtype
        # rows of like length together: the bound of a chunk is that of its longest row
        self.order = np.argsort(short.half, kind="stable")
        # whole groups: rows without a place get the lowest score there is
        padded = -(-count // _GROUP) * _GROUP
        self.rows = torch.zeros((padded, width + 2), dtype=dtype)
        self.rows[:count, :width] = short.rows[torch.from_numpy(self.order)]
        self.length, self.lost = np.zeros(padded), np.zeros(padded)
        self.length[:count], self.lost[:count] = short.length[self.order], short.lost[self.order]
        # half the squared length as the sum of two numbers of the format
        self.shift = float(np.median(short.half))
        halves = torch.from_numpy(short.half[self.order] - self.shift)
        self.rows[:count, width] = -halves.to(dtype)
        rest = halves + self.rows[:count, width].double()
        self.rows[:count, width + 1] = -rest.to(dtype)
        lost_half = (rest + self.rows[:count, width + 1].double()).abs().max()
        self.rows[count:, width] = -8.0
        # worst case of a sum of d + 2 products in float32 (float64), each of a value of at most 1
        unit = 2.0**-53 if dtype == torch.float64 else 2.0**-24
        self.slack = 2 * (width + 4) * unit + float(lost_half)
        self.rounding = 0.51 * torch.finfo(dtype).eps  # of a score when it is stored

    def scores(self, queries: _Short) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Yield a chunk's places, its scores (n, m) and the bound on their errors (n, 1).

        To the bound comes `rounding` times the score's own size.
        """
        ones = torch.ones((len(queries.rows), 2), dtype=self.rows.dtype)
        rows = torch.cat([queries.rows, ones], dim=1)
        for start in range(0, len(self.rows), _CHUNK):
            own = slice(start, min(start + _CHUNK, len(self.rows)))
            # |q·b − q'·b'| ≤ |q − q'| |b| + |q'| |b − b'|, and |b| ≤ |b'| + |b − b'|
            bound = queries.lost * (self.length[own] + self.lost[own]).max()
            bound += queries.length * self.lost[own].max() + self.slack
            yield own, rows @ self.rows[own].T, torch.from_numpy(bound)[:, None]


def _candidates(
    bank: _Bank, queries: _Short, k: int, most: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return pairs (query, place) that hold every query's k nearest, queries in order.

    None if there are more than `most`.
    """
    tiles, highest = [], []
    for own, scores, bound in bank.scores(queries):
        groups = (own.stop - own.start) // _GROUP
        # a maximum over strided columns runs through whole vectors, four times as fast
        tops = scores.view(len(scores), _GROUP, groups).amax(1).to(_wide(scores))
        spread = bound.to(tops.dtype) + bank.rounding * tops.abs()
        tiles.append((own, scores, bound))
        highest.append((tops - spread, tops + spread))
    low, high = (torch.cat(side, dim=1) for side in zip(*highest, strict=True))
    if low.shape[1] >= k:
        # k groups hold a row each whose true score is at least this
        least = low.topk(k, dim=1).values[:, -1:]
    else:
        least = torch.full((len(low), 1), -torch.inf, dtype=low.dtype)
    if int((high >= least).sum()) > most:
        return None  # a pair or more in each of these groups
    owners, places = [], []
    first = 0
    for own, scores, bound in tiles:
        groups = (own.stop - own.start) // _GROUP
        who, group = (high[:, first : first + groups] >= least).nonzero(as_tuple=True)
        first += groups
        members = scores.view(len(scores), _GROUP, groups)[who, :, group].to(low.dtype)
        spread = bound.to(low.dtype)[who] + bank.rounding * members.abs()
        hit, member = (members + spread >= least[who]).nonzero(as_tuple=True)
        owners.append(who[hit])
        places.append(own.start + member * groups + group[hit])
    owner, place = torch.cat(owners).numpy(), torch.cat(places).numpy()
    if len(owner) > most:
        return None
    real = place < len(bank.order)
    owner, place = owner[real], bank.order[place[real]]
    order = np.lexsort((place, owner))
    return owner[order], place[order]


def _highest(bank: _Bank, queries: _Short, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs (query, place) of the k highest scores, for rows that no format tells apart."""
    scores = torch.cat([tile for _, tile, _ in bank.scores(queries)], dim=1)
    best = scores[:, : len(bank.order)].topk(k, dim=1).indices.numpy()
    return np.repeat(np.arange(len(best)), k), bank.order[best].ravel()


_BallTile = tuple[np.ndarray, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def _ball_tiles(
    bank: _Bank, centres: _Short, squares: np.ndarray, most: float
) -> list[_BallTile] | None:
    """Return each chunk's sure counts, of balls and of (places of) points, and its open pairs.

    None if more than `most` pairs are open. `squares` are halves of the squared radii.
    """
    tiles, undecided = [], 0
    # |c − p|² < r²  ⇔  c·p − p·p / 2 > (c·c − r²) / 2
    edge = torch.from_numpy(centres.half - squares + bank.shift)
    for own, scores, bound in bank.scores(centres):
        places = bank.order[own]
        scores = scores[:, : len(places)]
        low, high = (_beyond(edge[:, None] + sign * bound, sign, bank) for sign in (-1, 1))
        # between these scores a pair is open, above them it is inside
        sure, open_ = scores > high, scores >= low
        open_ ^= sure
        owners, members = (side.numpy() for side in open_.nonzero(as_tuple=True))
        undecided += len(owners)
        if undecided > most:
            return None
        inner = sure.numpy().view(np.uint8)
        counts = inner.sum(axis=1, dtype=np.int64), (places, inner.sum(axis=0, dtype=np.int64))
        tiles.append((*counts, (owners, places[members])))
    return tiles


def _beyond(true: torch.Tensor, sign: int, bank: _Bank) -> torch.Tensor:
    """Return what a stored score must pass so that the true one passes `true`, either way."""
    # |stored − s| ≤ rounding |stored|: s passes where stored (1 ± rounding) does
    outward = torch.where(true * sign > 0, 1 - bank.rounding, 1 + bank.rounding)
    stored = (true / outward).to(bank.rows.dtype)
    return torch.nextafter(stored, torch.full_like(stored, sign * torch.inf))


def _exact(
    queries: np.ndarray, among: np.ndarray, owners: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Return squared distances of pairs, (pairs,) float64, from the differences of the rows."""
    squares = np.empty(len(owners))
    step = max(1, _EXACT // queries.shape[1])
    for start in range(0, len(owners), step):
        own = slice(start, start + step)
        apart = np.subtract(queries[owners[own]], among[others[own]], dtype=np.float64)
        np.einsum("pd,pd->p", apart, apart, out=squares[own])
    return squares


def _formats() -> list[torch.dtype]:
    """Number formats of a pass, the shortest first that the processor computes with."""
    short = [torch.bfloat16] if _has_bfloat16() else []
    return [*short, torch.float32, torch.float64]


def _longer(dtype: torch.dtype) -> torch.dtype | None:
    following = _formats()[_formats().index(dtype) + 1 :]
    return following[0] if following else None


def _has_bfloat16() -> bool:
    # an older processor emulates bfloat16, at a third of the speed of float32
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _wide(scores: torch.Tensor) -> torch.dtype:
    return torch.float64 if scores.dtype == torch.float64 else torch.float32


def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]


def _checked(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError(
            f"rows of shape {one.shape} cannot be compared with rows of shape {other.shape}; "
            "both must be (rows, d) from the same extractor"
        )
    for rows in (one,) if one is other else (one, other):
        if not all(np.isfinite(part).all() for part in _parts(rows)):
            raise ValueError("a row holds values that are not finite; check the extractor")
    return np.asarray(one), np.asarray(other)
