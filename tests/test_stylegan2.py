import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gan import fir
from gan.checkpoint import load_generator, save_networks
from gan.dcgan import Generator as Dcgan
from gan.path_length import PathLength, path_lengths
from gan.regularisers import Turn, r1_penalty
from gan.sample import draw
from gan.stylegan2 import (
    Discriminator,
    Generator,
    automatic,
    channels,
    resolutions,
)
from gan.stylegan2_layers import Conv, Linear, StyledConv, ToRgb, batch_spread, modulated_conv

ARCHITECTURES = ("plain", "skip", "residual")
LINE = np.array([1, 3, 3, 1]) / 8


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=chance(seed), dtype=torch.float64)


def small(**changes):
    torch.manual_seed(0)
    settings = {"size": 16, "z_dim": 6, "w_dim": 5, "mapping_layers": 2, "channel_base": 128}
    return Generator(**{**settings, "channel_max": 8, **changes}).double().eval()


def judge(**changes):
    torch.manual_seed(0)
    settings = {"size": 16, "channel_base": 128, "channel_max": 8, "mapping_layers": 2}
    return Discriminator(**{**settings, **changes}).double().eval()


def filtered(picture, *, up, down, before, after):
    """Stuff with zeros, pad, correlate, drop: by loops."""
    stuffed = np.zeros([side * up for side in picture.shape])
    stuffed[::up, ::up] = picture
    stuffed = np.pad(stuffed, (before, after))
    size = [side - 3 for side in stuffed.shape]
    result = np.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            result[y, x] = (stuffed[y : y + 4, x : x + 4] * np.outer(LINE, LINE)).sum() * up**2
    return result[::down, ::down]


@pytest.mark.parametrize(
    ("way", "plan"),
    [
        (fir.upsample, {"up": 2, "down": 1, "before": 2, "after": 1}),
        (fir.downsample, {"up": 1, "down": 2, "before": 1, "after": 1}),
        (lambda x: fir.blur(x, padding=2), {"up": 1, "down": 1, "before": 2, "after": 2}),
    ],
)
def test_filters_equal_stuffing_with_zeros_and_loops(way, plan):
    x = normal(2, 3, 6, 8)
    expected = [[filtered(plane.numpy(), **plan) for plane in face] for face in x]
    np.testing.assert_allclose(way(x), np.array(expected), atol=1e-12)
    x = x[:1, :2, :3, :4].requires_grad_()
    assert torch.autograd.gradcheck(way, x)
    assert torch.autograd.gradgradcheck(way, x)


@pytest.mark.parametrize("size", [5, 6])  # the transpose must find back to odd sizes too
def test_the_transposed_filter_is_the_transpose(size):
    taps = fir.kernel((0.2, 0.5, 0.3), 2, torch.float64, torch.device("cpu"))
    x = normal(1, 2, size, size)
    x.requires_grad_()
    y = fir.correlate(x, taps, stride=(2, 2), padding=(1, 1))
    g = normal(*y.shape, seed=1)
    (back,) = torch.autograd.grad(y, x, g)
    assert back.shape == x.shape
    assert (back * x).sum().item() == pytest.approx((y * g).sum().item())


def test_filters_keep_flat_pictures_and_survive_inference_mode():
    flat = torch.ones(1, 37, 8, 8)
    with torch.inference_mode():
        fir.upsample(flat)  # the first to ask for this kernel
    flat.requires_grad_()
    fir.upsample(flat).sum().backward()
    for way in (fir.upsample, fir.downsample):
        assert torch.allclose(way(flat)[:, :, 1:-1, 1:-1], torch.ones(()))


def test_filters_keep_single_precision_under_autocast():
    x = torch.rand(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = fir.upsample(x)
    assert torch.equal(found, fir.upsample(x))


def looped_convolution(x, weight, style, *, up):
    """Karras et al. 2020, eqs. 1 to 3, a face and an output value at a time."""
    results = []
    for face, scales in zip(x, style, strict=True):
        bank = weight * scales[None, :, None, None]
        bank = bank / (bank.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        outputs, inputs, _, _ = bank.shape
        height, width = face.shape[1:]
        if not up:
            padded = F.pad(face, [1] * 4)
            rows = [
                (padded[:, y : y + 3, x_ : x_ + 3] * bank[o]).sum()
                for o in range(outputs)
                for y in range(height)
                for x_ in range(width)
            ]
            results.append(torch.stack(rows).view(outputs, height, width))
            continue
        drawn = [[0.0] * ((2 * height + 1) * (2 * width + 1)) for _ in range(outputs)]
        for o in range(outputs):
            for i in range(inputs):
                for y in range(height):
                    for x_ in range(width):
                        for dy in range(3):
                            for dx in range(3):
                                place = (2 * y + dy) * (2 * width + 1) + 2 * x_ + dx
                                value = face[i, y, x_] * bank[o, i, dy, dx]
                                drawn[o][place] = drawn[o][place] + value
        zero = face.new_zeros(())
        planes = torch.stack([torch.stack([zero + value for value in plane]) for plane in drawn])
        padded = F.pad(planes.view(outputs, 2 * height + 1, 2 * width + 1), [1] * 4)
        square = torch.outer(torch.tensor(LINE), torch.tensor(LINE)) * 4
        rows = [
            (padded[o, y : y + 4, x_ : x_ + 4] * square).sum()
            for o in range(outputs)
            for y in range(2 * height)
            for x_ in range(2 * width)
        ]
        results.append(torch.stack(rows).view(outputs, 2 * height, 2 * width))
    return torch.stack(results)


@pytest.mark.parametrize("up", [False, True])
def test_modulated_convolution_and_its_gradients_equal_the_formula(up):
    tensors = [normal(2, 3, 4, 4), normal(2, 3, 3, 3, seed=1), normal(2, 3, seed=2)]
    for tensor in tensors:
        tensor.requires_grad_()
    found = modulated_conv(*tensors, up=up)
    expected = looped_convolution(*tensors, up=up)
    assert torch.allclose(found, expected, atol=1e-7)  # ε is added at another scale
    outwards = normal(*found.shape, seed=3)
    for mine, theirs in zip(
        torch.autograd.grad(found, tensors, outwards),
        torch.autograd.grad(expected, tensors, outwards),
        strict=True,
    ):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_modulated_convolution_has_unit_output_variance_and_no_overflow():
    x, weight = torch.randn(4, 64, 16, 16), torch.randn(32, 64, 3, 3)
    style = torch.rand(4, 64) * 1e4
    y = modulated_conv(x, weight, style)[:, :, 1:-1, 1:-1]
    assert y.std((0, 2, 3)).mean().item() == pytest.approx(1, abs=0.1)
    half = modulated_conv(x.half() * 100, weight.half(), style)  # 100 · 1e4 would overflow
    assert torch.isfinite(half).all()
    assert half.float().std().item() == pytest.approx(100, rel=0.1)


def test_modulated_convolution_ignores_the_scale_of_styles():
    x, weight, style = normal(1, 4, 5, 5), normal(3, 4, 3, 3), normal(1, 4)
    assert torch.allclose(modulated_conv(x, weight, style), modulated_conv(x, weight, 7 * style))


def test_the_layer_adds_noise_bias_and_gain_in_the_papers_order():
    layer = StyledConv(3, 2, 4, 5).double()
    layer.strength.data.fill_(0.3)
    layer.bias.data.copy_(torch.tensor([0.5, -2.0]))
    x, w = normal(2, 3, 5, 5), normal(2, 4, seed=1)
    convolved = looped_convolution(x, layer.weight, layer.affine(w), up=False)
    expected = convolved + 0.3 * layer.noise + layer.bias[:, None, None]
    expected = F.leaky_relu(expected, 0.2) * math.sqrt(2)
    assert torch.allclose(layer(x, w, None), expected, atol=1e-6)


def test_colours_come_from_a_modulated_but_not_demodulated_convolution():
    layer = ToRgb(4, 5).double()
    layer.bias.data.copy_(torch.tensor([0.1, 0.2, 0.3]))
    x, w = normal(2, 4, 3, 3), normal(2, 5, seed=1)
    style = layer.affine(w) / 2  # √4 inputs
    bank = layer.weight[:, :, 0, 0]
    expected = torch.einsum("nihw,ni,oi->nohw", x, style, bank) + layer.bias[:, None, None]
    assert torch.allclose(layer(x, w), expected)


@pytest.mark.parametrize(
    ("resize", "taps"), [(None, 3), (None, 1), ("down", 3), ("down", 1), ("up", 1)]
)
def test_plain_convolution_is_he_scaled_and_filtered(resize, taps):
    layer = Conv(3, 2, taps, resize=resize).double()
    layer.bias.data.copy_(torch.tensor([0.5, -0.5]))
    x = normal(1, 3, 6, 6)
    weight = layer.weight / math.sqrt(3 * taps**2)
    if resize is None:
        expected = F.conv2d(x, weight, padding=taps // 2)
    elif resize == "up":
        planes = F.conv2d(x, weight)[0].detach().numpy()
        plan = {"up": 2, "down": 1, "before": 2, "after": 1}
        expected = torch.tensor(np.array([filtered(plane, **plan) for plane in planes]))[None]
    else:
        pad = (taps + 1) // 2
        plan = {"up": 1, "down": 1, "before": pad, "after": pad}
        planes = torch.tensor(np.array([filtered(plane.numpy(), **plan) for plane in x[0]]))[None]
        expected = F.conv2d(planes, weight, stride=2)
        # the faster way for a 1 × 1 convolution leaves the same places
    bias = layer.bias[:, None, None] * (resize != "up")
    if resize == "up":  # a constant stays a constant but at the edge
        expected = expected + fir.upsample(layer.bias[None, :, None, None].expand(1, 2, 6, 6))
    expected = F.leaky_relu(expected + bias, 0.2) * math.sqrt(2)
    assert torch.allclose(layer(x), expected)


def test_equalised_layers_start_with_unit_variance_whatever_their_rate():
    torch.manual_seed(0)
    x = torch.randn(500, 100)
    for rate in (1.0, 0.01):
        layer = Linear(100, 200, rate=rate)
        assert layer.weight.std().item() == pytest.approx(1 / rate, rel=0.05)
        assert layer(x).std().item() == pytest.approx(1, rel=0.05)
    # a step of the weight moves the function by `rate` as much
    slow = Linear(100, 200, rate=0.01)
    before = slow(x)
    with torch.no_grad():
        slow.bias.add_(1.0)
    assert torch.allclose(slow(x) - before, torch.tensor(0.01), atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("size", [8, 32, 56])
def test_networks_of_any_size_and_architecture(size, architecture):
    generator = small(size=size, architecture=architecture)
    critic = judge(size=size, architecture=architecture)
    faces = generator(normal(3, 6))
    assert faces.shape == (3, 3, size, size)
    assert faces.abs().max() <= 1
    assert critic(faces).shape == (3,)
    again = Generator(**generator.arguments)
    assert again.state_dict().keys() == generator.state_dict().keys()


@pytest.mark.parametrize("size", [0, 4, 7, 48, 100])
def test_other_sizes_are_refused_by_name(size):
    with pytest.raises(ValueError, match=f"size {size} does not fit"):
        resolutions(size)


def test_sizes_and_widths():
    assert resolutions(224) == [7, 14, 28, 56, 112, 224]
    assert [channels(side, 16384, 512) for side in (4, 7, 32, 64, 112, 224, 256)] == [
        512, 512, 512, 256, 128, 64, 64,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="'sparse' is none of plain, skip, residual"):
        Generator(architecture="sparse")


@pytest.mark.parametrize(
    ("size", "base", "expected"),
    [
        # what the original programs print for configuration F at 1024 px and for ADA's
        # configuration paper256
        (1024, 32768, (30_370_060, 29_012_513)),
        (256, 16384, (24_767_458, 24_001_089)),
    ],
)
def test_parameter_counts_are_the_published_ones(size, base, expected):
    with torch.device("meta"):
        networks = [kind(size=size, channel_base=base) for kind in (Generator, Discriminator)]
    assert tuple(sum(p.numel() for p in x.parameters()) for x in networks) == expected


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("label", range(3))
def test_a_specialised_network_is_the_conditional_one_for_its_label(label, architecture):
    generator = small(labels=3, architecture=architecture)
    generator.centre.copy_(normal(3, 5, seed=5))
    critic = judge(labels=3, architecture=architecture)
    z, labels = normal(5, 6), torch.full((5,), label)
    for truncation in (1.0, 0.5):
        faces = generator(z, labels, truncation=truncation)
        assert torch.allclose(
            generator.specialised(label).double()(z, truncation=truncation), faces, atol=1e-5
        )
    logits = critic(faces, labels)
    assert torch.allclose(critic.specialised(label).double()(faces), logits, atol=1e-5)
    assert not torch.allclose(generator(z, (labels + 1) % 3), faces, atol=1e-2)
    assert not torch.allclose(critic(faces, (labels + 1) % 3), logits, atol=1e-2)


def test_labels_are_asked_for_and_plain_networks_are_not_specialised():
    with pytest.raises(ValueError, match="label"):
        small(labels=2)(normal(1, 6))
    for network in (small(), judge()):
        with pytest.raises(ValueError, match="labels=0"):
            network.specialised(0)


def test_the_projection_discriminator_projects_on_the_mapped_label():
    critic, faces, labels = judge(labels=3), normal(4, 3, 16, 16), torch.tensor([0, 1, 2, 1])
    features = torch.zeros(0)

    def keep(_, __, output):
        nonlocal features
        features = output

    critic.out.register_forward_hook(keep)
    logits = critic(faces, labels)
    mapped = critic.mapping(None, labels)
    for row in range(4):
        expected = features[row] @ mapped[row] / math.sqrt(8)
        assert logits[row].item() == pytest.approx(expected.item())


def test_constant_noise_repeats_and_random_noise_follows_its_generator():
    generator, z = small(), normal(2, 6)
    for layer in generator.modules():
        if isinstance(layer, StyledConv):
            layer.strength.data.fill_(1.0)
    assert torch.equal(generator(z), generator(z))
    noisy = generator(z, None, chance(1))
    assert torch.equal(noisy, generator(z, None, chance(1)))
    assert not torch.allclose(noisy, generator(z, None, chance(2)))
    assert not torch.allclose(noisy, generator(z))


def test_an_untrained_generator_has_no_noise():
    generator, z = small(), normal(2, 6)
    assert torch.equal(generator(z), generator(z, None, chance(1)))


def test_latents_count_by_direction_alone():
    generator, z = small(), normal(2, 6)
    assert torch.allclose(generator(z), generator(3 * z))


def test_style_mixing_changes_styles_after_one_crossover():
    generator = small(mixing=1.0).train()
    z = normal(400, 6)
    pure = generator.styles(z)
    mixed = generator.styles(z, None, chance())
    same = (mixed == pure).all(2)  # (N, layers)
    crossover = same.sum(1)
    assert torch.equal(same, torch.arange(generator.layers) < crossover[:, None])
    # every crossover from 1 to layers - 1 is as likely; the rest is of one other style
    assert set(crossover.tolist()) == set(range(1, generator.layers))
    assert torch.equal(mixed[0, crossover[0] :], mixed[0, -1:].expand(6 - crossover[0], -1))
    some = (small(mixing=0.3).train().styles(z, None, chance()) == pure).all(2).all(1)
    assert some.double().mean().item() == pytest.approx(0.7, abs=0.08)
    generator.eval()
    assert torch.equal(generator.styles(z, None, chance()), pure)


def test_the_centre_follows_w_in_training_only():
    generator, z = small(centre_decay=0.9).train(), normal(50, 6)
    generator(z)
    assert (generator.centre == 0).all()
    generator(z, None, chance())
    assert torch.allclose(generator.centre[0], generator.mapping(z, None).mean(0) * 0.1)
    centre = generator.centre.clone()
    generator.eval()(z, None, chance())
    assert torch.equal(generator.centre, centre)


def test_each_class_has_its_own_centre():
    generator, z = small(labels=3, centre_decay=0.0).train(), normal(6, 6)
    labels = torch.tensor([0, 2, 0, 2, 2, 0])
    generator(z, labels, chance())
    w = generator.mapping(z, labels)
    for label in (0, 2):
        assert torch.allclose(generator.centre[label], w[labels == label].mean(0))
    assert (generator.centre[1] == 0).all()  # no face of it yet


def test_truncation_to_zero_draws_one_face_a_class():
    generator, z = small(labels=2), normal(4, 6)
    generator.centre.copy_(normal(2, 5, seed=3))
    labels = torch.tensor([0, 0, 1, 1])
    faces = generator(z, labels, truncation=0.0)
    assert torch.allclose(faces[0], faces[1])
    assert torch.allclose(faces[2], faces[3])
    assert not torch.allclose(faces[0], faces[2], atol=1e-3)
    half = generator(z, labels, truncation=0.5)
    assert torch.equal(generator.truncated(z, 0.5, labels), half)
    styles = generator.styles(z, labels, truncation=0.25, cutoff=3)
    whole = generator.styles(z, labels)
    assert torch.equal(styles[:, 3:], whole[:, 3:])
    assert torch.equal(generator.styles(z, labels, truncation=0.25, cutoff=0), whole)
    expected = generator.centre[labels] * 0.75 + whole[:, 0] * 0.25
    assert torch.allclose(styles[:, :3], expected[:, None].expand(-1, 3, -1))


def test_every_style_drives_its_own_layers():
    generator = small()
    w = generator.styles(normal(1, 6)).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(generator.synthesis(w).sum(), w)
    assert generator.layers == 6  # 4, 8 and 16 px
    assert (gradient.abs().sum(2) > 0).all()


def test_batch_spread_is_the_mean_deviation_within_groups():
    x = normal(8, 3, 2, 2)
    spread = batch_spread(x, 4)
    assert spread.shape == (8, 1, 2, 2)
    for row in range(8):
        members = x[[number for number in range(8) if number % 2 == row % 2]].numpy()
        expected = np.sqrt(members.var(0) + 1e-8).mean()
        np.testing.assert_allclose(spread[row], expected)


def test_only_without_batch_spread_is_a_face_judged_alone():
    faces = normal(4, 3, 16, 16)
    for spread in (0, 4):
        critic = judge(spread=spread)
        alone = torch.allclose(critic(faces)[:1], critic(faces[:1]), atol=1e-6)
        assert alone == critic.independent == (not spread)


def test_r1_equals_finite_differences():
    critic, real = judge(size=8, spread=0), normal(2, 3, 8, 8)
    wanted = real.clone().requires_grad_()
    penalty = r1_penalty(critic(wanted), wanted)
    flat, step = real.flatten(1), 1e-6
    slopes = torch.zeros_like(flat)
    with torch.no_grad():
        for place in range(flat.shape[1]):
            ends = []
            for sign in (1, -1):
                moved = flat.clone()
                moved[:, place] += sign * step
                ends.append(critic(moved.view_as(real)))
            slopes[:, place] = (ends[0] - ends[1]) / (2 * step)
    assert penalty.item() == pytest.approx(slopes.square().sum(1).mean().item(), rel=1e-6)
    # and its gradient by a weight
    weight = critic.levels[0].conv1.weight
    (gradient,) = torch.autograd.grad(penalty, weight)
    with torch.no_grad():
        weight[1, 2, 0, 1] += 1e-5
    more = r1_penalty(critic(wanted), wanted)
    with torch.no_grad():
        weight[1, 2, 0, 1] -= 2e-5
    less = r1_penalty(critic(wanted), wanted)
    slope = (more - less).item() / 2e-5
    assert gradient[1, 2, 0, 1].item() == pytest.approx(slope, rel=1e-4)


def test_path_lengths_equal_the_explicit_jacobian():
    generator = small(size=8).train()
    w = generator.styles(normal(2, 6)).clone().requires_grad_()
    faces = generator.synthesis(w)
    lengths = path_lengths(faces, w, chance(4))
    y = torch.randn(faces.shape, generator=chance(4)).double() / 8
    jacobian = torch.autograd.functional.jacobian(generator.synthesis, w.detach())
    for row in range(2):
        product = torch.einsum("chw,chwld->ld", y[row], jacobian[row, :, :, :, row])
        expected = product.square().sum(1).mean().sqrt()
        assert lengths[row].item() == pytest.approx(expected.item(), rel=1e-6)


def turn(generator, batch=4):
    real = normal(batch, 3, 8, 8)
    return Turn(
        generator=generator, discriminator=judge(size=8), real=real, fake=real, label=None,
        augment=lambda x: x, chance=chance(),
    )  # fmt: skip


def test_path_length_penalty_moves_its_average_and_trains_by_the_right_gradient():
    generator, penalty = small(size=8).train(), PathLength(weight=2.0, shrink=2)
    seen = []
    original = generator.synthesis
    generator.synthesis = lambda w, noise: seen.append(len(w)) or original(w, noise)
    first = penalty(turn(generator))
    assert seen == [2]  # one of two faces
    average = penalty.mean.item()
    assert average > 0
    # length 100 · average each, as the average starts from 0 with a share of 0.01
    lengths_minus_mean = first.item() / 2
    assert lengths_minus_mean == pytest.approx((99 * average) ** 2, rel=0.5)
    weight = generator.levels[0].to_rgb.weight

    def value():
        fresh = PathLength(weight=2.0, shrink=2, decay=0.0).double()
        fresh.mean.fill_(0.1)
        return fresh(turn(generator))

    (gradient,) = torch.autograd.grad(value(), weight)
    with torch.no_grad():
        weight[0, 1] += 1e-5
    more = value()
    with torch.no_grad():
        weight[0, 1] -= 2e-5
    slope = (more - value()).item() / 2e-5
    assert gradient[0, 1].item() == pytest.approx(slope, rel=1e-4)
    assert "mean" in penalty.state_dict()


def test_path_length_is_refused_for_a_generator_without_styles():
    with pytest.raises(ValueError, match="has no styles"):
        PathLength().check(Dcgan(size=16), judge())
    PathLength().check(small(), judge())


def test_the_automatic_configuration():
    found = automatic(256)
    assert found["batch_size"] == 16
    assert found["r1_gamma"] == pytest.approx(0.8192)
    assert found["channel_base"] == 16384
    assert (found["spread"], found["mapping_layers"], found["learning_rate"]) == (4, 2, 0.0025)
    assert found["ema_kimg"] == pytest.approx(5.0)
    large = automatic(1024, devices=8)
    assert (large["batch_size"], large["spread"], large["channel_base"]) == (32, 4, 32768)
    assert large["learning_rate"] == 0.002


def test_frozen_layers_are_counted_from_the_picture_inwards():
    critic = judge()
    critic.freeze(4)
    learning = {name for name, weight in critic.named_parameters() if weight.requires_grad}
    names = {name for name, _ in critic.named_parameters()} - learning
    frozen = {name.rpartition(".")[0] for name in names}
    assert frozen == {f"levels.0.{name}" for name in ("from_rgb", "conv0", "conv1", "skip")}
    with pytest.raises(ValueError, match="has 7 such layers"):
        critic.freeze(8)


def test_clamping_cuts_activations():
    torch.manual_seed(0)
    layer = Conv(3, 4, 3, clamp=0.5)
    y = layer(torch.randn(2, 3, 8, 8) * 10, gain=0.5)
    assert y.abs().max().item() == pytest.approx(0.25)


def test_half_precision_gives_the_same_faces_roughly_and_gradients():
    generator = small(size=32).float().train()
    critic = judge(size=32).float()
    z = normal(4, 6).float()
    faces = generator(z)
    with torch.autocast("cpu", torch.bfloat16):
        rough = generator(z)
        logits = critic(rough)
    assert rough.dtype == logits.dtype == torch.float32
    assert (rough - faces).abs().mean() < 0.05 * faces.abs().mean()
    logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in generator.parameters() if p.grad is not None)


def test_memory_layout_changes_nothing():
    generator, critic, z = small(), judge(), normal(2, 6)
    logits = critic(generator(z))
    for network in (generator, critic):
        network.to(memory_format=torch.channels_last)
    assert torch.allclose(critic(generator(z)), logits)


def test_a_checkpoint_holds_noise_and_centre(tmp_path):
    generator = small().float()
    generator.centre.fill_(0.3)
    save_networks(tmp_path, {"generator": generator})
    z = torch.randn(2, 6)
    again = load_generator(tmp_path)
    assert torch.equal(again(z, truncation=0.5), generator(z, truncation=0.5))


def test_truncation_reaches_the_sampled_face():
    generator = Generator(
        size=32, z_dim=8, w_dim=8, mapping_layers=2, channel_base=64, channel_max=8
    )
    generator.eval()
    faces = [draw(generator, seed, 0.01) for seed in (1, 2)]
    apart = [draw(generator, seed, 1.0) for seed in (1, 2)]
    near, far = (np.abs(a.astype(int) - b).mean() for a, b in (faces, apart))
    assert near < 0.2 * far
