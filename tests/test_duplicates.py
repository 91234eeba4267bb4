import cv2
import numpy as np
import pytest

from curation.duplicates import calibrate, describe, nearest, repeats
from curation.puppets import render

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
    assert (distances < calibration.threshold).mean() >= 0.95
    assert np.mean([ids[i] == name for i, name in zip(chosen, found, strict=True)]) >= 0.95


def test_honest_faces_of_new_people_pass(training):
    faces = np.concatenate([training[0], puppets(range(SUBJECTS + 1, 2 * SUBJECTS + 1))])
    people = np.repeat(np.arange(2 * SUBJECTS), len(EMOTIONS))
    flagged = []
    # several partings, since likenesses come by the person: 3 pictures of one are 1.7 %
    for seed in range(5):
        known = np.random.default_rng(seed).permutation(2 * SUBJECTS)[:SUBJECTS]
        ours = np.isin(people, known)
        threshold = calibrate(faces[ours], subjects=people[ours]).threshold
        names = [str(place) for place in range(ours.sum())]
        _, distances = nearest(faces[~ours], describe(faces[ours]), names)
        flagged.append((distances < threshold).mean())
    assert np.mean(flagged) <= 0.02


def test_the_calibration_says_what_it_rests_on(calibration):
    assert (calibration.n_faces, calibration.n_subjects) == (SUBJECTS * 3, SUBJECTS)
    assert calibration.closest <= calibration.threshold < calibration.median
    assert calibration.n_planted == 100
    assert calibration.planted_caught >= 0.95


def test_pictures_of_one_person_do_not_calibrate_each_other(training, calibration):
    faces, subjects = training
    unknown = calibrate(faces, subjects=None)
    assert unknown.n_subjects == len(faces)
    # taken for strangers, one person's expressions make strangers look nearly alike
    assert unknown.threshold < calibration.threshold
    # how a table says "not known", None or NaN, makes no difference
    assert calibrate(faces, subjects=[float("nan")] * len(faces)) == unknown
    by_halves = [name if place % 2 else None for place, name in enumerate(subjects)]
    assert SUBJECTS < calibrate(faces, subjects=by_halves).n_subjects < len(faces)


def test_a_larger_quantile_is_a_stricter_gate(training, calibration):
    faces, subjects = training
    stricter = calibrate(faces, subjects=subjects, quantile=0.1)
    assert stricter.threshold > calibration.threshold


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


def test_repeats_point_to_the_first_of_their_kind(training, calibration):
    faces = training[0][::3][:20]  # twenty people
    made = np.concatenate([faces, faces[3:5, :, :, ::-1], faces[3:4]])
    names = [f"made-{place}" for place in range(len(made))]
    found = repeats(made, names, threshold=0.08)
    assert found[:20] == [None] * 20
    assert found[20:] == ["made-3", "made-4", "made-3"]


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


def test_one_person_cannot_calibrate(training):
    faces, _ = training
    with pytest.raises(ValueError, match="two people at least"):
        calibrate(faces[:3], subjects=["studio/1"] * 3)
    with pytest.raises(ValueError, match=r"gate\.quantile is 2"):
        calibrate(faces[:3], quantile=2)
    with pytest.raises(ValueError, match=r"\(64, 64, 3\) uint8"):
        describe(faces[0].transpose(1, 2, 0))
