import logging
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from classifiers import finetune, search
from classifiers.batches import Batches, Pictures, mix, random_crops, ten_crops
from classifiers.finetune import fit
from classifiers.module import RecogniserTraining
from classifiers.networks import small_cnn
from classifiers.objectives import Circumplex, Emotion, ccc, rmse
from classifiers.prefix import Split
from classifiers.search import search_k
from classifiers.training import Phase, Training

NETWORK = partial(small_cnn, width=8, dropout=0.1)
PHASE = Phase(15, learning_rate=0.01, weight_decay=0.01, warmup=0.1)
TRAINING = Training({"train": PHASE}, batch_size=16, mirror=0.5)


def faces(labels, seed=0):
    """A bright bar above (0) or below (1) on noise."""
    pictures = np.random.default_rng(seed).integers(0, 90, (len(labels), 3, 32, 32))
    for picture, label in zip(pictures, labels, strict=True):
        top = 20 if label else 4
        picture[:, top : top + 8, 4:28] += 150
    return pictures.astype(np.uint8)


def bars(count, seed=0):
    labels = np.arange(count) % 2
    return faces(labels, seed), labels


def trained(count=40, training=TRAINING, seed=0, data=None, **more):
    images, labels = data or bars(count)
    given = {"classes": 2, "network": NETWORK, "training": training, "seed": seed, **more}
    return fit(images, labels, accelerator="cpu", **given)


def drawn(rows, classes=None, images=None, steps=9, seed=0, **changes):
    training = replace(Training({"train": Phase(1)}, batch_size=8), **changes)
    count = 256 if classes is None else len(classes)
    if images is None:
        images = torch.arange(count).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    targets = torch.eye(2)[torch.arange(count) % 2]
    return Batches(
        Pictures(images), targets, rows, training=training, steps=steps, classes=classes, seed=seed
    )


def test_batches_pass_over_all_rows_before_any_returns():
    rows = np.array([3, 5, 7, 11, 13, 17])
    batches = drawn(rows)
    order = np.concatenate([batches.rows_at(step) for step in range(9)])
    for number in range(12):
        assert sorted(order[6 * number : 6 * number + 6]) == list(rows)
    assert list(order[:6]) != list(order[6:12])
    # a step alone gives what it gives in the sequence
    assert list(drawn(rows).rows_at(7)) == list(order[56:64])
    assert list(drawn(rows, seed=1).rows_at(0)) != list(order[:8])


def test_a_later_phase_goes_on_where_the_one_before_it_stopped():
    rows = np.arange(40)
    whole = [images[:, 0, 0, 0].tolist() for images, _ in drawn(rows, mirror=0.5)]
    later = drawn(rows, mirror=0.5, steps=4)
    later.first = 5
    assert [images[:, 0, 0, 0].tolist() for images, _ in later] == whole[5:]


def test_batches_balance_the_classes_when_asked():
    labels = np.array([0] * 190 + [2] * 10)
    batches = drawn(np.arange(200), labels, steps=200)
    share = np.mean([labels[batches.rows_at(step)] == 2 for step in range(200)])
    assert share == pytest.approx(0.5, abs=0.05)


def test_mirroring_turns_the_share_asked_for_and_leaves_the_source_alone():
    images = torch.zeros(64, 3, 4, 4, dtype=torch.uint8)
    images[..., 0] = 9
    source = images.clone()
    labels = np.arange(64) % 2
    batches = drawn(np.arange(64), labels, images, steps=40, mirror=0.25, batch_size=64)
    batches.chance = None
    turned = torch.stack([pictures[:, 0, 0, 3] == 9 for pictures, _ in batches])
    assert float(turned.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(images, source)


def module(phase, steps=100):
    network = small_cnn(2, width=8)
    return RecogniserTraining(
        Split(network, network.trainable_last(phase.trains)),
        Emotion(2),
        phase,
        steps=steps,
        cached=False,
    )


def test_the_rate_rises_then_follows_its_schedule():
    phase = Phase(100, learning_rate=2.0, weight_decay=0.1, warmup=0.2)
    rates = [module(phase).rate_at(step) for step in range(101)]
    assert int(np.argmax(rates)) == 20
    assert rates[0] < 0.12
    assert rates[20] == 2
    assert rates[60] == pytest.approx(1)
    assert rates[100] == pytest.approx(0)
    constant = module(replace(phase, schedule="constant"))
    assert {constant.rate_at(step) for step in range(20, 101)} == {2.0}
    constant.share = 0.1
    assert constant.rate_at(50) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("settings", "kind", "expected"),
    [
        ({"optimiser": "adamw"}, torch.optim.AdamW, {"betas": (0.9, 0.999)}),
        # an integer β1 is refused by torch
        ({"optimiser": "adam", "momentum": 0}, torch.optim.Adam, {"betas": (0.0, 0.999)}),
        ({"optimiser": "sgd", "nesterov": True}, torch.optim.SGD, {"momentum": 0.9}),
    ],
)
def test_optimisers_have_their_settings_and_decay_weights_alone(settings, kind, expected):
    optimiser = module(Phase(9, weight_decay=0.1, **settings)).configure_optimizers()
    assert type(optimiser) is kind
    wide, narrow = optimiser.param_groups
    assert all(weight.ndim > 1 for weight in wide["params"])
    assert (wide["weight_decay"], narrow["weight_decay"]) == (0.1, 0.0)
    for key, value in expected.items():
        assert wide[key] == value
    assert wide.get("nesterov", False) == settings.get("nesterov", False)


def test_a_fit_learns_and_repeats_to_the_bit(capfd):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = trained(60, seed=3)
    # the caller's random state is not moved
    assert torch.equal(torch.rand(3), expected)
    second = trained(60, seed=3)
    for key, weight in first.recogniser.state_dict().items():
        assert torch.equal(weight, second.recogniser.state_dict()[key]), key
    other = trained(60, seed=4)
    assert not torch.equal(first.recogniser.head.logits.weight, other.recogniser.head.logits.weight)
    test, truth = bars(40, seed=1)
    probabilities = first.predict(test)
    assert (probabilities.argmax(1) == truth).mean() > 0.9
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert int(first.recogniser.trunk[1].num_batches_tracked) == first.steps == 15
    assert not first.recogniser.training
    output = capfd.readouterr()
    assert output.out + output.err == ""


def test_a_fit_uses_the_chosen_rows_alone():
    images, labels = bars(40)
    spoiled = images.copy()
    spoiled[20:] = 255
    settings = {"classes": 2, "network": NETWORK, "training": TRAINING, "seed": 0}
    fits = [
        fit(pictures, labels, rows=np.arange(20), accelerator="cpu", **settings)
        for pictures in (images, spoiled)
    ]
    weights = [fitted.recogniser.head.logits.weight for fitted in fits]
    assert torch.equal(*weights)
    assert fits[0].train_rows == 20


def test_phases_train_their_layers_alone_one_after_the_other():
    phases = {
        "head": Phase(5, trains=0, optimiser="adam", learning_rate=0.01),
        "tune": Phase("2 epochs", trains=3, optimiser="adam", learning_rate=0.01),
    }
    states = []

    def network(classes):
        torch.manual_seed(0)
        return NETWORK(classes)

    for names in (["head"], ["head", "tune"]):
        training = replace(TRAINING, phases={name: phases[name] for name in names})
        fitted = trained(training=training, network=network)
        states.append(fitted.recogniser.state_dict())
    torch.manual_seed(0)
    start = NETWORK(2).state_dict()

    def changed(before, after):
        return {
            key.rsplit(".", 1)[0] for key, value in before.items() if not value.equal(after[key])
        }

    # running statistics of frozen norms included
    assert changed(start, states[0]) == {"head.logits"}
    # the last three layers are an activation, the residual convolution with its norm, and pooling
    tuned = changed(states[0], states[1])
    assert tuned == {"trunk.11.convolution", "trunk.11.norm", "head.logits"}
    assert fitted.steps == 5 + 2 * 3
    assert [line["phase"] for line in fitted.history] == ["head", "head", "tune", "tune"]
    assert [line["step"] for line in fitted.history] == [3, 5, 8, 11]
    assert fitted.trained == [2 * 32 + 2, 2 * 32 + 2 + 9 * 32 * 32 + 2 * 32]
    assert fitted.parameters == sum(w.numel() for w in fitted.recogniser.parameters())


def test_frozen_norms_follow_the_pictures_only_if_asked():
    training = replace(TRAINING, phases={"head": Phase(3, trains=0)})
    kept = trained(training=training).recogniser.trunk[1].running_mean
    assert kept.abs().max() == 0
    adapting = replace(training, frozen_norms_adapt=True)
    assert trained(training=adapting).recogniser.trunk[1].running_mean.abs().max() > 0


def test_an_epoch_is_a_pass_unless_its_batches_are_given():
    two = {"train": Phase("2 epochs")}
    assert trained(33, replace(TRAINING, phases=two)).steps == 2 * 3
    assert trained(33, replace(TRAINING, phases=two, batches_per_epoch=4)).steps == 2 * 4
    assert Phase("1 epoch").steps(7) == 7


PEOPLE = [f"p{number // 4}" for number in range(40)]


def test_people_held_out_are_never_learned_from(monkeypatch):
    seen = []
    rows_at = Batches.rows_at

    def spy(self, step):
        seen.extend(rows_at(self, step))
        return rows_at(self, step)

    monkeypatch.setattr(Batches, "rows_at", spy)
    nobody = [None if number >= 32 else name for number, name in enumerate(PEOPLE)]
    fitted = trained(training=replace(TRAINING, validation=0.25), subjects=nobody)
    learned = {PEOPLE[row] for row in seen if row < 32}
    assert len(learned) == 6
    assert (fitted.train_rows, fitted.validation_rows) == (32, 8)
    # faces of nobody are all learned from
    assert set(range(32, 40)) <= set(seen)
    line = fitted.history[-1]
    assert line["validation_loss"] < 0.69
    assert line["validation_accuracy"] > 0.8


def scripted(monkeypatch, losses):
    script = iter(losses)
    monkeypatch.setattr(Emotion, "judge", lambda *_: {"loss": next(script), "accuracy": 0.5})


def test_early_stopping_goes_back_to_the_best_weights(monkeypatch):
    phase = Phase("9 epochs", learning_rate=0.01, schedule="constant", stop_after=2)
    training = replace(TRAINING, phases={"train": phase}, validation=0.2)
    scripted(monkeypatch, [0.9, 0.5, 0.6, 0.5, 0.1])
    stopped = trained(training=training, subjects=PEOPLE)
    assert [line["validation_loss"] for line in stopped.history] == [0.9, 0.5, 0.6, 0.5]
    assert stopped.steps == 4 * 2
    shorter = replace(phase, length="2 epochs", stop_after=None)
    scripted(monkeypatch, [0.9, 0.5])
    best = trained(training=replace(training, phases={"train": shorter}), subjects=PEOPLE)
    for key, weight in best.recogniser.state_dict().items():
        assert torch.equal(weight, stopped.recogniser.state_dict()[key]), key


def test_a_plateau_lowers_the_rate_and_waits_anew(monkeypatch):
    phase = Phase("8 epochs", learning_rate=0.01, schedule="plateau", factor=0.5, patience=2)
    training = replace(TRAINING, phases={"train": phase}, validation=0.2)
    scripted(monkeypatch, [1.0, 1.0, 1.0, 1.0, 0.5, 0.6, 0.6, 0.6])
    rates = [line["rate"] for line in trained(training=training, subjects=PEOPLE).history]
    assert rates == pytest.approx([0.01] * 3 + [0.005] * 4 + [0.0025])


def test_class_weights_are_the_papers_printed_values():
    # anger, contempt, disgust, fear, happy, neutral, sad, surprise
    counts = [24882, 3750, 3803, 6378, 134412, 74874, 25459, 14090]
    labels = np.repeat(np.arange(8), counts)
    training = Training({"train": Phase(1)}, class_weights=True)
    objective = finetune._objective(training, labels, np.arange(len(labels)), 8)
    assert float(objective.weights[0]) == pytest.approx(0.6752, abs=5e-5)
    assert float(objective.weights[4]) == pytest.approx(0.1250, abs=5e-5)


def test_the_weighted_loss_is_a_mean_over_pictures():
    raw, targets = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.eye(2)
    plain = -raw.log_softmax(1).diag()
    weighted = Emotion(2, weights=np.array([3.0, 0.5])).loss(raw, targets)
    assert float(weighted) == pytest.approx(float(3 * plain[0] + 0.5 * plain[1]) / 2, rel=1e-6)


def test_smoothing_spreads_its_share_over_all_emotions():
    raw, targets = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    shares = torch.tensor([0.8 + 0.2 / 3, 0.2 / 3, 0.2 / 3])
    expected = -(shares * raw.log_softmax(1)[0]).sum()
    assert float(Emotion(3, label_smoothing=0.2).loss(raw, targets)) == pytest.approx(
        float(expected), rel=1e-6
    )
    # what judges is neither smoothed nor weighted
    judged = Emotion(3, label_smoothing=0.2).judge(raw.softmax(1), targets)
    assert judged["loss"] == pytest.approx(float(-raw.log_softmax(1)[0, 0]), rel=1e-6)
    assert judged["accuracy"] == 1


def test_mixup_blends_pictures_and_labels_alike():
    inputs = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 2, 2)
    targets = torch.eye(6)
    mixed, blended = mix(inputs, targets, 0.4, np.random.default_rng(0))
    torch.testing.assert_close(mixed[:, 0, 0, 0], blended @ torch.arange(6.0))
    torch.testing.assert_close(blended.sum(1), torch.ones(6))
    assert ((blended > 0).sum(1) == 2).any()
    source = inputs.clone()
    assert torch.equal(inputs, source)
    shares = [mix(inputs, targets, 0.4, np.random.default_rng(n))[1].max() for n in range(200)]
    # Beta(0.4, 0.4) is mostly near 0 or 1
    assert np.mean([float(share) > 0.9 for share in shares]) > 0.4
    fitted = trained(60, replace(TRAINING, mixup=0.2))
    test, truth = bars(40, seed=1)
    assert (fitted.predict(test).argmax(1) == truth).mean() > 0.9


def test_crops_lie_inside_and_ten_crops_are_corners_middle_and_mirrors():
    picture = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6).expand(50, 3, 6, 6)
    crops = random_crops(picture, 4, np.random.default_rng(0))
    assert crops.shape == (50, 3, 4, 4)
    corners = {int(crop[0, 0, 0]) for crop in crops}
    assert corners == {row * 6 + column for row in range(3) for column in range(3)}
    assert all(torch.equal(crop[0], crop[0, 0, 0] + picture[0, 0, :4, :4]) for crop in crops)
    views = ten_crops(picture[:1], 4)
    assert [int(view[0, 0, 0, 0]) for view in views[:5]] == [0, 2, 12, 14, 7]
    for view, mirrored in zip(views[:5], views[5:], strict=True):
        assert torch.equal(view.flip(-1), mirrored)


def test_ten_crop_predictions_are_the_mean_over_the_views():
    fitted = trained(training=replace(TRAINING, ten_crop=28))
    test, _ = bars(6, seed=1)
    views = ten_crops(torch.from_numpy(test), 28)
    with torch.inference_mode():
        expected = torch.stack([fitted.recogniser(view).softmax(1) for view in views]).mean(0)
    np.testing.assert_allclose(fitted.predict(test), expected, atol=1e-6)


def test_concordance_and_error_equal_their_definitions():
    values = np.array([-0.5, 0.1, 0.3, 0.9])
    assert ccc(values, values) == pytest.approx(1, abs=1e-6)
    assert ccc(values, -values + 2 * values.mean()) == pytest.approx(-1, abs=1e-6)
    variance, shift = values.var(), 0.4
    assert ccc(values, values + shift) == pytest.approx(2 * variance / (2 * variance + shift**2))
    assert ccc(values, 3 * (values - values.mean()) + values.mean()) == pytest.approx(6 / 10)
    assert rmse(values, values + shift) == pytest.approx(shift)
    assert ccc(values, np.zeros(4)) == pytest.approx(0)
    perfect = torch.tensor([[0.5, -0.5], [0.1, 0.3], [-0.9, 0.2]])
    assert float(Circumplex().loss(perfect.atanh(), perfect)) == pytest.approx(0, abs=1e-5)


def test_valence_and_arousal_are_learnt_from_pictures():
    def pictures(count, seed):
        generator = np.random.default_rng(seed)
        values = generator.uniform(-0.9, 0.9, (count, 2)).astype(np.float32)
        images = generator.integers(0, 30, (count, 3, 32, 32))
        for image, (valence, arousal) in zip(images, values, strict=True):
            image[:, :16] += int(100 + 90 * valence)
            image[:, 16:] += int(100 + 90 * arousal)
        return images.astype(np.uint8), values

    images, values = pictures(120, 0)
    phase = Phase(60, learning_rate=0.01, warmup=0.1)
    training = Training({"train": phase}, batch_size=24, target="valence_arousal")
    training = replace(training, validation=0.2)
    fitted = fit(
        images,
        values,
        classes=7,
        network=partial(small_cnn, width=8, normalise="unit", dropout=0.0),
        training=training,
        seed=0,
        subjects=[f"p{number // 3}" for number in range(120)],
        accelerator="cpu",
    )
    assert fitted.recogniser.classes == 2
    test, truth = pictures(60, 1)
    said = fitted.predict(test)
    assert said.shape == (60, 2)
    assert np.abs(said).max() <= 1
    assert min(ccc(truth[:, axis], said[:, axis]) for axis in (0, 1)) > 0.7
    assert fitted.history[-1]["validation_ccc"] > 0.7
    values[3] = np.nan
    with pytest.raises(ValueError, match="have no label"):
        trained(training=replace(training, validation=0.0), data=(images, values))


def test_bfloat16_learns_the_same():
    fitted = trained(60, replace(TRAINING, precision="bf16-mixed"))
    test, truth = bars(40, seed=1)
    assert (fitted.predict(test).argmax(1) == truth).mean() > 0.9
    assert fitted.recogniser.head.logits.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 1}, "batch_size=1 must be at least 2"),
        ({"mirror": 1.5}, r"mirror=1.5 must be in \[0, 1\]"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"mixup": -1}, "mixup=-1"),
        ({"validation": 1.0}, "validation=1.0"),
        ({"ten_crop": 0}, "ten_crop=0"),
        ({"sampling": "random"}, "sampling='random' is unknown; it is one of shuffled, balanced"),
        ({"precision": "64"}, "precision='64' is unknown"),
        ({"phases": {}}, "phases is empty"),
        ({"phases": {"train": {"length": 10}}}, r"phases\.train is no phase but .*_target_"),
        ({"target": "valence_arousal", "class_weights": True}, "class_weights=false"),
        ({"phases": {"train": Phase(9, stop_after=3)}}, "'train' .*training.validation above 0"),
        ({"phases": {"train": Phase(9, schedule="plateau")}}, "validation above 0"),
    ],
)
def test_impossible_trainings_name_the_key_and_the_way_out(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TRAINING, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": 0}, "length=0 must be a number of steps"),
        ({"length": "ten epochs"}, r"length='ten epochs' .*\('10 epochs'\)"),
        ({"warmup": 1.0}, "warmup=1.0"),
        ({"learning_rate": 0}, "learning_rate=0 must be above 0"),
        ({"optimiser": "lion"}, "'lion' is unknown; it is one of adamw, adam, sgd"),
        ({"schedule": "step"}, "'step' is unknown"),
        ({"trains": -1}, "trains=-1"),
        ({"nesterov": True}, "nesterov=true needs optimiser=sgd"),
        ({"stop_after": 0}, "stop_after=0"),
        ({"factor": 1.0}, "factor=1.0"),
    ],
)
def test_impossible_phases_name_the_key(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(PHASE, **changes)


def test_impossible_data_are_refused():
    with pytest.raises(ValueError, match="0 pictures chosen of 40"):
        trained(rows=np.array([], int))
    with pytest.raises(ValueError, match="ten_crop=33 is larger than pictures of"):
        trained(training=replace(TRAINING, ten_crop=33))
    held = replace(TRAINING, validation=0.2)
    with pytest.raises(ValueError, match=r"validation=0.2 of 0 people .* give `subjects`"):
        trained(training=held)
    with pytest.raises(ValueError, match=r"of 1 people leaves 40 pictures .* and 0 to judge"):
        trained(training=held, subjects=["one"] * 40)
    with pytest.raises(ValueError, match=r"so the last 99 cannot be trained"):
        trained(training=replace(TRAINING, phases={"tune": Phase(2, trains=99)}))


def test_divergence_names_the_phase_and_its_rate():
    phases = {"head": Phase(2, trains=0), "tune": replace(PHASE, learning_rate=1e30)}
    message = r"phase 'tune': .* after \d+ steps; lower phases\.tune\.learning_rate=1e\+30"
    with pytest.raises(ValueError, match=message):
        trained(training=replace(TRAINING, phases=phases))


def test_a_search_tries_each_number_on_the_same_people(monkeypatch):
    images, labels = bars(40)
    phases = {"head": Phase(3, trains=0), "tune": Phase(6, learning_rate=0.01)}
    training = replace(TRAINING, phases=phases, validation=0.25)
    figures = iter([0.5, 0.75, 0.75])
    tried, held = [], []
    real_fit = search.fit

    def spy(*args, **kwargs):
        tried.append([phase.trains for phase in kwargs["training"].phases.values()])
        return real_fit(*args, **kwargs)

    def judge(self, scores, targets):
        held.append(targets.argmax(1).tolist())
        return {"loss": 0.1, "accuracy": 0.5}

    monkeypatch.setattr(search, "fit", spy)
    monkeypatch.setattr(Emotion, "judge", judge)
    monkeypatch.setattr(search, "_standing", lambda _: {"validation_accuracy": next(figures)})
    found = search_k(
        images,
        labels,
        candidates=[4, 2, 6, 2],
        classes=2,
        network=NETWORK,
        training=training,
        seed=0,
        subjects=PEOPLE,
        accelerator="cpu",
    )
    assert tried == [[0, 2], [0, 4], [0, 6]]
    assert found.best == 4
    assert [line["trains"] for line in found.table] == [2, 4, 6]
    assert found.table[0]["trained"] < found.table[1]["trained"]
    assert len({tuple(each) for each in held}) == 1
    with pytest.raises(ValueError, match="has nothing to choose"):
        search_k(images, labels, candidates=[2], training=TRAINING)


def test_the_figures_of_a_search_are_those_of_the_weights_that_were_kept():
    phase = Phase("4 epochs", stop_after=2)
    history = [
        {"phase": "train", "validation_loss": loss, "validation_accuracy": accuracy}
        for loss, accuracy in ((0.9, 0.1), (0.4, 0.6), (0.8, 0.3))
    ]
    for stop_after, expected in ((2, 0.6), (None, 0.3)):
        kept = replace(phase, stop_after=stop_after)
        fitted = replace(trained(), history=history)
        training = replace(TRAINING, phases={"train": kept}, validation=0.2)
        standing = search._standing(replace(fitted, training=training))
        assert standing["validation_accuracy"] == expected


def test_progress_says_rate_and_time_left(caplog, monkeypatch):
    from classifiers import module as lightning_side

    monkeypatch.setattr(lightning_side.Progress.__init__, "__defaults__", (0.0,))
    with caplog.at_level(logging.INFO, "classifiers.module"):
        three = replace(TRAINING, phases={"train": Phase(3)})
        trained(16, training=three, label="gan, seed 2")
    assert caplog.messages[0].startswith("gan, seed 2: step 1 of 3, loss ")
    assert caplog.messages[-1].endswith(" s left")
    assert len(caplog.messages) == 2
