"""The networks of protocol 1, counted by hand."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from gan.dcgan import Discriminator, Generator

CONF = Path(__file__).parents[1] / "conf"


def networks(option, size):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=[f"gan={option}", f"size={size}"])
    return instantiate(cfg.gan.generator)(), instantiate(cfg.gan.discriminator)()


def weights(network):
    return sum(parameter.numel() for parameter in network.parameters())


def convolution(inputs, outputs, side):
    return inputs * outputs * side * side + outputs


# the paper's layers with kernels of 4 in layers of stride 2 and of 3 in those of stride 1
GENERATOR = {
    224: (100 * 512 * 49 + 512 * 49)  # dense, reshaped to 7 × 7 × 512
    + convolution(512, 256, 4) + convolution(256, 128, 4) + convolution(128, 64, 4)
    + convolution(64, 32, 4) + convolution(32, 32, 4)  # five transposed convolutions
    + convolution(32, 3, 3),
    56: (100 * 128 * 49 + 128 * 49)
    + convolution(128, 64, 4) + convolution(64, 32, 4) + convolution(32, 32, 4)
    + convolution(32, 3, 3),
}  # fmt: skip
DISCRIMINATOR = {
    224: convolution(3, 32, 3) + convolution(32, 32, 4) + convolution(32, 64, 4)
    + convolution(64, 128, 4) + convolution(128, 256, 4) + convolution(256, 512, 4),
    56: convolution(3, 32, 3) + convolution(32, 32, 4) + convolution(32, 64, 4)
    + convolution(64, 128, 4),
}  # fmt: skip


def test_the_sums_above():
    assert GENERATOR[224] == 5_336_931
    assert DISCRIMINATOR[224] == 2_803_552


@pytest.mark.parametrize("size", [224, 56])
def test_protocol_1_flattened(size):
    generator, discriminator = networks("randellini2022", size)
    deepest = {224: 512, 56: 128}[size]
    assert weights(generator) == GENERATOR[size]
    assert weights(discriminator) == DISCRIMINATOR[size] + deepest * 49 + 1
    assert not list(generator.buffers())


@pytest.mark.parametrize("size", [224, 56])
def test_protocol_1_pooled(size):
    generator, discriminator = networks("randellini2022_pooled", size)
    deepest = {224: 512, 56: 128}[size]
    first, second = deepest // 2, deepest // 4
    assert weights(generator) == GENERATOR[size] + 2 * (first + second)
    assert weights(discriminator) == DISCRIMINATOR[size] + deepest + 1
    # running mean and variance, and a counter, of each normalised layer
    assert sum(each.numel() for each in generator.buffers()) == 2 * (first + second) + 2


@pytest.mark.parametrize("option", ["randellini2022", "randellini2022_pooled"])
def test_protocol_1_draws_faces_of_224_px_in_range(option):
    generator, discriminator = networks(option, 224)
    shapes = []
    for layer in (generator.dense, *generator.ups):
        layer.register_forward_hook(lambda *hook: shapes.append(tuple(hook[2].shape[1:])))
    faces = generator.eval()(torch.randn(2, 100))
    sides = [7 * 2**level for level in range(1, 6)]
    assert shapes[0] == (512 * 7 * 7,)
    assert shapes[1:] == [
        (width, side, side) for width, side in zip((256, 128, 64, 32, 32), sides, strict=True)
    ]
    assert faces.shape == (2, 3, 224, 224)
    assert faces.abs().max() <= 1
    assert discriminator(faces).shape == (2,)


def test_protocol_1_trains_as_the_paper_says():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        gan = compose("config", overrides=["gan=randellini2022"]).gan
    assert (gan.learning_rate, gan.betas) == (2e-4, [0.5, 0.999])
    assert (gan.steps, gan.tick_steps, gan.keep_from) == (
        "2000 epochs", "100 epochs", "1000 epochs",
    )  # fmt: skip
    assert gan.loss._target_ == "gan.losses.NonSaturating"  # sigmoid and binary cross-entropy
    assert gan.from_trunk is None
    assert gan.alternating
    assert gan.passes
    assert not gan.regularisers
    assert not gan.augmentation.operations
    assert not gan.mirror


def test_batch_normalisation_learns_in_training_and_is_fixed_in_evaluation():
    torch.manual_seed(0)
    generator = Generator(size=16, filters=4, final_conv=True, batch_norm=2)
    z = torch.randn(8, 100)
    before = generator.norms[0].running_mean.clone()
    generator.train()(z)
    assert not torch.equal(generator.norms[0].running_mean, before)
    generator.eval()
    alone = generator(z[:1])
    assert torch.allclose(alone, generator(z)[:1], atol=1e-6)  # whatever the rest of the batch


@pytest.mark.parametrize(("final_conv", "count"), [(True, 3), (False, 2), (True, -1)])
def test_batch_normalisation_of_more_layers_than_there_are_is_refused(final_conv, count):
    with pytest.raises(ValueError, match=f"batch_norm is {count}"):
        Generator(size=16, filters=4, final_conv=final_conv, batch_norm=count)


def test_a_specialised_network_keeps_its_running_statistics():
    torch.manual_seed(0)
    generator = Generator(size=16, filters=4, labels=2, final_conv=True, batch_norm=1)
    generator.train()(torch.randn(8, 100), torch.arange(8) % 2)
    generator.eval()
    z = torch.randn(3, 100)
    expected = generator(z, torch.ones(3, dtype=torch.long))
    assert torch.allclose(generator.specialised(1).eval()(z), expected, atol=1e-6)


def test_only_a_judge_without_batch_spread_judges_each_face_by_itself():
    faces = torch.rand(4, 3, 16, 16)
    for spread in (False, True):
        torch.manual_seed(0)
        judge = Discriminator(size=16, filters=4, spread=spread)
        alone = torch.cat([judge(face[None]) for face in faces])
        assert judge.independent == torch.allclose(judge(faces), alone, atol=1e-5)
        assert judge.independent == (not spread)
