import json
import logging
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from classifiers.calibration import temper
from classifiers.module import Batches, RecogniserTraining
from classifiers.networks import small_cnn
from classifiers.predict import Predictor, probabilities_of, save_ensemble
from classifiers.train import fit, train_gate
from curation.corpus import Corpus, content_id, write_corpus

TRAINING = {
    "steps": 15,
    "batch_size": 16,
    "learning_rate": 0.01,
    "weight_decay": 0.01,
    "label_smoothing": 0.0,
    "mirror": True,
    "balanced": False,
    "warmup": 0.1,
    "precision": "32-true",
    "accelerator": "cpu",
}
NETWORK = partial(small_cnn, width=8, dropout=0.1)
EMOTIONS = ("happy", "sad")


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


def batches(labels, rows, **changes):
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    settings = {"steps": 9, "batch_size": 8, "balanced": False, "mirror": False, "seed": 0}
    return Batches(images, torch.from_numpy(labels), rows, **{**settings, **changes})


def test_batches_pass_over_all_rows_before_any_returns():
    rows = np.array([3, 5, 7, 11, 13, 17])
    drawn = batches(np.arange(20) % 2, rows)
    order = np.concatenate([drawn.rows_at(step) for step in range(9)])
    for number in range(12):
        assert sorted(order[6 * number : 6 * number + 6]) == list(rows)
    assert list(order[:6]) != list(order[6:12])
    # a step alone gives what it gives in the sequence
    fresh = batches(np.arange(20) % 2, rows)
    assert list(fresh.rows_at(7)) == list(order[56:64])
    assert list(batches(np.arange(20) % 2, rows, seed=1).rows_at(0)) != list(order[:8])


def test_batches_balance_the_classes_when_asked():
    labels = np.array([0] * 190 + [2] * 10)
    drawn = batches(labels, np.arange(200), balanced=True, steps=200)
    share = np.mean([labels[drawn.rows_at(step)] == 2 for step in range(200)])
    assert share == pytest.approx(0.5, abs=0.05)


def test_mirroring_turns_about_half_and_leaves_the_source_alone():
    images = torch.zeros(64, 3, 4, 4, dtype=torch.uint8)
    images[..., 0] = 9
    source = images.clone()
    labels = torch.arange(64)
    drawn = Batches(
        images,
        labels,
        np.arange(64),
        steps=4,
        batch_size=64,
        balanced=False,
        mirror=True,
        seed=0,
    )
    turned = torch.stack([(pictures[:, 0, 0, 3] == 9) for pictures, _ in drawn]).float().mean()
    assert 0.4 < float(turned) < 0.6
    assert torch.equal(images, source)


def test_the_rate_rises_then_falls_to_zero():
    module = RecogniserTraining(
        small_cnn(2, width=8),
        steps=100,
        learning_rate=1.0,
        weight_decay=0.1,
        label_smoothing=0.0,
        warmup=0.2,
    )
    rates = [module.rate_at(step) for step in range(101)]
    assert int(np.argmax(rates)) == 20
    assert rates[0] < 0.06
    assert rates[20] == 1
    assert rates[60] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)
    groups = module.configure_optimizers()["optimizer"].param_groups
    assert all(weight.ndim > 1 for weight in groups[0]["params"])
    assert (groups[0]["weight_decay"], groups[1]["weight_decay"]) == (0.1, 0.0)


def test_a_fit_learns_and_repeats_to_the_bit(capfd):
    images, labels = bars(60)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = fit(images, labels, classes=2, network=NETWORK, seed=3, **TRAINING)
    # the caller's random state is not moved
    assert torch.equal(torch.rand(3), expected)
    second = fit(images, labels, classes=2, network=NETWORK, seed=3, **TRAINING)
    for key, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[key]), key
    other = fit(images, labels, classes=2, network=NETWORK, seed=4, **TRAINING)
    assert not torch.equal(first.head.logits.weight, other.head.logits.weight)
    test, truth = bars(40, seed=1)
    assert (probabilities_of(first, test, device="cpu").argmax(1) == truth).mean() > 0.9
    assert int(first.trunk[1].num_batches_tracked) == TRAINING["steps"]
    assert not first.training
    output = capfd.readouterr()
    assert output.out + output.err == ""


def test_a_fit_uses_the_chosen_rows_alone():
    images, labels = bars(40)
    rows = np.arange(20)
    spoiled = images.copy()
    spoiled[20:] = 255
    first = fit(images, labels, classes=2, network=NETWORK, seed=0, rows=rows, **TRAINING)
    second = fit(spoiled, labels, classes=2, network=NETWORK, seed=0, rows=rows, **TRAINING)
    assert torch.equal(first.head.logits.weight, second.head.logits.weight)


def test_a_fit_refuses_what_cannot_be_and_reports_divergence():
    images, labels = bars(8)
    for change, message in (
        ({"batch_size": 1}, "batch_size=1"),
        ({"warmup": 1.0}, "warmup=1.0"),
        ({"rows": np.array([], int)}, "0 pictures chosen of 8"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(images, labels, classes=2, network=NETWORK, seed=0, **{**TRAINING, **change})
    with pytest.raises(ValueError, match="no longer finite after 15 steps; lower learning_rate"):
        fit(
            images,
            labels,
            classes=2,
            network=NETWORK,
            seed=0,
            **{**TRAINING, "learning_rate": 1e30},
        )


def gate_rows():
    rows = []
    for person in range(6):
        for take in range(4):
            emotion = EMOTIONS[take % 2]
            picture = faces([take % 2], seed=10 * person + take)[0].transpose(1, 2, 0).copy()
            # the last two people are nameless: each of their pictures is somebody of its own
            named = {"subject": f"studio/{person}" if person < 4 else None}
            facts = {"emotion": emotion, "database": "studio", "split": "train", **named}
            rows.append({"image": picture, "origin": "real", **facts})
            child = picture[:, ::-1].copy()
            child[0, 0] = person
            parent = content_id(picture)
            rows.append({"image": child, "origin": "geometric", "parent": parent, **facts})
    return rows


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    root = tmp_path_factory.mktemp("gate")
    (root / "corpus").mkdir()
    (root / "gate").mkdir()
    test = {**gate_rows()[0], "split": "test", "subject": "lab/1"}
    test["image"] = faces([0], seed=999)[0].transpose(1, 2, 0)
    write_corpus([*gate_rows(), test], root / "corpus")
    facts = train_gate(
        root / "corpus",
        root / "gate",
        emotions=EMOTIONS,
        network=NETWORK,
        folds=3,
        seed=0,
        **TRAINING,
    )
    return root, facts


def test_the_gate_judges_each_real_face_once_out_of_fold(gate):
    root, facts = gate
    assert sorted(path.name for path in (root / "gate").iterdir()) == [
        "fold-0.safetensors",
        "fold-1.safetensors",
        "fold-2.safetensors",
        "out_of_fold.parquet",
        "recogniser.json",
    ]
    assert facts["train_rows"] == 48
    figures = facts["out_of_fold"]
    table = pd.read_parquet(root / "gate" / "out_of_fold.parquet")
    real = Corpus(root / "corpus").facts.query("split == 'train' and origin == 'real'")
    assert sorted(table["id"]) == sorted(real["id"])
    assert table.groupby("subject")["fold"].nunique().max() == 1
    probabilities = table[list(EMOTIONS)].to_numpy()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    hits = (np.array(EMOTIONS)[probabilities.argmax(1)] == table["emotion"]).mean()
    assert hits == pytest.approx(figures["accuracy"]["value"])
    # 24 real faces; neither the copies nor the test face count
    assert np.sum(figures["confusion"]) == figures["accuracy"]["n"] == 24
    assert figures["recall"]["happy"]["n"] == 12
    assert figures["accuracy"]["low"] < figures["accuracy"]["value"] <= 1
    assert figures["accuracy"]["value"] > 0.8
    json.dumps(facts, allow_nan=False)


def test_no_person_and_no_copy_is_on_both_sides_of_a_fold(gate, tmp_path, monkeypatch):
    from classifiers import train
    from curation.corpus import Corpus

    facts = Corpus(gate[0] / "corpus").facts.query("split == 'train'").reset_index(drop=True)
    seen = []
    real_fit = train.fit

    def spy(*args, **kwargs):
        seen.append(kwargs["rows"])
        return real_fit(*args, **{**kwargs, "steps": 1})

    monkeypatch.setattr(train, "fit", spy)
    train_gate(
        gate[0] / "corpus",
        tmp_path,
        emotions=EMOTIONS,
        network=NETWORK,
        folds=3,
        seed=0,
        **TRAINING,
    )
    held_out = [np.setdiff1d(np.arange(48), rows) for rows in seen]
    assert sorted(np.concatenate(held_out)) == list(range(48))
    for rows, held in zip(seen, held_out, strict=True):
        for column in ("subject", "id"):
            assert not set(facts[column][rows].dropna()) & set(facts[column][held].dropna())
        assert not set(facts["parent"][rows].dropna()) & set(facts["id"][held])


def test_the_predictor_gives_the_mean_of_its_members(gate):
    root, _ = gate
    predictor = Predictor.load(root / "gate", device="cpu", batch_size=7)
    assert predictor.emotions == EMOTIONS
    assert predictor.name == "small_cnn x3"
    images, labels = bars(20, seed=7)
    probabilities = predictor.probabilities(images)
    assert probabilities.shape == (20, 2)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (probabilities.argmax(1) == labels).mean() > 0.8
    members = [probabilities_of(network, images, device="cpu") for network in predictor.networks]
    heat = predictor.calibration["temperature"]
    assert heat == gate[1]["calibration"]["temperature"]
    tempered = [temper(member, heat) for member in members]
    np.testing.assert_allclose(probabilities, np.mean(tempered, axis=0), atol=1e-6)
    assert not np.allclose(members[0], members[1])
    features = predictor.features(images)
    assert features.shape == (20, 32)
    first = predictor.networks[0]
    logits = (
        features @ first.head.logits.weight.detach().numpy().T
        + first.head.logits.bias.detach().numpy()
    )
    np.testing.assert_array_equal(logits.argmax(1), members[0].argmax(1))


def test_the_predictor_refuses_other_sizes_and_types(gate):
    predictor = Predictor.load(gate[0] / "gate", device="cpu")
    with pytest.raises(ValueError, match="trained on 32x32 pictures"):
        predictor.probabilities(np.zeros((2, 3, 64, 64), np.uint8))
    with pytest.raises(ValueError, match=r"uint8 RGB, got .* float32"):
        predictor.probabilities(np.zeros((2, 3, 32, 32), np.float32))


def test_weights_under_other_names_are_refused_with_the_way_out(tmp_path):
    network = NETWORK(2)
    network.head = torch.nn.Linear(network.width, 2)  # type: ignore[assignment]
    save_ensemble([network], tmp_path, emotions=EMOTIONS, size=(32, 32))
    with pytest.raises(ValueError, match=r"fold-0.safetensors does not fit .*train_classifier aga"):
        Predictor.load(tmp_path)


def test_the_hash_follows_the_weights(tmp_path):
    hashes = []
    for seed, name in ((0, "a"), (0, "b"), (1, "c")):
        torch.manual_seed(seed)
        folder = tmp_path / name
        folder.mkdir()
        save_ensemble([NETWORK(2)], folder, emotions=EMOTIONS, size=(32, 32))
        predictor = Predictor.load(folder)
        hashes.append(predictor.hash)
        assert predictor.name == "small_cnn"
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_missing_or_damaged_folder_is_refused_by_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"recogniser.json is missing"):
        Predictor.load(tmp_path)
    save_ensemble([NETWORK(2)], tmp_path, emotions=EMOTIONS, size=(32, 32))
    file = tmp_path / "fold-0.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4] + b"\0\0\0\1")
    with pytest.raises(ValueError, match=r"fold-0.safetensors is damaged.*train_classifier"):
        Predictor.load(tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"fold-0.safetensors is missing"):
        Predictor.load(tmp_path)
    file.write_bytes(whole)
    card = json.loads((tmp_path / "recogniser.json").read_text())
    card["recipe"]["constructor"] = "os.system"
    (tmp_path / "recogniser.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"'os.system' is unknown; it is one of small_cnn"):
        Predictor.load(tmp_path)
    (tmp_path / "recogniser.json").write_text("{")
    with pytest.raises(ValueError, match=r"recogniser.json is damaged"):
        Predictor.load(tmp_path)


def _gate(tmp_path: Path, rows, **changes):
    for name in ("corpus", "gate"):
        (tmp_path / name).mkdir()
    write_corpus(rows, tmp_path / "corpus")
    arguments = {"emotions": EMOTIONS, "network": NETWORK, "folds": 1, "seed": 0, **TRAINING}
    return train_gate(tmp_path / "corpus", tmp_path / "gate", **{**arguments, **changes})


def test_one_fold_gives_one_network_and_no_figure(tmp_path):
    facts = _gate(tmp_path, gate_rows(), steps=2)
    assert facts["networks"] == 1
    assert "out_of_fold" not in facts


def test_the_gate_never_learns_from_a_gan(tmp_path):
    rows = gate_rows()
    drawn = faces([0], seed=5)[0].transpose(1, 2, 0)
    rows.append({"image": drawn, "emotion": "happy", "split": "train", "origin": "gan"})
    rows.append(
        {
            "image": drawn[:, ::-1].copy(),
            "emotion": "happy",
            "split": "train",
            "origin": "geometric",
            "parent": content_id(drawn),
        }
    )
    with pytest.raises(ValueError, match="1 of the rows that would train the gate come from a GAN"):
        _gate(tmp_path, rows)


def test_the_gate_needs_every_emotion_in_every_fold(tmp_path):
    with pytest.raises(ValueError, match="no training picture of fear"):
        _gate(tmp_path, gate_rows(), emotions=("happy", "sad", "fear"))


def test_progress_says_rate_and_time_left(caplog, monkeypatch):
    from classifiers import module

    images, labels = bars(16)
    monkeypatch.setattr(module.Progress.__init__, "__defaults__", (0.0,))
    with caplog.at_level(logging.INFO, "classifiers.module"):
        fit(
            images,
            labels,
            classes=2,
            network=NETWORK,
            seed=0,
            label="gan, seed 2",
            **{**TRAINING, "steps": 3},
        )
    assert caplog.messages[0].startswith("gan, seed 2: step 1 of 3, loss ")
    assert caplog.messages[-1].endswith(" s left")
    assert len(caplog.messages) == 2
