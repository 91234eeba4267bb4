import json
import re
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from classifiers.finetune import fit
from classifiers.networks import small_cnn, timm_network
from classifiers.prefix import Declined, PrefixCache, Split, content_ids
from classifiers.training import Phase, Training

CPU = torch.device("cpu")
HEAD = Phase("3 epochs", trains=0, optimiser="adam", learning_rate=0.01)
TUNE = Phase("2 epochs", trains=3, optimiser="adam", learning_rate=0.003)
TRAINING = Training({"head": HEAD, "tune": TUNE}, batch_size=8, mirror=0.5)
LABELS = np.arange(24) % 2


def faces(labels=LABELS, seed=0):
    """A bright bar above (0) or below (1) on noise."""
    pictures = np.random.default_rng(seed).integers(0, 90, (len(labels), 3, 32, 32))
    for picture, label in zip(pictures, labels, strict=True):
        top = 20 if label else 4
        picture[:, top : top + 8, 4:28] += 150
    return pictures.astype(np.uint8)


def pretrained(build):
    """The same weights for every seed, as if they came from a file, with lived-in norms."""

    def network(classes):
        with torch.random.fork_rng():
            torch.manual_seed(7)
            made = build(classes)
            made.train()(torch.from_numpy(faces(seed=9)))
        return made

    return network


SMALL = pretrained(partial(small_cnn, width=8, dropout=0.2))
MOBILE = pretrained(partial(timm_network, name="mobilenetv3_small_050", dropout=0.2))


def trained(network=SMALL, training=TRAINING, seed=0, **more):
    given = {"classes": 2, "network": network, "training": training, "seed": seed, **more}
    return fit(faces(), LABELS, accelerator="cpu", **given)


@pytest.fixture
def computed(monkeypatch):
    """How many pictures went through frozen units, call by call."""
    counts = []
    before = Split.before

    def spy(self, images):
        counts.append(len(images))
        return before(self, images)

    monkeypatch.setattr(Split, "before", spy)
    return counts


@pytest.mark.parametrize("network", [SMALL, MOBILE], ids=["small_cnn", "mobilenet"])
@pytest.mark.parametrize("held", [0.0, 0.25])
def test_looking_up_gives_the_same_weights_and_logits_as_running(network, held, tmp_path):
    people = [f"p{number // 2}" for number in range(24)]
    training = replace(TRAINING, validation=held)
    plain = trained(network, training, subjects=people)
    for cache in (PrefixCache(), PrefixCache(tmp_path)):
        quick = trained(network, training, subjects=people, prefix=cache)
        assert [line["cached"] for line in quick.prefix] == [True, True]
        assert [line["why"] for line in quick.prefix] == [None, None]
        for key, weight in plain.recogniser.state_dict().items():
            torch.testing.assert_close(
                quick.recogniser.state_dict()[key], weight, atol=1e-5, rtol=1e-4, msg=key
            )
        test = faces(seed=1)
        np.testing.assert_allclose(quick.predict(test), plain.predict(test), atol=1e-5)
        for line, other in zip(plain.history, quick.history, strict=True):
            assert line == pytest.approx(other, abs=1e-5)
    assert [line["why"] for line in plain.prefix] == ["no cache was given"] * 2


def test_the_split_of_a_network_is_the_network():
    network = MOBILE(2).eval()
    pictures = torch.from_numpy(faces())
    with torch.inference_mode():
        whole = network(pictures)
        for cut in range(0, len(network.trunk) + 1, 4):
            split = Split(network, cut)
            torch.testing.assert_close(split.after(split.before(pictures)), whole)


def test_frozen_layers_run_without_gradients():
    network = SMALL(2)
    split = Split(network, network.trainable_last(3))
    assert not split.before(torch.from_numpy(faces())).requires_grad


def test_each_picture_is_computed_once_for_all_seeds_heads_and_phases(computed):
    cache = PrefixCache()
    one = replace(TRAINING, phases={"head": HEAD})
    trained(training=one, prefix=cache)
    assert sum(computed) == 48  # 24 pictures and their mirror images
    trained(training=one, seed=1, prefix=cache)
    other_head = pretrained(partial(small_cnn, width=8, dropout=0.5))
    trained(other_head, one, prefix=cache)
    fitted = trained(training=replace(one, mirror=0.0), prefix=cache)
    assert sum(computed) == 48
    # only what is new
    test = faces(seed=1)
    first = fitted.predict(test)
    assert sum(computed) == 48 + 24
    again = trained(training=one, seed=2, prefix=cache)
    again.predict(test)
    np.testing.assert_array_equal(fitted.predict(test), first)
    assert sum(computed) == 48 + 24
    # the training pictures, too, are known by their pixels
    fitted.predict(faces(), ids=content_ids(faces()))
    assert sum(computed) == 48 + 24


def test_another_cut_or_other_weights_are_other_constants(computed):
    cache = PrefixCache()
    tune = replace(TRAINING, phases={"tune": TUNE})
    trained(training=tune, prefix=cache)
    trained(training=replace(tune, phases={"tune": replace(TUNE, trains=5)}), prefix=cache)
    assert sum(computed) == 2 * 48
    # weights that each seed draws for itself
    trained(partial(small_cnn, width=8), tune, prefix=cache)
    trained(partial(small_cnn, width=8), tune, seed=1, prefix=cache)
    assert sum(computed) == 4 * 48


def test_the_key_is_what_decides_the_numbers_and_no_more():
    def key(cut=5, network=SMALL, **more):
        return Split(network(2), cut).key(**more)

    def built(**arguments):
        return pretrained(partial(small_cnn, width=8, **arguments))

    first = key()
    assert key() == first
    assert key(network=built(dropout=0.0)) == first
    assert key(cut=6) != first
    assert key(network=built(normalise="unit")) != first
    assert key(precision="bf16-mixed") != first
    network = SMALL(2)
    with torch.no_grad():
        network.trunk[8].weight += 1
        assert Split(network, 5).key() == first
        network.trunk[1].running_mean += 1
    assert Split(network, 5).key() != first


def test_what_is_not_constant_is_run_and_the_reason_told():
    cache = PrefixCache()
    for changes, why in (
        ({"ten_crop": 28}, "crops are drawn anew"),
        ({"mixup": 0.2}, "mixup blends"),
        ({"frozen_norms_adapt": True}, "statistics of norm 1 adapt"),
        ({"phases": {"head": replace(HEAD, trains=None)}}, "the first unit trains"),
        ({"phases": {"head": replace(HEAD, length=2)}}, "48 features .* only 16 be used"),
    ):
        training = replace(TRAINING, **{"phases": {"head": HEAD}, **changes})
        fitted = trained(training=training, prefix=cache)
        assert fitted.prefix[0]["cached"] is False
        assert re.search(why, fitted.prefix[0]["why"])
        plain = trained(training=training)
        for key, weight in plain.recogniser.state_dict().items():
            assert torch.equal(weight, fitted.recogniser.state_dict()[key]), key
        test = faces(seed=1)
        np.testing.assert_array_equal(fitted.predict(test), plain.predict(test))


def test_dropping_at_random_is_no_constant():
    network = small_cnn(2, width=8)
    network.trunk.insert(3, torch.nn.Dropout(0.5))
    network.trainable_last(0, frozen_norms_adapt=True)
    for norm in network.train().trunk.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.eval()
    assert Split(network, 4).varies() == "Dropout 3 drops at random"
    assert Split(network, 3).varies() is None
    network.trainable_last(0)
    assert Split(network.train(), 4).varies() is None


def store(cache, pictures, network=SMALL, cut=8, **more):
    rows = np.arange(len(pictures))
    return cache.constants(
        Split(network(2).eval(), cut),
        torch.from_numpy(pictures),
        content_ids(pictures),
        rows,
        mirrored=rows,
        device=CPU,
        **more,
    )


def test_features_come_back_by_row_and_side_from_several_blocks(tmp_path):
    pictures = faces()
    for cache in (PrefixCache(), PrefixCache(tmp_path)):
        store(cache, pictures[:10])
        constants = store(cache, pictures)
        rows = np.array([3, 23, 9, 11, 3])
        turned = np.array([False, True, True, False, True])
        given = torch.from_numpy(pictures[rows])
        given[turned] = given[turned].flip(-1)
        expected = Split(SMALL(2).eval(), 8).before(given)
        found = constants(rows, turned)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        assert found.is_contiguous(memory_format=torch.channels_last)
    assert len(list(tmp_path.glob("*/*.npy"))) == 2


def test_files_serve_other_processes_and_are_written_once(tmp_path, computed):
    trained(prefix=PrefixCache(tmp_path))
    before = sum(computed)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.*")}
    assert {path.suffix for path in stamps} == {".npy", ".json"}
    again = trained(seed=1, prefix=PrefixCache(tmp_path))
    assert all(line["cached"] for line in again.prefix)
    assert sum(computed) == before
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.*")} == stamps


def test_whoever_comes_second_waits_and_does_not_compute(tmp_path, computed):
    pictures, network, found = faces(np.arange(120) % 2), SMALL(2), []

    def work():
        found.append(store(PrefixCache(tmp_path), pictures, lambda _: network))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 3
    assert sum(computed) == 240


def test_what_a_killed_process_left_is_cleared_and_damage_is_named(tmp_path):
    pictures = faces()
    store(PrefixCache(tmp_path), pictures[:10])
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    (folder / "0123.partial").write_bytes(b"half")
    (folder / "4567.npy").write_bytes(b"whole, but without its names")
    store(PrefixCache(tmp_path), pictures)
    assert not list(folder.glob("*.partial"))
    card = sorted(folder.glob("*.json"))[0]
    names = json.loads(card.read_text())["names"]
    card.write_text(json.dumps({"names": names[:-1]}))
    with pytest.raises(ValueError, match=rf"{card.name}.*damaged .*; delete .*{folder.name}"):
        store(PrefixCache(tmp_path), pictures)


def test_half_precision_takes_half_the_room_and_rounds(tmp_path):
    pictures = faces()
    whole, half = (PrefixCache(tmp_path / name, half=name == "half") for name in ("32", "half"))
    rows, turned = np.arange(24), np.zeros(24, bool)
    exact, rounded = (store(cache, pictures)(rows, turned) for cache in (whole, half))
    assert rounded.dtype == torch.float16
    torch.testing.assert_close(rounded.float(), exact, atol=1e-3, rtol=1e-3)
    assert not torch.equal(rounded.float(), exact)
    sizes = [
        sum(path.stat().st_size for path in (tmp_path / name).glob("*/*.npy"))
        for name in ("32", "half")
    ]
    assert sizes[0] == pytest.approx(2 * sizes[1], rel=0.01)
    quick, plain = trained(prefix=half), trained()
    assert all(line["cached"] for line in quick.prefix)
    test = faces(seed=1)
    np.testing.assert_allclose(quick.predict(test), plain.predict(test), atol=0.02)


def test_values_beyond_half_precision_are_not_kept(tmp_path):
    def loud(classes):
        network = SMALL(classes)
        with torch.no_grad():
            network.trunk[5].weight *= 1e6
        return network

    for folder in (None, tmp_path):
        with pytest.raises(Declined, match=r"exceed float16; set half: false"):
            store(PrefixCache(folder, half=True), faces(), loud, cut=6)
    fitted = trained(loud, replace(TRAINING, phases={"head": HEAD}), prefix=PrefixCache(half=True))
    assert "float16" in fitted.prefix[0]["why"]


def test_the_limit_holds_and_the_oldest_give_way_in_memory(tmp_path, computed):
    pictures = faces()
    room = 48 * 16 * 4 * 4 * 4 / 1e9  # 48 features of 16 channels, 4 by 4, in float32
    for folder in (None, tmp_path):
        with pytest.raises(Declined, match=r"would take .* GB and limit_gb is"):
            store(PrefixCache(folder, limit_gb=0.9 * room), pictures)
    computed.clear()
    cache = PrefixCache(limit_gb=1.5 * room)
    store(cache, pictures)
    store(cache, pictures, cut=7)
    assert sum(computed) == 96
    store(cache, pictures, cut=7)
    assert sum(computed) == 96
    store(cache, pictures)
    assert sum(computed) == 144
    # files may be in use by others: they stay, and the newcomer is refused
    files = PrefixCache(tmp_path / "files", limit_gb=1.5 * room)
    store(files, pictures)
    with pytest.raises(Declined, match="limit_gb"):
        store(files, pictures, cut=7)
    store(files, pictures)


def test_bfloat16_features_are_those_of_bfloat16():
    training = replace(TRAINING, precision="bf16-mixed")
    plain, quick = trained(training=training), trained(training=training, prefix=PrefixCache())
    assert all(line["cached"] for line in quick.prefix)
    test = faces(seed=1)
    np.testing.assert_allclose(quick.predict(test), plain.predict(test), atol=0.03)
