import numpy as np
import pytest

from curation.fidelity import (
    bootstrap_interval,
    compare,
    frechet_distance,
    frechet_infinity,
    inception_score,
    kernel_distance,
    precision_recall_density_coverage,
    vendi_score,
)
from curation.fidelity.distances import moments


def normal(seed, n, d, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1, (n, d))


def test_frechet_of_a_set_with_itself_is_zero():
    rows = normal(0, 50, 8)
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-9)


def test_frechet_of_a_shift_in_one_dimension_is_its_square():
    rows = normal(0, 50, 8)
    shift = np.array([3, 0, 0, 0, 0, 0, 0, 0])
    assert frechet_distance(rows, rows + shift) == pytest.approx(9)


def test_frechet_of_a_stretched_gaussian_follows_the_closed_form():
    rows = normal(0, 400, 4)
    # covariances C and 4C: tr(C + 4C - 2 * 2C) = tr C
    expected = np.trace(np.cov(rows, rowvar=False)) + (rows.mean(axis=0) ** 2).sum()
    assert frechet_distance(rows, 2 * rows) == pytest.approx(expected)


# fewer rows than features on no side, on one side, on both sides
@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")
@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 24), (300, 20, 24), (40, 30, 64)])
def test_frechet_equals_clean_fid(n, m, d):
    from cleanfid.fid import fid_from_feats

    mixing = normal(9, d, d) / np.sqrt(d)
    real = normal(1, n, d) @ mixing
    fake = normal(2, m, d, mean=0.2) @ mixing * 1.3
    assert frechet_distance(real, fake) == pytest.approx(fid_from_feats(real, fake), rel=1e-6)


def test_kernel_distance_equals_clean_fid_on_whole_sets_of_equal_size():
    from cleanfid.fid import kernel_distance as clean_kernel_distance

    real, fake = normal(1, 60, 16), normal(2, 60, 16, mean=0.3)
    expected = clean_kernel_distance(real, fake, num_subsets=1, max_subset_size=60)
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_is_unbiased_for_equal_distributions():
    values = [kernel_distance(normal(2 * i, 30, 8), normal(2 * i + 1, 30, 8)) for i in range(200)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    assert min(values) < 0 < max(values)


def test_kernel_distance_is_the_mean_over_all_pairs():
    # Bińkowski et al. 2018, eq. 4, written out
    real, fake = normal(1, 12, 5), normal(2, 9, 5, mean=0.5)

    def k(x, y):
        return (sum(a * b for a, b in zip(x, y, strict=True)) / 5 + 1) ** 3

    def within(rows):
        pairs = [k(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]
        return sum(pairs) / len(pairs)

    between = [k(x, y) for x in real for y in fake]
    expected = within(real) + within(fake) - 2 * sum(between) / len(between)
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "d"), [(900, 64), (1200, 64)])
def test_the_extrapolated_distance_loses_the_bias(n, d):
    # equal covariances, means apart by 1: the true distance is 1
    pairs = [(normal([1, i], n, d), normal([2, i], n, d, mean=1 / np.sqrt(d))) for i in range(8)]
    plain = [frechet_distance(*pair) for pair in pairs]
    extrapolated = [frechet_infinity(*pair) for pair in pairs]
    error = np.std(extrapolated) / np.sqrt(len(pairs) - 1)
    assert np.mean(plain) > 2.5
    assert abs(np.mean(extrapolated) - 1) < 3 * error
    assert error < 0.2


def test_too_few_rows_are_not_extrapolated():
    with pytest.raises(ValueError, match=r"129 real and 200 generated rows of 64 .* needs 130"):
        frechet_infinity(normal(0, 129, 64), normal(1, 200, 64))
    frechet_infinity(normal(0, 130, 64), normal(1, 130, 64))


def test_the_extrapolation_leaves_out_whole_subjects():
    subjects = np.repeat(np.arange(40), 10)
    order = np.random.default_rng(0).permutation(400)
    real, fake = normal(0, 400, 6), normal(1, 400, 6)
    # the same set in another order has the same people in its halves, but for their order inside
    one = frechet_infinity(real, fake, subjects=subjects, points=2)
    other = frechet_infinity(real[order], fake, subjects=subjects[order], points=2)
    assert one == pytest.approx(other, rel=1e-9)
    assert frechet_infinity(real, fake, points=2) != pytest.approx(one, rel=1e-3)


def test_weights_are_repeated_rows():
    rows = normal(0, 30, 50)
    times = np.random.default_rng(1).integers(0, 4, 30)
    mean, factor = moments(rows, times)
    repeated = np.repeat(rows, times, axis=0)
    np.testing.assert_allclose(mean, repeated.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(factor.T @ factor, np.cov(repeated, rowvar=False), atol=1e-12)


def test_the_bootstrap_is_that_of_rows_drawn_with_replacement():
    real, fake = normal(0, 60, 80), 1.2 * normal(1, 50, 80)
    value = frechet_distance(real, fake)
    low, high = bootstrap_interval(real, fake, resamples=800)
    rng = np.random.default_rng(5)
    plain = [
        frechet_distance(real[rng.integers(60, size=60)], fake[rng.integers(50, size=50)])
        for _ in range(800)
    ]
    assert low < value < high
    ends = np.quantile(plain, [0.025, 0.975])
    assert high - low == pytest.approx(ends[1] - ends[0], rel=0.2)
    assert bootstrap_interval(real, fake, resamples=50) == bootstrap_interval(
        real, fake, resamples=50
    )


def test_the_bootstrap_draws_whole_subjects():
    subjects = np.repeat(np.arange(20), 10)
    real = normal(0, 20, 6)[subjects] + 0.01 * normal(1, 200, 6)
    fake = normal(2, 200, 6)
    by_subject = bootstrap_interval(real, fake, subjects=subjects, resamples=200)
    by_picture = bootstrap_interval(real, fake, resamples=200)
    assert np.ptp(by_subject) > 1.5 * np.ptp(by_picture)
    with pytest.raises(ValueError, match="all real rows are of one subject"):
        bootstrap_interval(real, fake, subjects=np.zeros(200))


@pytest.mark.parametrize("clusters", [0, 12])
def test_neighbour_figures_are_those_of_the_definitions(clusters):
    real, fake = normal(1, 130, 7), normal(2, 150, 7, mean=0.3)
    if clusters:
        middles = 3 * normal(3, clusters, 7)
        real = middles[np.arange(130) % clusters] + 0.01 * real
        fake = middles[np.arange(150) % (clusters - 4)] + 0.02 * fake
    k = 4

    def distance(x, y):
        return sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) ** 0.5

    def radius(rows, i):
        return sorted(distance(rows[i], row) for j, row in enumerate(rows) if j != i)[k - 1]

    radius_real = [radius(real, i) for i in range(len(real))]
    radius_fake = [radius(fake, i) for i in range(len(fake))]
    hits = [
        [distance(x, y) < r for y in fake] for x, r in zip(real, radius_real, strict=True)
    ]  # eq. 4 of Naeem et al. 2020
    back = [[distance(x, y) < r for y, r in zip(fake, radius_fake, strict=True)] for x in real]
    expected = {
        "precision": np.mean([any(row[j] for row in hits) for j in range(len(fake))]),
        "recall": np.mean([any(row) for row in back]),
        "density": sum(map(sum, hits)) / (k * len(fake)),
        "coverage": np.mean([any(row) for row in hits]),
    }
    assert precision_recall_density_coverage(real, fake, k=k) == pytest.approx(expected, rel=1e-12)


def test_vendi_score_counts_directions():
    # three directions, four rows each: 3 whatever their lengths
    rows = np.repeat(np.eye(5)[:3], 4, axis=0) * np.arange(1, 13)[:, None]
    assert vendi_score(rows) == pytest.approx(3)
    assert vendi_score(np.eye(7)) == pytest.approx(7)
    assert vendi_score(np.ones((9, 4))) == pytest.approx(1)


@pytest.mark.parametrize(("n", "d"), [(20, 6), (6, 20)])
def test_vendi_score_is_the_entropy_of_the_similarities(n, d):
    rows = normal(0, n, d, mean=0.5)
    similarity = [
        [x @ y / np.sqrt((x @ x) * (y @ y)) for y in rows] for x in rows
    ]  # definition 3.1 of Friedman & Dieng 2023
    shares = np.linalg.eigvalsh(np.array(similarity) / n)
    entropy = -sum(share * np.log(share) for share in shares if share > 1e-12)
    assert vendi_score(rows) == pytest.approx(np.exp(entropy), rel=1e-9)


def test_a_row_without_a_direction_has_no_vendi_score():
    rows = np.abs(normal(0, 40, 5))
    rows[3] = 0
    with pytest.raises(ValueError, match="1 rows are 0 throughout"):
        vendi_score(rows)
    assert "vendi" not in compare(rows, normal(1, 40, 5))


def test_inception_score_by_hand():
    assert inception_score(np.eye(4)) == pytest.approx(4)  # sure, and of each class once
    assert inception_score(np.tile(np.eye(4)[0], (9, 1))) == pytest.approx(1)
    assert inception_score(np.full((9, 4), 0.25)) == pytest.approx(1)
    rows = np.array([[0.9, 0.1], [0.4, 0.6]])
    mean = [0.65, 0.35]
    divergence = sum(p * np.log(p / q) for row in rows for p, q in zip(row, mean, strict=True)) / 2
    assert inception_score(rows) == pytest.approx(np.exp(divergence))
    with pytest.raises(ValueError, match="sum to 1"):
        inception_score(np.ones((3, 2)))


def test_neighbour_figures_by_hand():
    real = np.array([[0.0], [1.0], [3.0]])  # radii to the first neighbour: 1, 1, 2
    fake = np.array([[0.5], [2.5], [9.0]])  # radii: 2, 2, 6.5
    figures = precision_recall_density_coverage(real, fake, k=1)
    # 0.5 lies in the balls around 0 and 1, 2.5 in that around 3, 9 in none
    assert figures == pytest.approx(
        {"precision": 2 / 3, "recall": 1.0, "density": 3 / 3, "coverage": 1.0}
    )


def test_expected_coverage_and_density_of_equal_distributions():
    # Naeem et al. 2020: coverage 1 - (N-1)...(N-k) / ((M+N-1)...(M+N-k)), density 1
    n, k = 400, 3
    expected = 1 - np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    figures = [
        precision_recall_density_coverage(normal(2 * i, n, 5), normal(2 * i + 1, n, 5), k=k)
        for i in range(6)
    ]
    assert np.mean([one["coverage"] for one in figures]) == pytest.approx(expected, abs=0.015)
    assert np.mean([one["density"] for one in figures]) == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_neighbour_figures_of_the_published_example():
    # the example in prdc's README: two sets of 10,000 from N(0, I) in 1,000 dimensions, k = 5
    figures = precision_recall_density_coverage(
        normal(0, 10000, 1000).astype(np.float32), normal(1, 10000, 1000).astype(np.float32), k=5
    )
    published = {"precision": 0.4772, "recall": 0.4705, "density": 1.0555, "coverage": 0.9735}
    # in so many dimensions a few central points hold most neighbours: density moves by 0.1
    # from one draw to the next, the shares by 0.01
    tolerance = {"precision": 0.03, "recall": 0.03, "density": 0.25, "coverage": 0.02}
    for name, value in published.items():
        assert figures[name] == pytest.approx(value, abs=tolerance[name]), name


def test_a_collapsed_generator_keeps_precision_and_loses_recall():
    real = normal(0, 200, 4)
    fake = np.repeat(normal(1, 5, 4), 40, axis=0) + normal(2, 200, 4) * 1e-3
    figures = precision_recall_density_coverage(real, fake)
    assert figures["precision"] > 0.7
    assert figures["recall"] < 0.05
    assert figures["coverage"] < 0.4


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (np.zeros((9, 3)), np.zeros((9, 4)), "same extractor"),
        (np.zeros((1, 3)), np.zeros((9, 3)), "real has 1 rows"),
        (np.zeros((9, 3)), np.full((9, 3), np.nan), "fake has features that are not finite"),
    ],
)
def test_unfit_features_are_refused(real, fake, message):
    for figure in (frechet_distance, kernel_distance, precision_recall_density_coverage):
        with pytest.raises(ValueError, match=message):
            figure(real, fake)


def test_compare_agrees_with_the_plain_functions():
    real, fake = normal(0, 80, 6), normal(1, 60, 6, mean=0.5)
    figures = compare(real, fake, k=4)
    assert figures["frechet"].value == pytest.approx(frechet_distance(real, fake))
    assert figures["kernel"].value == pytest.approx(kernel_distance(real, fake))
    for name, value in precision_recall_density_coverage(real, fake, k=4).items():
        assert figures[name].value == pytest.approx(value), name
    for figure in figures.values():
        assert (figure.n_real, figure.n_fake, figure.n_floor) == (80, 60, 40)
        assert figure.interval[0] <= figure.value <= figure.interval[1]
    assert figures["frechet"].small_sample
    assert not figures["kernel"].small_sample


def test_the_floor_shows_what_zero_looks_like():
    alike = compare(normal(0, 200, 12), normal(1, 200, 12))
    shifted = compare(normal(0, 200, 12), normal(1, 200, 12, mean=0.8))
    # a perfect generator: far from 0 at this n, and level with the floor at equal n
    assert alike["frechet"].interval[0] > 0.2
    several = [
        compare(normal([1, i], 200, 12), normal([2, i], 200, 12))["frechet"] for i in range(6)
    ]
    floor = np.mean([figure.floor for figure in several])
    assert np.mean([figure.at_floor_n for figure in several]) == pytest.approx(floor, rel=0.15)
    assert shifted["frechet"].at_floor_n > 3 * shifted["frechet"].floor
    assert alike["kernel"].interval[0] < 0 < alike["kernel"].interval[1]
    assert shifted["kernel"].interval[0] > 0


def test_a_floor_parts_subjects_and_not_their_pictures():
    # 20 people, 10 nearly equal pictures each: halves by picture would look the same
    subjects = np.repeat(np.arange(20), 10)
    real = normal(0, 20, 6)[subjects] + 0.01 * normal(1, 200, 6)
    fake = normal(2, 200, 6)
    by_subject = compare(real, fake, subjects=subjects)
    by_picture = compare(real, fake)
    assert by_subject["frechet"].floor > 3 * by_picture["frechet"].floor
    width = {
        name: figures["kernel"].interval[1] - figures["kernel"].interval[0]
        for name, figures in (("subject", by_subject), ("picture", by_picture))
    }
    assert width["subject"] > 1.5 * width["picture"]


def test_the_kernel_interval_holds_what_it_promises():
    # truth of a shift by 0.5 in each of 4 dimensions, from much larger sets
    truth = kernel_distance(normal(7, 2000, 4), normal(8, 2000, 4, mean=0.5))
    inside = 0
    for index in range(30):
        figure = compare(
            normal([1, index], 60, 4), normal([2, index], 60, 4, mean=0.5), splits=0, seed=index
        )["kernel"]
        inside += figure.interval[0] <= truth <= figure.interval[1]
    # 95 % of 30 is 28.5; below 25 would be a chance of 1 in 300
    assert inside >= 25


def test_diversity_has_its_floor_at_the_real_set():
    real, fake = normal(0, 120, 30), normal(1, 90, 30)
    sure = np.eye(3)[np.arange(120) % 3]
    figures = compare(real, fake, probabilities=(sure, np.full((90, 3), 1 / 3)))
    assert figures["vendi"].value == pytest.approx(vendi_score(fake))
    # equal distributions at equal counts
    assert figures["vendi"].at_floor_n == pytest.approx(figures["vendi"].floor, rel=0.05)
    assert figures["vendi"].n_floor == 60
    assert figures["classifier_score"].value == pytest.approx(1)
    assert figures["classifier_score"].floor == pytest.approx(3, abs=0.2)
    collapsed = compare(real, np.tile(fake[:3], (30, 1)) + 1e-6 * fake)["vendi"]
    assert collapsed.value < 3.1
    assert collapsed.floor > 20
    assert "classifier_score" not in compare(real, fake)
    with pytest.raises(ValueError, match="90 and 120 rows of probabilities"):
        compare(real, fake, probabilities=(sure[:90], sure))


def test_the_extrapolation_is_among_the_figures_where_the_rows_suffice():
    real, fake = normal(0, 300, 20), normal(1, 280, 20, mean=0.5)
    figure = compare(real, fake)["frechet_infinity"]
    assert figure.interval[0] < 20 * 0.25 < figure.interval[1]
    assert figure.value == pytest.approx(frechet_infinity(real, fake), abs=0.5)
    assert figure.n_floor == 150
    assert abs(figure.floor) < compare(real, fake)["frechet"].floor
    assert "frechet_infinity" not in compare(real, fake[:40])
    # enough for the value, too few for its floor in halves
    short = compare(real[:60], fake[:60])["frechet_infinity"]
    assert (short.floor, short.at_floor_n, short.n_floor) == (None, None, 0)


def test_compare_is_the_same_twice_and_has_no_floor_unasked():
    real, fake = normal(0, 40, 6), normal(1, 40, 6)
    assert compare(real, fake, seed=3) == compare(real, fake, seed=3)
    assert compare(real, fake, splits=0)["frechet"].floor is None


def test_few_rows_have_figures_but_no_interval():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(6, 8)), rng.normal(size=(15, 8))
    figures = compare(real, fake, k=5)
    assert figures["kernel"].interval is None
    assert figures["precision"].n_real == 6
    assert compare(rng.normal(size=(12, 8)), fake, k=5)["kernel"].interval is not None
