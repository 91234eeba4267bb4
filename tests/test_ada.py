import math

import numpy as np
import pytest
import torch

from gan import ada, warp
from gan.ada import GROUPS, SYM2, Ada, Dice, bands, blits, colours, geometry
from gan.regularisers import r1_penalty
from gan.warp import SYM6, blit, mirrored, resample


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=chance(seed), dtype=torch.float64)


class Loaded(Dice):
    """Dice that show given values of one change, and leave the others alone."""

    def __init__(self, n, number, value):
        super().__init__(n, 0.5, chance())
        self.number, self.value, self.thrown = number, value, -1

    def maybe(self, value, neutral, p=None):
        self.thrown += 1
        if self.thrown == self.number:
            return torch.as_tensor(self.value, dtype=torch.float64).expand_as(value).clone()
        return torch.full_like(value, neutral)


def by_loops(x, inverse):
    """Take each pixel of the result from where it was, beyond the edge from the mirrored place."""
    size = x.shape[-1]
    result = torch.zeros_like(x)
    middle = (size - 1) / 2
    for n in range(len(x)):
        for row in range(size):
            for column in range(size):
                place = inverse[n] @ torch.tensor([column - middle, row - middle, 1.0]).double()
                right, down = (round(float(v) + middle) for v in place[:2])
                while not (0 <= right < size and 0 <= down < size):
                    right = -right if right < 0 else min(right, 2 * (size - 1) - right)
                    down = -down if down < 0 else min(down, 2 * (size - 1) - down)
                result[n, :, row, column] = x[n, :, down, right]
    return result


def test_mirrored_coordinates_come_back():
    index = torch.arange(-9, 13)
    expected = [3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0]
    assert mirrored(index, 4).tolist() == expected


@pytest.mark.parametrize("size", [7, 8])
def test_blits_move_the_very_pixels(size):
    x = normal(6, 2, size, size)
    whole = blits(Dice(6, 0.9, chance(3)), size)
    assert torch.equal(whole, whole.round())
    inverse = torch.linalg.inv(whole)
    assert torch.equal(blit(x, inverse), by_loops(x, inverse))


@pytest.mark.parametrize(
    ("number", "value", "expected"),
    [
        (0, 1.0, lambda x: x.flip(3)),
        (1, 1.0, lambda x: x.rot90(1, (2, 3))),
        (1, 2.0, lambda x: x.flip(2, 3)),
        (1, 3.0, lambda x: x.rot90(-1, (2, 3))),
    ],
)
def test_each_blit_is_what_it_is_called(number, value, expected):
    x = normal(2, 3, 8, 8)
    matrix = blits(Loaded(2, number, value), 8)
    assert torch.equal(blit(x, torch.linalg.inv(matrix)), expected(x))


def test_shifts_are_of_whole_pixels_and_mirror_at_the_edge():
    x = normal(1, 1, 8, 8)
    matrix = blits(Loaded(1, 2, [[1.0, -2.0]]), 8)  # right by 1, up by 2
    found = blit(x, torch.linalg.inv(matrix))
    assert torch.equal(found[0, 0, :6, 1:], x[0, 0, 2:, :-1])
    assert torch.equal(found[0, 0, :6, 0], x[0, 0, 2:, 1])  # mirrored, the edge not repeated
    shifts = blits(Dice(4000, 1.0, chance()), 64)[:, :2, 2]
    assert shifts.abs().max() == 8  # an eighth of 64


def test_wavelets_are_orthonormal_with_their_vanishing_moments():
    for taps, moments in ((SYM2, 2), (SYM6, 6)):
        taps = np.array(taps)
        length = len(taps)
        for shift in range(0, length, 2):
            product = (taps[shift:] * taps[: length - shift]).sum()
            assert product == pytest.approx(float(shift == 0), abs=1e-10)
        assert taps.sum() == pytest.approx(math.sqrt(2))
        places = np.arange(length)
        for power in range(moments):
            moment = (taps * (-1.0) ** places * places**power).sum()
            assert moment == pytest.approx(0, abs=1e-5 * length**power)


def test_resampling_by_the_identity_is_the_identity():
    x = normal(2, 3, 16, 16)
    eye = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    assert torch.allclose(resample(x, eye), x, atol=1e-9)


@pytest.mark.parametrize("size", [8, 15, 32])
def test_resampling_by_whole_pixels_agrees_with_the_blit(size):
    x = normal(1, 3, size, size)
    inverse = ada.shifting(torch.tensor([[2.0, -1.0]], dtype=torch.float64))
    within = slice(2, -2)
    assert torch.allclose(
        resample(x, inverse)[..., within, within], blit(x, inverse)[..., within, within], atol=1e-8
    )


def smooth(places):
    """A picture that is defined everywhere, of low frequency."""
    x, y = places
    return torch.sin(x * 0.21 + 0.3) + 0.7 * torch.cos(y * 0.17 - x * 0.08)


def smooth_error(matrix, size=48):
    line = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    y, x = torch.meshgrid(line, line, indexing="ij")
    inverse = torch.linalg.inv(matrix)[0]
    places = (inverse @ torch.stack([x, y, torch.ones_like(x)]).flatten(1))[:2].view(2, size, size)
    found = resample(smooth((x, y))[None, None], inverse[None])[0, 0]
    away = places.abs().amax(0) < size / 2 - 4  # not mirrored
    assert away.sum() > 200
    return (found - smooth(places))[away].abs().max().item()


@pytest.mark.parametrize(
    ("number", "value", "matrix"),
    [
        (0, 1.25, [[1.25, 0, 0], [0, 1.25, 0]]),
        (1, 0.5, [[math.cos(0.5), -math.sin(0.5), 0], [math.sin(0.5), math.cos(0.5), 0]]),
        (2, 1.25, [[1.25, 0, 0], [0, 0.8, 0]]),
        (3, -2.0, [[math.cos(2), math.sin(2), 0], [-math.sin(2), math.cos(2), 0]]),
        (4, [[1.3, -2.6]], [[1, 0, 1.3], [0, 1, -2.6]]),
    ],
)
def test_each_geometric_change_follows_its_matrix(number, value, matrix):
    found = geometry(Loaded(1, number, value), 48)
    expected = torch.tensor([[*matrix, [0, 0, 1]]], dtype=torch.float64)
    assert torch.allclose(found, expected)
    assert smooth_error(found) < 0.03  # of an amplitude of 1.7


def test_geometric_changes_are_applied_in_the_papers_order():
    class All(Dice):
        thrown = iter(
            torch.tensor(v, dtype=torch.float64) for v in ([1.2], [0.4], [1.1], [-0.7], [[3.0, 5]])
        )

        def maybe(self, value, neutral, p=None):
            return next(self.thrown)

    def turn(a):
        return np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])

    shift = np.array([[1, 0, 3], [0, 1, 5], [0, 0, 1.0]])
    stretch = np.diag([1.1, 1 / 1.1, 1])
    expected = shift @ turn(-0.7) @ stretch @ turn(0.4) @ np.diag([1.2, 1.2, 1])
    np.testing.assert_allclose(geometry(All(1, 0.5, chance()), 32)[0], expected)


def test_mixed_rows_each_get_their_own_way():
    x = normal(12, 3, 16, 16)
    whole = blits(Dice(12, 0.4, chance(1)), 16)
    affine = geometry(Dice(12, 0.15, chance(1)), 16)
    found = ada.moved(x, whole, affine)
    eye = torch.eye(3).double()
    kinds = set()
    for row in range(12):
        inverse = torch.linalg.inv(affine[row : row + 1] @ whole[row : row + 1])
        if not torch.equal(affine[row], eye):
            kind, expected = "resampled", resample(x[row : row + 1], inverse)
        elif not torch.equal(whole[row], eye):
            kind, expected = "blitted", by_loops(x[row : row + 1], inverse)
        else:
            kind, expected = "still", x[row : row + 1]
        kinds.add(kind)
        assert torch.allclose(found[row : row + 1], expected)
    assert kinds == {"resampled", "blitted", "still"}


COLOUR = np.array([0.5, -0.25, 0.1])
AXIS = np.ones(3) / math.sqrt(3)


def about_grey(angle):
    """Rodrigues' formula."""
    k = np.array([[0, -AXIS[2], AXIS[1]], [AXIS[2], 0, -AXIS[0]], [-AXIS[1], AXIS[0], 0]])
    return np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * k @ k


@pytest.mark.parametrize(
    ("number", "value", "expected"),
    [
        (0, 0.3, COLOUR + 0.3),
        (1, 1.7, COLOUR * 1.7),
        (2, 1.0, COLOUR - 2 * AXIS * (AXIS @ COLOUR)),
        (3, 0.8, about_grey(0.8) @ COLOUR),
        (3, 2 * math.pi / 3, COLOUR[[2, 0, 1]]),  # red becomes green
        (4, 0.0, np.full(3, COLOUR.mean())),
        (4, 2.0, COLOUR.mean() + 2 * (COLOUR - COLOUR.mean())),
    ],
)
def test_each_colour_change_follows_its_matrix(number, value, expected):
    matrix = colours(Loaded(1, number, value))[0].numpy()
    np.testing.assert_allclose(matrix[3], [0, 0, 0, 1])
    np.testing.assert_allclose(matrix[:3, :3] @ COLOUR + matrix[:3, 3], expected, atol=1e-12)


def test_colours_reach_the_pixels():
    x = normal(4, 3, 5, 6)
    found = Ada(groups=["colour"], p=0.9)(x, chance(2))
    matrix = colours(Dice(4, 0.9, chance(2)))
    for n in range(4):
        for row, column in ((0, 0), (4, 5), (2, 3)):
            expected = matrix[n] @ torch.tensor([*x[n, :, row, column], 1.0]).double()
            assert torch.allclose(found[n, :, row, column], expected[:3])


def test_the_bands_split_the_spectrum_and_add_up_to_an_impulse():
    impulse = torch.zeros(43, dtype=torch.float64)
    impulse[21] = 1
    assert torch.allclose(bands().sum(0), impulse, atol=1e-10)
    assert torch.allclose(bands(), bands().flip(1))  # zero phase
    power = torch.fft.rfft(bands(), 512).abs().square()  # (4, 257)
    edges = [0, 32, 64, 128, 257]
    for band in range(4):
        inside = power[band, edges[band] : edges[band + 1]].sum()
        assert inside / power[band].sum() > 0.7


def test_filtering_passes_what_has_gain_one_and_scales_its_band():
    size = 64
    line = torch.arange(size, dtype=torch.float64)
    low = torch.cos(line * math.pi / 63 * 2).expand(1, 3, size, size)  # mirrors into itself
    high = torch.cos(line * math.pi).expand(1, 3, size, size)
    gains = torch.tensor([[1.0, 1.0, 1.0, 0.25]], dtype=torch.float64)
    assert torch.allclose(ada.filtered(low, gains), low, atol=0.01)
    assert torch.allclose(ada.filtered(high, gains), high / 4, atol=1e-8)
    x = normal(2, 3, 12, 12)  # smaller than the filter
    assert ada.filtered(x, torch.ones(2, 4, dtype=torch.float64)) is x
    doubled = ada.filtered(x, torch.full((2, 4), 2.0, dtype=torch.float64))
    assert torch.allclose(doubled, 4 * x)  # once down, once across


def test_band_gains_keep_the_expected_power():
    power = torch.tensor(ada.BAND_POWER, dtype=torch.float64)
    gains = ada.band_gains(Loaded(3, 2, 3.0))
    assert torch.allclose(gains.square() @ power, torch.ones(3, dtype=torch.float64))
    assert torch.allclose(gains[:, 2] / gains[:, 0], torch.tensor(3.0, dtype=torch.float64))


def test_noise_has_a_half_normal_strength():
    x = torch.zeros(600, 3, 16, 16)
    deviations = Ada(groups=["noise"], p=0.5)(x, chance()).std((1, 2, 3))
    hit = deviations[deviations > 0]
    assert len(hit) / 600 == pytest.approx(0.5, abs=0.06)
    assert hit.mean().item() == pytest.approx(0.1 * math.sqrt(2 / math.pi), rel=0.1)


def test_cutout_blanks_half_the_side_about_its_centre():
    x = torch.ones(3, 3, 16, 16)
    found = ada.cut(x, torch.tensor([[0.5, 0.25], [0.0, 1.0], [-1.0, -1.0]]))
    expected = torch.ones(3, 16, 16)
    expected[0, 0:8, 4:12] = 0  # columns about 0.5, rows about 0.25
    expected[1, 12:16, 0:4] = 0
    assert torch.equal(found, expected[:, None].expand(-1, 3, -1, -1))


def test_at_zero_strength_nothing_is_touched():
    x = normal(4, 3, 16, 16)
    assert Ada(groups=GROUPS, p=0.0)(x, chance()) is x


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_changes_a_share_of_the_faces_repeatably(group):
    x = normal(300, 3, 16, 16)
    augmentation = Ada(groups=[group], p=0.05)
    found = augmentation(x, chance())
    assert torch.equal(found, augmentation(x, chance()))
    assert not torch.equal(found, augmentation(x, chance(1)))
    share = (found - x).abs().amax((1, 2, 3)).gt(1e-9).double().mean().item()
    # chances of a visible change at p = 0.05
    expected = {
        "blit": 1 - (1 - 0.05 / 2) * (1 - 0.05 * 3 / 4) * (1 - 0.05 * 24 / 25),
        "geometry": 1 - 0.95**3 * 0.95,
        "colour": 1 - 0.95**4 * (1 - 0.05 / 2),
        "filter": 1 - 0.95**4,
        "noise": 0.05,
        "cutout": 0.05,
    }[group]
    assert share == pytest.approx(expected, abs=4 * math.sqrt(expected / 300))


def test_draws_follow_the_papers_distributions():
    n = 20_000
    matrix = geometry(Dice(n, 1.0, chance()), 64)
    area = torch.linalg.det(matrix[:, :2, :2]).log2()  # twice that of the isotropic scale
    assert area.mean().item() == pytest.approx(0, abs=0.02)
    assert area.std().item() == pytest.approx(0.4, rel=0.03)
    assert matrix[:, :2, 2].std().item() == pytest.approx(8, rel=0.03)
    one = colours(Dice(n, 1.0, chance()))
    grey = one[:, :3, :3].sum((1, 2)) / 3  # contrast, and the luma flip's sign
    assert grey.abs().log2().std().item() == pytest.approx(0.5, rel=0.03)
    assert (grey < 0).double().mean().item() == pytest.approx(0.5, abs=0.02)
    # turned before or after: with probability p together
    turned = geometry(Dice(n, 0.3, chance()), 64)[:, 1, 0] != 0
    assert turned.double().mean().item() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
def test_blits_do_not_leak_below_certainty(p):
    """The changes of the distribution can be undone, so only the true one looks right augmented."""
    n = 40_000
    matrices = blits(Dice(n, p, chance()), 64)[:, :2, :2].round().long()
    codes = [tuple(matrix.flatten().tolist()) for matrix in matrices]
    elements = sorted(set(codes))
    assert len(elements) == 8  # the symmetries of the square
    share = {element: codes.count(element) / n for element in elements}
    as_matrix = {element: np.array(element).reshape(2, 2) for element in elements}
    markov = np.zeros((8, 8))
    for row, start in enumerate(elements):
        for element in elements:
            end = tuple((as_matrix[element] @ as_matrix[start]).flatten().tolist())
            markov[elements.index(end), row] += share[element]
    np.testing.assert_allclose(markov.sum(0), 1)
    smallest = np.linalg.svd(markov, compute_uv=False).min()
    # a flip comes with p / 2 and each quarter turn with p / 4: eigenvalues 1 - p, and products
    assert smallest == pytest.approx((1 - p) ** 2, abs=0.02)


def test_certain_quarter_turns_do_leak():
    turns = np.roll(np.eye(4), 1, 0)
    for p, invertible in ((0.8, True), (1.0, False)):
        markov = (1 - p) * np.eye(4) + p / 4 * sum(
            np.linalg.matrix_power(turns, number) for number in range(4)
        )
        assert (abs(np.linalg.det(markov)) > 1e-9) == invertible


@pytest.mark.parametrize("groups", [("blit", "geometry", "colour"), GROUPS])
def test_gradients_of_both_orders(groups):
    augmentation = Ada(groups=groups, p=0.7)
    x = normal(3, 3, 9, 9).requires_grad_()

    def way(faces):
        return augmentation(faces, chance(5))

    assert torch.autograd.gradcheck(way, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(way, x, fast_mode=True)


def test_r1_through_the_augmentation():
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(784, 1)
    critic = torch.nn.Sequential(*layers)
    real = torch.randn(4, 3, 16, 16).requires_grad_()
    penalty = r1_penalty(critic(Ada(p=0.9)(real, chance())).squeeze(1), real)
    penalty.backward()
    assert penalty.item() > 0
    assert critic[0].weight.grad.abs().sum() > 0


def test_faces_keep_single_precision_under_autocast():
    x = torch.rand(8, 3, 16, 16)
    augmentation = Ada(groups=GROUPS, p=0.6)
    plain = augmentation(x, chance())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augmentation(x, chance()), plain)


def test_strength_rises_while_the_discriminator_is_too_sure_and_falls_else():
    augmentation = Ada(kimg=0.1, every=4)  # 100 faces from 0 to 1
    sure, unsure = torch.ones(5), torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    for _ in range(3):
        augmentation.observe(sure)
    assert augmentation.figures()["ada_p"] == 0
    augmentation.observe(sure)
    assert augmentation.figures() == {"ada_p": pytest.approx(0.2), "ada_r": 1.0}
    for _ in range(4):
        augmentation.observe(unsure)
    assert augmentation.figures() == {"ada_p": pytest.approx(0.0), "ada_r": pytest.approx(0.2)}
    for _ in range(4):
        augmentation.observe(unsure)
    assert augmentation.p == 0  # never below
    for _ in range(40):
        augmentation.observe(sure)
    assert augmentation.p == 1  # nor above
    limited = Ada(kimg=0.1, p_max=0.7)
    for _ in range(40):
        limited.observe(sure)
    assert limited.p == 0.7


def test_a_fixed_strength_stays():
    augmentation = Ada(p=0.3, target=None)
    for _ in range(8):
        augmentation.observe(torch.ones(100_000))
    assert augmentation.p == 0.3


def test_state_is_saved_and_resumed(tmp_path):
    def run(augmentation, batches):
        for number in batches:
            augmentation.observe(torch.full((4,), 1.0 if number % 3 else -1.0))
        return augmentation

    whole = run(Ada(kimg=0.2), range(11))
    first = run(Ada(kimg=0.2), range(6))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    resumed = Ada(kimg=0.2)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert run(resumed, range(6, 11)).figures() == whole.figures()
    assert torch.equal(resumed.signs, whole.signs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": ["blur"]}, r"group 'blur' is unknown.*gan\.augmentation\.groups"),
        ({"p": 1.5}, "p is 1.5"),
        ({"p": 0.5, "p_max": 0.4}, "p_max 0.4"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Ada(**settings)


def test_sampling_needs_no_gradient_of_places():
    x = normal(1, 1, 8, 8)
    inverse = torch.eye(3).double()[None].requires_grad_()
    assert not warp.blit(x, inverse).requires_grad
