import math

import numpy as np
import pytest
from scipy import stats

from classifiers import statistics as st


def test_mean_interval_equals_the_textbook():
    # mean 0.8, s = 0.02, t(0.975, 4) = 2.7764: half width 2.7764 * 0.02 / sqrt(5)
    values = [0.78, 0.80, 0.82, 0.78, 0.82]
    estimate = st.mean_interval(values)
    assert estimate.value == pytest.approx(0.8)
    assert estimate.high - estimate.value == pytest.approx(2.7764 * 0.02 / math.sqrt(5), rel=1e-4)
    low, high = stats.t.interval(0.9, 4, np.mean(values), stats.sem(values))
    assert st.mean_interval(values, 0.9)[1:3] == pytest.approx((low, high))


def test_one_run_has_no_interval_and_none_no_mean():
    one = st.mean_interval([0.7])
    assert one.value == 0.7
    assert one.n == 1
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert math.isnan(st.mean_interval([]).value)


def test_paired_difference_equals_scipy_and_beats_the_unpaired():
    generator = np.random.default_rng(0)
    common = generator.normal(0.8, 0.05, 8)
    a, b = common + 0.01 + generator.normal(0, 0.003, 8), common
    reference = stats.ttest_rel(a, b)
    found = st.paired_difference(a, b)
    assert found.p == pytest.approx(reference.pvalue)
    interval = reference.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert stats.ttest_ind(a, b).pvalue > 0.05
    assert st.paired_difference(b, a).high == -found.low


def test_paired_difference_of_constants():
    assert st.paired_difference([1, 1], [1, 1]) == (0, 0, 0, 2, 1)
    assert st.paired_difference([3, 3], [1, 1]) == (2, 2, 2, 2, 0)
    with pytest.raises(ValueError, match="3 and 2"):
        st.paired_difference([1, 2, 3], [1, 2])


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (81, 263)])
def test_wilson_equals_scipy(k, n):
    interval = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert st.wilson(k, n)[1:3] == pytest.approx((interval.low, interval.high))


def test_wilson_edges():
    assert st.wilson(0, 5).low == 0
    assert st.wilson(5, 5).high == 1
    # Newcombe 1998, table 1: 81 of 263 gives 0.2553 to 0.3662
    assert st.wilson(81, 263)[1:3] == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert math.isnan(st.wilson(0, 0).low)
    with pytest.raises(ValueError, match="k=6, n=5"):
        st.wilson(6, 5)


def test_bootstrap_of_single_picture_subjects_matches_the_normal_interval():
    generator = np.random.default_rng(1)
    a, b = generator.random(900) < 0.8, generator.random(900) < 0.7
    found = st.bootstrap_by_subject(a, b, np.arange(900), n=4000)
    difference = a.astype(float) - b
    half = 1.96 * difference.std() / 30
    assert found.value == pytest.approx(difference.mean())
    assert found.low == pytest.approx(difference.mean() - half, abs=0.005)
    assert found.high == pytest.approx(difference.mean() + half, abs=0.005)


def test_bootstrap_counts_people_not_pictures():
    # two people of 200 pictures, one always gained and one always lost: nothing is known
    a = np.r_[np.ones(200), np.zeros(200)]
    found = st.bootstrap_by_subject(a, 1 - a, ["x"] * 200 + ["y"] * 200)
    assert found.n == 2
    assert found.low == -1
    assert found.high == 1
    narrow = st.bootstrap_by_subject(a, 1 - a, np.arange(400))
    assert narrow.high - narrow.low < 0.3


def test_bootstrap_repeats_for_a_seed_and_refuses_one_person_or_odd_lengths():
    a, b = np.array([1, 0, 1, 1]), np.array([0, 0, 1, 0])
    people = ["p", "p", "q", "r"]
    assert st.bootstrap_by_subject(a, b, people, seed=3) == st.bootstrap_by_subject(
        a, b, people, seed=3
    )
    lonely = st.bootstrap_by_subject(a, b, ["p"] * 4)
    assert lonely.value == 0.5
    assert math.isnan(lonely.low)
    with pytest.raises(ValueError, match="4, 4 and 3"):
        st.bootstrap_by_subject(a, b, people[:3])


def test_scores_of_a_hand_made_confusion():
    truth = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 0, 0, 1, 1, 0, 2, 0])
    confusion = st.confusion_matrix(truth, predicted, 4)
    assert confusion.tolist() == [[3, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    precision, recall = st.precision_recall(confusion)
    assert precision[:3] == pytest.approx([3 / 5, 1 / 2, 1])
    assert recall[:3] == pytest.approx([3 / 4, 1 / 2, 1 / 2])
    assert np.isnan(precision[3])
    assert np.isnan(recall[3])
    assert st.accuracy(confusion) == 5 / 8
    assert st.balanced_accuracy(confusion) == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
    # F1: 2*3/(5+4), 2*1/(2+2), 2*1/(1+2)
    assert st.macro_f1(confusion) == pytest.approx((6 / 9 + 2 / 4 + 2 / 3) / 3)


def test_confusion_names_a_wrong_label():
    with pytest.raises(ValueError, match=r"0 … 2, got 0 … 3"):
        st.confusion_matrix(np.array([0, 1]), np.array([3, 1]), 3)


def test_macro_scores_count_a_class_that_is_never_right_as_nothing():
    confusion = st.confusion_matrix(np.array([0, 0, 1, 1, 2]), np.array([0, 0, 1, 0, 3]), 5)
    # precision 2/3, 1, 0 (2 never predicted), 0; recall 1, 1/2, 0, 0 (3 never the truth); 4 absent
    assert st.macro_precision(confusion) == pytest.approx((2 / 3 + 1) / 4)
    assert st.macro_recall(confusion) == pytest.approx((1 + 1 / 2) / 4)
    assert st.balanced_accuracy(confusion) == pytest.approx((1 + 1 / 2) / 3)
    assert math.isnan(st.macro_precision(np.zeros((2, 2), int)))


def test_top_k_hits():
    said = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    assert st.top_k_hits(said, np.array([1, 0, 2]), 1).tolist() == [False, False, False]
    assert st.top_k_hits(said, np.array([1, 0, 1]), 2).tolist() == [True, False, True]
    assert st.top_k_hits(said, np.array([2, 0, 2]), 3).all()
    generator = np.random.default_rng(2)
    many, truth = generator.random((500, 7)), generator.integers(0, 7, 500)
    assert (st.top_k_hits(many, truth, 1) == (many.argmax(1) == truth)).all()
    with pytest.raises(ValueError, match="k=4 must lie in 1 … 3"):
        st.top_k_hits(said, np.array([1, 0, 2]), 4)


def test_calibration_error_by_hand():
    # bins of a fifteenth: two at 0.9 with one right; one right at 0.6; one wrong at 1
    confidence, right = np.array([0.9, 0.9, 0.6, 1.0]), np.array([1, 0, 1, 0])
    found = st.expected_calibration_error(confidence, right)
    assert found == pytest.approx((2 * 0.4 + 0.4 + 1) / 4)
    assert math.isnan(st.expected_calibration_error(np.array([]), np.array([])))


def test_hedges_g_by_hand():
    a, b = [0.80, 0.84, 0.88], [0.70, 0.72, 0.74]
    # difference 0.12, deviations 0.04 and 0.02, correction 1 - 3 / (8 * 3 - 9)
    assert st.hedges_g(a, b) == pytest.approx(0.12 / 0.03 * (1 - 3 / 15))
    assert st.hedges_g(b, a) == -st.hedges_g(a, b)
    assert math.isnan(st.hedges_g([0.5, 0.5], [0.4, 0.4]))
    assert math.isnan(st.hedges_g([0.5], [0.4]))


@pytest.mark.parametrize(("gained", "lost"), [(12, 3), (3, 12), (1, 0), (40, 41)])
def test_mcnemar_equals_the_binomial_test(gained, lost):
    exact = stats.binomtest(gained, gained + lost).pvalue
    assert st.mcnemar(gained, lost, mid_p=False) == pytest.approx(exact)
    assert st.mcnemar(gained, lost) < exact


def test_mcnemar_of_the_paper_on_mid_p():
    # Fagerland et al. 2013, table 1: 1 and 7 give exact 0.070, mid-p 0.039
    assert st.mcnemar(1, 7, mid_p=False) == pytest.approx(0.0703, abs=1e-4)
    assert st.mcnemar(1, 7) == pytest.approx(0.0391, abs=1e-4)
    assert st.mcnemar(0, 0) == st.mcnemar(5, 5) == 1
    with pytest.raises(ValueError, match="lost=-1"):
        st.mcnemar(3, -1)


def test_chi_square_equals_scipy():
    table = [[61, 39], [48, 52]]
    expected = stats.chi2_contingency(table, correction=False)
    assert st.chi_square(61, 100, 48, 100) == pytest.approx((expected.statistic, expected.pvalue))
    assert st.chi_square(5, 5, 7, 7) == (0, 1)
    with pytest.raises(ValueError, match="6 of 5"):
        st.chi_square(6, 5, 1, 5)


def test_holm_by_hand():
    # 0.01 * 4, then 0.02 * 3, then 0.03 * 2 (held up at 0.06), then 0.2
    assert st.holm([0.02, 0.2, 0.01, 0.03]) == pytest.approx([0.06, 0.2, 0.04, 0.06])
    with_gap = st.holm([0.01, math.nan, 0.9])
    assert with_gap[[0, 2]] == pytest.approx([0.02, 0.9])
    assert math.isnan(with_gap[1])
    assert st.holm([0.6, 0.7]).tolist() == [1, 1]
    assert len(st.holm([])) == 0


def test_verdicts():
    assert st.verdict(0.1, 0.05) == "helps"
    assert st.verdict(-0.1, 0.01) == "hurts"
    assert st.verdict(0.1, 0.051) == st.verdict(0.1, math.nan) == "no evidence"


def crossed(seeds, people, pictures, of_seed, of_person, noise, generator, mean=0.0):
    who = np.repeat(np.arange(people), pictures)
    values = generator.normal(mean, noise, (seeds, len(who)))
    values += generator.normal(0, of_seed, (seeds, 1))
    values += generator.normal(0, of_person, people)[who]
    return values, who


def test_two_way_is_the_t_test_where_only_trainings_differ():
    values = np.repeat([[0.1], [0.3], [0.2]], 12, axis=1)
    found = st.two_way(values, np.repeat(range(4), 3))
    assert found.subject_variance == pytest.approx(0, abs=1e-12)
    paired = st.paired_difference([0.1, 0.3, 0.2], [0, 0, 0])
    assert found.estimate()[:3] == pytest.approx(paired[:3])
    assert found.p() == pytest.approx(paired.p, rel=1e-6)


def test_two_way_is_the_t_interval_of_people_where_only_they_differ():
    persons = np.array([0.1, 0.3, 0.2, 0.6])
    found = st.two_way(np.tile(np.repeat(persons, 3), (5, 1)), np.repeat(range(4), 3))
    low, high = stats.t.interval(0.95, 3, persons.mean(), stats.sem(persons))
    assert found.estimate()[1:3] == pytest.approx((low, high))
    assert found.p() == pytest.approx(stats.ttest_1samp(persons, 0).pvalue, rel=1e-6)


def test_two_way_finds_the_planted_variances():
    generator = np.random.default_rng(4)
    found = [
        st.two_way(*crossed(6, 40, 5, 0.2, 0.5, 1.0, generator)) for _ in range(300)
    ]  # fmt: skip
    noise = 1.0 / (6 * 200)
    assert np.mean([each.seed_variance for each in found]) == pytest.approx(
        0.2**2 / 6 + noise, rel=0.1
    )
    assert np.mean([each.subject_variance for each in found]) == pytest.approx(0.5**2 / 40, rel=0.1)


def test_two_way_interval_covers_the_truth_with_few_seeds_and_people():
    generator = np.random.default_rng(5)
    covered = []
    for _ in range(1500):
        values, who = crossed(3, 10, 4, 0.3, 0.5, 1.0, generator, mean=0.7)
        estimate = st.two_way(values, who).estimate()
        covered.append(estimate.low <= 0.7 <= estimate.high)
    assert 0.94 <= np.mean(covered) <= 0.995


def test_p_and_interval_agree():
    generator = np.random.default_rng(6)
    values, who = crossed(4, 12, 3, 0.1, 0.2, 0.5, generator, mean=0.2)
    found = st.two_way(values, who)
    for confidence in (0.5, 0.9, 0.99):
        interval = found.estimate(confidence)
        outside = interval.low > 0 or interval.high < 0
        assert outside == (found.p() < 1 - confidence)
    edge = found.estimate(1 - found.p())
    assert min(abs(edge.low), abs(edge.high)) < 1e-6


def test_one_person_with_most_pictures_is_no_crowd():
    generator = np.random.default_rng(7)
    values = generator.normal(0.3, 0.1, (4, 100))
    even = st.two_way(values, np.repeat(range(10), 10))
    alone = st.two_way(values, np.r_[np.zeros(91), range(1, 10)])
    assert even.subject_degrees == 9
    assert alone.subject_degrees < 0.3
    assert st.two_way(values, np.zeros(100)).p() != even.p()
    assert math.isnan(st.two_way(values, np.zeros(100)).p())
    assert math.isnan(st.two_way(values[:1], np.arange(100)).estimate().low)


def test_two_way_without_any_spread():
    still = st.two_way(np.ones((3, 8)), np.repeat(range(4), 2))
    assert still.estimate() == (1, 1, 1, 4, 0)
    assert st.two_way(np.zeros((3, 8)), np.repeat(range(4), 2)).p() == 1
    with pytest.raises(ValueError, match=r"shape \(3, 8\) must be .*, 4 subjects"):
        st.two_way(np.ones((3, 8)), range(4))


def test_seeds_needed_are_enough_in_simulation():
    # trainings waver by 0.1, people hardly: how many seeds find a gain of 0.1?
    model = st.TwoWay(0.1, 3, 40, 0.1**2 / 3, 1e-5, 39.0)
    more, reason = model.seeds_needed(0.05)
    assert reason == ""
    assert more == 7  # ten in all, as tables of the t-test say of an effect of one deviation
    generator = np.random.default_rng(8)
    runs = generator.normal(0.1, 0.1, (4000, 3 + more))
    assert 0.78 < (stats.ttest_1samp(runs, 0, axis=1).pvalue < 0.05).mean() < 0.9
    assert (model.seeds_needed(0.005)[0] or 0) > more


def test_seeds_cannot_replace_people_and_small_gains_have_no_end():
    people = st.TwoWay(0.1, 3, 10, 0.01**2, 0.1**2, 9.0)
    assert people.seeds_needed(0.05) == (None, "more test people are needed, not more seeds")
    tiny = st.TwoWay(0.001, 3, 40, 0.1**2 / 3, 0.0, 39.0)
    assert tiny.seeds_needed(0.05) == (
        None, "the difference is too small for 100 seeds to decide",
    )  # fmt: skip
    alone = st.TwoWay(0.1, 1, 40, math.nan, math.nan, 39.0)
    assert alone.seeds_needed(0.05) == (None, "at least 2 seeds are needed for any interval")


def test_the_crossed_bootstrap_agrees_with_the_model_where_there_are_many():
    values, who = crossed(60, 80, 3, 0.3, 0.5, 1.0, np.random.default_rng(9), mean=0.5)
    drawn, model = st.crossed_bootstrap(values, who), st.two_way(values, who).estimate()
    assert drawn.value == pytest.approx(model.value)
    assert drawn.low == pytest.approx(model.low, abs=0.02)
    assert drawn.high == pytest.approx(model.high, abs=0.02)
    assert drawn == st.crossed_bootstrap(values, who)
    assert math.isnan(st.crossed_bootstrap(values[:1], who).low)


def test_sums_by_subject():
    sums, pictures = st.by_subject(np.array([[1, 2, 3, 4], [0, 0, 1, 1]]), ["b", "a", "b", "a"])
    assert sums.tolist() == [[6, 4], [1, 1]]
    assert pictures.tolist() == [2, 2]
