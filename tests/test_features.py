import hashlib
import sys
import threading

import numpy as np
import pytest
import safetensors.torch
import torch

from curation.corpus import content_id
from curation.features import (
    INCEPTION_FILE,
    Cached,
    ClassifierFeatures,
    Inception,
    OnnxFile,
    RandomConvolutions,
    TimmModel,
    cache,
    cached_files,
    cached_ids,
)
from curation.fidelity import kernel_distance
from curation.weights import INCEPTION


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


def test_missing_inception_weights_are_one_clear_message(tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTORY_CACHE", str(tmp_path / "cache"))
    for folder in (tmp_path, None):
        extractor = Inception(folder)
        with pytest.raises(FileNotFoundError) as error:
            extractor(pictures(1))
        for word in (
            INCEPTION_FILE,
            "https://",
            "features.folder",
            "affectory prefetch inception",
            INCEPTION.sha256,
        ):
            assert word in str(error.value)


def test_a_wrong_inception_file_is_refused_in_the_cache_and_named_in_a_users_folder(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("AFFECTORY_CACHE", str(tmp_path))
    (tmp_path / "inception").mkdir()
    (tmp_path / "inception" / INCEPTION_FILE).write_bytes(b"something else")
    with pytest.raises(ValueError, match="is damaged"):
        Inception()(pictures(1))
    assert (
        Inception(tmp_path / "inception").hash == hashlib.sha256(b"something else").hexdigest()[:10]
    )
    assert "is not the published file" in caplog.text


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


class Mean:
    """An extractor that counts the pictures it was given."""

    name, hash, resizer = "mean colour", "v1", "none"

    def __init__(self):
        self.given = 0

    def __call__(self, images):
        self.given += len(images)
        return images.mean(axis=(2, 3), dtype=np.float32)


class Counting(RandomConvolutions):
    """Real convolutions, whose last bits depend on the batch, that count what they were given."""

    def __init__(self, **options):
        super().__init__(scales=1, **options)
        self.given = 0

    def __call__(self, images):
        self.given += len(images)
        return super().__call__(images)


def test_no_set_of_pictures_is_computed_twice(tmp_path):
    images = pictures(6)
    expected = Mean()(images)
    np.testing.assert_array_equal(Cached(Mean(), tmp_path)(images), expected)
    again = Mean()
    cached = Cached(again, tmp_path)
    np.testing.assert_array_equal(cached(images), expected)
    assert again.given == 0
    # in another order, or with a picture more, it is another set
    np.testing.assert_array_equal(cached(images[::-1]), expected[::-1])
    np.testing.assert_array_equal(cached(images[[0, 0, 5]]), expected[[0, 0, 5]])
    assert again.given == 9
    assert (cached.name, cached.hash, cached.resizer) == ("mean colour", "v1", "none")


def test_what_is_remembered_is_what_would_be_computed_to_the_bit(tmp_path):
    images = pictures(40, side=64)
    for chosen in (slice(None), slice(3, 4), slice(0, 9), [5, 5, 2], slice(None, None, -1)):
        plain = Counting()(images[chosen])
        for _ in range(2):
            cached = Cached(Counting(), tmp_path)(images[chosen])
            assert cached.dtype == plain.dtype
            assert cached.tobytes() == plain.tobytes()


@pytest.mark.parametrize("changed", ["hash", "resizer", "device", "batch_size"])
def test_features_of_another_extractor_are_not_taken(tmp_path, changed):
    images = pictures(3)
    Cached(Mean(), tmp_path)(images)
    other = Mean()
    setattr(other, changed, "other")
    Cached(other, tmp_path)(images)
    assert other.given == 3


@pytest.mark.parametrize("changed", ["threads", "versions", "processor"])
def test_features_from_another_machine_are_not_taken(tmp_path, changed, monkeypatch):
    images = pictures(3)
    Cached(Mean(), tmp_path)(images)
    if changed == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1234)
    elif changed == "versions":
        monkeypatch.setattr(cache, "versions", lambda: {"torch": "0"})
    else:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "other")
    other = Mean()
    Cached(other, tmp_path)(images)
    assert other.given == 3


def saved(path, **arrays):
    with path.open("wb") as file:
        np.savez(file, **arrays)


DAMAGE = ["cut", "flipped", "emptied", "replaced", "short", "of others", "of another type"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_computed_again(tmp_path, damage, caplog):
    images = pictures(50)
    expected = Cached(Mean(), tmp_path)(images)
    (path,) = tmp_path.rglob("*.npz")
    content = bytearray(path.read_bytes())
    with np.load(path) as file:
        ids, features = file["ids"], file["features"]
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[content.index(expected[7].tobytes())] ^= 0x40
        path.write_bytes(content)
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "replaced":
        saved(path, other=np.zeros(3))
    elif damage == "short":
        saved(path, ids=ids, features=features[:-1])
    elif damage == "of others":
        saved(path, ids=ids[::-1], features=features)
    else:
        saved(path, ids=ids, features=features.astype(np.float64))
    extractor = Mean()
    np.testing.assert_array_equal(Cached(extractor, tmp_path)(images), expected)
    assert extractor.given == 50
    assert "is damaged and is not used" in caplog.text
    third = Mean()
    np.testing.assert_array_equal(Cached(third, tmp_path)(images), expected)
    assert third.given == 0


def test_a_file_cut_at_any_byte_is_not_trusted(tmp_path):
    images = pictures(3)
    Cached(Mean(), tmp_path)(images)
    (path,) = tmp_path.rglob("*.npz")
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert cached_ids(path) is None, length
    path.write_bytes(content)
    assert cached_ids(path) == {content_id(image.transpose(1, 2, 0)) for image in images}


def test_several_writers_share_a_folder(tmp_path):
    images = pictures(40)
    expected = Mean()(images)
    found = {}

    def work(start):
        for step in range(8):
            own = (5 * step + np.arange(10)) % 40
            found[start, step] = own, Cached(Mean(), tmp_path)(images[own])

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 32
    for own, features in found.values():
        np.testing.assert_array_equal(features, expected[own])
    assert not list(tmp_path.rglob("*.partial"))
    assert len(cached_files(tmp_path)) == 8


@pytest.mark.parametrize("when", ["at once", "half way"])
def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path, caplog, when, monkeypatch):
    folder = tmp_path / "features"
    if when == "at once":
        folder.write_text("in the way")
    else:

        def full(file, **arrays):
            file.write(b"half of it")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(cache.np, "savez", full)
    extractor = Mean()
    cached = Cached(extractor, folder)
    for _ in range(2):
        np.testing.assert_array_equal(cached(pictures(3)), Mean()(pictures(3)))
    assert extractor.given == 6
    assert "features are not kept" in caplog.text
    assert not cached_files(tmp_path)


TINY = "test_vit.r160_in1k"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny network of timm, with random weights, and the file that holds them."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model(TINY, pretrained=False).eval()
    path = tmp_path_factory.mktemp("timm") / "tiny.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    return network, path


def test_a_timm_network_gets_what_it_was_trained_with(tiny):
    from cleanfid.resize import make_resizer

    network, path = tiny
    images = pictures(3, side=40)
    extractor = TimmModel(TINY, weights=path, batch_size=2)
    features = extractor(images)
    resized = make_resizer("PIL", False, "bicubic", (160, 160))(images[2].transpose(1, 2, 0))
    pixels = torch.from_numpy(resized).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        # the features that its own last layer is given
        expected = network.forward_head(
            network.forward_features((pixels - mean) / std), pre_logits=True
        )
    np.testing.assert_allclose(features[2:], expected.numpy(), atol=1e-4)
    assert features.dtype == np.float32
    assert extractor.resizer == "clean-fid: PIL bicubic to 160 px, not quantised"


def test_a_timm_networks_identity_is_its_weights_and_its_size(tiny, tmp_path):
    network, path = tiny
    one = TimmModel(TINY, weights=path)
    other = tmp_path / "other.pth"
    changed = {name: value + 1e-3 for name, value in network.state_dict().items()}
    torch.save(changed, other)
    smaller = TimmModel(TINY, weights=path, size=96)
    hashes = {one.hash, smaller.hash, TimmModel(TINY, weights=other).hash}
    assert len(hashes) == 3
    assert TimmModel(TINY, weights=str(path), batch_size=7).hash == one.hash
    assert smaller(pictures(2)).shape == one(pictures(2)).shape
    assert smaller.resizer.startswith("clean-fid: PIL bicubic to 96 px")


def test_missing_timm_weights_are_told_with_both_ways_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError) as told:
        TimmModel(TINY)(pictures(1))
    for part in (TINY, f"hf download timm/{TINY} model.safetensors", "features.weights"):
        assert part in str(told.value)
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.pth \(features\.weights\)"):
        TimmModel(TINY, weights=tmp_path / "none.pth")(pictures(1))
    for name in ("no_network", "resnet18.no_tag"):
        with pytest.raises(ValueError, match=f"timm knows no {name} \\(features.model\\)"):
            TimmModel(name)(pictures(1))


def message(**fields):
    """Encode a protocol buffer: ``f7`` is field 7; a list repeats it."""
    found = b""
    for name, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            number = int(name[1:])
            if isinstance(value, int):
                found += varint(number << 3) + varint(value)
            else:
                content = value.encode() if isinstance(value, str) else value
                found += varint(number << 3 | 2) + varint(len(content)) + content
    return found


def varint(value):
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def means_model(*, layout="nchw", count="n", side=4):
    """Encode an ONNX model (IR 8, opset 13) that gives the mean of each channel, and twice it."""

    def tensor(name, *dims):
        shape = [message(**{"f1" if isinstance(dim, int) else "f2": dim}) for dim in dims]
        kind = message(f1=message(f1=1, f2=message(f1=shape)))  # float32
        return message(f1=name, f2=kind)

    def node(operator, inputs, output, **fields):
        return message(f1=inputs, f2=output, f4=operator, **fields)

    to_channels = node(
        "Transpose", ["x"], "channels", f5=message(f1="perm", f8=[0, 3, 1, 2], f20=7)
    )
    same = node("Identity", ["x"], "channels")
    dims = (count, 3, side, side) if layout == "nchw" else (count, side, side, 3)
    graph = message(
        f1=[
            same if layout == "nchw" else to_channels,
            node("GlobalAveragePool", ["channels"], "mean"),
            node("Add", ["mean", "mean"], "twice"),
        ],
        f2="means",
        f11=tensor("x", *dims),
        f12=[tensor("mean", count, 3, 1, 1), tensor("twice", count, 3, 1, 1)],
    )
    return message(f1=8, f7=graph, f8=message(f1="", f2=13))


def flat(*colours):
    """Pictures of one colour each, (N, 3, 8, 8)."""
    return np.tile(np.array(colours, np.uint8)[:, :, None, None], (1, 1, 8, 8))


@pytest.fixture
def onnx_model(tmp_path):
    pytest.importorskip("onnxruntime")

    def write(**settings):
        path = tmp_path / "means.onnx"
        path.write_bytes(means_model(**settings))
        return path

    return write


def test_an_onnx_file_gets_what_its_settings_say(onnx_model):
    images = flat((10, 20, 30), (40, 50, 60), (255, 0, 1))
    settings = {"size": 4, "unit_length": False, "batch_size": 2}
    path = onnx_model()
    plain = OnnxFile(path, mean=0, std=1, **settings)
    np.testing.assert_allclose(plain(images), images[:, :, 0, 0], atol=1e-3)
    bgr = OnnxFile(path, mean=[30, 20, 10], std=[1, 2, 4], channels="bgr", **settings)
    np.testing.assert_allclose(bgr(images)[1], [30, 15, 7.5], atol=1e-3)
    twice = OnnxFile(path, mean=0, std=1, output="twice", **settings)
    np.testing.assert_allclose(twice(images), 2.0 * images[:, :, 0, 0], atol=1e-3)
    assert len({plain.hash, bgr.hash, twice.hash}) == 3
    assert plain.resizer == "clean-fid: PIL bicubic to 4 px, not quantised"
    last = OnnxFile(onnx_model(layout="nhwc"), mean=0, std=1, layout="nhwc", **settings)
    np.testing.assert_allclose(last(images), images[:, :, 0, 0], atol=1e-3)
    assert last.hash != plain.hash


def test_face_embeddings_have_length_1(onnx_model):
    features = OnnxFile(onnx_model(), size=4)(flat((10, 20, 30), (255, 255, 255)))
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-6)
    # 127.5 is taken off and divided by, so white is (1, 1, 1)
    np.testing.assert_allclose(features[1], 3**-0.5, rtol=1e-6)


def test_an_onnx_file_for_a_fixed_count_is_filled_up(onnx_model):
    images = flat(*((10 * i, i, 0) for i in range(5)))
    extractor = OnnxFile(onnx_model(count=2), size=4, mean=0, std=1, unit_length=False)
    np.testing.assert_allclose(extractor(images), images[:, :, 0, 0], atol=1e-3)


def test_what_an_onnx_file_lacks_is_told(onnx_model, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"outputs mean, twice, not logits \(features\.output\)"):
        OnnxFile(onnx_model(), size=4, output="logits")(pictures(1))
    with pytest.raises(ValueError, match=r"features\.channels"):
        OnnxFile(tmp_path / "x", channels="BGR")
    for file in (None, tmp_path / "none.onnx"):
        with pytest.raises(FileNotFoundError, match=r"features\.file"):
            OnnxFile(file)(pictures(1))
    path = onnx_model()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"affectory\[onnx\]"):
        OnnxFile(path, size=4)(pictures(1))
