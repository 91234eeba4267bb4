import hashlib
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from curation.detect import DnnSsd, EyeCascades, Face, YuNet, choose_face
from curation.detect.ssd import decode_ssd

SHARED = Path(__file__).parents[2] / "shared"
PHOTOS = SHARED / "photos"
MODEL = SHARED / "models" / "yunet_n_640_640.onnx"
needs_photos = pytest.mark.skipif(
    not (PHOTOS.is_dir() and MODEL.is_file()),
    reason=f"photographs and a YuNet file are not in {SHARED}",
)


def photographs(step):
    paths = sorted(PHOTOS.glob("*/*.jpg"))[::step]
    return [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]


def message(*fields):
    """A protobuf message of (number, value): ints as varints, the rest as bytes."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts += [varint(number << 3), varint(value)]
        else:
            value = value.encode() if isinstance(value, str) else value
            parts += [varint(number << 3 | 2), varint(len(value)), value]
    return b"".join(parts)


def varint(number):
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def caffe_weights(layers):
    """A .caffemodel of 1 × 1 convolutions: name → (outputs, inputs) weights; the bias is 0."""

    def blob(values, shape):
        packed = struct.pack(f"<{values.size}f", *values.ravel())
        return message((5, packed), (7, message((1, b"".join(map(varint, shape))))))

    made = []
    for name, values in layers.items():
        values = np.asarray(values, float)
        blobs = [blob(values, (*values.shape, 1, 1)), blob(np.zeros(len(values)), (len(values),))]
        made.append((100, message((1, name), (2, "Convolution"), *((7, each) for each in blobs))))
    return message(*made)


# A single-shot detector whose faces are blue: 5 × 5 cells, each with one box of its own size.
BLUE_FACES = """
input: "data" input_shape { dim: 1 dim: 3 dim: 300 dim: 300 }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
  pooling_param { pool: AVE kernel_size: 60 stride: 60 } }
layer { name: "loc" type: "Convolution" bottom: "pool" top: "loc"
  convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "loc_perm" type: "Permute" bottom: "loc" top: "loc_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc_flat" type: "Flatten" bottom: "loc_perm" top: "loc_flat"
  flatten_param { axis: 1 } }
layer { name: "conf" type: "Convolution" bottom: "pool" top: "conf"
  convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "conf_perm" type: "Permute" bottom: "conf" top: "conf_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "conf_rows" type: "Reshape" bottom: "conf_perm" top: "conf_rows"
  reshape_param { shape { dim: 0 dim: -1 dim: 2 } } }
layer { name: "conf_soft" type: "Softmax" bottom: "conf_rows" top: "conf_soft"
  softmax_param { axis: 2 } }
layer { name: "conf_flat" type: "Flatten" bottom: "conf_soft" top: "conf_flat"
  flatten_param { axis: 1 } }
layer { name: "prior" type: "PriorBox" bottom: "pool" bottom: "data" top: "prior"
  prior_box_param { min_size: 60 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
layer { name: "found" type: "DetectionOutput" top: "found"
  bottom: "loc_flat" bottom: "conf_flat" bottom: "prior"
  detection_output_param { num_classes: 2 share_location: true background_label_id: 0
    nms_param { nms_threshold: 0.45 top_k: 25 } code_type: CENTER_SIZE keep_top_k: 25
    confidence_threshold: 0.01 } }
"""


@pytest.fixture
def blue_faces(tmp_path):
    network, weights = tmp_path / "blau.prototxt", tmp_path / "größe.caffemodel"
    network.write_text(BLUE_FACES)
    # Caffe's order of colours is blue first: 1 % of it, less its mean, is the face's logit
    weights.write_bytes(caffe_weights({"loc": np.zeros((4, 3)), "conf": [[0, 0, 0], [0.01, 0, 0]]}))
    return {"network": network, "weights": weights}


def test_the_single_shot_detector_finds_what_its_network_sees(blue_faces):
    detector = DnnSsd(**blue_faces)
    picture = np.zeros((200, 400, 3), np.uint8)
    picture[40:80, 240:320, 2] = 255  # blue of RGB, just in the cell of row 1 and column 3
    (face,) = detector(picture)
    np.testing.assert_allclose(face.box, (240, 40, 80, 40), atol=1e-3)
    assert face.score == pytest.approx(
        1 / (1 + np.exp(-0.01 * (255 - 104))), abs=5e-3
    )  # its edge blurs
    assert face.landmarks is None
    assert detector(picture[..., ::-1].copy()) == []  # red is no face
    strict = DnnSsd(**blue_faces, confidence=0.85)
    assert strict(picture) == []


def test_the_single_shot_detector_is_pickled_shared_by_threads_and_named_by_its_files(blue_faces):
    detector = DnnSsd(**blue_faces)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (90, 120, 3), np.uint8) for _ in range(8)]
    copied = pickle.loads(pickle.dumps(detector))
    wanted = [detector(picture) for picture in pictures]
    assert any(wanted)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(copied, pictures)) == wanted
    assert pickle.loads(pickle.dumps(detector))(pictures[0]) == wanted[0]
    content = blue_faces["weights"].read_bytes()
    assert detector.settings == {
        "detector": "dnn_ssd",
        "network": "blau.prototxt",
        "network_sha256": hashlib.sha256(BLUE_FACES.encode()).hexdigest(),
        "weights": "größe.caffemodel",
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "confidence": 0.5,
        "side": 300,
        "mean_bgr": [104.0, 177.0, 123.0],
    }


def test_rows_of_a_single_shot_detector_become_faces_in_pixels():
    rows = [
        (0, 1, 0.9, 0.25, 0.5, 0.75, 1.25),  # reaches beyond the picture
        (0, 1, 0.49, 0.1, 0.1, 0.2, 0.2),  # too unsure
        (0, 0, 0.99, 0.1, 0.1, 0.2, 0.2),  # background
        (-1, 1, 0.99, 0.1, 0.1, 0.2, 0.2),  # says that there is nothing
        (0, 1, 0.99, 0.3, 0.1, 0.2, 0.2),  # turned inside out
        (0, 1, 1.0000001, 0.0, 0.0, 0.5, 0.5),
    ]
    faces = decode_ssd(np.array(rows)[None, None], 200, 100, confidence=0.5)
    assert [face.score for face in faces] == [0.9, 1.0]
    assert faces[0].box == pytest.approx((50, 50, 100, 75))
    assert faces[1].box == pytest.approx((0, 0, 100, 50))
    assert decode_ssd(np.zeros((1, 1, 0, 7)), 200, 100, confidence=0.5) == []


def test_missing_files_of_the_detectors_are_told_at_their_first_use(tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTORY_CACHE", str(tmp_path / "cache"))
    picture = np.zeros((40, 40, 3), np.uint8)
    for detector, key, name in (
        (YuNet(), "detector.model", "yunet"),
        (DnnSsd(), "detector.network", "dnn_ssd"),
    ):
        for use in (lambda: detector.settings, lambda: detector(picture)):  # noqa: B023
            with pytest.raises(FileNotFoundError, match=f"affectory prefetch {name}.*{key}"):
                use()
    with pytest.raises(FileNotFoundError, match=r"mine\.onnx \(detector\.model\)"):
        YuNet(model=tmp_path / "mine.onnx")(picture)


def test_files_that_are_no_models_are_told(tmp_path):
    wrong = tmp_path / "page.onnx"
    wrong.write_text("<html>not found</html>")
    picture = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(ValueError, match=r"page\.onnx is no model .* reads .*\(detector\.model\)"):
        YuNet(model=wrong)(picture)
    with pytest.raises(ValueError, match=r"are no Caffe model .*detector\.weights"):
        DnnSsd(network=wrong, weights=wrong)(picture)


def test_a_network_that_is_no_yunet_is_told(tmp_path):
    def tensor(name):  # (1, 3, 32, 32) float
        shape = message(*((1, message((1, size))) for size in (1, 3, 32, 32)))
        return message((1, name), (2, message((1, message((1, 1), (2, shape))))))

    node = message((1, "input"), (2, "output"), (4, "Relu"))
    graph = message((1, node), (2, "g"), (11, tensor("input")), (12, tensor("output")))
    path = tmp_path / "relu.onnx"
    path.write_bytes(message((1, 8), (7, graph), (8, message((1, ""), (2, 13)))))
    assert cv2.dnn.readNetFromONNX(str(path)).getLayerNames()  # a network it is
    with pytest.raises(ValueError, match=r"relu\.onnx does not run on 160 x 120 .*detector\.model"):
        YuNet(model=path)(np.zeros((60, 80, 3), np.uint8))


class Dots:
    """Stands for cv2.FaceDetectorYN: a face is two red dots over a green over two blue ones."""

    def __init__(self, smallest=0.0, shift=0.0):
        self.smallest, self.shift, self.asked = smallest, shift, []

    def setInputSize(self, size):
        self.size = size

    def detect(self, bgr):
        assert bgr.shape[1::-1] == self.size
        assert min(self.size) >= 64
        self.asked.append(max(self.size))
        points = []
        for channel, wanted in ((2, 2), (1, 1), (0, 2)):
            lit = (bgr[..., channel] > 100).astype(np.uint8)
            count, _, _, centres = cv2.connectedComponentsWithStats(lit)
            if count != wanted + 1:
                return 0, None
            points += sorted((centres[1:] + 0.5).tolist())
        points = np.array(points) + np.array([self.shift, 0])
        apart = np.linalg.norm(points[1] - points[0])
        if apart < self.smallest:
            return 0, None
        corner = points[2] - apart * np.array([1.1, 1.3])
        row = [*corner, 2.2 * apart, 2.6 * apart, *points.ravel(), 0.9]
        return 1, np.array([row], np.float32)


def dotted(points, height, width, radius):
    picture = np.zeros((height, width, 3), np.uint8)
    for (x, y), channel in zip(points, (0, 0, 1, 2, 2), strict=True):
        colour = [0, 0, 0]
        colour[channel] = 255
        # shift=4: sixteenths of a pixel; the middle of the first pixel is OpenCV's origin
        centre = round((x - 0.5) * 16), round((y - 0.5) * 16)
        cv2.circle(picture, centre, radius * 16, colour, -1, cv2.LINE_AA, shift=4)
    return picture


POINTS = np.array([(-40, -30), (40, -34), (4, 10), (-30, 50), (34, 48)], float)


def looking(network, **settings):
    detector = YuNet(model="none.onnx", **settings)
    detector._network = lambda: network
    return detector


@pytest.mark.parametrize("refine_side", [None, 160, 96])
@pytest.mark.parametrize(
    ("height", "width", "centre", "scale"),
    [
        (320, 320, (160, 160), 1.0),
        (600, 300, (140, 420), 1.0),
        (240, 500, (430, 120), 1.0),
        (130, 130, (66, 64), 0.5),
        (900, 1400, (1000, 300), 4.0),
        (260, 260, (60, 70), 1.0),  # the square around it reaches beyond the picture
    ],
)
def test_landmarks_come_back_in_the_pictures_pixels_and_order(
    height, width, centre, scale, refine_side
):
    points = POINTS * scale + centre
    picture = dotted(points, height, width, round(9 * scale))
    detector = looking(Dots(), sides=[160, 320], refine_side=refine_side)
    (face,) = detector(picture)
    assert face.landmarks.dtype == np.float32
    apart = np.linalg.norm(points[1] - points[0])
    pixel = max(height, width) / 160 if refine_side is None else 3.3 * apart / refine_side
    assert np.abs(face.landmarks - points).max() < 0.6 * max(1, pixel)
    corner = points[2] - apart * np.array([1.1, 1.3])
    assert np.abs(np.array(face.box[:2]) - corner).max() < 2 * max(1, pixel)
    assert face.box.width == pytest.approx(2.2 * apart, abs=4 * max(1, pixel))
    assert face.score == pytest.approx(0.9)


def test_the_mirror_takes_away_what_a_network_leans_to_one_side():
    points = POINTS + 160
    picture = dotted(points, 320, 320, 9)
    (leaning,) = looking(Dots(shift=5), sides=[160], refine_side=None)(picture)
    assert np.mean(leaning.landmarks - points, axis=0)[0] == pytest.approx(10, abs=0.5)
    (straight,) = looking(Dots(shift=5), sides=[160], refine_side=160)(picture)
    assert np.abs(straight.landmarks - points).max() < 1.2


def test_larger_sides_are_tried_only_where_nothing_was_found():
    picture = dotted(POINTS * 0.6 + 320, 640, 640, 6)  # eyes 48 apart
    small, large = Dots(smallest=20), Dots(smallest=10)
    assert len(looking(small, sides=[160, 320, 640], refine_side=None)(picture)) == 1
    assert small.asked == [160, 320]
    assert len(looking(large, sides=[160, 320, 640], refine_side=None)(picture)) == 1
    assert large.asked == [160]
    blank = Dots()
    assert looking(blank, sides=[160, 320], refine_side=160)(np.zeros_like(picture)) == []
    assert blank.asked == [160, 320]


def test_a_face_that_the_closer_look_does_not_find_stays_as_it_was():
    points = POINTS + 160
    picture = dotted(points, 320, 320, 9)
    (found,) = looking(Dots(smallest=35), sides=[160], refine_side=None)(picture)
    (kept,) = looking(Dots(smallest=35), sides=[160], refine_side=64)(picture)
    assert kept.box == found.box
    np.testing.assert_array_equal(kept.landmarks, found.landmarks)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"score_threshold": 1.1}, r"score_threshold 1\.1 .*detector\.score_threshold"),
        ({"nms_threshold": 0}, r"nms_threshold 0 .*detector\.nms_threshold"),
        ({"top_k": 0}, r"top_k 0 .*detector\.top_k"),
        ({"sides": []}, r"sides \[\] must be .*detector\.sides"),
        ({"sides": [160, 16]}, r"sides \[160, 16\] .* 32 pixels or more"),
        ({"refine_side": 8}, r"refine_side 8 .*detector\.refine_side"),
    ],
)
def test_impossible_settings_of_yunet_are_told(settings, text):
    with pytest.raises(ValueError, match=text):
        YuNet(**settings)


def test_a_confidence_out_of_range_is_told():
    with pytest.raises(ValueError, match=r"confidence 0 .*detector\.confidence"):
        DnnSsd(confidence=0)


@needs_photos
def test_yunet_finds_faces_and_knows_left_from_right():
    detector = YuNet(model=MODEL)
    for picture in photographs(20):
        face = choose_face(detector(picture), picture)
        assert isinstance(face, Face)
        left, right, nose, corner_left, corner_right = face.landmarks
        assert left[0] < right[0]
        assert corner_left[0] < corner_right[0]
        assert max(left[1], right[1]) < nose[1] < max(corner_left[1], corner_right[1])
        mirrored = np.ascontiguousarray(picture[:, ::-1])
        other = choose_face(detector(mirrored), mirrored).landmarks[[1, 0, 2, 4, 3]]
        other[:, 0] = picture.shape[1] - other[:, 0]
        error = np.linalg.norm(other - face.landmarks, axis=1) / np.linalg.norm(right - left)
        assert error.mean() < 0.05


@needs_photos
def test_a_photograph_within_a_large_picture_gives_the_same_landmarks():
    detector = YuNet(model=MODEL)
    errors = []
    for picture in photographs(30):
        alone = choose_face(detector(picture), picture).landmarks
        small = cv2.resize(picture, (175, 175), interpolation=cv2.INTER_AREA)
        large = np.full((1000, 1400, 3), 120, np.uint8)
        large[600:775, 200:375] = small
        face = choose_face(detector(large), large)
        expected = alone / 2 + (200, 600)
        apart = np.linalg.norm(expected[1] - expected[0])
        errors.append(np.linalg.norm(face.landmarks - expected, axis=1).mean() / apart)
    assert len(errors) == 10
    assert np.median(errors) < 0.08


@needs_photos
def test_yunet_is_pickled_shared_by_threads_and_named_by_its_file():
    detector = YuNet(model=MODEL)
    pictures = photographs(60)
    copied = pickle.loads(pickle.dumps(detector))
    state = cv2.getNumThreads(), cv2.useOptimized()
    with ThreadPoolExecutor(3) as pool:
        threaded = list(pool.map(copied, pictures))
    again = pickle.loads(pickle.dumps(copied))
    for picture, found in zip(pictures, threaded, strict=True):
        for other in (detector(picture), again(picture)):
            assert [face.box for face in other] == [face.box for face in found]
            np.testing.assert_array_equal(other[0].landmarks, found[0].landmarks)
    assert (cv2.getNumThreads(), cv2.useOptimized()) == state
    assert detector.settings == {
        "detector": "yunet",
        "model": MODEL.name,
        "sha256": hashlib.sha256(MODEL.read_bytes()).hexdigest(),
        "score_threshold": 0.6,
        "nms_threshold": 0.3,
        "top_k": 5000,
        "sides": [160, 320, 640],
        "refine_side": 160,
    }


@needs_photos
def test_cascades_find_the_eyes_that_yunet_finds():
    detector, eyes = YuNet(model=MODEL), EyeCascades()
    pictures, errors = photographs(10), []
    for picture in pictures:
        known = choose_face(detector(picture), picture)
        found = eyes.find(picture, known.box)
        if found is not None:
            apart = np.linalg.norm(known.landmarks[1] - known.landmarks[0])
            errors.append(np.linalg.norm(found - known.landmarks[:2], axis=1).mean() / apart)
    assert len(errors) >= 0.9 * len(pictures)
    assert np.median(errors) < 0.1
    assert np.percentile(errors, 95) < 0.25


@needs_photos
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 400, 3), (2000, 3, 3)])
def test_pictures_of_odd_shapes_are_no_crash(shape):
    assert YuNet(model=MODEL)(np.full(shape, 120, np.uint8)) == []


def test_a_narrow_picture_is_brought_to_a_size_that_opencv_can_take():
    narrow = Dots()  # it checks the sizes that it is given
    assert looking(narrow, sides=[160, 64])(np.zeros((20, 400, 3), np.uint8)) == []
    assert narrow.asked == [160, 64]
