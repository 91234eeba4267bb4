import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from curation.corpus import Corpus, content_id, decode_png, write_corpus
from gan import loop
from gan.checkpoint import generator_hash, load_generator, load_network, save_networks
from gan.dcgan import Discriminator, Generator, ladder
from gan.diffaugment import OPERATIONS, DiffAugment, diffaugment
from gan.eigenfaces import eigenface_codes
from gan.losses import NonSaturating
from gan.pixels import to_network, to_pixels
from gan.regularisers import R1
from gan.sample import draw, face_seed, sample
from gan.train import train

SIZES = (16, 28, 32, 56, 64, 112, 128, 224)


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("paper", [False, True])
def test_networks_of_any_size(size, paper):
    generator = Generator(size=size, filters=4, max_filters=8, final_conv=paper)
    judge = Discriminator(size=size, filters=4, max_filters=8, stem=paper, pool=paper)
    faces = generator(torch.randn(2, 100, generator=chance()))
    assert faces.shape == (2, 3, size, size)
    assert faces.abs().max() <= 1
    assert judge(faces).shape == (2,)


@pytest.mark.parametrize("size", [0, 8, 14, 48, 60, 100, 225])
def test_other_sizes_are_refused_by_name(size):
    with pytest.raises(ValueError, match=f"size {size} does not fit"):
        ladder(size)


def test_protocol_1_has_five_halvings_at_224_px():
    assert ladder(224) == (7, 5)
    assert len(Generator(size=224, filters=32, final_conv=True).ups) == 5


@pytest.mark.parametrize("label", range(3))
def test_a_specialised_network_is_the_conditional_one_for_its_label(label):
    torch.manual_seed(0)
    generator = Generator(size=16, filters=4, max_filters=8, labels=3)
    judge = Discriminator(size=16, filters=4, max_filters=8, labels=3)
    torch.nn.init.normal_(judge.classes.weight)
    z, labels = torch.randn(5, 100), torch.full((5,), label)
    faces = generator(z, labels)
    assert torch.allclose(generator.specialised(label)(z), faces, atol=1e-6)
    logits = judge(faces, labels)
    assert torch.allclose(judge.specialised(label)(faces), logits, atol=1e-5)
    assert not torch.allclose(generator(z, (labels + 1) % 3), faces, atol=1e-2)


def test_a_conditional_network_wants_a_label():
    with pytest.raises(ValueError, match="label"):
        Generator(size=16, filters=4, labels=2)(torch.randn(1, 100))


def test_batch_spread_sees_a_generator_that_repeats_itself():
    judge = Discriminator(size=16, filters=4, max_filters=8, spread=True)
    with torch.no_grad():
        judge.dense.weight.zero_()
        judge.dense.weight[:, -16:] = 1.0  # the 4 × 4 map of the spread alone
    same = torch.rand(1, 3, 16, 16, generator=chance()).repeat(4, 1, 1, 1)
    various = torch.rand(4, 3, 16, 16, generator=chance())
    assert judge(same).max() < 0.01
    assert judge(various).min() > 10 * judge(same).max()


def test_pixels_survive_the_way_to_the_network_and_back():
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3, 1)[None, :, None, :]
    assert torch.equal(to_pixels(to_network(pixels)), pixels)
    assert to_network(pixels).min() == -1
    assert to_network(pixels).max() == 1


@pytest.mark.parametrize("name", OPERATIONS)
def test_augmentation_is_random_differentiable_and_repeatable(name):
    faces = torch.rand(8, 3, 16, 16, generator=chance(3)) * 2 - 1
    faces.requires_grad_()
    changed = diffaugment(faces, [name], chance())
    assert changed.shape == faces.shape
    assert torch.equal(changed, diffaugment(faces, [name], chance()))
    assert not torch.equal(changed, diffaugment(faces, [name], chance(1)))
    changed.sum().backward()
    assert faces.grad.abs().sum() > 0


def test_augmentations_do_what_they_say():
    flat = torch.full((64, 3, 16, 16), 0.5)
    shifted = OPERATIONS["translation"](flat, chance())
    assert set(shifted.unique().tolist()) == {0.0, 0.5}
    blank = (OPERATIONS["cutout"](flat, chance())[:, 0] == 0).sum((1, 2))
    assert blank.max() <= 9 * 9  # half of the side each way, and the centre
    assert blank.min() >= 4 * 4  # a quarter of that, at a corner
    coloured = OPERATIONS["colour"](flat, chance()).mean((1, 2, 3))
    assert coloured.min() >= 0
    assert coloured.max() <= 1
    assert coloured.std() > 0.2


def test_unknown_augmentation_is_named():
    with pytest.raises(ValueError, match=r"augmentation 'blur' is unknown.*gan\.augmentation"):
        diffaugment(torch.zeros(1, 3, 8, 8), ["blur"], chance())
    with pytest.raises(ValueError, match="'blur' is unknown"):
        DiffAugment(["colour", "blur"])


def test_eigenface_codes_are_white_and_know_no_class():
    images = torch.randint(0, 256, (60, 3, 8, 8), generator=chance(), dtype=torch.uint8)
    labels = torch.arange(60) % 3
    codes = eigenface_codes(images, labels, 20)
    assert codes.shape == (60, 20)
    assert torch.allclose(codes.T @ codes / 60, torch.eye(20), atol=1e-4)
    for label in range(3):
        assert codes[labels == label].mean(0).abs().max() < 1e-4
    flat = images.float().flatten(1)
    flat -= torch.stack([flat[labels == label].mean(0) for label in range(3)])[labels]
    # the first code is the projection on the direction of most variance, by another route
    _, _, directions = torch.linalg.svd(flat.double(), full_matrices=False)
    projection = flat.double() @ directions[0]
    together = torch.stack([projection.float(), codes[:, 0]])
    assert torch.corrcoef(together)[0, 1].abs() > 0.999


def test_codes_beyond_the_span_of_few_faces_are_zero():
    images = torch.randint(0, 256, (4, 3, 8, 8), generator=chance(), dtype=torch.uint8)
    codes = eigenface_codes(images, None, 10)
    assert (codes[:, :3].square().sum(0) > 1).all()
    assert (codes[:, 3:] == 0).all()


def write_faces(folder: Path, *, per_emotion=6, size=16, emotions=("angry", "happy")) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir()
    write_corpus(
        (
            {
                "image": rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
                "emotion": emotion,
                "database": "noise",
                "subject": f"noise/{number}",
                "split": "train",
                "origin": "real",
            }
            for emotion in emotions
            for number in range(per_emotion)
        ),
        folder,
    )
    return folder


SETTINGS = {
    "generator": partial(Generator, size=16, filters=4, max_filters=8, z_dim=8),
    "discriminator": partial(Discriminator, size=16, filters=4, max_filters=8, spread=False),
    "loss": NonSaturating(),
    "alternating": False,
    "passes": False,
    "warm_steps": 4,
    "steps": 9,
    "head_start": 2,
    "decay": True,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "betas": (0.0, 0.99),
    "lazy_adam": False,
    "mirror": True,
    "ema_decay": 0.9,
    "tick_steps": 5,
    "keep_from": None,
    "watch": None,
    "rollbacks": 0,
    "min_images": 4,
    "precision": "32-true",
    "seed": 0,
    "accelerator": "cpu",
}


def trained(corpus: Path, out: Path, **changes) -> Path:
    out.mkdir(exist_ok=True)
    # with a state of their own: new ones for each training, as the pipeline makes them
    parts = {
        "regularisers": [R1(gamma=1.0, every=4)],
        "augmentation": DiffAugment(["colour", "translation", "cutout"]),
    }
    emotions = ("angry", "happy")
    train(corpus=corpus, out=out, **{"emotions": emotions, **SETTINGS, **parts, **changes})
    return out


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return write_faces(tmp_path_factory.mktemp("gan") / "corpus")


@pytest.fixture(scope="module")
def trunk(faces, tmp_path_factory):
    return trained(faces, tmp_path_factory.mktemp("gan") / "trunk")


def test_training_leaves_networks_metrics_and_grids(trunk):
    assert json.loads((trunk / "networks.json").read_text())["emotions"] == ["angry", "happy"]
    lines = (trunk / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "5", "10", "13"]
    assert len(list((trunk / "samples").glob("*.png"))) == 3
    assert not list(trunk.glob("*.ckpt"))
    assert load_generator(trunk)(torch.zeros(1, 8), torch.tensor([1])).shape == (1, 3, 16, 16)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(faces, trunk, tmp_path):
    again = trained(faces, tmp_path / "again")
    other = trained(faces, tmp_path / "other", seed=1)
    assert generator_hash(again) == generator_hash(trunk)
    assert generator_hash(other) != generator_hash(trunk)


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_killed_training_goes_on_to_the_same_weights(
    faces, trunk, tmp_path, monkeypatch, killed_after
):
    class KilledError(Exception):
        pass

    save = loop.Ticks.on_train_epoch_end

    def tick_then_die(self, trainer, pl_module):
        save(self, trainer, pl_module)
        if trainer.current_epoch + 1 == killed_after:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(loop.Ticks, "on_train_epoch_end", tick_then_die)
        with pytest.raises(KilledError):
            trained(faces, tmp_path / "run")
    assert (tmp_path / "run" / loop.STATE).exists()
    resumed = trained(faces, tmp_path / "run")
    for name in ("generator.safetensors", "discriminator.safetensors", "metrics.csv"):
        assert (resumed / name).read_bytes() == (trunk / name).read_bytes()


def test_each_emotion_starts_from_the_trunk(faces, trunk, tmp_path):
    own = trained(
        faces, tmp_path / "happy", emotions=("happy",), trunk=trunk, warm_steps=0, steps=1,
        learning_rate=1e-12, head_start=0, regularisers=[],
    )  # fmt: skip
    z = torch.randn(3, 8, generator=chance())
    expected = load_generator(trunk)(z, torch.tensor([1, 1, 1]))
    assert torch.allclose(load_generator(own)(z), expected, atol=1e-5)


def test_the_paper_s_way_from_scratch_without_trunk_or_warm_start(faces, tmp_path):
    own = trained(faces, tmp_path / "happy", emotions=("happy",), warm_steps=0, steps=3)
    assert load_generator(own)(torch.zeros(1, 8)).shape == (1, 3, 16, 16)


def test_warm_steps_teach_the_training_faces(tmp_path):
    corpus = write_faces(tmp_path / "corpus", emotions=("happy",), per_emotion=4)
    settings = {"emotions": ("happy",), "steps": 1, "mirror": False, "regularisers": []}
    settings |= {"learning_rate": 5e-3, "tick_steps": 200, "head_start": 1}
    trained(corpus, tmp_path / "short", **settings, warm_steps=1)
    trained(corpus, tmp_path / "long", **settings, warm_steps=150)
    images = torch.from_numpy(Corpus(corpus).images().copy())
    codes = eigenface_codes(torch.cat([images, images.flip(3)]), None, 8)[:4]
    errors = [
        (load_generator(tmp_path / name)(codes) - to_network(images)).abs().mean().item()
        for name in ("short", "long")
    ]
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_images": 7}, r"'angry' has 6 training pictures.*gan\.min_images"),
        ({"emotions": ("angry", "sad")}, "'sad' has 0 training pictures"),
        ({"emotions": ("angry", "joy")}, "emotion 'joy' is unknown"),
        ({"generator": partial(Generator, size=32)}, "16 px.*32"),
        ({"learning_rate": 1e30}, "diverged"),
    ],
)
def test_wrong_training_inputs_are_named(faces, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        trained(faces, tmp_path / "gan", **changes)


def test_a_trunk_without_the_emotion_is_refused(faces, tmp_path):
    only = trained(faces, tmp_path / "angry", emotions=("angry",), steps=1)
    with pytest.raises(ValueError, match="learned angry, not 'happy'"):
        trained(faces, tmp_path / "happy", emotions=("happy",), trunk=only)


def test_sampled_rows_can_be_drawn_again(faces, trunk, tmp_path):
    gans = {
        emotion: trained(faces, tmp_path / emotion, emotions=(emotion,), trunk=trunk, steps=1)
        for emotion in ("angry", "happy")
    }
    out = tmp_path / "sampled"
    out.mkdir()
    facts = sample(gans=gans, corpus=faces, per_emotion=3, truncation=0.8, seed=5, out=out)
    assert facts["rows"] == 6
    for row in Corpus(out).rows():
        folder = gans[row["emotion"]]
        assert row["generator"] == generator_hash(folder)
        face = draw(load_generator(folder), row["seed"], row["truncation"])
        assert content_id(face) == row["id"]
        assert np.array_equal(face, decode_png(row["image"]))
        assert (row["origin"], row["split"], row["database"]) == ("gan", "train", "noise")
    again = tmp_path / "again"
    again.mkdir()
    sample(gans=gans, corpus=faces, per_emotion=3, truncation=0.8, seed=5, out=again)
    shard = "shard-00000.parquet"
    assert (again / shard).read_bytes() == (out / shard).read_bytes()


def test_face_seeds_differ_and_fit_the_column():
    seeds = [face_seed(0, name, number) for name in ("angry", "sad") for number in range(500)]
    assert len(set(seeds)) == 1000
    assert max(seeds) < 2**63


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"per_emotion": 0}, "per_emotion is 0"), ({"truncation": 1.5}, r"gan\.truncation is 1\.5")],
)
def test_wrong_sampling_settings_are_named(faces, tmp_path, changes, message):
    settings = {"gans": {}, "corpus": faces, "per_emotion": 1, "truncation": 1.0, "seed": 0}
    with pytest.raises(ValueError, match=message):
        sample(**{**settings, **changes}, out=tmp_path)


def test_a_damaged_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no generator\.safetensors"):
        load_generator(tmp_path)
    save_networks(tmp_path, {"generator": Generator(size=16, filters=4)})
    weights = tmp_path / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"generator\.safetensors is damaged"):
        load_generator(tmp_path)


def test_a_checkpoint_that_names_foreign_code_is_refused(tmp_path):
    save_networks(tmp_path, {"generator": Generator(size=16, filters=4)})
    description = tmp_path / "networks.json"
    description.write_text(description.read_text().replace("gan.dcgan.Generator", "os.system"))
    with pytest.raises(ValueError, match=r"os\.system, no network of gan"):
        load_network(tmp_path, "generator")
