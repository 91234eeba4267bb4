"""The training loop: losses, roll-backs, the watch, resuming, several devices, clear errors."""

import csv
import importlib.util
import json
import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.nn import functional as F

from curation.corpus import write_corpus
from curation.features import RandomConvolutions
from gan import loop, networks, stylegan2
from gan.ada import GROUPS, Ada
from gan.augmentation import Augmentation
from gan.checkpoint import load_generator, load_network, save_networks
from gan.dcgan import Discriminator, Generator
from gan.devices import count_devices
from gan.grids import interpolation_grid
from gan.losses import Hinge, LeastSquares, NonSaturating, Wasserstein, generator_gradient
from gan.module import GanModule, adam_settings, step_chance
from gan.path_length import PathLength
from gan.pixels import to_network
from gan.regularisers import R1, GradientPenalty, Regulariser, Turn, r1_penalty
from gan.train import in_steps, train
from gan.watch import Faces, Observer, Reading, Watch, diversity

CONF = Path(__file__).parents[1] / "conf"
LOSSES = (NonSaturating(), Hinge(), LeastSquares(), Wasserstein())
FILES = ("generator.safetensors", "discriminator.safetensors", "metrics.csv")


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def write_faces(folder, *, count=8, size=16, emotions=("angry", "happy"), seed=0, splits=None):
    rng = np.random.default_rng(seed)
    folder.mkdir()
    write_corpus(
        (
            {
                "image": rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
                "emotion": emotion,
                "database": "noise",
                "subject": f"noise{seed}/{split}{number}",
                "split": split,
                "origin": "real",
            }
            for split, share in (splits or {"train": count}).items()
            for emotion in emotions
            for number in range(share)
        ),
        folder,
    )
    return folder


def watching(**changes):
    settings = {"every": 1, "samples": 12, "first": 0, "choose": True, "patience": None}
    settings |= {"collapse": 0.0, "stop_at_collapse": False}
    return Watch(**{"features": partial(RandomConvolutions, scales=1), **settings, **changes})


def plain(**changes):
    """Settings of a small training on one emotion, with new parts each time."""
    return {
        "emotions": ("happy",),
        "generator": partial(Generator, size=16, filters=4, max_filters=8, z_dim=8),
        "discriminator": partial(Discriminator, size=16, filters=4, max_filters=8, spread=False),
        "loss": NonSaturating(),
        "regularisers": [],
        "augmentation": Augmentation(),
        "alternating": False,
        "passes": False,
        "warm_steps": 0,
        "steps": 12,
        "head_start": 0,
        "decay": False,
        "batch_size": 4,
        "learning_rate": 1e-3,
        "betas": (0.0, 0.99),
        "lazy_adam": False,
        "mirror": False,
        "ema_decay": 0.9,
        "tick_steps": 4,
        "keep_from": None,
        "watch": None,
        "rollbacks": 0,
        "min_images": 4,
        "precision": "32-true",
        "seed": 0,
        "accelerator": "cpu",
        **changes,
    }


def everything(**changes):
    """Settings with every kind of state that a training can have."""
    return plain(
        generator=partial(
            Generator, size=16, filters=4, max_filters=8, z_dim=8, final_conv=True, batch_norm=1
        ),
        regularisers=[R1(gamma=1.0, every=3), Average()],
        augmentation=Adaptive(),
        alternating=True,
        passes=True,
        warm_steps=2,
        steps=14,
        decay=True,
        mirror=True,
        watch=watching(),
        rollbacks=2,
        **changes,
    )


class Average(Regulariser):
    """A penalty with a memory."""

    name, player, every = "average", "generator", 2

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, turn):
        brightness = turn.generator(torch.randn(2, 8, generator=turn.chance)).mean()
        self.mean.lerp_(brightness.detach(), 0.1)
        return (brightness - self.mean).square()


class Adaptive(Augmentation):
    """An augmentation with a memory."""

    def __init__(self):
        super().__init__()
        self.register_buffer("p", torch.zeros(()))
        self.seen = []

    def forward(self, x, generator):
        return x + self.p * torch.randn(x.shape, generator=generator)

    def observe(self, real_logits):
        self.seen.append(len(real_logits))
        self.p += 0.01 * (1 + real_logits.mean().sign())

    def figures(self):
        return {"augment_p": float(self.p)}


def trained(corpus, out, settings):
    out.mkdir(exist_ok=True)
    return train(corpus=corpus, out=out, **settings)


def metrics(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return write_faces(tmp_path_factory.mktemp("gan") / "corpus")


@pytest.mark.parametrize(
    ("loss", "discriminator", "generator"),
    [
        (NonSaturating(), 2 * math.log(2), math.log(2)),
        (Hinge(), 2.0, 0.0),
        (LeastSquares(), 0.5, 0.5),
        (Wasserstein(), 0.0, 0.0),
    ],
)
def test_losses_of_an_undecided_judge(loss, discriminator, generator):
    zero = torch.zeros(3)
    assert loss.discriminator(zero, zero).item() == pytest.approx(discriminator)
    assert loss.generator(zero).item() == pytest.approx(generator)


@pytest.mark.parametrize("loss", LOSSES)
def test_judge_and_generator_pull_in_opposite_directions(loss):
    logits = torch.tensor([-0.5, 0.3], requires_grad=True)
    (up,) = torch.autograd.grad(loss.generator(logits), logits)
    (down,) = torch.autograd.grad(loss.discriminator(torch.zeros(2), logits), logits)
    assert (up < 0).all()
    assert (down[1] > 0).all()
    (real,) = torch.autograd.grad(loss.discriminator(logits, torch.zeros(2)), logits)
    assert (real < 0).all()


def test_non_saturating_is_cross_entropy_on_a_sigmoid():
    real, fake = torch.randn(2, 5, generator=chance())
    entropy = F.binary_cross_entropy
    expected = entropy(real.sigmoid(), torch.ones(5)) + entropy(fake.sigmoid(), torch.zeros(5))
    assert NonSaturating().discriminator(real, fake).item() == pytest.approx(expected.item())
    wanted = entropy(fake.sigmoid(), torch.ones(5))
    assert NonSaturating().generator(fake).item() == pytest.approx(wanted.item())


@pytest.mark.parametrize("loss", LOSSES)
def test_one_backward_pass_serves_both_players_where_a_loss_says_so(loss):
    torch.manual_seed(0)
    judge = Discriminator(size=16, filters=4, max_filters=8, spread=False)
    pictures = torch.randn(6, 3, 16, 16)
    seen = pictures.clone().requires_grad_()
    logits = judge(seen)
    ratio = loss.ratio(logits.detach())
    if ratio is None:
        # flat, or of no slope, somewhere: two faces whose gradient no factor could make
        f = torch.tensor([-3.0, 0.0], requires_grad=True)
        (slopes,) = torch.autograd.grad(loss.discriminator(torch.zeros(2), f), f)
        assert (slopes == 0).any()
        return
    loss.discriminator(torch.zeros(6), logits).backward()
    alone = pictures.clone().requires_grad_()
    loss.generator(judge(alone)).backward()
    shared = generator_gradient(seen.grad, ratio)
    assert torch.allclose(shared, alone.grad, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("alternating", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_is_what_a_textbook_says(faces, tmp_path, monkeypatch, loss, alternating):
    """Against a plain loop of two passes, from the same weights, with the same draws."""
    penalised = isinstance(loss, Wasserstein)
    settings = plain(loss=loss, alternating=alternating, steps=2, ema_decay=0.0)
    settings["learning_rate"] = 0.02
    # Adam would blow the last digit of a gradient near zero up to a whole step
    descent = partial(torch.optim.SGD, lr=0.02)
    monkeypatch.setattr(torch.optim, "Adam", lambda weights, **_: descent(weights))
    if penalised:
        settings["regularisers"] = [GradientPenalty(weight=10.0)]
    trained(faces, tmp_path / "gan", settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator, judge = settings["generator"](labels=0), settings["discriminator"](labels=0)
    start = generator.dense.weight.detach().clone()
    optimizers = descent(generator.parameters()), descent(judge.parameters())
    shared = not alternating and isinstance(loss, NonSaturating | Wasserstein)
    images = torch.from_numpy(loop_images(faces))
    for step in range(2):
        draws = chance(step)
        real = to_network(images[torch.randint(len(images), (4,), generator=draws)])
        torch.randint(2, (4,), generator=draws)  # who is mirrored: nobody
        fake = generator(torch.randn(4, 8, generator=draws))
        if shared:  # judged before the judge moves, on the same faces
            for_generator = torch.autograd.grad(
                loss.generator(judge(fake)), generator.parameters(), retain_graph=True
            )
        total = loss.discriminator(judge(real), judge(fake.detach()))
        if penalised:
            share = torch.rand(4, 1, 1, 1, generator=draws)
            between = (real + share * (fake.detach() - real)).requires_grad_()
            (slope,) = torch.autograd.grad(judge(between).sum(), between, create_graph=True)
            total = total + 10 * (slope.flatten(1).norm(dim=1) - 1).square().mean()
        optimizers[1].zero_grad()
        total.backward()
        optimizers[1].step()
        if not shared:
            again = generator(torch.randn(4, 8, generator=draws))
            for_generator = torch.autograd.grad(
                loss.generator(judge(again)), generator.parameters()
            )
        for weight, gradient in zip(generator.parameters(), for_generator, strict=True):
            weight.grad = gradient
        optimizers[0].step()
    for name, expected in (("generator", generator), ("discriminator", judge)):
        found = load_network(tmp_path / "gan", name).state_dict()
        for key, weight in expected.state_dict().items():
            assert torch.allclose(found[key], weight, atol=1e-5), f"{name} {key}"
    assert (generator.dense.weight - start).abs().max() > 1e-3


def loop_images(folder):
    from curation.corpus import Corpus

    corpus = Corpus(folder)
    return corpus.images((corpus.facts["emotion"] == "happy").to_numpy()).copy()


def test_a_judge_of_whole_batches_is_asked_twice():
    images = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    for spread, shares in ((False, True), (True, False)):
        judge = Discriminator(size=16, filters=4, spread=spread)
        module = a_module(discriminator=judge, images=images)
        assert module.shares_a_pass == shares


def a_module(discriminator=None, images=None, **changes):
    settings = plain(**changes)
    for name in ("emotions", "keep_from", "watch", "rollbacks", "min_images", "precision"):
        del settings[name]
    del settings["accelerator"], settings["discriminator"]
    generator = settings.pop("generator")()
    judge = discriminator or Discriminator(size=16, filters=4, spread=False)
    pictures = torch.zeros(4, 3, 16, 16, dtype=torch.uint8) if images is None else images
    return GanModule(generator, judge, pictures, None, **settings)


def a_turn(discriminator, real, fake):
    return Turn(
        generator=None, discriminator=discriminator, real=real, fake=fake, label=None,
        augment=lambda x: x, chance=chance(),
    )  # fmt: skip


class Linear(networks.Discriminator):
    independent = True

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x, label=None):
        return x.flatten(1) @ self.weight


def test_penalties_of_a_linear_judge_follow_from_its_weight():
    weight = torch.randn(48, generator=chance())
    real, fake = torch.randn(2, 5, 3, 4, 4, generator=chance(1))
    turn = a_turn(Linear(weight), real, fake)
    squared = weight.square().sum().item()
    asked = real.clone().requires_grad_()
    assert r1_penalty(asked.flatten(1) @ weight, asked).item() == pytest.approx(squared, rel=1e-5)
    assert R1(gamma=3.0, every=16)(turn).item() == pytest.approx(1.5 * squared, rel=1e-5)
    expected = 10 * (math.sqrt(squared) - 1) ** 2
    assert GradientPenalty(weight=10.0)(turn).item() == pytest.approx(expected, rel=1e-5)


def test_wgan_gp_refuses_batch_normalisation_and_no_penalty():
    class Normalised(Linear):
        def __init__(self):
            super().__init__(torch.zeros(768))
            self.norm = nn.BatchNorm2d(3)

    with pytest.raises(ValueError, match="undefined for Normalised with batch normalisation"):
        a_module(Normalised(), loss=Wasserstein(), regularisers=[GradientPenalty()])
    with pytest.raises(ValueError, match=r"GradientPenalty among gan\.regularisers"):
        a_module(loss=Wasserstein(), regularisers=[])


def test_adam_of_a_lazily_regularised_network_does_as_much_in_as_many_steps():
    assert adam_settings(1e-3, (0.5, 0.99), []) == (1e-3, (0.5, 0.99))
    rate, betas = adam_settings(1e-3, (0.0, 0.99), [16])
    assert rate * 17 == pytest.approx(16e-3)
    assert betas[1] ** 17 == pytest.approx(0.99**16)
    assert betas[0] == 0


def test_a_pass_sees_each_face_once_and_in_another_order_each_time(faces, tmp_path, monkeypatch):
    seen = []
    choose = GanModule._choice

    def note(self, draws):
        rows, flipped = choose(self, draws)
        seen.append(rows.tolist())
        return rows, flipped

    monkeypatch.setattr(GanModule, "_choice", note)
    trained(faces, tmp_path / "gan", plain(passes=True, batch_size=3, steps="2 epochs"))
    assert len(seen) == 2 * 3  # ⌈8 / 3⌉ steps each
    passes = [[row for rows in seen[start : start + 3] for row in rows] for start in (0, 3)]
    for rows in passes:
        assert set(rows) == set(range(8))
        assert len(rows) == 9  # the last batch is filled from the start of the pass
        assert rows[8] == rows[0]
    assert passes[0] != passes[1]


@pytest.mark.parametrize(
    ("amount", "steps"), [(70, 70), ("2000 epochs", 18_000), ("1 epochs", 9), (0, 0)]
)
def test_lengths_in_passes(amount, steps):
    assert in_steps(amount, faces=144, batch_size=16, key="gan.steps") == steps
    assert in_steps(amount, faces=143, batch_size=16, key="gan.steps") == steps


@pytest.mark.parametrize("amount", ["2000", "many epochs", "3 days", -1, 2.5])
def test_other_lengths_are_refused_by_name(amount):
    with pytest.raises(ValueError, match=r"gan\.steps is .*'500 epochs'"):
        in_steps(amount, faces=144, batch_size=16, key="gan.steps")


def test_each_device_and_each_attempt_draws_its_own():
    draws = {
        (step, rank, attempt): tuple(
            torch.randn(4, generator=step_chance(3, step, rank=rank, attempt=attempt)).tolist()
        )
        for step in range(3)
        for rank in range(3)
        for attempt in range(3)
    }
    assert len(set(draws.values())) == 27


@pytest.mark.parametrize(
    ("devices", "accelerator", "count"),
    [(1, "auto", 1), ("2", "cpu", 2), (3, "gpu", 3), ([0, 4], "gpu", 2), ("auto", "cpu", 1)],
)
def test_devices_are_counted(devices, accelerator, count):
    assert count_devices(devices, accelerator) == count


def test_a_batch_that_devices_cannot_share_is_refused(faces, tmp_path):
    with pytest.raises(ValueError, match=r"gan\.batch_size is 3, which 2 devices cannot share"):
        trained(faces, tmp_path / "gan", plain(batch_size=3, devices=2))


@pytest.fixture
def poisoned(monkeypatch):
    """Make weights infinite in given steps, as long as there were few roll-backs."""

    def poison(steps, until=1):
        play = GanModule._play

        def play_then_poison(self, draws):
            play(self, draws)
            if self.step in steps and len(self.rollbacks) < until:
                with torch.no_grad():
                    self.generator.dense.weight.fill_(float("nan"))

        monkeypatch.setattr(GanModule, "_play", play_then_poison)

    return poison


def test_a_divergence_goes_back_to_the_last_good_tick_at_half_the_rate(faces, tmp_path, poisoned):
    poisoned({6})
    rates = []
    step = torch.optim.Adam.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.optim.Adam,
            "step",
            lambda self, *a, **k: rates.append(self.param_groups[0]["lr"]) or step(self, *a, **k),
        )
        facts = trained(faces, tmp_path / "gan", plain(rollbacks=1))
    assert facts["rollbacks"] == [{"from": 8, "to": 4}]
    assert rates == [1e-3] * 16 + [5e-4] * 16  # two networks: 8 steps, then 4 to 12 again
    assert [line["step"] for line in metrics(tmp_path / "gan")] == ["4", "8", "12"]
    for weight in load_generator(tmp_path / "gan").parameters():
        assert weight.isfinite().all()


def test_a_divergence_in_the_first_tick_goes_back_to_the_start(faces, tmp_path, poisoned):
    poisoned({1})
    facts = trained(faces, tmp_path / "gan", plain(rollbacks=1))
    assert facts["rollbacks"] == [{"from": 4, "to": 0}]


def test_one_divergence_too_many_ends_the_training(faces, tmp_path, poisoned):
    poisoned({6}, until=9)
    with pytest.raises(ValueError, match=r"diverged before step 8.*2 roll-backs.*gan\.rollbacks"):
        trained(faces, tmp_path / "gan", plain(rollbacks=2))


def blocks(count, seed=0):
    """Faces of 32 px that differ in coarse pattern."""
    pattern = torch.rand(count, 3, 4, 4, generator=chance(seed)) * 255
    return F.interpolate(pattern, scale_factor=8).to(torch.uint8)


class Constant(networks.Generator):
    """Draws the same given faces whatever the latent."""

    z_dim = 4

    def __init__(self, pictures):
        super().__init__()
        self.pictures = nn.Parameter(to_network(pictures))

    def forward(self, z, label=None, chance=None):
        return self.pictures[torch.arange(len(z)) % len(self.pictures)]


def observer(pictures, **changes):
    people = np.array([f"p{number}" for number in range(len(pictures))])
    faces = Faces(pictures, None, people, "validation")
    settings = {"samples": 40, "features": RandomConvolutions, **changes}
    return Observer(watching(**settings), faces, mirror=False, first=0, seed=0)


def test_diversity_is_the_mean_distance_of_two_faces():
    two = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    two[1] = 30
    assert diversity(two) == pytest.approx(30)
    assert diversity(two, torch.tensor([0, 1])) == 0  # one face of each class: nothing to compare
    assert diversity(two.repeat(2, 1, 1, 1), torch.tensor([0, 1, 0, 1])) == 0
    grain = torch.randint(0, 256, (9, 3, 256, 256), generator=chance(), dtype=torch.uint8)
    assert diversity(grain) < 0.2 * diversity(blocks(9))


def test_a_generator_that_repeats_itself_is_called_collapsed(caplog):
    pictures = blocks(40)
    watch = observer(pictures, collapse=0.3)
    various = watch.measure(Constant(blocks(40, seed=1)), 100)
    same = watch.measure(Constant(pictures[:1]), 200)
    assert not watch.collapsed(various)
    assert watch.collapsed(same)
    assert "GAN collapse at step 200" in caplog.text
    assert watch.reason_to_stop() is None
    assert watch.facts()["collapsed_at"] == [200]
    stopping = observer(pictures, collapse=0.3, stop_at_collapse=True)
    stopping.measure(Constant(pictures[:1]), 200)
    assert stopping.reason_to_stop() == "collapse"


def test_readings_tell_good_samples_from_bad_ones():
    pictures = blocks(40)
    watch = observer(pictures)
    good = watch.measure(Constant(blocks(40, seed=1)), 1)
    dark = watch.measure(Constant(blocks(40, seed=1) // 3), 2)
    assert good.kernel < dark.low <= dark.kernel <= dark.high
    assert watch.chosen == good
    facts = watch.facts()
    assert facts["step"] == 1
    assert facts["caveat"] is None
    assert (facts["n_real"], facts["n_fake"], facts["against"]) == (40, 40, "validation")


def reading(step, kernel, diversity=10.0):
    return Reading(step, kernel, kernel - 1, kernel + 1, diversity)


def test_the_lowest_distance_is_chosen_that_is_late_enough_and_no_collapse():
    watch = observer(blocks(8), collapse=0.5)
    watch.real_diversity, watch.first = 10.0, 20
    watch.readings = [
        reading(10, 1.0), reading(20, 4.0), reading(30, 2.0, diversity=4.0), reading(40, 3.0),
    ]  # fmt: skip
    assert watch.chosen.step == 40
    watch.readings = [reading(30, 2.0, diversity=4.0)]
    assert watch.chosen is None


def test_training_ends_when_nothing_better_comes():
    watch = observer(blocks(8), patience=2)
    for step, kernel, reason in ((1, 3, None), (2, 2, None), (3, 5, None), (4, 2, "no better")):
        watch.readings.append(reading(step, kernel))
        assert (watch.reason_to_stop() or "").startswith(reason or "")
        assert (watch.reason_to_stop() is None) == (reason is None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"every": 0}, r"gan\.watch\.every is 0"),
        ({"samples": 9}, r"gan\.watch\.samples 9"),
        ({"collapse": 1.5}, r"gan\.watch\.collapse is 1\.5"),
        ({"patience": 2, "choose": False}, r"gan\.watch\.choose=true"),
    ],
)
def test_wrong_settings_of_the_watch_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        watching(**changes)


@pytest.fixture
def scripted(monkeypatch):
    """Give readings from a list instead of measuring; return the weights seen at each."""
    seen = {}

    def script(kernels):
        values = iter(kernels)

        def measure(self, generator, step):
            seen[step] = {name: value.clone() for name, value in generator.state_dict().items()}
            self.readings.append(reading(step, next(values), diversity=1e9))
            return self.readings[-1]

        monkeypatch.setattr(Observer, "measure", measure)
        return seen

    return script


def test_the_networks_of_the_best_tick_are_kept(faces, tmp_path, scripted):
    seen = scripted([3.0, 1.0, 2.0, 4.0])
    facts = trained(faces, tmp_path / "gan", plain(watch=watching()))
    assert facts["choice"]["step"] == 8
    assert facts["choice"]["chosen_from"] == 3
    kept = load_generator(tmp_path / "gan").state_dict()
    assert all(torch.equal(kept[name], value) for name, value in seen[8].items())
    assert not all(torch.equal(kept[name], value) for name, value in seen[12].items())
    last = trained(faces, tmp_path / "last", plain(watch=watching(choose=False, every=9)))
    assert last["choice"]["rule"] == "last step"
    assert last["choice"]["step"] == 12


def test_a_training_without_progress_ends_early(faces, tmp_path, scripted):
    scripted([1.0, 2.0, 3.0, 4.0])
    facts = trained(faces, tmp_path / "gan", plain(steps=400, watch=watching(patience=2)))
    assert facts["stopped"] == {"step": 12, "reason": "no better reading"}
    assert facts["choice"]["step"] == 4
    assert [line["step"] for line in metrics(tmp_path / "gan")] == ["4", "8", "12"]


@pytest.mark.parametrize(
    ("validation", "split", "n"), [(16, "validation", 16), (15, "train", 8), (0, "train", 8)]
)
def test_samples_are_held_against_validation_faces_and_never_test_faces(
    tmp_path, validation, split, n
):
    splits = {"train": 8, "validation": validation, "test": 30}
    corpus = write_faces(tmp_path / "corpus", splits=splits)
    facts = trained(corpus, tmp_path / "gan", plain(steps=1, watch=watching()))
    choice = facts["choice"]
    assert (choice["against"], choice["n_real"]) == (split, n)
    assert (choice["caveat"] is None) == (split == "validation")
    assert facts["images"] == 8
    line = metrics(tmp_path / "gan")[0]
    assert float(line["low"]) < float(line["kernel"]) < float(line["high"])


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def uninterrupted(faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("gan") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        diverging_once(patch)
        facts = trained(faces, out, everything())
    return out, facts


def diverging_once(patch, killed_at=None):
    play = GanModule._play

    def game(self, draws):
        if self.step == killed_at and not game.killed:
            game.killed = True
            raise KilledError
        play(self, draws)
        if self.step == 9 and not self.rollbacks:
            with torch.no_grad():
                self.discriminator.dense.bias.fill_(float("inf"))

    game.killed = False
    patch.setattr(GanModule, "_play", game)


# in the warm steps' tick, before the divergence, in the repeated tick, in the last, short one
@pytest.mark.parametrize("killed_at", [3, 6, 11, 15])
def test_a_training_killed_at_any_step_ends_as_if_it_had_not_been(
    faces, uninterrupted, tmp_path, killed_at
):
    whole, expected = uninterrupted
    with pytest.MonkeyPatch.context() as patch:
        diverging_once(patch, killed_at)
        with pytest.raises(KilledError):
            trained(faces, tmp_path / "gan", everything())
        facts = trained(faces, tmp_path / "gan", everything())
    assert facts == expected
    assert facts["rollbacks"] == [{"from": 12, "to": 8}]
    for name in FILES:
        assert (tmp_path / "gan" / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_killed_training_goes_on_after_its_last_tick_too(
    faces, uninterrupted, tmp_path, monkeypatch
):
    whole, expected = uninterrupted
    save = loop.Ticks._save

    def save_then_die(self, trainer, module, figures):
        save(self, trainer, module, figures)
        if module.step == module.total_steps:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        diverging_once(patch)
        with monkeypatch.context() as dying:
            dying.setattr(loop.Ticks, "_save", save_then_die)
            with pytest.raises(KilledError):
                trained(faces, tmp_path / "gan", everything())
        assert trained(faces, tmp_path / "gan", everything()) == expected
    for name in FILES:
        assert (tmp_path / "gan" / name).read_bytes() == (whole / name).read_bytes(), name


def stylegan(**changes):
    """StyleGAN2-ADA with a state of its own in every part: p, the path length's mean, centres."""
    narrow = {"size": 16, "channel_base": 64, "channel_max": 8}
    return plain(
        emotions=("angry", "happy"),
        generator=partial(
            stylegan2.Generator, z_dim=8, w_dim=8, mapping_layers=2, architecture="skip", **narrow
        ),
        discriminator=partial(stylegan2.Discriminator, mapping_layers=2, spread=2, **narrow),
        regularisers=[R1(gamma=0.1, every=3), PathLength(every=2)],
        augmentation=Ada(groups=GROUPS, p=0.3, kimg=0.1, every=2),
        lazy_adam=True,
        mirror=True,
        steps=11,
        watch=watching(),
        **changes,
    )


@pytest.fixture(scope="module")
def whole_stylegan(faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("gan") / "stylegan"
    return out, trained(faces, out, stylegan())


# between two penalties, between two changes of p, in the last tick
@pytest.mark.parametrize("killed_at", [1, 5, 10])
def test_a_killed_stylegan2_ada_ends_as_if_it_had_not_been(
    faces, whole_stylegan, tmp_path, monkeypatch, killed_at
):
    whole, expected = whole_stylegan
    play = GanModule._play

    def game(self, draws):
        if self.step == killed_at:
            raise KilledError
        play(self, draws)

    with monkeypatch.context() as patch:
        patch.setattr(GanModule, "_play", game)
        with pytest.raises(KilledError):
            trained(faces, tmp_path / "gan", stylegan())
    assert trained(faces, tmp_path / "gan", stylegan()) == expected
    for name in FILES:
        assert (tmp_path / "gan" / name).read_bytes() == (whole / name).read_bytes(), name


def test_p_adapts_and_is_noted_at_every_tick(whole_stylegan):
    found = [float(line["ada_p"]) for line in metrics(whole_stylegan[0])]
    # two changes a tick, each by two batches of four faces over 100
    steps = np.diff([0.3, *found]) / 0.08
    np.testing.assert_allclose(steps, steps.round(), atol=1e-9)
    assert set(np.abs(steps).round()) <= {0.0, 1.0, 2.0}
    assert len(set(found)) > 1


def test_every_figure_is_a_column(uninterrupted):
    whole, _ = uninterrupted
    lines = metrics(whole)
    assert [line["step"] for line in lines] == ["4", "8", "12", "16"]
    for column in ("augment_p", "penalty_r1", "penalty_average", "kernel", "diversity"):
        assert all(math.isfinite(float(line[column])) for line in lines), column
    assert not list(whole.glob("*.ckpt"))


@pytest.fixture
def stopped(faces, tmp_path):
    """The folder of a training that was killed in its second tick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "write_grid", lambda *_: None)
        save = loop.Ticks._save

        def save_then_die(self, *a):
            save(self, *a)
            raise KilledError

        patch.setattr(loop.Ticks, "_save", save_then_die)
        with pytest.raises(KilledError):
            trained(faces, tmp_path / "gan", plain())
    return tmp_path / "gan"


@pytest.mark.parametrize("damage", [b"", b"nothing of the kind", None])
def test_a_damaged_state_is_named_with_the_way_out(faces, stopped, damage):
    state = stopped / loop.STATE
    whole = state.read_bytes()
    state.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    with pytest.raises(ValueError, match=r"state\.ckpt.*is damaged.*delete .* from the start"):
        trained(faces, stopped, plain())


def test_the_state_of_another_architecture_is_refused(faces, stopped):
    wider = partial(Generator, size=16, filters=6, max_filters=12, z_dim=8)
    with pytest.raises(ValueError, match="another architecture: size mismatch"):
        trained(faces, stopped, plain(generator=wider))


@pytest.fixture(scope="module")
def trunk(faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("gan") / "trunk"
    trained(faces, out, plain(emotions=("angry", "happy"), steps=1))
    return out


def test_a_trunk_of_another_architecture_is_named(faces, trunk, tmp_path):
    wider = partial(Generator, size=16, filters=6, max_filters=12, z_dim=8)
    message = r"generator of trunk .* has filters 4, not 6, .*; set gan\.generator\.filters=4 "
    with pytest.raises(ValueError, match=message):
        trained(faces, tmp_path / "gan", plain(generator=wider, trunk=trunk))


def test_all_that_differs_from_a_trunk_is_named_at_once(faces, trunk, tmp_path):
    other = partial(Generator, size=32, filters=6, max_filters=12, z_dim=8)
    with pytest.raises(ValueError, match=r"set gan\.generator\.filters=4 .* size=16$"):
        trained(faces, tmp_path / "gan", plain(generator=other, trunk=trunk))


def test_no_steps_after_a_trunk_are_the_conditional_network_itself(faces, trunk, tmp_path):
    out = tmp_path / "gan"
    facts = trained(faces, out, plain(trunk=trunk, steps=0, warm_steps=0, watch=watching()))
    z = torch.randn(3, 8)
    conditional = load_generator(trunk)(z, torch.ones(3, dtype=torch.long))  # angry, happy
    torch.testing.assert_close(load_generator(out)(z), conditional)
    assert [line["step"] for line in metrics(out)] == ["0"]
    assert facts["choice"]["step"] == 0


def test_frozen_layers_of_a_trunk_stay_as_they_are(faces, trunk, tmp_path):
    out = tmp_path / "gan"
    trained(faces, out, plain(trunk=trunk, freeze=1, steps=3))
    before = load_network(trunk, "discriminator").specialised(1).state_dict()
    after = load_network(out, "discriminator").state_dict()
    kept = {name for name in after if torch.equal(before[name], after[name])}
    assert kept == {"downs.0.weight", "downs.0.bias"}
    with pytest.raises(ValueError, match=r"freeze is 3; this discriminator has 1 such"):
        trained(faces, tmp_path / "more", plain(trunk=trunk, freeze=3))
    with pytest.raises(ValueError, match=r"name a trunk \(gan\.from_trunk\)"):
        trained(faces, tmp_path / "none", plain(freeze=1))


def test_a_network_without_classes_is_a_trunk_for_any_emotion(faces, tmp_path):
    trained(faces, tmp_path / "plain", plain(steps=1))
    imported = tmp_path / "imported"
    imported.mkdir()
    networks = {
        name: load_network(tmp_path / "plain", name) for name in ("generator", "discriminator")
    }
    save_networks(imported, networks, emotions=[])  # as `affectory import_stylegan` writes it
    trained(faces, tmp_path / "angry", plain(emotions=("angry",), trunk=imported, steps=0))
    z = torch.randn(2, 8)
    assert torch.equal(load_generator(tmp_path / "angry")(z), networks["generator"](z))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"networks\.json is damaged"),
        ('{"emotions": ["happy"]}', r"networks\.json is damaged: it does not describe the gen"),
        (
            '{"emotions": ["happy"], "generator": {"class": "gan.dcgan.Bigan", "arguments": {}}}',
            "Bigan that this version cannot build",
        ),
    ],
)
def test_a_damaged_description_is_named(faces, tmp_path, text, message):
    trunk = tmp_path / "trunk"
    trunk.mkdir()
    (trunk / "networks.json").write_text(text)
    (trunk / "generator.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=message):
        trained(faces, tmp_path / "gan", plain(trunk=trunk))


def test_weights_of_another_architecture_are_named(trunk, tmp_path):
    description = json.loads((trunk / "networks.json").read_text())
    description["generator"]["arguments"]["filters"] = 6
    (tmp_path / "networks.json").write_text(json.dumps(description))
    (tmp_path / "generator.safetensors").write_bytes((trunk / "generator.safetensors").read_bytes())
    message = r"generator\.safetensors is damaged or of another architecture: size mismatch"
    with pytest.raises(ValueError, match=message):
        load_generator(tmp_path)


def test_a_judge_of_another_size_is_named(faces, tmp_path):
    judge = partial(Discriminator, size=32, filters=4)
    with pytest.raises(ValueError, match=r"are 16 px, the discriminator is made for 32"):
        trained(faces, tmp_path / "gan", plain(discriminator=judge))


def test_extra_faces_join_the_training_and_are_counted(faces, tmp_path):
    extra = write_faces(tmp_path / "extra", count=3, seed=1)
    facts = trained(faces, tmp_path / "gan", plain(extra=extra, steps="1 epochs"))
    assert facts["images"] == 11
    assert facts["images_by_emotion"] == {"happy": 8}
    assert facts["extra"] == {"happy": 3}
    assert facts["steps"] == 3
    without = trained(faces, tmp_path / "without", plain(steps=3))
    assert without["extra"] == {}
    assert without["generator"] != facts["generator"]


def test_extra_faces_of_other_emotions_change_nothing(faces, tmp_path):
    extra = write_faces(tmp_path / "extra", emotions=("sad",), seed=1)
    facts = trained(faces, tmp_path / "gan", plain(extra=extra, steps=1))
    assert (facts["images"], facts["extra"]) == (8, {"happy": 0})


def test_extra_faces_that_are_tested_on_or_of_another_size_are_refused(tmp_path):
    corpus = write_faces(tmp_path / "corpus", splits={"train": 8, "test": 2})
    held_out = write_faces(tmp_path / "held_out", splits={"test": 2}, size=16)
    with pytest.raises(ValueError, match=r"is also among those held out.*gan\.extra"):
        trained(corpus, tmp_path / "gan", plain(extra=held_out))
    larger = write_faces(tmp_path / "larger", size=32, seed=1)
    with pytest.raises(ValueError, match=r"are 32 px, those of .* 16 px.*gan\.extra"):
        trained(corpus, tmp_path / "gan2", plain(extra=larger))


def test_generators_are_kept_from_a_step_on(faces, tmp_path):
    trained(faces, tmp_path / "gan", plain(keep_from=8))
    kept = sorted((tmp_path / "gan" / "kept").iterdir())
    assert [folder.name for folder in kept] == ["step-000008", "step-000012"]
    last, final = load_generator(kept[1]), load_generator(tmp_path / "gan")
    z = torch.randn(2, 8, generator=chance())
    assert torch.equal(last(z), final(z))
    assert not torch.equal(load_generator(kept[0])(z), final(z))


def test_an_interpolation_goes_from_one_face_to_another_in_small_steps(trunk):
    generator = load_generator(trunk)
    grid = interpolation_grid(generator, 2).astype(float)
    assert grid.shape == (2 * 16, 10 * 16, 3)
    row = grid[:16].reshape(16, 10, 16, 3).transpose(1, 0, 2, 3)
    whole = np.abs(row[0] - row[-1]).mean()
    steps = [np.abs(a - b).mean() for a, b in pairwise(row)]
    assert whole > 1
    assert max(steps) < 0.5 * whole
    assert (trunk / "interpolation.png").exists()


class Remembering(Logger):
    lines: list = []  # noqa: RUF012  a logger is built anew for each training

    @property
    def name(self):
        return "remembering"

    @property
    def version(self):
        return 0

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step):
        self.lines.append((step, metrics))


def test_loggers_get_every_tick(faces, tmp_path):
    trained(faces, tmp_path / "gan", plain(loggers={"remembering": Remembering}))
    assert [step for step, _ in Remembering.lines] == [4, 8, 12]
    assert set(Remembering.lines[0][1]) == {
        "loss_discriminator", "loss_generator", "logit_real", "logit_fake",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_logger_that_is_not_installed_says_what_to_install(name, tmp_path):
    if importlib.util.find_spec(name):
        pytest.skip(f"{name} is installed here")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=[f"+gan/loggers={name}", f"out={tmp_path}"])
    with pytest.raises(ModuleNotFoundError, match=f"(?i)pip install.*{name}|{name}.*pip install"):
        instantiate(cfg.gan.loggers)[name]()


def test_a_device_that_starts_late_does_not_go_back_to_what_the_first_one_just_wrote(tmp_path):
    ticks = loop.Ticks(tmp_path, "happy", observer=None, rollbacks=1, keep_from=None)
    (tmp_path / loop.STATE).write_bytes(b"of the first device, perhaps half-written")
    met = []
    strategy = SimpleNamespace(barrier=lambda: met.append("barrier"))
    second = SimpleNamespace(is_global_zero=False, strategy=strategy, should_stop=False)
    ticks.on_train_start(second, a_module())
    assert met == ["barrier"]  # where the first one waits for it


@pytest.mark.slow
def test_two_devices_learn_from_the_mean_of_their_gradients(faces, tmp_path):
    settings = plain(emotions=("angry", "happy"), steps=3, watch=watching(), rollbacks=1)
    facts = trained(faces, tmp_path / "two", settings | {"devices": 2})
    assert facts["devices"] == 2
    assert facts["choice"]["step"] == 3
    # one process that draws for both and takes the whole batch at once gets the same mean
    with pytest.MonkeyPatch.context() as patch:
        choice, latents = GanModule._choice, GanModule._latents
        both = {}

        def draw_choices(self, draws):
            self.batch_size = 2
            other = step_chance(self.seed, self.step, rank=1)
            both[self.step] = other
            pairs = zip(choice(self, draws), choice(self, other), strict=True)
            return tuple(torch.cat(pair) for pair in pairs)

        def draw_latents(self, like, draws):
            halves = (latents(self, like[:2], draws), latents(self, like[2:], both[self.step]))
            return torch.cat(halves)

        patch.setattr(GanModule, "_choice", draw_choices)
        patch.setattr(GanModule, "_latents", draw_latents)
        trained(faces, tmp_path / "one", plain(emotions=("angry", "happy"), steps=3))
    for name in ("generator", "discriminator"):
        two, one = (load_network(tmp_path / way, name).state_dict() for way in ("two", "one"))
        for key, weight in one.items():
            assert torch.allclose(two[key], weight, atol=1e-5), f"{name} {key}"
    assert len(list((tmp_path / "two" / "samples").glob("*.png"))) == 1
