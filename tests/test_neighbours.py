import numpy as np
import pytest
import torch

from curation import neighbours
from curation.neighbours import across, inside, nearest, nearly_nearest

FORMATS = {
    "bfloat16": [torch.bfloat16, torch.float32, torch.float64],
    "float32": [torch.float32, torch.float64],
    "float64": [torch.float64],
}


@pytest.fixture(params=FORMATS)
def formats(request, monkeypatch):
    """Every first pass, also where the processor would not choose it."""
    monkeypatch.setattr(neighbours, "_formats", lambda: FORMATS[request.param])


def squares(queries, among):
    """Every squared distance, plainly, in float64."""
    return np.stack(
        [((among.astype(np.float64) - query) ** 2).sum(axis=1) for query in queries.astype("f8")]
    )


def drawn(kind, rows, width, seed=0):
    rng = np.random.default_rng([seed, rows, width])
    found = rng.normal(size=(rows, width))
    if kind == "tight clusters":
        middles = rng.normal(size=(rows // 10 + 1, width))
        found = middles[rng.integers(len(middles), size=rows)] + 1e-4 * found
    elif kind == "far from the origin":
        found += 100
    elif kind == "minute":
        found *= 1e-20
    elif kind == "huge":
        found *= 1e15
    elif kind == "lengths from 1 to 1,000":
        found *= 10 ** rng.uniform(0, 3, (rows, 1))
    return found.astype(np.float32)


KINDS = (
    "normal",
    "tight clusters",
    "far from the origin",
    "minute",
    "huge",
    "lengths from 1 to 1,000",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "count", "width", "k"), [(20, 4500, 24, 10), (7, 33, 3, 30)])
def test_neighbours_are_those_of_a_plain_search(formats, kind, n, count, width, k):
    among, queries = drawn(kind, count, width), drawn(kind, n, width, seed=1)
    places, distances = nearest(queries, among, k)
    plain = squares(queries, among)
    np.testing.assert_array_equal(places, plain.argsort(axis=1, kind="stable")[:, :k])
    np.testing.assert_allclose(distances, np.sqrt(np.sort(plain, axis=1)[:, :k]), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_is_its_own_neighbour(formats, kind):
    rows = drawn(kind, 600, 16)
    places, distances = nearest(rows, rows, 4, itself=True)
    plain = squares(rows, rows)
    np.fill_diagonal(plain, np.inf)
    np.testing.assert_array_equal(places, plain.argsort(axis=1, kind="stable")[:, :4])
    np.testing.assert_allclose(distances, np.sqrt(np.sort(plain, axis=1)[:, :4]), rtol=1e-12)


def test_equal_rows_come_in_the_order_of_their_places(formats):
    rows = np.repeat(drawn("normal", 100, 8), 3, axis=0)  # 0, 1, 2 are equal, and so on
    places, distances = nearest(rows, rows, 2, itself=True)
    assert places[:3].tolist() == [[1, 2], [0, 2], [0, 1]]
    assert not distances.any()


def test_rows_that_no_format_tells_apart_still_have_neighbours(formats):
    rows = np.ones((1000, 5), np.float32)
    places, distances = nearest(rows, rows, 3, itself=True)
    assert not distances.any()
    assert (places != np.arange(1000)[:, None]).all()
    assert (np.diff(np.sort(places, axis=1), axis=1) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_every_score_is_within_its_bound(kind, dtype):
    among, queries = drawn(kind, 5000, 40), drawn(kind, 50, 40, seed=1)
    frame = neighbours._Frame.around(among, queries)
    bank = neighbours._Side(among, frame).bank(dtype)
    asked = neighbours._Side(queries, frame).short(dtype)
    entered, inner = frame.enter(queries), frame.enter(among)[bank.order]
    true = entered @ inner.T - (inner**2).sum(axis=1) / 2 + bank.shift
    for own, scores, bound in bank.scores(asked):
        kept = scores[:, : len(true[0, own])].double().numpy()
        off = np.abs(kept - true[:, own])
        assert (off <= bound.numpy() + bank.rounding * np.abs(kept)).all()
        # and the bound is of use: a few times what really happens
        if dtype == torch.bfloat16 and kind == "normal":
            assert off.max() > 0.1 * bound.numpy().max()


@pytest.mark.parametrize("kind", KINDS)
def test_points_are_counted_inside_balls(formats, kind):
    centres, points = drawn(kind, 100, 12), drawn(kind, 4200, 12, seed=1)
    plain = np.sqrt(squares(centres, points))
    # a sphere between the 20th and the 21st point
    radii = np.partition(plain, [19, 20], axis=1)[:, 19:21].mean(axis=1)
    in_ball, around = inside(centres, radii, points)
    assert in_ball.tolist() == [20] * 100
    np.testing.assert_array_equal(around, (plain < radii[:, None]).sum(axis=0))


def test_a_point_on_the_sphere_is_outside(formats):
    rows = drawn("normal", 400, 20)
    _, distances = nearest(rows, rows, 3, itself=True)
    in_ball, _ = inside(rows, distances[:, -1], rows)
    assert in_ball.tolist() == [3] * 400  # itself and two others, not the third


def test_two_sets_in_each_others_neighbourhoods(formats):
    one, other = drawn("normal", 300, 9), drawn("tight clusters", 260, 9, seed=1)
    counts = across(one, other, 3)
    radii = [nearest(rows, rows, 3, itself=True)[1][:, -1] for rows in (one, other)]
    plain = np.sqrt(squares(one, other))
    np.testing.assert_array_equal(counts[0], (plain < radii[0][:, None]).sum(axis=1))
    np.testing.assert_array_equal(counts[1], (plain < radii[0][:, None]).sum(axis=0))
    np.testing.assert_array_equal(counts[2], (plain < radii[1]).sum(axis=1))


def test_unfit_rows_are_refused():
    rows = drawn("normal", 10, 4)
    with pytest.raises(ValueError, match="10 neighbours were asked for among 9 rows"):
        nearest(rows, rows, 10, itself=True)
    with pytest.raises(ValueError, match="same extractor"):
        nearest(rows, rows[:, :3], 1)
    with pytest.raises(ValueError, match="not finite"):
        nearest(rows, np.full((9, 4), np.inf), 1)
    with pytest.raises(ValueError, match="3 queries cannot be the 10 rows"):
        nearest(rows[:3], rows, 1, itself=True)
    with pytest.raises(ValueError, match="neighbour 10 was asked for among 10 and 10 rows"):
        across(rows, rows, 10)
    with pytest.raises(ValueError, match="for 10 centres"):
        inside(rows, np.ones(9), rows)


def test_an_approximate_search_finds_most():
    pytest.importorskip("faiss")
    rows = drawn("normal", 3000, 16)
    near, _ = nearly_nearest(rows, rows, 5, probes=20)
    exact, _ = nearest(rows, rows, 5)
    shared = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(near, exact, strict=True)])
    assert shared > 0.9
    everywhere, distances = nearly_nearest(rows, rows, 5, probes=10**6)
    np.testing.assert_array_equal(everywhere, exact)
    np.testing.assert_allclose(distances[:, 1:], nearest(rows, rows, 5)[1][:, 1:], rtol=1e-4)


def test_without_faiss_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ImportError, match=r"affectory\[faiss\]"):
        nearly_nearest(np.zeros((3, 2)), np.zeros((3, 2)), 1)
