"""The browser page: what is refused when it is built, and what Chromium makes of it."""

import json
import shutil
import socket
import struct
import subprocess
import threading
import zlib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from classifiers.export import export_recogniser
from classifiers.networks import small_cnn
from classifiers.page import runtime_web
from classifiers.page.build import build
from classifiers.page.command import main
from classifiers.predict import save_ensemble
from classifiers.runtime import OnnxPredictor, preprocessing_hash
from curation.align import BoxFrame, EyeFrame, TemplateFrame
from curation.artifact import read_json, write_json
from curation.contract import contract_id
from curation.corpus import EMOTIONS, write_corpus
from curation.detect import Box, Face, Haar, WholePicture
from curation.puppets import render
from curation.standard import Clahe, Standard

CHROMIUM, DRIVER, NPM = (shutil.which(name) for name in ("chromium", "chromedriver", "npm"))
SIZE = 48
WHOLE = Standard(WholePicture(), BoxFrame(), size=SIZE)


def export(place):
    """A recogniser that nobody trained, its head so strong that faces are judged unlike."""
    corpus, gate = place / "corpora" / "c", place / "classifiers" / "strong"
    corpus.mkdir(parents=True)
    gate.mkdir(parents=True)
    rows = [
        {
            "image": WHOLE(face).image,
            "emotion": emotion,
            "split": "train",
            "origin": "real",
        }
        for number, emotion in enumerate(EMOTIONS)
        for face in [render("studio", number + 1, 1, emotion, size=96)]
    ]
    write_corpus(rows, corpus)
    record = {"stage": "standardise", "inputs": {}, "contract": WHOLE.contract, "content": "c"}
    write_json(corpus / "corpus.json", record)
    torch.manual_seed(1)
    network = small_cnn(len(EMOTIONS), width=8).eval()
    with torch.no_grad():
        faces = torch.from_numpy(np.stack([row["image"] for row in rows]).transpose(0, 3, 1, 2))
        logits = network(faces.float())
        last = [layer for layer in network.head.modules() if isinstance(layer, torch.nn.Linear)][-1]
        last.bias -= logits.mean(0)
        for parameter in last.parameters():
            parameter *= 3 / logits.std(0).mean()
    save_ensemble([network], gate, emotions=EMOTIONS, size=(SIZE, SIZE))
    export_recogniser(gate, place / "out", corpus=corpus, calibration=7)
    return place / "out"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def haar(exported, tmp_path_factory):
    """The same, as if its faces had been found by Haar cascades."""
    folder = Path(shutil.copytree(exported, tmp_path_factory.mktemp("haar") / "out"))
    contract = Standard(Haar(), BoxFrame(down=0.04), size=SIZE).contract
    rewrite(
        folder, lambda content: content.update(contract=contract, contract_id=contract_id(contract))
    )
    return folder


@pytest.fixture
def copy(exported, tmp_path):
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def rewrite(folder, change, *, rehash=True):
    content = read_json(folder / "preprocessing.json")
    change(content)
    if rehash:
        content["hash"] = preprocessing_hash(content)
    write_json(folder / "preprocessing.json", content)


def swap_labels(content):
    content["emotions"][:2] = content["emotions"][1::-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (swap_labels, "would be given to the wrong emotions"),
        (lambda content: content.pop("contract"), "has no standardisation contract"),
        (lambda content: content["contract"].update(fit="pad"), "the contract in .* was changed"),
        (lambda content: content["files"].update({"model.int8.onnx": "0" * 64}), "is not the file"),
    ],
)
def test_a_folder_that_does_not_belong_together_is_refused_when_built(copy, change, said, tmp_path):
    rewrite(copy, change)
    with pytest.raises(ValueError, match=said):
        build([copy], tmp_path / "page", ort=tmp_path / "never looked at")
    assert not (tmp_path / "page").exists()


def test_without_the_runtime_it_says_which_file_and_how(exported, tmp_path, monkeypatch, capsys):
    assert main([str(exported), "--to", str(tmp_path / "p"), "--ort", str(tmp_path / "no")]) == 2
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert main([str(exported), "--to", str(tmp_path / "p")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    for said in (first, second):
        assert f"npm pack onnxruntime-web@{runtime_web.VERSION}" in said
        assert f"--ort onnxruntime-web-{runtime_web.VERSION}.tgz" in said
    assert "there is no npm" in second
    assert not (tmp_path / "p").exists()


def test_npm_without_a_network_is_told_in_a_sentence(exported, tmp_path, monkeypatch, capsys):
    def offline(*_, **__):
        return subprocess.CompletedProcess([], 1, "", "npm error code ENOTFOUND\nnpm error more")

    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", offline)
    assert main([str(exported), "--to", str(tmp_path / "p")]) == 2
    assert "(npm error code ENOTFOUND). On a machine with a network" in capsys.readouterr().err


def test_another_version_of_the_runtime_is_refused(exported, tmp_path):
    dist = tmp_path / "package" / "dist"
    dist.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"lacks dist/ort\.wasm\.min\.mjs"):
        build([exported], tmp_path / "page", ort=tmp_path / "package")
    for name in runtime_web.FILES:
        (dist / name).write_bytes(b"another")
    with pytest.raises(ValueError, match="is not that of version"):
        build([exported], tmp_path / "page", ort=tmp_path / "package")
    (tmp_path / "torn.tgz").write_bytes(b"\x1f\x8b torn")
    with pytest.raises(ValueError, match="is no package of npm"):
        build([exported], tmp_path / "page", ort=tmp_path / "torn.tgz")


def test_a_detector_that_is_no_yunet_is_refused(exported, tmp_path, runtime):
    with pytest.raises(ValueError, match=r"is no YuNet of 2023 \(--yunet\)"):
        build([exported], tmp_path / "page", yunet=exported / "model.onnx", ort=runtime)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """The package as npm fetches it, or a skip."""
    if not NPM:
        pytest.skip("needs npm")
    try:
        return runtime_web._fetched(tmp_path_factory.mktemp("npm"))
    except FileNotFoundError as error:
        pytest.skip(f"needs npm's registry: {error}")


@pytest.fixture(scope="module")
def page(exported, haar, runtime, tmp_path_factory):
    place = tmp_path_factory.mktemp("page")
    build([exported, haar], place / "site", yunet=yunet(place), ort=runtime)
    return place / "site"


def yunet(folder):
    """A network with YuNet's outputs that sees one face, in row 6 and column 9 of the grid of 8."""
    nodes, outputs, constants = [], [], []
    for stride in (8, 16, 32):
        for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            values = np.zeros((1, (160 // stride) ** 2, width), np.float32)
            if stride == 8:
                row = 6 * 20 + 9
                values[0, row] = {
                    "cls": [0.81],
                    "obj": [1.0],
                    "bbox": [0.5, 0.25, *np.log([9, 11])],
                    "kps": [-2, -2, 2.5, -1.5, 0.2, 0.4, -1.6, 2.5, 1.7, 2.8],
                }[name]
            title = f"{name}_{stride}"
            constants.append(helper.make_tensor(f"{title}_c", 1, values.shape, values.ravel()))
            nodes.append(helper.make_node("Add", [f"{title}_c", "nought"], [title]))
            outputs.append(helper.make_tensor_value_info(title, TensorProto.FLOAT, values.shape))
    # outputs hang on the input, as a session prunes what does not
    nodes.insert(0, helper.make_node("ReduceMax", ["input"], ["most"], keepdims=0))
    nodes.insert(1, helper.make_node("Mul", ["most", "zero"], ["nought"]))
    constants.append(helper.make_tensor("zero", 1, [], [0.0]))
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 160, 160])
    graph = helper.make_graph(nodes, "yunet", [given], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "yunet.onnx")
    return folder / "yunet.onnx"


class Quiet(SimpleHTTPRequestHandler):
    def send_head(self):
        # file times have whole seconds here: a file that a test changes looks unchanged
        del self.headers["If-Modified-Since"]
        return super().send_head()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def served(page):
    server = ThreadingHTTPServer(("localhost", 0), partial(Quiet, directory=page))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs chromium and chromedriver (make browser)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    switches = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
        "--disable-dev-shm-usage --disable-background-networking --disable-component-update "
        "--disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
    )
    profile = tmp_path_factory.mktemp("chromium")
    for switch in (*switches.split(), f"--user-data-dir={profile}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(executable_path=DRIVER)
    )
    driver.set_window_size(1280, 900)
    driver.set_script_timeout(120)
    yield Browser(driver)
    driver.quit()


class Browser:
    """What a person does with the page, and sees."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, address):
        self.driver.get_log("browser")
        self.driver.get(address)
        return self.settled()

    def settled(self):
        """Wait until nothing loads."""
        self.run(
            "const done = arguments[arguments.length - 1];"
            "const look = () => ['ready', 'refused'].includes(document.body.dataset.state) ?"
            " done() : setTimeout(look, 20); setTimeout(look, 20)"
        )
        return self

    def run(self, script, *given):
        return self.driver.execute_async_script(script, *given)

    def get(self, selector):
        return self.driver.find_element("css selector", selector)

    def choose(self, value):
        self.get(f"input[value={value}]").click()
        return self.settled()

    def upload(self, path):
        self.get("#file").send_keys(str(path))
        return self.settled()

    @property
    def said(self):
        return self.get("#said").text

    @property
    def judged(self):
        """Probabilities of each face."""
        cards = self.driver.find_elements("css selector", ".face")
        return np.array([json.loads(each.get_attribute("data-probabilities")) for each in cards])

    @property
    def errors(self):
        return [
            each["message"] for each in self.driver.get_log("browser") if each["level"] == "SEVERE"
        ]


def example(page, emotion):
    return np.array(Image.open(page / "examples" / f"{emotion}.png"))


@pytest.mark.parametrize(("precision", "within"), [("fp32", 1e-3), ("fp16", 5e-3), ("int8", 0.08)])
def test_the_examples_are_judged_as_python_does(
    chromium, served, page, exported, precision, within
):
    chromium.open(served).choose(precision)
    faces = [WHOLE(example(page, emotion)).image for emotion in EMOTIONS]
    predictor = OnnxPredictor.load(exported, precision=precision)
    wanted = predictor.probabilities(np.stack(faces).transpose(0, 3, 1, 2))
    assert np.ptp(wanted, axis=0).max() > 0.3  # or agreement would say nothing
    buttons = chromium.driver.find_elements("css selector", "#examples button")
    assert len(buttons) == len(EMOTIONS)
    for button, expected in zip(buttons, wanted, strict=True):
        button.click()
        (judged,) = chromium.settled().judged
        assert np.abs(judged - expected).max() < within
        if precision != "int8":
            assert judged.argmax() == expected.argmax()
            assert chromium.get(".face h2").text.startswith(EMOTIONS[expected.argmax()])
    assert chromium.said == "1 face."
    assert "median of the last 7" in chromium.get("#latency").text
    assert chromium.errors == []


CONTRACTS = {
    "box, shrunk": Standard(Haar(), BoxFrame(margin=0.1, down=0.04), size=48),
    "box beyond the picture, stretched": Standard(
        Haar(), BoxFrame(margin=0.6), size=40, fit="stretch", border="edge"
    ),
    "box, padded, black": Standard(
        Haar(), BoxFrame(margin=0.5), size=56, fit="pad", border="black"
    ),
    "level box, grown": Standard(Haar(), BoxFrame(level=True), size=150),
    "template, halved": Standard(Haar(), TemplateFrame(margin=0.1, down=0.06), size=24),
    "eyes, grey": Standard(Haar(), EyeFrame(), size=64, grey=True, eyes_missing="upright"),
    "box, equalised": Standard(Haar(), BoxFrame(margin=0.2), size=60, clahe=Clahe(tiles=7)),
    "picture equalised": Standard(Haar(), BoxFrame(), size=64, clahe=Clahe(3.0, scope="picture")),
}
BOX = Box(52.3, 60.7, 118.4, 130.9)
POINTS = np.array([[88, 108], [139, 118], [112, 141], [84, 165], [128, 172]], np.float32)


@pytest.mark.parametrize("name", CONTRACTS)
def test_faces_are_cut_as_python_cuts_them(chromium, served, page, name):
    standard, picture = CONTRACTS[name], page / "cut.png"
    image = render("studio", 3, 1, "happy", size=231)
    Image.fromarray(image).save(picture)
    wanted = standard.cut(image, Face(BOX, 0.9, POINTS)).image
    chromium.open(served)
    cut = chromium.run(
        """const [contract, box, landmarks, done] = arguments;
        (async () => {
          const { standardFace } = await import('/align.js');
          const { fromRgba } = await import('/pixels.js');
          const image = new Image();
          image.src = '/cut.png';
          await image.decode();
          const canvas = Object.assign(document.createElement('canvas'),
            { width: image.width, height: image.height });
          const context = canvas.getContext('2d');
          context.drawImage(image, 0, 0);
          const pixels = fromRgba(context.getImageData(0, 0, image.width, image.height));
          const { width, height, data } = standardFace(pixels, { box, landmarks }, contract);
          return [height, width, Array.from(data)];
        })().then(done, (error) => done(String(error)))""",
        standard.contract,
        BOX._asdict(),
        POINTS.tolist(),
    )
    assert not isinstance(cut, str), cut
    height, width, data = cut
    found = np.array(data).reshape(height, width, 3)
    difference = np.abs(found - wanted)
    assert found.shape == wanted.shape
    assert difference.mean() < 0.2
    # a step of rounding, which an equalisation stretches
    assert difference.max() <= (6 if standard.clahe else 2)


def test_the_detector_is_read_as_opencv_reads_it(chromium, served, page):
    """Of a picture of 160 × 160, the planted cell is a face at pixels that can be reckoned."""
    chromium.open(served)
    faces = chromium.run(
        """const done = arguments[arguments.length - 1];
        (async () => {
          const { findFaces } = await import('/detect.js');
          const { picture } = await import('/pixels.js');
          const { loadDetector } = await import('/recognise.js');
          const site = await (await fetch('/page.json')).json();
          const run = await loadDetector(site.detector);
          const how = { sides: [160], score_threshold: 0.6, nms_threshold: 0.3, top_k: 5 };
          return findFaces(picture(320, 320), run, { ...how, refine_side: null });
        })().then(done, (error) => done(String(error)))"""
    )
    (face,) = faces
    assert face["score"] == pytest.approx(0.9, abs=1e-5)
    box = face["box"]  # twice, as the picture was halved
    assert box["width"] == pytest.approx(2 * 72, abs=1e-3)
    assert box["height"] == pytest.approx(2 * 88, abs=1e-3)
    assert box["left"] == pytest.approx(2 * (9.5 * 8 - 36), abs=1e-3)
    assert box["top"] == pytest.approx(2 * (6.25 * 8 - 44), abs=1e-3)
    assert face["landmarks"][1] == pytest.approx([2 * 11.5 * 8, 2 * 4.5 * 8], abs=1e-3)


def test_a_recogniser_of_another_detector_says_so(chromium, served, page):
    chromium.open(served)
    chromium.get("#model option:nth-child(2)").click()
    chromium.settled()
    cv2.imwrite(str(page / "plain.png"), np.full((160, 160, 3), 128, np.uint8))
    chromium.upload(page / "plain.png")
    assert len(chromium.judged) == 1
    assert (
        "were found by haar for training and are found by YuNet here" in chromium.get("#note").text
    )


def test_a_text_file_and_a_damaged_picture_are_survived(chromium, served, page, tmp_path):
    chromium.open(served)
    (tmp_path / "letter.txt").write_text("no picture")
    chromium.upload(tmp_path / "letter.txt")
    assert chromium.said.startswith("letter.txt is not a picture that this browser can read")
    assert "bad" in chromium.get("#said").get_attribute("class")
    Image.fromarray(example(page, "happy")).save(tmp_path / "face.png")
    chromium.upload(tmp_path / "face.png")
    assert len(chromium.judged) == 1
    assert chromium.said == "1 face."


def test_a_huge_picture_is_survived(chromium, served, tmp_path):
    """12,000 × 9,000 grey pixels, packed as they are: one row again and again."""
    width, height = 12_000, 9_000

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    packer = zlib.compressobj(1)
    row = b"\0" + bytes(width // 8)  # one bit a pixel
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    (tmp_path / "huge.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )
    chromium.open(served).upload(tmp_path / "huge.png")
    assert len(chromium.judged) == 1
    assert "The picture of 12,000 × 9,000 pixels was made smaller" in chromium.get("#note").text


@pytest.mark.parametrize(
    ("change", "rehash", "said"),
    [
        (swap_labels, True, "would be given to the wrong emotions"),
        (swap_labels, False, "was changed: its hash is"),
        (lambda content: content.pop("contract"), True, "has no standardisation contract"),
        (
            lambda content: content["contract"].update(border="black"),
            True,
            "the contract in models/0/preprocessing.json was changed",
        ),
    ],
)
def test_tampered_preprocessing_is_refused(chromium, served, page, change, rehash, said):
    path = page / "models" / "0" / "preprocessing.json"
    whole = path.read_bytes()
    try:
        rewrite(path.parent, change, rehash=rehash)
        chromium.open(served)
        assert said in chromium.said
        chromium.get("#examples button").click()
        assert said in chromium.settled().said
        assert len(chromium.judged) == 0
    finally:
        path.write_bytes(whole)


def test_a_tampered_model_and_detector_are_refused(chromium, served, page):
    for name, said in (
        ("models/0/model.int8.onnx", "is not the file that preprocessing.json describes"),
        ("detector.onnx", "is not the detector that this page was built with"),
    ):
        whole = (page / name).read_bytes()
        try:
            (page / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
            chromium.open(served)
            assert said in chromium.said
            assert len(chromium.judged) == 0
        finally:
            (page / name).write_bytes(whole)


def test_other_precisions_serve_where_one_is_refused(chromium, served, page):
    path = page / "models" / "0" / "model.int8.onnx"
    whole = path.read_bytes()
    try:
        path.write_bytes(b"another")
        chromium.open(served).choose("fp32")
        assert chromium.said == "Ready."
    finally:
        path.write_bytes(whole)


def test_it_works_by_keys_alone(chromium, served):
    from selenium.webdriver import ActionChains, Keys

    chromium.open(served)
    order = []
    for _ in range(16):
        ActionChains(chromium.driver).send_keys(Keys.TAB).perform()
        focused = chromium.driver.switch_to.active_element
        order.append(focused.get_attribute("id") or focused.tag_name)
        if order.count("button") == 1 and order[-1] == "button":
            ActionChains(chromium.driver).send_keys(Keys.ENTER).perform()
            chromium.settled()
    assert {"file", "camera", "button", "model"} <= set(order)
    assert len(chromium.judged) == 1


def test_nothing_leaves_the_page(chromium, served):
    """Neither to another server, which the policy forbids, nor to its own."""
    stranger = socket.create_server(("localhost", 0))
    stranger.settimeout(0.3)
    chromium.open(served)
    address = f"http://localhost:{stranger.getsockname()[1]}/"
    answer = chromium.run(
        "const [address, done] = arguments;"
        "fetch(address, {method: 'POST', mode: 'no-cors', body: 'x'})"
        ".then(() => done('sent'), () => done('kept'))",
        address,
    )
    assert answer == "kept"
    with pytest.raises(TimeoutError):
        stranger.accept()
    stranger.close()
    assert any("Content Security Policy" in message for message in chromium.errors)
    assert "Pictures never leave this page" in chromium.get("header").text


def test_webgpu_cannot_be_chosen_where_there_is_none(chromium, served):
    chromium.open(served)
    assert not chromium.get("input[value=webgpu]").is_enabled()
    assert "not in this browser" in chromium.get("#gpu").text


def test_the_camera_is_judged_until_it_is_stopped(chromium, served):
    chromium.open(served)
    chromium.get("#camera").click()
    chromium.run(
        "const done = arguments[0];"
        "const look = () => document.querySelector('.face') ? done() : setTimeout(look, 20); look()"
    )
    assert chromium.get("#camera").text == "Stop the camera"
    chromium.get("#camera").click()
    assert chromium.get("#camera").text == "Camera"


def test_a_phone_shows_it_without_scrolling_sideways(chromium, served):
    chromium.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        chromium.open(served)
        chromium.get("#examples button").click()
        chromium.settled()
        wide = "return document.documentElement.scrollWidth"
        assert chromium.driver.execute_script(wide) <= 390
    finally:
        chromium.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
