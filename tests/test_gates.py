import json
from typing import ClassVar

import cv2
import numpy as np
import pytest

from curation import corpus as corpus_module
from curation.artifact import folder_hash
from curation.corpus import Corpus, content_id, write_corpus
from curation.features import RandomConvolutions, cached_files
from curation.fidelity import inception_score
from curation.gates import (
    METRICS,
    Agreement,
    Confidence,
    Copies,
    Repeats,
    score,
    select,
    wilson_interval,
)
from curation.review.decisions import reviewed_hash

EMOTIONS = ("angry", "happy", "sad")
PEOPLE = 30


def face(person, read_as, percent, side=32):
    """A pattern that is one person's, with what the classifier will read in its corner."""
    low = np.random.default_rng([1, person]).integers(40, 216, (6, 6, 3), dtype=np.uint8)
    picture = cv2.resize(low, (side, side), interpolation=cv2.INTER_CUBIC)
    picture[0, 0] = EMOTIONS.index(read_as), percent, 0
    return picture


class CornerReader:
    """Reads emotion and probability from the corner of a picture."""

    name, hash, emotions = "corner reader", "c0ffee", ("sad", "angry", "happy")
    calibration = None

    def probabilities(self, images):
        share = images[:, 1, 0, 0] / 100
        result = np.repeat((1 - share)[:, None] / 2, 3, axis=1)
        for row, code in enumerate(images[:, 0, 0, 0]):
            result[row, self.emotions.index(EMOTIONS[code])] = share[row]
        return result

    def features(self, images):
        return images[:, :, ::8, ::8].reshape(len(images), -1) / np.float32(255)


def space():
    return RandomConvolutions(scales=1)


def load(folder):
    assert folder.name == "classifier"
    return CornerReader()


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    rows = [
        {
            "image": face(person, emotion, 90),
            "emotion": emotion,
            "subject": f"toy/{person}",
            "database": "toy",
            "split": "train",
            "origin": "real",
        }
        for person in range(PEOPLE)
        for emotion in EMOTIONS
    ]
    shared = {"emotion": "happy", "subject": "toy/99", "database": "other"}
    rows += [
        # of another size: to look at a test picture at all is an error
        {**shared, "image": face(500, "happy", 90, side=48), "split": "test", "origin": "real"},
        {**shared, "image": face(501, "happy", 90), "split": "train", "origin": "geometric"},
        {**shared, "image": face(502, "happy", 90), "split": "validation", "origin": "real"},
    ]
    write_corpus(rows, folder)
    return folder


# (person, named, read as, percent); real people are 0 … 29
MADE = [
    *[(100 + i, "angry", "angry", 80) for i in range(8)],
    *[(200 + i, "happy", "happy", 60) for i in range(9)],
    (300, "happy", "sad", 70),
    (301, "happy", "happy", 45),
    (7, "sad", "sad", 95),  # a copy of a training face
    (400, "sad", "angry", 50),  # misread, and the first of four repeats
    (400, "sad", "sad", 88),
    (400, "sad", "sad", 89),
    (400, "sad", "happy", 50),
    (401, "sad", "sad", 99),
    (500, "sad", "sad", 97),  # like a face of the test split
    (501, "sad", "sad", 97),  # like a geometric child
    (402, "sad", "sad", 100),
]


def sampled(folder, made=MADE, **changed):
    rows = [
        {
            "image": face(person, read_as, percent),
            "emotion": named,
            "split": "train",
            "origin": "gan",
            "generator": "abc",
            "seed": 2**62 + place,
            "truncation": 0.7,
            **changed,
        }
        for place, (person, named, read_as, percent) in enumerate(made)
    ]
    folder.mkdir()
    write_corpus(rows, folder)
    return folder


def scoring(folder, made, real, **changed):
    settings = {"predictor": load, "emotions": EMOTIONS, "space": space, **changed}
    folder.mkdir()
    return score(made, real, folder.parent / "classifier", folder, **settings)


@pytest.fixture(scope="module")
def scored(tmp_path_factory, real):
    folder = tmp_path_factory.mktemp("gates")
    made = sampled(folder / "sampled")
    result = scoring(folder / "scored", made, real, extractors=[space])
    metrics = json.loads((folder / "scored" / METRICS).read_text())
    return folder / "scored", result, metrics, made


def test_score_fills_its_columns(scored):
    folder, _, _, made = scored
    facts = Corpus(folder).facts
    assert facts["predicted"].tolist() == [read for _, _, read, _ in MADE]
    expected = [p / 100 if named == read else (1 - p / 100) / 2 for _, named, read, p in MADE]
    np.testing.assert_allclose(facts["agreement"].astype(float), expected, atol=1e-6)
    np.testing.assert_allclose(facts["confidence"].astype(float), [m[3] / 100 for m in MADE])
    # nothing else changed, not even 64-bit seeds
    before = Corpus(made).facts
    for column in ("id", "emotion", "origin", "generator", "seed", "truncation", "split"):
        assert facts[column].tolist() == before[column].tolist(), column
    assert facts["keep"].isna().all()


def test_score_finds_copies_of_training_faces_only(scored):
    folder, result, metrics, _ = scored
    facts = Corpus(folder).facts
    copy = [made[0] for made in MADE].index(7)
    # the pictures of one toy person differ in their corner alone
    assert facts["nearest_id"][copy] in {content_id(face(7, emotion, 90)) for emotion in EMOTIONS}
    near = facts["nearest_distance"] < metrics["copies"]["threshold"]
    # not the likenesses of a test, a validation or an augmented picture
    assert np.flatnonzero(near).tolist() == [copy]
    assert result["copies"] == 1
    assert metrics["copies"]["n_faces"] == PEOPLE * len(EMOTIONS)
    assert metrics["copies"]["n_subjects"] == PEOPLE


def test_score_marks_repeats_within_an_emotion(scored):
    folder, result, _, _ = scored
    facts = Corpus(folder).facts
    first = [made[0] for made in MADE].index(400)
    expected = [None] * len(MADE)
    expected[first + 1 : first + 4] = [facts["id"][first]] * 3
    assert [None if value != value else value for value in facts["duplicate_of"]] == expected
    assert result["repeats"] == 3


def test_metrics_hold_agreement_before_any_gate(scored):
    _, result, metrics, _ = scored
    lines = {line["emotion"]: line for line in metrics["agreement"]}
    assert [lines[name]["n"] for name in (*EMOTIONS, "all")] == [8, 11, 9, 28]
    assert [lines[name]["agreed"] for name in (*EMOTIONS, "all")] == [8, 10, 7, 25]
    assert lines["sad"]["read_as"] == {"sad": 7, "angry": 1, "happy": 1}
    assert lines["happy"]["interval"] == pytest.approx(wilson_interval(10, 11))
    assert result["agreement"]["value"] == pytest.approx(25 / 28)


def test_metrics_name_extractor_counts_and_floor(scored):
    _, _, metrics, _ = scored
    lines = metrics["fidelity"]
    assert [(line["extractor"].split(" (")[0], line["emotion"]) for line in lines] == [
        (extractor, emotion)
        for extractor in ("corner reader", "random convolutions")
        for emotion in (*EMOTIONS, "all")
    ]
    assert "trained on the real faces" in lines[0]["extractor"]
    for line in lines:
        assert line["hash"]
        assert line["resizer"] == "none: the corpus' own size"
        assert line["seed"] == 0
        n_fake = {"angry": 8, "happy": 11, "sad": 9, "all": 28}[line["emotion"]]
        for name in ("frechet", "kernel", "precision", "recall", "density", "coverage"):
            figure = line[name]
            assert (figure["n_real"], figure["n_fake"]) == (
                90 if line["emotion"] == "all" else 30,
                n_fake,
            )
            assert figure["interval"][0] <= figure["value"] <= figure["interval"][1]
            assert figure["n_floor"] == min(n_fake, 45 if line["emotion"] == "all" else 15)
            assert figure["floor"] is not None
        assert line["frechet"]["small_sample"]


def test_scoring_twice_gives_the_same(scored, tmp_path, real):
    _, _, metrics, made = scored
    again = scoring(tmp_path / "again", made, real, extractors=[space])
    assert json.loads((tmp_path / "again" / METRICS).read_text()) == metrics
    assert again == scored[1]


def test_the_classifiers_score_says_whose_it_is_and_has_its_floor(scored):
    _, _, metrics, _ = scored
    own = [line for line in metrics["fidelity"] if "classifier_score" in line]
    # within one emotion, answers that differ would be mistakes; and it is no other extractor's
    assert [(line["extractor"].split(" (")[0], line["emotion"]) for line in own] == [
        ("corner reader", "all")
    ]
    assert own[0]["classifier"] == {
        "name": "corner reader",
        "hash": "c0ffee",
        "classes": 3,
        "temperature": None,
    }
    figure = own[0]["classifier_score"]
    answers = CornerReader().probabilities(
        np.stack(
            [face(person, read_as, percent) for person, _, read_as, percent in MADE]
        ).transpose(0, 3, 1, 2)
    )
    assert figure["value"] == pytest.approx(inception_score(answers))
    assert (figure["n_real"], figure["n_fake"], figure["n_floor"]) == (90, 28, 28)
    assert figure["interval"][0] < figure["value"] < figure["interval"][1]
    # real faces are read as named with 0.9, evenly over the emotions
    sure = np.full((3, 3), 0.05) + 0.85 * np.eye(3)
    assert figure["floor"] == pytest.approx(inception_score(sure), abs=0.1)


class Watched(RandomConvolutions):
    """Convolutions that note how many pictures they were given."""

    given: ClassVar[list[int]] = []

    def __call__(self, images):
        Watched.given.append(len(images))
        return super().__call__(images)


def test_scores_are_the_same_with_and_without_a_cache_to_the_bit(scored, tmp_path, real):
    _, _, _, made = scored
    settings = {"extractors": [lambda: Watched(seed=1, scales=1)], "identity": space}
    scoring(tmp_path / "plain", made, real, **settings)
    wanted = folder_hash(tmp_path / "plain", without="")
    Watched.given.clear()
    for name, given in (("filling", [28, 90]), ("filled", [])):
        scoring(tmp_path / name, made, real, **settings, cache=tmp_path / "features")
        assert folder_hash(tmp_path / name, without="") == wanted
        assert Watched.given == given
        Watched.given.clear()
    for path in cached_files(tmp_path / "features"):
        path.write_bytes(path.read_bytes()[:-30])
    scoring(tmp_path / "damaged", made, real, **settings, cache=tmp_path / "features")
    assert folder_hash(tmp_path / "damaged", without="") == wanted
    assert Watched.given == [28, 90]


def test_too_few_faces_leave_a_note_in_place_of_figures(tmp_path, real):
    made = sampled(tmp_path / "few", MADE[:10])
    scoring(tmp_path / "scored", made, real)
    lines = json.loads((tmp_path / "scored" / METRICS).read_text())
    notes = {line["emotion"]: line.get("missing") for line in lines["fidelity"]}
    assert notes["angry"] is None
    assert notes["happy"] == "2 generated and 30 real faces; more than 5 of each are needed"
    assert {line["emotion"]: line["value"] for line in lines["agreement"]}["sad"] is None


def test_different_sizes_are_named(tmp_path, real):
    rows = {"emotion": "happy", "split": "train", "origin": "gan"}
    (tmp_path / "made").mkdir()
    write_corpus([{"image": face(600, "happy", 90, side=40), **rows}], tmp_path / "made")
    with pytest.raises(ValueError, match=r"are 40x40.*32x32"):
        scoring(tmp_path / "scored", tmp_path / "made", real)


def test_rows_that_are_no_generated_faces_are_refused(tmp_path, real):
    with pytest.raises(ValueError, match="28 rows of origin real"):
        scoring(tmp_path / "a", sampled(tmp_path / "made", origin="real"), real)


def test_emotions_must_fit(tmp_path, real):
    made = sampled(tmp_path / "made")
    with pytest.raises(ValueError, match="faces of sad, which are not among"):
        scoring(tmp_path / "a", made, real, emotions=("angry", "happy"))
    with pytest.raises(ValueError, match="corner reader knows sad, angry, happy and not fear"):
        scoring(tmp_path / "b", made, real, emotions=(*EMOTIONS, "fear"))


GATES = {
    "agreement": Agreement(0.5, as_named=True),
    "copies": Copies(0.01),
    "repeats": Repeats(0.01),
}


def selecting(folder, scored, **changed):
    folder.mkdir()
    gates = [gate for gate in {**GATES, **changed}.values() if gate is not None]
    result = select(scored[0], folder, gates=gates)
    facts = Corpus(folder).facts
    return result, facts


def test_select_keeps_every_row_and_says_why(scored, tmp_path):
    result, facts = selecting(tmp_path / "out", scored)
    assert len(facts) == len(MADE)
    reasons = {
        (made[0], made[3]): reason
        for made, reason, keep in zip(MADE, facts["reason"], facts["keep"], strict=True)
        if not keep
    }
    first_kept = facts["id"][[made[:1] + made[3:] for made in MADE].index((400, 88))]
    near = scored[2]["copies"]["threshold"]
    copied = reasons.pop((7, 95))
    nearest = facts["nearest_id"][[made[0] for made in MADE].index(7)]
    assert copied == f"copy: 0.000 from training face {nearest}, under {near:.3f}"
    assert reasons == {
        (300, 70): "agreement: read as sad, 0.15 < 0.50",
        (301, 45): "agreement: read as named, 0.45 < 0.50",
        (400, 50): "agreement: read as happy, 0.25 < 0.50",
        (400, 89): f"repeat: of generated face {first_kept}",
    }
    assert facts["reason"][facts["keep"]].isna().all()
    assert result["emotions"]["sad"] == {
        "made": 9,
        "kept": 5,
        "rejected": {"agreement": 2, "copy": 1, "repeat": 1},
    }
    assert (result["made"], result["kept"]) == (28, 22)


def test_of_repeats_the_first_that_passes_is_kept(scored, tmp_path):
    # the first of the four is misread, so the second stands for them
    _, facts = selecting(tmp_path / "out", scored)
    kept = [made for made, keep in zip(MADE, facts["keep"], strict=True) if keep]
    assert [made[3] for made in kept if made[0] == 400] == [88]
    # without the reading gate it is the first
    _, facts = selecting(tmp_path / "lax", scored, agreement=None)
    kept = [made for made, keep in zip(MADE, facts["keep"], strict=True) if keep]
    assert [(made[2], made[3]) for made in kept if made[0] == 400] == [("angry", 50)]


@pytest.mark.parametrize(
    ("gates", "kept"),
    [
        ({"agreement": Agreement(0.0, as_named=True)}, 23),  # 301 is read as named, at 0.45
        ({"agreement": Agreement(None, as_named=True)}, 23),
        ({"agreement": Agreement(0.7, as_named=True)}, 13),  # all happy ones go
        ({"agreement": Confidence(0.48)}, 23),  # 301 is the least sure of all
        ({"copies": None}, 23),
        ({"copies": Copies(None)}, 23),
        ({"repeats": None}, 23),
        ({"repeats": Repeats(None)}, 23),
        ({"agreement": None, "copies": None, "repeats": None}, len(MADE)),
    ],
)
def test_every_gate_can_be_set(scored, tmp_path, gates, kept):
    result, facts = selecting(tmp_path / "out", scored, **gates)
    assert result["kept"] == kept == facts["keep"].sum()


def test_a_misreading_above_the_threshold_says_so(scored, tmp_path):
    _, facts = selecting(tmp_path / "out", scored, agreement=Agreement(0.1, as_named=True))
    assert facts["reason"][17] == "agreement: read as sad, 0.15"


def test_select_copies_pictures_without_decoding_them(scored, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("select decoded or encoded a picture")

    monkeypatch.setattr(corpus_module, "decode_png", refuse)
    monkeypatch.setattr(corpus_module, "encode_png", refuse)
    selecting(tmp_path / "out", scored)
    before = [row["image"] for row in Corpus(scored[0]).rows()]
    assert [row["image"] for row in Corpus(tmp_path / "out").rows()] == before


def test_metrics_travel_on_with_the_gates(scored, tmp_path):
    result, _ = selecting(tmp_path / "out", scored, agreement=Agreement(0.6, as_named=True))
    metrics = json.loads((tmp_path / "out" / METRICS).read_text())
    gates = metrics.pop("gates")
    assert metrics == scored[2]
    assert gates["settings"]["agreement"] == {"minimum": 0.6, "as_named": True}
    assert gates["settings"]["copy"] == {"share": 0.01}
    assert gates["emotions"] == result["emotions"]


@pytest.mark.parametrize("agreement", [-0.1, 1.5, 50])
def test_a_threshold_that_is_no_probability_is_refused(agreement):
    with pytest.raises(ValueError, match=rf"gate\.agreement is {agreement}"):
        Agreement(agreement, as_named=True)


def test_select_needs_scores(scored, tmp_path, real):
    with pytest.raises(ValueError, match=r"28 rows of .* have no scores; run score first"):
        select(scored[3], tmp_path, gates=[])
    (tmp_path / "bare").mkdir()
    write_corpus(Corpus(scored[0]).rows(), tmp_path / "bare")
    with pytest.raises(FileNotFoundError, match=f"{METRICS} is missing; run score first"):
        select(tmp_path / "bare", tmp_path, gates=[])


def test_wilson_interval_by_known_values():
    # Brown, Cai & DasGupta 2001: 0 of 10 gives an upper end of z^2 / (n + z^2)
    assert wilson_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)
    assert wilson_interval(0, 0) is None


def deciding(folder, scored, said, **changed):
    """`selecting` with what a person says of rows, by their place."""
    ids = Corpus(scored[0]).facts["id"]
    decisions = {
        ids[place]: {"verdict": verdict, "note": note} for place, (verdict, note) in said.items()
    }
    content = {"version": 1, "corpus": reviewed_hash(scored[0]), "reviewer": "Ada"}
    path = folder.with_suffix(".json")
    path.write_text(json.dumps({**content, "decisions": decisions}))
    folder.mkdir()
    gates = [gate for gate in {**GATES, **changed}.values() if gate is not None]
    result = select(scored[0], folder, gates=gates, decisions=path)
    return result, Corpus(folder).facts


def test_a_person_overrides_the_gates_both_ways(scored, tmp_path):
    said = {0: ("reject", "one eye"), 17: ("keep", "sad enough"), 18: ("keep", ""), 1: ("keep", "")}
    result, facts = deciding(tmp_path / "out", scored, said)
    before = selecting(tmp_path / "without", scored)[1]
    assert facts["reason"][0] == "person: one eye"
    assert facts["keep"][[0, 1, 17, 18]].tolist() == [False, True, True, True]
    others = [place for place in range(len(MADE)) if place not in said]
    assert facts["reason"][others].tolist() == before["reason"][others].tolist()
    assert result["rejected"] == {"agreement": 2, "copy": 1, "person": 1, "repeat": 1}
    assert result["person"] == {"kept": 3, "not_followed": 0, "rejected": 1}
    gates = json.loads((tmp_path / "out" / METRICS).read_text())["gates"]
    assert (gates["reviewer"], gates["safety"]) == ("Ada", ["copy"])
    assert gates["costs"][0]["gate"] == "person"


def test_a_person_cannot_keep_a_copy_even_one_first_refused_for_another_reason(scored, tmp_path):
    copied = [made[0] for made in MADE].index(7)
    strict = Agreement(0.96, as_named=True)
    _, without = selecting(tmp_path / "without", scored, agreement=strict)
    assert without["reason"][copied].startswith("agreement")
    result, facts = deciding(tmp_path / "a", scored, {copied: ("keep", "")}, agreement=strict)
    assert facts["reason"][copied].startswith("copy: 0.000 from training face")
    assert result["person"] == {"kept": 1, "not_followed": 1, "rejected": 0}
    # to turn the gate off is another matter than to overrule it
    _, facts = deciding(
        tmp_path / "b", scored, {copied: ("keep", "")}, agreement=strict, copies=None
    )
    assert facts["keep"][copied]


def test_what_repeats_a_rejected_face_comes_in_for_it(scored, tmp_path):
    first, second = 21, 22  # of four repeats, read as named
    _, facts = deciding(tmp_path / "a", scored, {first: ("reject", "")})
    assert facts["keep"][[first, second]].tolist() == [False, True]
    _, facts = deciding(tmp_path / "b", scored, {second: ("keep", "")})
    assert facts["keep"][[first, second]].tolist() == [True, True]


def test_the_same_decisions_give_the_same_bytes(scored, tmp_path):
    said = {0: ("reject", "blurred"), 17: ("keep", ""), 19: ("keep", ""), 22: ("reject", "")}
    deciding(tmp_path / "a", scored, said)
    deciding(tmp_path / "b", scored, dict(reversed(said.items())))
    assert folder_hash(tmp_path / "a", without="") == folder_hash(tmp_path / "b", without="")
    deciding(tmp_path / "c", scored, {**said, 22: ("keep", "")})
    assert folder_hash(tmp_path / "a", without="") != folder_hash(tmp_path / "c", without="")


def test_decisions_about_other_faces_are_refused(scored, tmp_path):
    path = tmp_path / "decisions.json"
    path.write_text(json.dumps({"version": 1, "corpus": "deadbeef", "decisions": {}}))
    with pytest.raises(ValueError, match=f"deadbeef, this one is {reviewed_hash(scored[0])}"):
        select(scored[0], tmp_path, gates=[], decisions=path)
    content = {"version": 1, "corpus": reviewed_hash(scored[0])}
    path.write_text(json.dumps({**content, "decisions": {"z": {"verdict": "keep"}}}))
    with pytest.raises(ValueError, match="1 of 1 decisions are about no row"):
        select(scored[0], tmp_path, gates=[], decisions=path)
