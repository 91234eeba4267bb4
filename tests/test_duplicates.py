import cv2
import numpy as np
import pytest

from curation.duplicates import (
    calibrate,
    close_pairs,
    describe,
    lower_limit,
    nearest,
    own_distances,
)
from curation.puppets import render

SHARE = 0.005  # as conf/gate/standard.yaml has it
SUBJECTS, EMOTIONS = 60, ("happy", "sad", "surprise")


def crop(picture):
    # the face without the background, as a standardised corpus has it
    return cv2.resize(picture[12:56, 10:54], (64, 64), interpolation=cv2.INTER_AREA)


def puppets(subjects):
    faces = [crop(render("studio", s, 1, e, size=64)) for s in subjects for e in EMOTIONS]
    return np.stack(faces).transpose(0, 3, 1, 2)


@pytest.fixture(scope="module")
def training():
    faces = puppets(range(1, SUBJECTS + 1))
    return faces, [f"studio/{s}" for s in range(1, SUBJECTS + 1) for _ in EMOTIONS]


@pytest.fixture(scope="module")
def ids(training):
    return [f"face-{place}" for place in range(len(training[0]))]


@pytest.fixture(scope="module")
def calibration(training):
    faces, subjects = training
    return calibrate(faces, subjects=subjects)


def moved(picture, across, down):
    move = np.array([[1.0, 0, across], [0, 1, down]])
    size = picture.shape[1::-1]
    return cv2.warpAffine(picture, move, size, borderMode=cv2.BORDER_REPLICATE)


def zoomed(picture, factor):
    height, width = picture.shape[:2]
    middle = ((width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(middle, 0, factor)
    return cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def jpeg(picture, quality):
    data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def relit(picture, gain, offset):
    return np.clip(picture.astype(float) * gain + offset, 0, 255).astype(np.uint8)


DISGUISES = {
    "plain": lambda p: p,
    "mirrored": lambda p: p[:, ::-1],
    "jpeg": lambda p: jpeg(p, 60),
    "shifted by two pixels": lambda p: moved(p, 2, -2),
    "shifted by one pixel": lambda p: moved(p, -1, 1),
    "shifted by half pixels": lambda p: moved(p, 0.5, 1.5),
    "brighter": lambda p: relit(p, 1, 40),
    "less contrast": lambda p: relit(p, 0.6, 30),
    "smoother, as a generator draws": lambda p: cv2.GaussianBlur(p, (0, 0), 1.0),
    "zoomed in": lambda p: zoomed(p, 1.04),
    "zoomed out": lambda p: zoomed(p, 0.96),
    "zoomed in, mirrored and shifted": lambda p: moved(
        zoomed(np.ascontiguousarray(p[:, ::-1]), 1.04), 1, -1
    ),
    "all at once": lambda p: relit(jpeg(moved(np.ascontiguousarray(p[:, ::-1]), 2, 2), 75), 0.8, 9),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_planted_copies_are_caught_and_named(training, ids, calibration, disguise):
    faces, _ = training
    chosen = range(0, len(faces), 2)
    planted = np.stack(
        [DISGUISES[disguise](np.ascontiguousarray(faces[i].transpose(1, 2, 0))) for i in chosen]
    ).transpose(0, 3, 1, 2)
    found, distances = nearest(planted, describe(faces), ids)
    assert (distances < calibration.summary(SHARE)["threshold"]).mean() >= 0.95
    assert np.mean([ids[i] == name for i, name in zip(chosen, found, strict=True)]) >= 0.95


def test_honest_faces_of_new_people_pass(training):
    faces = np.concatenate([training[0], puppets(range(SUBJECTS + 1, 2 * SUBJECTS + 1))])
    people = np.repeat(np.arange(2 * SUBJECTS), len(EMOTIONS))
    flagged = []
    # several partings, since likenesses come by the person: 3 pictures of one are 1.7 %
    for seed in range(5):
        known = np.random.default_rng(seed).permutation(2 * SUBJECTS)[:SUBJECTS]
        ours = np.isin(people, known)
        threshold = calibrate(faces[ours], subjects=people[ours]).summary(SHARE)["threshold"]
        names = [str(place) for place in range(ours.sum())]
        _, distances = nearest(faces[~ours], describe(faces[ours]), names)
        flagged.append((distances < threshold).mean())
    assert np.mean(flagged) <= 0.02


def test_the_calibration_says_what_it_rests_on(calibration):
    found = calibration.summary(SHARE)
    assert (found["n_faces"], found["n_subjects"]) == (SUBJECTS * 3, SUBJECTS)
    assert found["closest"] <= found["threshold"] < found["median"]
    assert found["n_planted"] == 100
    assert found["planted_caught"] >= 0.95


def test_pictures_of_one_person_do_not_calibrate_each_other(training, calibration):
    faces, subjects = training
    unknown = calibrate(faces, subjects=None)
    assert unknown.n_subjects == len(faces)
    # taken for strangers, one person's expressions make strangers look nearly alike
    assert lower_limit(unknown.strangers, 0.01) < lower_limit(calibration.strangers, 0.01)
    # how a table says "not known", None or NaN, makes no difference
    as_table = calibrate(faces, subjects=[float("nan")] * len(faces))
    np.testing.assert_array_equal(as_table.strangers, unknown.strangers)
    by_halves = [name if place % 2 else None for place, name in enumerate(subjects)]
    assert SUBJECTS < calibrate(faces, subjects=by_halves).n_subjects < len(faces)


def test_a_limit_is_passed_by_no_more_than_its_share():
    values = np.arange(1.0, 100)  # 99 of them: a hundredth value falls below the r-th with r / 100
    assert [lower_limit(values, share) for share in (0.01, 0.02, 0.29, 1)] == [1, 2, 29, 99]
    # too few for this share: no limit, or the smallest
    assert lower_limit(values, 0.001) == -np.inf
    assert lower_limit(values, 0.001, least=1) == 1
    with pytest.raises(ValueError, match="a gate's share is 2"):
        lower_limit(values, 2)
    with pytest.raises(ValueError, match="no real face"):
        lower_limit(values[:0], 0.1)


def test_own_distances_are_to_another_picture_of_the_person(training):
    faces, subjects = training
    own = own_distances(faces[:9], np.array(subjects[:9]))
    between = np.stack(
        [nearest(faces[:9], describe(faces[i : i + 1]), ["x"])[1] for i in range(9)], axis=1
    )
    for place in range(9):
        others = [i for i in range(9) if subjects[i] == subjects[place] and i != place]
        assert own[place] == pytest.approx(between[place, others].min(), abs=1e-5)
    assert np.isinf(own_distances(faces[::3][:4], np.arange(4))).all()


def test_nearest_is_the_minimum_over_all_variants(training):
    faces = training[0][:12]
    described = describe(faces)
    found, distances = nearest(faces[5:6], described[6:], [str(i) for i in range(6, 12)])
    image = faces[5].transpose(1, 2, 0)
    # a brute-force search over shifts of the picture itself, inside the border
    best = {}
    for mirrored in (image, image[:, ::-1]):
        for down in range(-2, 3):
            for across in range(-2, 3):
                shifted = np.roll(mirrored, (down, across), axis=(0, 1)).transpose(2, 0, 1)
                to_each = np.linalg.norm(describe(shifted[None]) - described[6:], axis=1)
                for place, distance in enumerate(to_each, 6):
                    best[str(place)] = min(best.get(str(place), 9), distance)
    assert found == [min(best, key=best.get)]
    # np.roll brings in the far edge, which the outermost cells see a little of
    assert distances[0] == pytest.approx(min(best.values()), abs=0.02)


def test_nearest_leaves_out_the_same_person(training, ids):
    faces, subjects = training
    people = np.array(subjects)
    found, distances = nearest(faces, describe(faces), ids, subjects=(people, people))
    owner = dict(zip(ids, subjects, strict=True))
    assert all(owner[name] != person for name, person in zip(found, subjects, strict=True))
    assert distances.min() > 0.05


def test_close_pairs_are_those_within_a_distance(training):
    faces = training[0][::3][:20]  # twenty people
    larger = zoomed(np.ascontiguousarray(faces[7].transpose(1, 2, 0)), 1.04).transpose(2, 0, 1)
    made = np.concatenate([faces, faces[3:5, :, :, ::-1], faces[3:4], larger[None]])
    first, second, distance = close_pairs(made, within=0.08)
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    assert pairs == {(3, 20), (4, 21), (3, 22), (20, 22), (7, 23)}
    assert (distance < 0.08).all()
    assert second.tolist() == sorted(second.tolist())


def test_other_sizes_are_compared_at_one_size(training, ids):
    faces, _ = training
    larger = np.stack([cv2.resize(f.transpose(1, 2, 0), (128, 128)) for f in faces[:10]]).transpose(
        0, 3, 1, 2
    )
    found, distances = nearest(larger, describe(faces), ids)
    assert found == ids[:10]
    assert distances.max() < 0.1


def test_blank_pictures_are_no_copies_of_each_other_by_noise():
    noise = np.random.default_rng(0).integers(0, 2, (2, 3, 64, 64), dtype=np.uint8)
    described = describe(100 + noise)
    assert np.isfinite(described).all()
    assert np.linalg.norm(described, axis=1).max() < 0.2


def test_a_grey_picture_is_described_as_its_coloured_twin(training):
    grey = training[0][:5, :1]
    coloured = np.repeat(grey, 3, axis=1)
    assert np.allclose(describe(grey), describe(coloured), atol=1e-5)


def test_one_person_cannot_calibrate(training):
    faces, _ = training
    with pytest.raises(ValueError, match="two people at least"):
        calibrate(faces[:3], subjects=["studio/1"] * 3)
    with pytest.raises(ValueError, match=r"\(64, 64, 3\) uint8"):
        describe(faces[0].transpose(1, 2, 0))
