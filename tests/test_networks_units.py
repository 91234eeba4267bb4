"""Trunks as sequences of units, and layers as Keras and the papers count them."""

from pathlib import Path

import pytest
import timm
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from classifiers.networks import timm_network
from classifiers.networks.timm_trunks import units

CONFIGS = sorted((Path(__file__).parents[1] / "conf" / "classifier").glob("*.yaml"))


def with_statistics(network):
    """Norms as after training, so that a norm left out or misplaced shows."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        ("vgg11", 32, 22),
        ("resnet18", 40, 13),
        ("resnet10t", 40, 15),
        ("inception_v3", 75, 19),
        ("inception_resnet_v2", 75, 52),
        ("legacy_xception", 64, 25),
        ("mobilenetv1_100", 40, 16),
        ("mobilenetv2_050", 40, 22),
        ("mobilenetv3_small_050", 40, 18),
        ("efficientnet_b0", 40, 21),
        ("convnext_atto", 40, 23),
        ("vit_tiny_patch16_224", 224, 15),
        ("deit_tiny_distilled_patch16_224", 224, 1),  # of no family listed: one unit
    ],
)
def test_the_units_in_a_row_are_timms_network(name, size, count):
    torch.manual_seed(0)
    network = with_statistics(timm.create_model(name, num_classes=0))
    trunk = units(network).eval()
    assert len(trunk) == count
    pictures = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        expected = network(pictures)
        found = trunk(pictures)
        assert expected.std() > 0
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        for cut in range(0, len(trunk), 7):
            torch.testing.assert_close(trunk[cut:](trunk[:cut](pictures)), found)
    assert {id(weight) for weight in trunk.parameters()} == {
        id(weight) for weight in network.parameters()
    }


def test_a_vision_transformer_takes_another_size():
    network = timm_network(3, name="vit_tiny_patch16_224", normalise="signed", size=64).eval()
    assert network(torch.zeros(2, 3, 48, 48, dtype=torch.uint8)).shape == (2, 3)
    assert [layer.name for layer in network.layers][:2] == ["embed", "blocks_0"]


def keras_networks(name):
    with torch.device("meta"):
        return timm_network(7, name=name)


@pytest.mark.parametrize(
    ("name", "layers", "parameters"),
    [
        ("vgg16", 19, 14_714_688),
        ("vgg19", 22, 20_024_384),
        ("inception_v3", 311, 21_802_784),
        ("inception_resnet_v2", 780, 54_336_736),
    ],
)
def test_layers_and_parameters_are_those_of_protocol_1(name, layers, parameters):
    network = keras_networks(name)
    norms = [module for module in network.trunk.modules() if isinstance(module, nn.BatchNorm2d)]
    ours = sum(weight.numel() for weight in network.trunk.parameters())
    # two running statistics a norm, one scale: so plus one
    assert ours + sum(norm.num_features for norm in norms) == parameters
    assert len(network.layers) == layers + 1  # pooling on top
    scales = {id(norm.weight) for norm in norms}
    named = dict(network.trunk.named_parameters())
    listed = [key for layer in network.layers for key in layer.parameters]
    assert len(listed) == len(set(listed))
    assert {key for key, weight in named.items() if id(weight) not in scales} == set(listed)


# what is trainable when Keras 3 unfreezes the last k of model.layers and a pool on top
KERAS = [
    ("vgg16", {1: 0, 2: 0, 3: 2_359_808, 5: 7_079_424, 9: 12_979_200}),
    ("vgg19", {1: 0, 5: 7_079_424, 9: 14_158_848, 14: 18_878_976}),
    ("inception_v3", {33: 6_073_536, 64: 11_114_880, 140: 16_215_936, 263: 21_256_464}),
    ("inception_resnet_v2", {4: 3_196_416, 17: 4_831_424, 371: 40_442_464, 600: 53_064_144}),
]


@pytest.mark.parametrize(("name", "counts"), KERAS)
def test_the_last_k_layers_are_those_of_keras(name, counts):
    network = keras_networks(name)
    for k, expected in counts.items():
        cut = network.trainable_last(k)
        weights = [weight for weight in network.trunk.parameters() if weight.requires_grad]
        assert sum(weight.numel() for weight in weights) == expected, k
        assert not any(weight.requires_grad for weight in network.trunk[:cut].parameters())
        assert cut == len(network.trunk) or any(
            weight.requires_grad for weight in network.trunk[cut].parameters()
        )


# what builds on another configuration or another network costs what that does
OWN = [path for path in CONFIGS if OmegaConf.load(path).get("network")]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_a_config_states_its_cost_and_its_network_takes_its_pictures(path):
    config = OmegaConf.load(path)
    if "weights" in config.network.keys():  # noqa: SIM118  a key without a value is not "in"
        config.network.weights = "random"
    with torch.device("meta"):
        network = instantiate(config.network)(7).eval()
        side = network.normalise.size or 64
        with FlopCounterMode(display=False) as counted:
            logits = network(torch.zeros(1, 3, side, side))
    assert logits.shape == (1, 7)
    # an operation is a multiplication or an addition there
    assert counted.get_total_flops() / 2e9 == pytest.approx(config.cost, rel=0.01)
