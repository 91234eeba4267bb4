"""Recognisers: normalisation, units, layers and what trains of them."""

import json

import numpy as np
import pytest
import torch

from classifiers.networks import (
    Normalise,
    dao2021,
    rebuild,
    small_cnn,
    timm_network,
    vanderweel2019,
)


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


def test_pictures_of_another_size_are_brought_to_the_networks_without_aliasing():
    resized = Normalise("unit", grey=False, size=8)
    stripes = torch.zeros(1, 3, 32, 64, dtype=torch.uint8)
    stripes[..., ::2] = 200
    small = resized(stripes)
    assert small.shape == (1, 3, 8, 8)
    # every second column taken would give 0 or 200
    torch.testing.assert_close(
        small[..., 1:-1] * 255, torch.full((1, 3, 8, 6), 100.0), atol=2, rtol=0
    )
    same = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(resized(same), Normalise("unit", grey=False)(same))
    with pytest.raises(ValueError, match="size=0"):
        Normalise("unit", grey=False, size=0)


def test_timm_networks_share_the_form_and_are_rebuilt_offline():
    network = timm_network(3, name="mobilenetv3_small_050.lamb_in1k", size=40, dropout=0.2).eval()
    pictures = torch.randint(0, 256, (2, 3, 48, 40), dtype=torch.uint8)
    assert network(pictures).shape == (2, 3)
    assert network.features(pictures).shape == (2, network.width)
    assert network.name == "mobilenetv3_small_050"
    again = rebuild(json.loads(json.dumps(network.recipe)), 3).eval()
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(again(pictures), network(pictures))


@pytest.mark.parametrize(
    ("constructor", "classes", "count", "side"),
    [(vanderweel2019, 8, 367_304, 32), (dao2021, 7, 784_263, 48)],
)
def test_the_papers_small_networks_have_their_parameters(constructor, classes, count, side):
    network = constructor(classes).eval()
    assert sum(weight.numel() for weight in network.parameters()) == count
    assert network(torch.zeros(2, 3, 60, 50, dtype=torch.uint8)).shape == (2, classes)
    assert network.normalise(torch.zeros(1, 3, 60, 50)).shape[2:] == (side, side)
    again = rebuild(json.loads(json.dumps(network.recipe)), classes)
    again.load_state_dict(network.state_dict())
    with pytest.raises(ValueError, match="at least 2 emotions"):
        constructor(1)


def test_an_unknown_constructor_is_refused():
    with pytest.raises(ValueError, match=r"'os.system' is unknown; it is one of small_cnn"):
        rebuild({"constructor": "os.system", "arguments": {}}, 3)


def test_a_hidden_layer_makes_the_head_of_protocol_1():
    network = timm_network(7, name="resnet10t", hidden=256).eval()
    features = torch.randn(3, 512)
    with torch.inference_mode():
        hidden = torch.relu(network.head.hidden(features))
        torch.testing.assert_close(network.head(features), network.head.logits(hidden))
    assert sum(weight.numel() for weight in network.head.parameters()) == 513 * 256 + 257 * 7


def trained(network):
    return {name for name, weight in network.named_parameters() if weight.requires_grad}


def test_the_last_layers_train_and_the_cut_is_before_them():
    network = small_cnn(3, width=8)
    units = [name for name, _ in network.trunk.named_children()]
    assert [layer.name for layer in network.layers] == units
    everything = trained(network)
    head = {"head.logits.weight", "head.logits.bias"}
    assert network.trainable_last(0) == len(network.trunk)
    assert trained(network) == head
    # pooling counts, then the residual block
    assert network.trainable_last(1) == len(network.trunk)
    assert network.trainable_last(2) == len(network.trunk) - 2
    assert {name.rsplit(".", 2)[0] for name in trained(network) - head} == {"trunk.11"}
    assert network.trainable_last(None) == 0
    assert trained(network) == everything
    assert network.trainable_last(len(network.layers)) == 0
    assert trained(network) == everything
    with pytest.raises(ValueError, match=r"small_cnn has 13 layers, so the last 14 cannot"):
        network.trainable_last(14)
    with pytest.raises(ValueError, match=r"last -1 cannot"):
        network.trainable_last(-1)


def statistics(network):
    return {name: value.clone() for name, value in network.named_buffers() if "running" in name}


@pytest.mark.parametrize("adapt", [False, True])
def test_frozen_norms_are_fixed_in_training_unless_they_may_adapt(adapt):
    network = small_cnn(3, width=8).train()
    cut = network.trainable_last(2, frozen_norms_adapt=adapt)
    before = statistics(network)
    pictures = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    network.eval().train()
    assert network.training
    prefix = network.trunk[:cut](network.normalise(pictures))
    network.trunk[cut:](prefix)
    moved = {name for name, value in statistics(network).items() if not value.equal(before[name])}
    if adapt:
        assert moved == set(before)
    else:
        assert {name.split(".")[1] for name in moved} == {"11"}
        frozen = network.eval().trunk[:cut](network.normalise(pictures))
        torch.testing.assert_close(prefix, frozen)
    network.trainable_last(None)
    network.train()
    assert all(module.training for module in network.modules())


def test_a_norm_within_the_trained_part_is_fixed_if_it_is_frozen_itself():
    with torch.device("meta"):
        network = timm_network(7, name="inception_v3")
    network.trainable_last(140)
    network.train()
    blocks = dict(network.trunk.named_children())
    # the cut goes through Mixed_6d: the longest branch begins before it
    early, late = blocks["Mixed_6d"].branch7x7dbl_1.bn, blocks["Mixed_6d"].branch_pool.bn
    assert not early.bias.requires_grad
    assert late.bias.requires_grad
    assert (early.training, late.training) == (False, True)
    assert not blocks["Conv2d_1a_3x3"].bn.training


def test_activations_do_not_overwrite_features_that_are_kept():
    for network in (small_cnn(2, width=8), timm_network(2, name="resnet18")):
        assert not any(getattr(module, "inplace", False) for module in network.modules())
