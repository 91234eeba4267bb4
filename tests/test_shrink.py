"""Small networks from large ones: channels cut away, and lessons from a teacher."""

import logging
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from classifiers.finetune import fit
from classifiers.networks import rebuild, small_cnn, timm_network
from classifiers.networks.cost import multiply_adds, parameters
from classifiers.networks.narrow import narrowed
from classifiers.objectives import Emotion, Taught
from classifiers.predict import Predictor, probabilities_of, save_ensemble
from classifiers.prefix import PrefixCache
from classifiers.pruning import Pruning, prune
from classifiers.teacher import Teacher
from classifiers.training import Distillation, Phase, Training

SIDE = (32, 32)
MOBILENET = partial(timm_network, name="mobilenetv2_050", normalise="per_image", grey=True)


def seeded(build, classes=3):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = build(classes)
    # norms of a network that has seen pictures differ from channel to channel
    generator = torch.Generator().manual_seed(2)
    for name, buffer in network.named_buffers():
        if "running" in name:
            buffer.copy_(0.1 * (0.5 + torch.rand(buffer.shape, generator=generator)))
    return network.eval()


def pictures(count, seed=0):
    drawn = np.random.default_rng(seed).integers(0, 256, (count, 3, *SIDE))
    return torch.from_numpy(drawn.astype(np.uint8))


def cut(network, pruning, whole=None, losses=tuple, seed=0):
    if losses is tuple and pruning.importance == "taylor":  # which needs some
        pruning = replace(pruning, importance="magnitude")
    whole = whole or {"multiply_adds": multiply_adds(network, SIDE)}.get(
        pruning.of, parameters(network)
    )
    prune(network, pruning, whole=whole, side=SIDE, losses=losses, seed=seed)
    return network


def test_multiply_adds_are_counted_as_the_definition_says():
    network = small_cnn(7, width=32)
    # 7×7 of stride 4, then residual 3×3 and reducing 3×3 in turn, 64 px, grey; the head
    expected = 256 * (49 * 32 + 9 * 32 * 32) + 64 * (9 * 32 * 64 + 9 * 64 * 64)
    expected += 16 * (9 * 64 * 128 + 9 * 128 * 128) + 128 * 7
    assert multiply_adds(network, (64, 64)) == expected
    assert parameters(network) == 289_063


@pytest.mark.parametrize(
    ("build", "of"),
    [
        (partial(small_cnn, width=32), "multiply_adds"),
        (partial(small_cnn, width=32), "parameters"),
        (MOBILENET, "parameters"),
    ],
)
def test_what_is_left_is_within_the_share_and_in_blocks(build, of):
    network = seeded(build)
    before = {"multiply_adds": multiply_adds(network, SIDE), "parameters": parameters(network)}
    cut(network, Pruning(0.5, of, multiple=8))
    after = {"multiply_adds": multiply_adds(network, SIDE), "parameters": parameters(network)}
    assert 0.3 * before[of] < after[of] <= 0.5 * before[of]
    widths = [m.out_channels for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(width % 8 == 0 for width in widths)
    assert network(pictures(2)).shape == (2, 3)


def test_a_pruned_network_is_rebuilt_from_its_recipe_and_its_file(tmp_path):
    network = cut(seeded(partial(small_cnn, width=32)), Pruning(0.6, multiple=8))
    once = network.recipe["arguments"]["of"]
    cut(network, Pruning(0.4, multiple=8))  # again: the recipe still starts at the whole network
    assert network.recipe["arguments"]["of"] == once
    assert network.name == "small_cnn, pruned"
    save_ensemble([network], tmp_path, emotions=["a", "b", "c"], size=SIDE)
    loaded = Predictor.load(tmp_path, device="cpu")
    given = pictures(4)
    expected = network(given).softmax(1).detach().numpy()
    assert np.array_equal(loaded.probabilities(given.numpy()), expected)
    assert parameters(loaded.networks[0]) == parameters(network)
    features = loaded.features(given.numpy())
    assert features.shape == (4, loaded.networks[0].width)


def test_channels_without_weight_go_first_and_nothing_changes():
    network = seeded(partial(small_cnn, width=16))
    idle = [1, 2, 5, 7, 8, 11, 12, 14]
    with torch.no_grad():  # half of the first layer's channels say nothing and are not heard
        stem, norm, _, residual, reduce = network.trunk[:5]
        for layer in (stem, norm, residual.convolution, residual.norm):
            layer.weight[idle] = 0
        for layer in (norm, residual.norm):
            layer.bias[idle] = 0
        for layer in (residual.convolution, reduce):
            layer.weight[:, idle] = 0
    given = pictures(4)
    before = network(given)
    whole = multiply_adds(network, SIDE)
    narrower = partial(small_cnn, width=16)(3)
    # the share that is left when exactly these are gone
    shapes = {"trunk.0.weight": [8, 1, 7, 7], "trunk.1.weight": [8], "trunk.1.bias": [8]}
    shapes |= {"trunk.1.running_mean": [8], "trunk.1.running_var": [8]}
    shapes |= {f"trunk.3.norm.{name}": [8] for name in ("weight", "bias")}
    shapes |= {f"trunk.3.norm.running_{name}": [8] for name in ("mean", "var")}
    shapes |= {"trunk.3.convolution.weight": [8, 8, 3, 3], "trunk.4.weight": [32, 8, 3, 3]}
    left = multiply_adds(narrowed(narrower, shapes), SIDE) / whole
    cut(network, Pruning(left, multiple=8))
    assert network.trunk[0].out_channels == 8
    assert network.trunk[8].out_channels == 64  # and nothing else
    assert torch.allclose(network(given), before, atol=1e-5)


def test_the_loss_judges_channels_where_it_is_asked():
    given, labels = pictures(16), torch.arange(16) % 3

    def losses_of(network):
        yield F.cross_entropy(network(given), labels)

    kept = {}
    for importance in ("magnitude", "taylor", "random"):
        network = seeded(partial(small_cnn, width=32))
        cut(network, Pruning(0.5, importance=importance), losses=lambda n=network: losses_of(n))
        kept[importance] = network.trunk[0].weight.detach().numpy().copy()
    again = seeded(partial(small_cnn, width=32))
    cut(again, Pruning(0.5, importance="random"))
    assert np.array_equal(again.trunk[0].weight.detach().numpy(), kept["random"])
    assert len({values.tobytes() for values in kept.values()}) == 3


def test_impossible_cuts_are_refused():
    with pytest.raises(ValueError, match=r"prune.keep=1.0 must be in \(0, 1\)"):
        Pruning(1.0)
    with pytest.raises(ValueError, match=r"prune.of='weights' is unknown; it is one of multiply"):
        Pruning(0.5, "weights")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"prune.importance='l1' is unknown"):
        Pruning(0.5, importance="l1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"prune.multiple=0 must be at least 1"):
        Pruning(0.5, multiple=0)
    with pytest.raises(ValueError, match=r"small_cnn cannot be cut to 1% of its multiply_adds"):
        cut(seeded(partial(small_cnn, width=32)), Pruning(0.01))
    with pytest.raises(ValueError, match=r"cannot have trunk.0.weight of shape"):
        narrowed(small_cnn(3, width=8), {"trunk.0.weight": [9, 1, 7, 7]})
    with pytest.raises(ValueError, match=r"cannot have nothing of shape .*: there is none"):
        narrowed(small_cnn(3, width=8), {"nothing": [9]})


def test_a_lesson_is_the_divergence_of_softened_answers():
    objective = Taught(Emotion(2), temperature=2.0, weight=0.75)
    raw, said = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    named = objective.targets(np.array([0]))
    teacher, pupil = (said / 2).softmax(1)[0], (raw / 2).softmax(1)[0]
    apart = sum(t * torch.log(t / p) for t, p in zip(teacher, pupil, strict=True))
    own = -raw.log_softmax(1)[0, 0]
    expected = 0.25 * own + 0.75 * 4 * apart
    assert objective.loss(raw, torch.cat([named, said], 1)) == pytest.approx(float(expected))
    alike = Taught(Emotion(2), temperature=3.0, weight=1.0)
    assert float(alike.loss(raw, torch.cat([named, raw], 1))) == pytest.approx(0, abs=1e-6)
    judged = objective.judge(raw.softmax(1), named)
    assert judged["loss"] == pytest.approx(float(own))


TRAINING = Training(
    {"train": Phase(60, learning_rate=0.01)}, batch_size=16, mirror=0.5, distil=Distillation()
)


def asked(training, cache=None, count=12, uses=10_000):
    network = seeded(partial(small_cnn, width=8))
    images = pictures(count)
    cache = PrefixCache() if cache is None else cache
    return network, images, Teacher(
        network,
        images,
        [f"picture {number}" for number in range(count)],
        np.arange(count),
        training=training,
        uses=uses,
        cache=cache,
        device=torch.device("cpu"),
        label="pupil",
    )  # fmt: skip


@pytest.mark.parametrize("uses", [10_000, 1])  # kept, or asked at each step
def test_a_teacher_speaks_of_the_view_that_the_pupil_sees(uses):
    network, images, teacher = asked(TRAINING, uses=uses)
    rows, turned = np.array([3, 5, 3]), np.array([False, True, True])
    seen = images[rows]
    seen[1:] = seen[1:].flip(-1)
    assert torch.allclose(teacher(rows, turned, torch.zeros(0)), network(seen), atol=1e-5)
    assert not torch.allclose(network(images[[3]]), network(images[[3]].flip(-1)), atol=1e-3)


def test_a_teacher_is_shown_blended_and_cut_pictures():
    for training in (replace(TRAINING, mixup=0.2), replace(TRAINING, ten_crop=24)):
        network, _, teacher = asked(training)
        blended = torch.rand(2, 3, 24, 24) * 255
        said = teacher(np.array([0, 1]), np.zeros(2, bool), blended)
        assert torch.allclose(said, network(blended), atol=1e-5)


def bars(count, seed=0):
    """A bright bar above (0) or below (1) on noise."""
    labels = np.arange(count) % 2
    images = np.random.default_rng(seed).integers(0, 90, (count, 3, *SIDE))
    for picture, label in zip(images, labels, strict=True):
        top = 20 if label else 4
        picture[:, top : top + 8, 4:28] += 150
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def teacher():
    images, labels = bars(64)
    training = replace(TRAINING, distil=None)
    fitted = fit(
        images, labels, classes=2, network=partial(small_cnn, width=16), training=training, seed=0,
        accelerator="cpu",
    )  # fmt: skip
    return fitted.recogniser


PUPIL = partial(small_cnn, width=8)


def pupil(teacher, labels=None, network=PUPIL, training=TRAINING, **more):
    images, truth = bars(64, seed=1)
    return fit(
        images, truth if labels is None else labels, classes=2, network=network,
        training=training, seed=0, teacher=teacher, accelerator="cpu", **more,
    )  # fmt: skip


def test_a_pupil_learns_from_its_teacher_what_labels_do_not_tell(teacher):
    images, truth = bars(100, seed=2)
    wrong = np.zeros(64, np.int64)  # labels that say nothing
    all_weight = replace(TRAINING, distil=Distillation(weight=1.0))
    said = pupil(teacher, wrong, training=all_weight).predict(images).argmax(1)
    assert (said == truth).mean() > 0.95
    alone = pupil(None, wrong, training=replace(TRAINING, distil=None)).predict(images).argmax(1)
    assert (alone == truth).mean() == 0.5


def test_what_a_teacher_says_is_the_same_kept_or_asked_anew(teacher, tmp_path):
    kept = pupil(teacher, prefix=PrefixCache(tmp_path))
    assert list(tmp_path.glob("*/*.npy"))
    again = pupil(teacher)
    for one, other in zip(kept.recogniser.parameters(), again.recogniser.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_network_goes_on_as_its_teacher_and_leaves_it_alone(teacher, caplog):
    before = {name: weight.clone() for name, weight in teacher.state_dict().items()}
    phases = {
        "first": Phase(10, learning_rate=0.003, prune=Pruning(0.7, multiple=4)),
        "second": Phase(40, learning_rate=0.003, prune=Pruning(0.4, multiple=4)),
    }
    caplog.set_level(logging.INFO)
    found = pupil(teacher, network=None, training=replace(TRAINING, phases=phases))
    whole = multiply_adds(teacher, SIDE)
    assert multiply_adds(found.recogniser, SIDE) <= 0.4 * whole
    assert found.parameters == parameters(found.recogniser) < parameters(teacher)
    assert found.trained[0] > found.trained[1]
    assert sum("multiply adds" in record.message for record in caplog.records) == 2
    images, truth = bars(100, seed=2)
    said = probabilities_of(found.recogniser, images, device="cpu").argmax(1)
    assert (said == truth).mean() > 0.95
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    again = pupil(teacher, network=None, training=replace(TRAINING, phases=phases))
    for one, other in zip(
        found.recogniser.parameters(), again.recogniser.parameters(), strict=True
    ):
        assert torch.equal(one, other)


def test_a_network_without_a_teacher_can_be_pruned_too():
    phases = {
        "train": Phase(20, learning_rate=0.01),
        "cut": Phase(20, prune=Pruning(0.5, importance="taylor", multiple=4)),
    }
    training = replace(TRAINING, phases=phases, distil=None)
    found = pupil(None, network=partial(small_cnn, width=16), training=training)
    assert multiply_adds(found.recogniser, SIDE) <= 0.5 * multiply_adds(
        small_cnn(2, width=16), SIDE
    )
    assert rebuild(found.recogniser.recipe, 2).name == "small_cnn, pruned"


def test_teachers_that_do_not_fit_are_refused(teacher):
    with pytest.raises(ValueError, match=r"training.distil is set, so it needs a teacher"):
        pupil(None)
    with pytest.raises(ValueError, match=r"network is null, so it needs a teacher"):
        pupil(None, network=None)
    with pytest.raises(ValueError, match=r"nothing is learned from its teacher; set training.dist"):
        pupil(teacher, training=replace(TRAINING, distil=None))
    with pytest.raises(ValueError, match=r"the teacher tells 3 emotions apart"):
        pupil(small_cnn(3, width=8))
    with pytest.raises(ValueError, match=r"distil.temperature=0 must be above 0"):
        Distillation(temperature=0)
    with pytest.raises(ValueError, match=r"valence_arousal has no emotions to balance or to be t"):
        replace(TRAINING, target="valence_arousal")


def test_without_the_package_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    network = seeded(partial(small_cnn, width=32))
    with pytest.raises(ImportError, match=r"pip install 'affectory\[shrink\]'"):
        cut(network, Pruning(0.5, importance="random"))
