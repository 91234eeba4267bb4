"""Recognisers: normalisation, units, layers and what trains of them."""

import json

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from classifiers.networks import Normalise, rebuild, small_cnn, timm_network


@pytest.fixture
def batch():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), np.uint8))


def test_normalisations_equal_their_definitions(batch):
    colour = batch.numpy().astype(np.float64)
    bgr = colour[:, ::-1] - np.array([103.939, 116.779, 123.68]).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(Normalise("caffe", grey=False)(batch), bgr, atol=1e-4)
    np.testing.assert_allclose(Normalise("unit", grey=False)(batch), colour / 255, atol=1e-6)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (colour / 255 - mean.reshape(1, 3, 1, 1)) / std.reshape(1, 3, 1, 1)
    np.testing.assert_allclose(Normalise("imagenet", grey=False)(batch), expected, atol=1e-5)
    done = Normalise("per_image", grey=False)(batch)
    np.testing.assert_allclose(done.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(done.std((1, 2, 3), correction=0), 1, atol=1e-5)


def test_per_image_forgets_brightness_and_contrast_but_not_the_picture(batch):
    normalise = Normalise("per_image", grey=False)
    dim = batch.float() * 0.4 + 31
    torch.testing.assert_close(normalise(batch), normalise(dim), atol=1e-5, rtol=1e-5)
    assert (normalise(batch) - normalise(batch.flip(-1))).abs().max() > 0.5
    flat = torch.full((1, 3, 8, 8), 77, dtype=torch.uint8)
    assert normalise(flat).abs().max() == 0


def test_grey_is_luminance_and_makes_a_colour_picture_equal_its_grey_copy(batch):
    one = Normalise("unit", grey=True, channels=1)(batch)
    weights = np.array([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
    expected = (batch.numpy() * weights).sum(1, keepdims=True) / 255
    np.testing.assert_allclose(one, expected, atol=1e-6)
    three = Normalise("imagenet", grey=True)
    assert three(batch).shape == (3, 3, 8, 8)
    copy = (one * 255).expand(-1, 3, -1, -1)
    torch.testing.assert_close(three(batch), three(copy), atol=1e-4, rtol=1e-4)


def test_impossible_normalisations_are_refused(batch):
    with pytest.raises(ValueError, match="'zscore' is unknown; it is one of per_image"):
        Normalise("zscore", grey=False)
    with pytest.raises(ValueError, match="'caffe' is one value a colour"):
        Normalise("caffe", grey=True, channels=1)
    with pytest.raises(ValueError, match=r"got \(3, 1, 8, 8\)"):
        Normalise("unit", grey=True)(batch[:, :1])


def test_small_cnn_has_the_stated_cost_and_takes_any_size():
    network = small_cnn(7)
    assert sum(weight.numel() for weight in network.parameters()) == 289_063
    multiplies = []

    def count(layer, _, output):
        multiplies.append(output[0].numel() * layer.weight[0].numel())

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    network.eval()(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    assert sum(multiplies) == pytest.approx(9.84e6, rel=0.005)
    for size in (32, 48, 90):
        assert network(torch.zeros(1, 3, size, size)).shape == (1, 7)
        assert network.features(torch.zeros(1, 3, size, size)).shape == (1, 128)
    assert small_cnn(7, normalise="caffe", grey=True).trunk[0].in_channels == 3


def test_timm_networks_share_the_form_and_are_rebuilt_offline():
    network = timm_network(3, name="mobilenetv3_small_050", dropout=0.2).eval()
    pictures = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    assert network(pictures).shape == (2, 3)
    assert network.features(pictures).shape == (2, network.width)
    assert network.name == "mobilenetv3_small_050"
    again = rebuild(json.loads(json.dumps(network.recipe)), 3).eval()
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(again(pictures), network(pictures))


def test_timm_vgg_is_the_convolutional_trunk_of_the_papers():
    with torch.device("meta"):
        network = timm_network(7, name="vgg16", normalise="caffe")
    assert sum(weight.numel() for weight in network.trunk.parameters()) == 14_714_688
    assert network.width == 512
    assert network.features(torch.zeros(2, 3, 64, 64, device="meta")).shape == (2, 512)


def test_timm_weights_come_from_a_local_file(tmp_path):
    source = timm.create_model("mobilenetv3_small_050")
    file = tmp_path / "weights.safetensors"
    save_file(source.state_dict(), file)
    loaded = timm_network(7, name="mobilenetv3_small_050", weights=file)
    pictures = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        expected = source.eval().forward_head(source.forward_features(pictures), pre_logits=True)
        torch.testing.assert_close(loaded.trunk.eval()(pictures), expected)


def test_timm_errors_name_the_file_and_the_way_out(tmp_path):
    with pytest.raises(ValueError, match=r"no network 'resnet81'; near it are .*resnet"):
        timm_network(7, name="resnet81")
    with pytest.raises(FileNotFoundError, match=r"nowhere.pth"):
        timm_network(7, name="resnet18", weights=tmp_path / "nowhere.pth")
    broken = tmp_path / "broken.safetensors"
    save_file({"other": torch.zeros(1)}, broken)
    with pytest.raises(RuntimeError, match=r"broken.safetensors does not hold weights of"):
        timm_network(7, name="mobilenetv3_small_050", weights=broken)
    state = timm.create_model("mobilenetv3_small_050").state_dict()
    del state["blocks.1.0.conv_pw.weight"]
    save_file(state, broken)
    with pytest.raises(RuntimeError, match=r"1 of its layers .* first is blocks.1.0.conv_pw"):
        timm_network(7, name="mobilenetv3_small_050", weights=broken)
