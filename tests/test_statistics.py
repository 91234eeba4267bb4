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
