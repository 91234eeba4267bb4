"""Exported recognisers at work: what is refused, what is said of faces, without PyTorch."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from classifiers.export import export_recogniser
from classifiers.networks import small_cnn
from classifiers.page.command import main as page_main
from classifiers.predict import save_ensemble
from classifiers.runtime import OnnxPredictor, Pipeline, preprocessing_hash
from classifiers.watch.command import main as watch_main
from curation.align import BoxFrame, EyeFrame, TemplateFrame
from curation.artifact import file_hash, read_json, write_json
from curation.contract import contract_id
from curation.corpus import encode_png, write_corpus
from curation.decoding import UnreadableImageError
from curation.detect import EyeCascades, Haar, WholePicture, YuNet
from curation.puppets import render
from curation.standard import Clahe, Standard, recorded_standard
from curation.weights import YUNET

ROOT = Path(__file__).parents[1]
EMOTIONS = ("angry", "happy", "sad")
STANDARD = Standard(Haar(min_share=0.2), BoxFrame(down=0.04), size=32)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An untrained recogniser: what it says of two faces differs, and that is all it must."""
    place = tmp_path_factory.mktemp("experiment")
    corpus, gate = place / "corpora" / "c", place / "classifiers" / "g"
    corpus.mkdir(parents=True)
    gate.mkdir(parents=True)
    pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    write_corpus(
        [
            {"image": picture, "emotion": EMOTIONS[place % 3], "split": "train", "origin": "real"}
            for place, picture in enumerate(pictures)
        ],
        corpus,
        EMOTIONS,
    )
    record = {"stage": "augment", "inputs": {}, "contract": STANDARD.contract, "content": "c"}
    write_json(corpus / "corpus.json", record)
    torch.manual_seed(0)
    save_ensemble([small_cnn(3, width=4).eval()], gate, emotions=EMOTIONS, size=(32, 32))
    export_recogniser(gate, place / "out", corpus=corpus, calibration=6)
    return place / "out"


@pytest.fixture
def copy(exported, tmp_path):
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def rewrite(folder, change, *, rehash=False):
    path = folder / "preprocessing.json"
    content = read_json(path)
    change(content)
    if rehash:
        content["hash"] = preprocessing_hash(content)
    write_json(path, content)


def two_faces():
    """A film's frame: a larger face at the right, a smaller at the left, (480, 640, 3)."""
    frame = np.full((480, 640, 3), 170, np.uint8)
    frame[150:350, 30:230] = render("studio", 1, 1, "happy", size=200)
    frame[100:380, 340:620] = render("studio", 2, 1, "sad", size=280)
    return frame


def test_a_changed_order_of_labels_is_refused_even_with_a_new_hash(copy):
    rewrite(copy, lambda content: content["emotions"].reverse())
    with pytest.raises(ValueError, match=r"preprocessing.json was changed: its hash is"):
        OnnxPredictor.load(copy)
    rewrite(copy, lambda _: None, rehash=True)
    with pytest.raises(ValueError, match=r"should be sad, happy, angry; the graph of .* has angry"):
        OnnxPredictor.load(copy)


def test_the_order_that_a_caller_counts_on_is_checked(exported):
    assert OnnxPredictor.load(exported, emotions=EMOTIONS).emotions == EMOTIONS
    with pytest.raises(ValueError, match="would be given to the wrong emotions"):
        OnnxPredictor.load(exported, emotions=EMOTIONS[::-1])


def test_a_missing_and_a_changed_contract_are_refused(copy):
    rewrite(copy, lambda content: content["contract"].update(border="black"), rehash=True)
    with pytest.raises(ValueError, match=r"the contract in .* was changed: it is [0-9a-f]{12}"):
        OnnxPredictor.load(copy)
    rewrite(copy, lambda content: content.pop("contract"), rehash=True)
    with pytest.raises(ValueError, match="has no standardisation contract"):
        OnnxPredictor.load(copy)


def test_a_changed_temperature_and_a_damaged_file_are_refused(copy):
    rewrite(copy, lambda content: content.update(temperature=3.0))
    with pytest.raises(ValueError, match=r"was changed: its hash is [0-9a-f]{10}, [0-9a-f]{10}"):
        OnnxPredictor.load(copy)
    (copy / "preprocessing.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        OnnxPredictor.load(copy)


def test_another_or_no_model_file_is_refused(copy):
    (copy / "model.onnx").write_bytes((copy / "model.fp16.onnx").read_bytes())
    with pytest.raises(ValueError, match=r"model.onnx is not the file that preprocessing.json"):
        OnnxPredictor.load(copy)
    (copy / "model.int8.onnx").unlink()
    with pytest.raises(FileNotFoundError, match=r"model.int8.onnx is missing"):
        OnnxPredictor.load(copy, precision="int8")
    with pytest.raises(ValueError, match="precision 'int4' is unknown; it is one of fp32, fp16"):
        OnnxPredictor.load(copy, precision="int4")
    with pytest.raises(FileNotFoundError, match="make one by `affectory export`"):
        OnnxPredictor.load(copy / "nowhere")


def test_a_file_that_is_no_graph_is_told(copy):
    (copy / "model.onnx").write_bytes(b"nothing")
    noted = file_hash(copy / "model.onnx")
    rewrite(copy, lambda content: content["files"].update({"model.onnx": noted}), rehash=True)
    with pytest.raises(ValueError, match="is no ONNX file that onnxruntime runs"):
        OnnxPredictor.load(copy)


def test_pictures_of_another_size_or_kind_are_refused(exported):
    predictor = OnnxPredictor.load(exported)
    with pytest.raises(ValueError, match="was trained on 32x32 faces, got shape"):
        predictor.probabilities(np.zeros((1, 3, 48, 48), np.uint8))
    with pytest.raises(ValueError, match=r"must be \(N, 3, H, W\) uint8 RGB"):
        predictor.probabilities(np.zeros((1, 3, 32, 32), np.float32))
    with pytest.raises(ValueError, match="no face was given"):
        predictor.probabilities(np.zeros((0, 3, 32, 32), np.uint8))


def test_batches_change_nothing_and_precisions_have_names_of_their_own(exported):
    images = np.random.default_rng(1).integers(0, 256, (7, 3, 32, 32), np.uint8)
    whole = OnnxPredictor.load(exported)
    parts = OnnxPredictor.load(exported, batch_size=3)
    np.testing.assert_allclose(parts.probabilities(images), whole.probabilities(images), atol=1e-6)
    np.testing.assert_allclose(whole.probabilities(images).sum(1), 1, atol=1e-5)
    assert whole.hash == parts.hash
    assert whole.hash != OnnxPredictor.load(exported, precision="int8").hash


def test_the_whole_path_finds_cuts_and_judges_every_face(exported):
    recognise = Pipeline.load(exported, precision="fp32")
    assert recognise.standard.contract == STANDARD.contract
    frame = two_faces()
    found = recognise(frame)
    assert len(found) == 2
    (large, said), (small, _) = found
    assert large.left > 340
    assert large.width > small.width
    # the larger face alone, by the parts of the path
    (face,) = [face for face in STANDARD.detector(frame) if face.box == large]
    crop = STANDARD.cut(frame, face).image.transpose(2, 0, 1)
    expected = recognise.predictor.probabilities(crop[None])[0]
    np.testing.assert_allclose(said, expected, atol=1e-6)


def test_files_contents_and_pixels_are_one(exported, tmp_path):
    recognise = Pipeline.load(exported)
    content = encode_png(two_faces())
    (tmp_path / "a.png").write_bytes(content)
    results = [recognise(given) for given in (two_faces(), content, tmp_path / "a.png")]
    for other in results[1:]:
        assert [box for box, _ in other] == [box for box, _ in results[0]]
    assert recognise(np.zeros((100, 100, 3), np.uint8)) == []
    with pytest.raises(UnreadableImageError, match="file not found"):
        recognise(tmp_path / "b.png")


def test_a_face_without_the_eyes_that_the_contract_needs_is_left_out(exported):
    predictor = OnnxPredictor.load(exported)
    image = render("studio", 1, 1, "happy", size=128)
    strict = Pipeline(predictor, Standard(WholePicture(), EyeFrame(), size=32))
    assert strict(image) == []
    lenient = Pipeline(
        predictor, Standard(WholePicture(), EyeFrame(), size=32, eyes_missing="upright")
    )
    assert len(lenient(image)) == 1


def test_pytorch_is_not_loaded(exported, tmp_path):
    image = tmp_path / "frame.png"
    cv2.imwrite(str(image), two_faces()[..., ::-1])
    code = (
        "import sys; from pathlib import Path; from classifiers.runtime import Pipeline\n"
        f"found = Pipeline.load({str(exported)!r})(Path({str(image)!r}))\n"
        "import json; heavy = {'torch', 'lightning', 'datasets', 'onnx'} & set(sys.modules)\n"
        "print(json.dumps([len(found), sorted(heavy)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert json.loads(done.stdout) == [2, []]


@pytest.mark.parametrize(
    "standard",
    [
        Standard(WholePicture(), BoxFrame(), size=48, grey=True),
        Standard(Haar(scale_factor=1.2), BoxFrame(margin=0.1, level=True), size=32,
                 eyes=EyeCascades(sides=(96,)), eyes_missing="upright"),
        Standard(Haar(), EyeFrame(below=3.0), size=32, eyes=EyeCascades(), fit="stretch",
                 border="black", clahe=Clahe(clip_limit=3.0, scope="picture")),
        Standard(Haar(), TemplateFrame(margin=0.2), size=64, eyes=EyeCascades(), fit="pad"),
    ],
)  # fmt: skip
def test_a_standard_is_built_again_from_its_contract(standard):
    stored = json.loads(json.dumps(standard.contract))
    again = recorded_standard(stored)
    assert contract_id(again.contract) == contract_id(standard.contract)
    assert again.contract == stored
    image = render("studio", 3, 1, "happy", size=200)
    np.testing.assert_array_equal(again(image).image, standard(image).image)


def test_a_detectors_file_is_known_by_its_hash_and_another_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTORY_CACHE", str(tmp_path / "cache"))
    model, other = tmp_path / "mine.onnx", tmp_path / "other.onnx"
    model.write_bytes(b"one")
    other.write_bytes(b"two")
    contract = Standard(YuNet(model=model), BoxFrame(), size=32).contract
    moved = tmp_path / "renamed.onnx"
    moved.write_bytes(model.read_bytes())
    again = recorded_standard(contract, [other, moved])
    assert again.contract["detector"]["sha256"] == contract["detector"]["sha256"]
    with pytest.raises(FileNotFoundError, match=YUNET.file):
        recorded_standard(contract, [other])


def test_a_contract_of_another_version_is_refused():
    contract = {**STANDARD.contract, "resample": "nearest"}
    with pytest.raises(ValueError, match='resample: "nearest" against "Pillow bicubic"'):
        recorded_standard(contract)
    with pytest.raises(ValueError, match=r"damaged, or of another version \(KeyError: 'oval'\)"):
        recorded_standard({**STANDARD.contract, "frame": {"frame": "oval"}})


def _reorder(folder):
    rewrite(folder, lambda content: content["emotions"].reverse(), rehash=True)


def _lose_contract(folder):
    rewrite(folder, lambda content: content.pop("contract"), rehash=True)


def _lose_preprocessing(folder):
    (folder / "preprocessing.json").unlink()


def _swap_model(folder):
    (folder / "model.int8.onnx").write_bytes((folder / "model.onnx").read_bytes())


def _by_predictor(folder, _):
    OnnxPredictor.load(folder, precision="int8")


def _by_pipeline(folder, _):
    Pipeline.load(folder)


def _by_watch(folder, place):
    told(watch_main, [folder, place / "film.mp4", "--csv", place / "seen.csv"])


def _by_page(folder, place):
    told(page_main, [folder, "--to", place / "site", "--ort", place])


def told(command, arguments):
    """Run a command and raise what it tells."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert command([str(each) for each in arguments]) == 2
    raise ValueError(said.getvalue())


@pytest.mark.parametrize("way", [_by_predictor, _by_pipeline, _by_watch, _by_page])
@pytest.mark.parametrize(
    ("damage", "file", "wrong", "way_out"),
    [
        (_reorder, "model", "would be given to the wrong emotions", "restore preprocessing.json"),
        (_lose_preprocessing, "preprocessing.json", "is missing", "`affectory export`"),
        (_lose_contract, "preprocessing.json", "no standardisation contract", "export again"),
        (_swap_model, "model.int8.onnx", "is not the file that", "copy the whole folder"),
    ],
)
def test_every_way_in_names_the_file_and_the_way_out(
    copy, tmp_path_factory, damage, file, wrong, way_out, way
):
    damage(copy)
    place = tmp_path_factory.mktemp("elsewhere")
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        way(copy, place)
    said = str(caught.value)
    for part in (str(copy), file, wrong, way_out):
        assert part in said
    assert list(place.iterdir()) == []  # nothing half-made


def test_another_file_of_the_detector_is_told_with_the_one_that_is_wanted(
    exported, tmp_path, monkeypatch
):
    monkeypatch.setenv("AFFECTORY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine.onnx").write_bytes(b"one")
    (tmp_path / "other.onnx").write_bytes(b"two")
    contract = Standard(YuNet(model=tmp_path / "mine.onnx"), BoxFrame(), size=32).contract
    folder = tmp_path / "folder"
    shutil.copytree(exported, folder)
    named = {"contract": contract, "contract_id": contract_id(contract)}
    rewrite(folder, lambda content: content.update(named), rehash=True)
    other = tmp_path / "other.onnx"
    for load in (
        lambda: Pipeline.load(folder, files=[other]),
        lambda: told(watch_main, [folder, "0", "--csv", tmp_path / "a.csv", "--model", other]),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match="affectory prefetch") as caught:
            load()
        assert YUNET.file in str(caught.value)
