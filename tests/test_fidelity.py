import numpy as np
import pytest
import torch

from curation.features import INCEPTION_FILE, ClassifierFeatures, Inception, RandomConvolutions
from curation.fidelity import (
    compare,
    frechet_distance,
    kernel_distance,
    precision_recall_density_coverage,
)


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


def test_compare_is_the_same_twice_and_has_no_floor_unasked():
    real, fake = normal(0, 40, 6), normal(1, 40, 6)
    assert compare(real, fake, seed=3) == compare(real, fake, seed=3)
    assert compare(real, fake, splits=0)["frechet"].floor is None


def pictures(n, side=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 3, side, side), dtype=np.uint8)


def test_random_convolutions_depend_on_the_seed_alone():
    images = pictures(5)
    features = RandomConvolutions(seed=1)(images)
    assert features.shape == (5, 256)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, RandomConvolutions(seed=1)(images))
    # batches change nothing
    np.testing.assert_allclose(
        features, RandomConvolutions(seed=1, batch_size=2)(images), atol=1e-5
    )
    assert RandomConvolutions(seed=1).hash == RandomConvolutions(seed=1).hash
    assert RandomConvolutions(seed=1).hash != RandomConvolutions(seed=2).hash
    assert np.abs(features - RandomConvolutions(seed=2)(images)).max() > 0.01


def test_random_convolutions_see_layout_and_blur():
    import cv2

    smooth = np.stack(
        [
            cv2.resize(picture.transpose(1, 2, 0), (32, 32), interpolation=cv2.INTER_CUBIC)
            for picture in pictures(120, side=8)
        ]
    ).transpose(0, 3, 1, 2)
    smooth[:, :, :16] //= 3  # dark above, as hair is
    extract = RandomConvolutions()
    real, alike = extract(smooth[:60]), extract(smooth[60:])
    upside_down = extract(np.ascontiguousarray(smooth[60:, :, ::-1]))
    blurred = extract(
        np.stack([cv2.blur(p.transpose(1, 2, 0), (5, 5)) for p in smooth[60:]]).transpose(
            0, 3, 1, 2
        )
    )
    near = kernel_distance(real, alike)
    assert kernel_distance(real, upside_down) > 20 * abs(near)
    assert kernel_distance(real, blurred) > 3 * abs(near)


def test_pictures_too_small_or_of_another_kind_are_refused():
    with pytest.raises(ValueError, match=r"8x8 shrink to 4 px.*\(scales\)"):
        RandomConvolutions()(pictures(2, side=8))
    with pytest.raises(ValueError, match="float64"):
        RandomConvolutions()(pictures(2).astype(np.float64))


def test_missing_inception_weights_are_one_clear_message(tmp_path):
    for folder in (tmp_path, None):
        extractor = Inception(folder)
        with pytest.raises(FileNotFoundError) as error:
            extractor(pictures(1))
        for word in (INCEPTION_FILE, "https://", "features.folder"):
            assert word in str(error.value)


class _Stub(torch.nn.Module):
    """Has the interface of the published file: `layers` gives 2,048 numbers a picture."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.AdaptiveAvgPool2d((16, 128)), torch.nn.Conv2d(3, 1, 1), torch.nn.Flatten()
        )

    def forward(self, x):
        return self.layers(x)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_inception_resizes_and_scales_as_clean_fid_does(tmp_path):
    from cleanfid.resize import build_resizer

    torch.manual_seed(0)
    stub = _Stub()
    torch.jit.script(stub).save(str(tmp_path / INCEPTION_FILE))
    images = pictures(3, side=40)
    extractor = Inception(tmp_path, batch_size=2)
    features = extractor(images)
    assert features.shape == (3, 2048)
    assert len(extractor.hash) == 10

    resized = build_resizer("clean")(images[2].transpose(1, 2, 0))
    batch = torch.from_numpy(resized).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = stub((batch - 128) / 128).numpy()
    np.testing.assert_allclose(features[2:], expected, atol=1e-5)


def test_a_classifier_serves_as_an_extractor():
    class Classifier:
        name, hash = "small_cnn", "abc"

        def features(self, images):
            return images.mean(axis=(2, 3), dtype=np.float64)

    extractor = ClassifierFeatures(Classifier(), note="trained on the real faces")
    assert extractor.name == "small_cnn (trained on the real faces)"
    assert extractor(pictures(4)).dtype == np.float32
    assert extractor.resizer == "none: the corpus' own size"


def test_few_rows_have_figures_but_no_interval():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(6, 8)), rng.normal(size=(15, 8))
    figures = compare(real, fake, k=5)
    assert figures["kernel"].interval is None
    assert figures["precision"].n_real == 6
    assert compare(rng.normal(size=(12, 8)), fake, k=5)["kernel"].interval is not None
