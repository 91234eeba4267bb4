"""What a recogniser sees: maps on planted evidence, optimal inputs, faces, page and command."""

import json
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from classifiers.explain import attribution, command, optimal
from classifiers.explain.attribution import (
    centres,
    enlarge,
    grad_cam,
    integrated_gradients,
    last_spatial,
    randomised,
    rank_correlation,
    smoothed,
)
from classifiers.explain.faces import read_faces
from classifiers.explain.optimal import luminance, optimal_faces, optimal_inputs
from classifiers.explain.painting import paint_heat, paint_signed
from classifiers.networks import small_cnn, timm_network, vanderweel2019
from classifiers.predict import Predictor, probabilities_of, save_ensemble
from classifiers.report import environment
from classifiers.report_parts import explain as explain_part
from classifiers.report_parts.explain import explain_section
from curation.cli import TOOLS
from curation.corpus import write_corpus

EMOTIONS = ("happy", "sad")
SIDE = 32
NETWORK = partial(small_cnn, width=8, dropout=0.0)
HALVES = (slice(0, SIDE // 2), slice(SIDE // 2, SIDE))


def bars(count, seed=0):
    """A bright bar in the upper half (0) or two in the lower half (1), on noise."""
    labels = np.arange(count) % 2
    draw = np.random.default_rng(seed)
    pictures = draw.integers(40, 120, (count, 3, SIDE, SIDE))
    for picture, label in zip(pictures, labels, strict=True):
        left = draw.integers(2, 8)
        for top in (20, 26) if label else (6,):
            picture[:, top : top + 3, left : left + 22] += 130
    return pictures.astype(np.uint8), labels


def trained(seed=0):
    """A network that tells them apart; plain torch, a second."""
    images, labels = bars(128, seed + 10)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NETWORK(2).train()
        optimiser = torch.optim.AdamW(network.parameters(), lr=0.01)
        for step in range(40):
            rows = np.arange(32) + 32 * (step % 4)
            loss = torch.nn.functional.cross_entropy(
                network(torch.from_numpy(images[rows])), torch.from_numpy(labels[rows])
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


@pytest.fixture(scope="module")
def network():
    network = trained()
    images, labels = bars(64, 5)
    hits = probabilities_of(network, images, device="cpu").argmax(1) == labels
    assert hits.mean() > 0.95
    return network


@pytest.fixture(scope="module")
def seen():
    return bars(16, 3)


def test_grad_cam_equals_its_formula(network, seen):
    images, labels = seen
    unit = last_spatial(network, images)
    normalised = network.normalise(torch.from_numpy(images))
    values = network.trunk[: unit + 1](normalised).detach().requires_grad_()
    logits = network.head(network.trunk[unit + 1 :](values))
    (slope,) = torch.autograd.grad(logits[range(16), labels].sum(), [values])
    expected = (values * slope.mean((2, 3), keepdim=True)).sum(1).clamp(min=0)
    found = grad_cam(network, images, labels, device="cpu", batch_size=5)
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-5)
    assert found.max() > 0


def test_integrated_gradients_find_the_planted_bar(network, seen):
    images, labels = seen
    found = integrated_gradients(network, images, labels, device="cpu")
    speaks_for = np.maximum(smoothed(found.maps), 0)
    halves = np.stack([speaks_for[:, half].sum((1, 2)) for half in HALVES], 1)
    shares = halves / halves.sum(1, keepdims=True)
    assert shares[range(16), labels].mean() > 0.6


def test_integrated_gradients_are_complete(network, seen):
    images, labels = seen
    found = integrated_gradients(network, images, labels, steps=128, device="cpu")
    normalised = network.normalise(torch.from_numpy(images))
    with torch.no_grad():
        logits = network(torch.from_numpy(images))[range(16), labels].numpy()
        plain = normalised.mean((2, 3), keepdim=True).expand_as(normalised)
        baseline = network.head(network.trunk(plain))[range(16), labels].numpy()
    np.testing.assert_allclose(found.gain, logits - baseline, atol=1e-4)
    np.testing.assert_allclose(found.maps.sum((1, 2)) - found.gain, found.error, atol=1e-3)
    assert np.abs(found.error).max() < 0.05 * np.abs(found.gain).mean()


def test_few_steps_are_less_complete_and_say_so(network, seen):
    images, labels = seen
    errors = [
        np.abs(integrated_gradients(network, images, labels, steps=n, device="cpu").error).mean()
        for n in (4, 128)
    ]
    assert errors[0] > 3 * errors[1]


def test_maps_change_when_the_weights_are_taken_away(network, seen):
    """Adebayo et al. 2018: else the maps would show the picture and not the network."""
    images, labels = seen
    fresh, twin = randomised(network, seed=1), trained(seed=1)

    def spots(of):
        return smoothed(integrated_gradients(of, images, labels, device="cpu").maps)

    same, other = (rank_correlation(spots(network), spots(each)).mean() for each in (twin, fresh))
    assert other < 0.3 < same
    assert not np.allclose(grad_cam(network, images, labels), grad_cam(fresh, images, labels))


def test_random_weights_are_others_and_leave_the_network_alone(network):
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    state = torch.get_rng_state()
    first, again, other = (randomised(network, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    name = "trunk.0.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
    assert not torch.equal(first[name], before[name])
    assert all(torch.equal(weight, before[key]) for key, weight in network.state_dict().items())


def test_a_map_is_of_the_class_that_was_asked_for(network, seen):
    images, labels = seen
    own, other = (grad_cam(network, images, codes, device="cpu") for codes in (labels, 1 - labels))
    assert own.sum() > 2 * other.sum()
    mixed = grad_cam(network, images, np.zeros(16, int), device="cpu")
    np.testing.assert_allclose(mixed, np.where(labels[:, None, None] == 0, own, other), atol=1e-6)


@pytest.mark.parametrize(
    ("made", "size", "expected"),
    [
        (small_cnn, 64, [0.5, 16.5, 32.5, 48.5]),  # padded strides: cells start on the border
        (vanderweel2019, 32, [10, 14, 18, 22]),  # no padding: 5×5, pool, 7×7, pool
        (partial(timm_network, name="convnext_atto"), 64, [16, 48]),  # patches: laid evenly
    ],
)
def test_cells_lie_where_their_receptive_fields_have_their_middles(made, size, expected):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = made(3)
    unit = last_spatial(network, np.zeros((1, 3, size, size), np.uint8))
    for shares in centres(network, unit, (size, size)):
        np.testing.assert_allclose(shares * size, expected, atol=2)


def test_enlarged_maps_keep_their_places():
    maps = np.zeros((1, 4, 4), np.float32)
    maps[0, 1, 2] = 1
    even = enlarge(maps, (32, 32))[0]
    assert np.unravel_index(even.argmax(), even.shape) in [(12, 20), (11, 19), (11, 20), (12, 19)]
    at = (np.array([0, 0.25, 0.5, 0.75]), np.array([0, 0.25, 0.5, 0.75]))
    moved = enlarge(maps, (32, 32), at)[0]
    assert np.unravel_index(moved.argmax(), moved.shape) in [(8, 16), (7, 15), (8, 15), (7, 16)]
    np.testing.assert_allclose(enlarge(np.full((1, 2, 3), 7.0), (9, 5), None), 7)


def test_rank_correlation_is_spearmans():
    first = np.array([[[1.0, 2], [3, 4]]] * 3)
    second = np.array([[[10.0, 20], [30, 400]], [[4, 3], [2, 1]], [[1, 1], [1, 1]]])
    np.testing.assert_allclose(rank_correlation(first, second), [1, -1, np.nan])


def test_a_transformer_has_no_grad_cam_but_gradients():
    network = timm_network(2, name="vit_tiny_patch16_224", size=64).eval()
    images = bars(2)[0]
    with pytest.raises(ValueError, match="vit_tiny_patch16_224 ends in a map"):
        grad_cam(network, images, np.array([0, 1]), device="cpu")
    found = integrated_gradients(network, images, np.array([0, 1]), steps=4, device="cpu")
    assert found.maps.shape == (2, 64, 64)


def test_without_captum_the_way_out_is_named(monkeypatch, network, seen):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ImportError, match=r"pip install 'affectory\[explain\]'"):
        grad_cam(network, *seen, device="cpu")


def test_optimal_inputs_are_read_as_what_they_are_for(network):
    noise = optimal_inputs(network, (SIDE, SIDE), starts=2, steps=0, device="cpu")
    found = optimal_inputs(network, (SIDE, SIDE), starts=2, steps=80, device="cpu")
    assert found.shape == (2, 2, 3, SIDE, SIDE)
    assert found.dtype == np.uint8
    assert (found[:, :, 0] == found[:, :, 2]).all()  # a network of luminance

    def of_own_class(pictures):
        shares = probabilities_of(network, pictures.reshape(-1, 3, SIDE, SIDE), device="cpu")
        return shares.reshape(2, 2, 2)[np.arange(2), :, np.arange(2)]

    assert of_own_class(found).min() > 0.9
    assert of_own_class(noise).min() < 0.6
    assert np.abs(found[:, 0].astype(int) - found[:, 1]).mean() > 5  # starts are of two kinds


def test_optimal_faces_are_mixtures_of_faces_read_as_what_they_are_for(network):
    images = bars(60)[0]
    given = {"components": 6, "device": "cpu"}
    start = optimal_faces(network, images, steps=0, **given)[:, 0]
    found = optimal_faces(network, images, steps=60, **given)[:, 0]
    assert found.shape == (2, 3, SIDE, SIDE)
    assert found.dtype == np.uint8
    assert (found[:, 0] == found[:, 2]).all()
    before, after = (
        np.diag(probabilities_of(network, each, device="cpu")) for each in (start, found)
    )
    assert after.min() > 0.9
    assert (after > before).all()
    # what components there are have it all, but for rounding and clipping
    grey = luminance(images)[:, 0].reshape(60, -1)
    directions = np.linalg.svd(grey - grey.mean(0), full_matrices=False)[2][:6]
    apart = found[:, 0].reshape(2, -1) - grey.mean(0)
    left = apart - apart @ directions.T @ directions
    assert np.sqrt((left**2).mean()) < 0.1 * np.sqrt((apart**2).mean())


def test_a_mixture_is_as_far_from_the_mean_as_its_reach():
    images = bars(60)[0]
    mean, basis = optimal._eigenfaces(luminance(images), 6)
    values = luminance(images).reshape(60, -1)
    np.testing.assert_allclose(mean.ravel(), values.mean(0), rtol=1e-5)
    flat = basis.reshape(6, -1)
    variances = np.linalg.svd(values - values.mean(0), compute_uv=False)[:6] ** 2 / 59
    np.testing.assert_allclose((flat**2).sum(1), variances, rtol=1e-3)
    mixtures = optimal._Mixtures(np.ones((1, 6)), mean, basis, 2.0, torch.device("cpu"))
    weights = (mixtures()[0, 0].detach().numpy().ravel() - mean.ravel()) @ np.linalg.pinv(flat)
    np.testing.assert_allclose(np.linalg.norm(weights), 2.0, rtol=1e-3)


def test_few_faces_have_no_components(network):
    with pytest.raises(ValueError, match="components of 20 faces say little; 40 are needed"):
        optimal_faces(network, bars(20)[0], steps=1, device="cpu")
    with pytest.raises(ValueError, match="reach=0"):
        optimal_faces(network, bars(60)[0], reach=0, device="cpu")


def test_a_network_of_luminance_changes_no_colour(network):
    face = np.stack([np.full((SIDE, SIDE), value) for value in (200.0, 100.0, 50.0)])
    found = optimal_inputs(network, (SIDE, SIDE), face=face, starts=1, steps=2, device="cpu")
    assert (found[:, :, 0] == found[:, :, 2]).all()


def test_a_picture_depends_on_its_seed_alone(network):
    given = {"steps": 6, "device": "cpu"}
    whole = optimal_inputs(network, (SIDE, SIDE), starts=2, **given)
    parts = optimal_inputs(network, (SIDE, SIDE), starts=2, batch_size=3, **given)
    fewer = optimal_inputs(network, (SIDE, SIDE), starts=1, **given)
    assert np.abs(whole.astype(int) - parts).max() <= 1
    assert np.abs(whole[:, :1].astype(int) - fewer).max() <= 1
    other = optimal_inputs(network, (SIDE, SIDE), starts=1, seed=1, **given)
    assert np.abs(fewer.astype(int) - other).mean() > 5


def test_a_face_is_changed_by_its_budget(network):
    face = np.repeat(luminance(bars(2)[0].mean(0)), 3, 0)
    found = optimal_inputs(
        network, (SIDE, SIDE), face=face, starts=1, steps=60, budget=0.2, device="cpu"
    )
    change = np.sqrt(((found - face) ** 2).mean((1, 2, 3, 4)))
    assert (change < 0.2 * 255 / 4 + 1).all()  # the steepest slope of a logistic function is 1/4
    assert (change > 4).all()
    before = probabilities_of(network, face[None].astype(np.uint8), device="cpu")[0]
    after = probabilities_of(network, found[:, 0], device="cpu")
    assert (np.diag(after) > before).all()


def test_colours_of_a_colour_network_are_correlated():
    network = small_cnn(2, width=4, grey=False, normalise="unit").eval()
    found = optimal_inputs(network, (SIDE, SIDE), starts=1, steps=0, device="cpu")
    red, green, blue = found[0, 0].reshape(3, -1).astype(float)
    assert not np.array_equal(red, green)
    assert np.corrcoef(red, green)[0, 1] > 0.7
    assert np.corrcoef(red, blue)[0, 1] > 0.6


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"starts": 0}, "starts=0"),
        ({"budget": 0.0}, "budget=0.0"),
        ({"face": np.zeros((3, 8, 8))}, r"\(3, 8, 8\)"),
    ],
)
def test_impossible_optimal_inputs(network, wrong, words):
    with pytest.raises(ValueError, match=words):
        optimal_inputs(network, (SIDE, SIDE), steps=1, device="cpu", **wrong)


def rows(database, count, seed, split="test"):
    images, labels = bars(count, seed)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        yield {
            "image": image.transpose(1, 2, 0), "emotion": EMOTIONS[label], "split": split,
            "origin": "real", "database": database, "subject": f"{database}/{number % 5}",
        }  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory, network):
    root = tmp_path_factory.mktemp("explain")
    for name in ("one", "two", "corpus"):
        (root / name).mkdir()
    size = (SIDE, SIDE)
    save_ensemble([network], root / "one", emotions=EMOTIONS, size=size)
    save_ensemble([network, trained(1)], root / "two", emotions=EMOTIONS, size=size)
    everything = [
        *rows("puppets_lab", 12, 1), *rows("kdef", 8, 2), *rows("puppets_studio", 10, 4, "train")
    ]  # fmt: skip
    write_corpus(everything, root / "corpus", EMOTIONS)
    return root


def faces_of(folders, name="one", **given):
    judge = Predictor.load(folders / name, device="cpu")
    return read_faces(folders / name, judge, folders / "corpus", **given)


def test_test_faces_are_taken_and_only_free_ones_shown(folders):
    faces = faces_of(folders)
    assert faces.choice == "the test split"
    assert faces.table["database"].value_counts().to_dict() == {"puppets_lab": 12, "kdef": 8}
    assert faces.table.groupby("database")["shown"].all().to_dict() == {
        "kdef": False,
        "puppets_lab": True,
    }
    open_ = faces_of(folders, show_restricted=True)
    assert open_.table["shown"].all()
    assert not open_.table["free"].all()


def test_a_gate_is_explained_on_people_whom_it_never_saw(folders, tmp_path):
    judge = Predictor.load(folders / "two", device="cpu")
    mine = faces_of(folders, predictions=None).table
    train = pd.concat(
        [pd.read_parquet(path) for path in (folders / "corpus").glob("*.parquet")]
    ).query("split == 0")
    folds = np.arange(len(train)) % 2
    pd.DataFrame({"id": train["id"], "fold": folds}).to_parquet(tmp_path / "out_of_fold.parquet")
    faces = read_faces(tmp_path, judge, folders / "corpus", member=1)
    assert set(faces.table["id"]) == set(mine["id"]) | set(train["id"][folds == 1])
    assert faces.choice == "of people whom it never saw"


def test_predictions_decide_what_was_read(folders):
    table = faces_of(folders).table.head(4)
    given = table[["id"]].assign(predicted=["sad", "sad", "happy", "happy"])
    faces = faces_of(folders, predictions=given)
    assert dict(zip(faces.table["id"], faces.table["predicted"], strict=True)) == dict(
        zip(given["id"], given["predicted"], strict=True)
    )
    with pytest.raises(ValueError, match="one training"):
        faces_of(folders, predictions=pd.concat([given, given]))
    with pytest.raises(ValueError, match="holds no face"):
        faces_of(folders, predictions=given.head(1).assign(id="0"))


def test_at_most_so_many_faces_are_drawn(folders):
    first, again = (faces_of(folders, most=5, seed=seed).table["id"].tolist() for seed in (0, 0))
    assert len(first) == 5
    assert first == again
    assert "among 20" in faces_of(folders, most=5).choice


def section(folders, name="one", **given):
    settings = {"starts": 1, "steps": 4, "device": "cpu", **given}
    return explain_section(folders / name, folders / "corpus", None, EMOTIONS, **settings)


@pytest.fixture(scope="module")
def made(folders):
    return section(folders, "two")


def test_a_section_counts_what_it_shows(made):
    assert made["member"] == "network 1 of 2"
    assert [group["database"] for group in made["groups"]] == ["kdef", "puppets_lab"]
    lab = made["groups"][1]
    captions = [picture.caption for picture in lab["rows"]["read right"]]
    assert captions == ["n = 6", "n = 6"]
    assert "read wrong" not in lab["rows"]  # there is none
    assert made["accuracy"] == "100.0 %"
    assert len(made["optimal"]["rows"]) == 2
    assert made["checks"]["compared"] == 20
    assert float(made["checks"]["agreement"]["other"]["gradients"]) > 0.3


def test_no_face_of_a_restricted_database_is_drawn(made, folders):
    kdef = made["groups"][0]
    assert not kdef["allowed"]
    assert list(kdef["rows"]) == ["Grad-CAM, mean"]  # on an even ground
    shown = [figure["database"] for strip in made["examples"] for figure in strip["figures"]]
    assert set(shown) == {"puppets_lab"}
    assert made["optimal"]["words"] == "the mean of 12 faces"
    assert made["restricted"] == ["kdef"]
    private = section(folders, steps=0, show_restricted=True)
    assert "read right" in private["groups"][0]["rows"]
    assert private["optimal"] is None


def test_faces_that_may_be_shown_and_no_others_make_the_clearest_ones(folders, monkeypatch):
    seen = []

    def optimal_faces(network, faces, **_):
        seen.append(len(faces))
        return np.zeros((2, 1, 3, SIDE, SIDE), np.uint8)

    monkeypatch.setattr(explain_part, "optimal_faces", optimal_faces)
    assert section(folders)["optimal"]["learned"] is None
    monkeypatch.setattr(explain_part, "LEAST", 12)
    found = section(folders)["optimal"]
    assert seen == [12]  # of twenty
    assert found["learned"] == "12"
    assert [label for label, _ in found["rows"]] == [
        "among faces", "from an average face", "from noise, 1",
    ]  # fmt: skip
    page = environment().get_template("explain.html.jinja").render(explain=section(folders))
    assert "what tells 12 of these faces apart" in page


def test_maps_have_a_scale_and_mistakes_say_as_what_they_were_read(folders):
    table = faces_of(folders).table.query("database == 'puppets_lab'")
    wrong = np.where(np.arange(len(table)) < 4, "sad", table["emotion"])
    given = table[["id"]].assign(predicted=wrong)
    found = explain_section(
        folders / "one", folders / "corpus", given, EMOTIONS, steps=0, device="cpu"
    )
    captions = [each and each.caption for each in found["groups"][0]["rows"]["read wrong"]]
    count = int(((table["emotion"] == "happy") & (wrong == "sad")).sum())
    assert captions == [f"n = {count}; sad {count}", None]
    page = environment().get_template("explain.html.jinja").render(explain=found)
    assert page.count("Each map has its own scale") == 2
    assert found["scales"]["heat"].uri in page


def test_without_captum_the_rest_is_there(folders, monkeypatch):
    monkeypatch.setattr(
        attribution, "_captum", lambda name: (_ for _ in ()).throw(ImportError("x"))
    )
    found = section(folders)
    assert found["missing"] == "x"
    assert found["examples"] == []
    assert list(found["groups"][1]["rows"]) == ["read right"]
    page = environment().get_template("explain.html.jinja").render(explain=found)
    assert "No attribution maps: x." in page


def test_where_nothing_was_read_right_the_page_says_so(folders):
    kdef = faces_of(folders).table.query("database == 'kdef'")
    wrong = kdef["emotion"].map({"happy": "sad", "sad": "happy"})
    found = explain_section(
        folders / "one", folders / "corpus", kdef[["id"]].assign(predicted=wrong), EMOTIONS,
        steps=1, starts=1, device="cpu",
    )  # fmt: skip
    assert found is not None
    assert found["accuracy"] == "0.0 %"
    assert found["optimal"]["average"] is None  # no face may be shown to start from
    page = environment().get_template("explain.html.jinja").render(explain=found)
    assert "it read none of these faces as labelled" in page
    assert "not even a mean" in page


def test_a_folder_without_a_recogniser_has_no_section(tmp_path, folders):
    assert explain_section(None, folders / "corpus", None, EMOTIONS) is None
    assert explain_section(tmp_path, folders / "corpus", None, EMOTIONS) is None
    words = environment().get_template("explain.html.jinja").render(explain=None)
    assert "no recogniser" in words


def test_painting_keeps_order_and_sign():
    ramp = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    light = paint_heat(np.full((3, 4, 4), 100.0), ramp).astype(int).sum(0).ravel()
    assert (np.diff(light) >= 0).all()
    assert light[-1] > light[0] + 200
    red, _, blue = paint_signed(None, ramp - 0.5).astype(int)
    assert (red[ramp > 0.9] > blue[ramp > 0.9]).all()
    assert (red[ramp < 0.1] < blue[ramp < 0.1]).all()
    flat = paint_signed(None, np.zeros((4, 4), np.float32))
    assert (flat == flat[0, 0, 0]).all()


def test_the_command_writes_one_page(folders, tmp_path, capsys):
    out = tmp_path / "new" / "page.html"
    words = [str(folders / "two"), str(folders / "corpus"), "--out", str(out), "--device", "cpu"]
    assert command.main([*words, "--steps", "3", "--starts", "1"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    page = out.read_text()
    assert 'src="data:image/webp;base64,' in page
    assert "http" not in page.replace("http-equiv", "")
    assert "kdef: 8 faces" in page
    assert "Not for publication" not in page
    assert "Completeness" in page
    assert list(out.parent.iterdir()) == [out]
    assert "another network" in page
    private = [str(folders / "one"), *words[1:], "--steps", "0", "--show-restricted"]
    assert command.main(private) == 0
    assert "Not for publication" in (page := out.read_text())
    assert "another network" not in page
    assert TOOLS["explain"] == command.__name__


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--member", "5"], "no number 5"),
        (["--predictions", "nowhere.parquet"], "nowhere.parquet"),
        (["--out", "{corpus}/page.html"], "content is hashed"),
    ],
)
def test_the_command_says_what_is_wrong(folders, tmp_path, monkeypatch, capsys, more, told):
    monkeypatch.chdir(tmp_path)
    more = [word.format(corpus=folders / "corpus") for word in more]
    words = [str(folders / "one"), str(folders / "corpus"), "--device", "cpu", *more]
    assert command.main(words) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.glob("*.html"))


def test_pages_are_the_same_each_time(folders):
    first, again = (json.dumps(section(folders), default=str) for _ in range(2))
    assert first == again
