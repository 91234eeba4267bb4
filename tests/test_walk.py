"""Closed latent walks, as points, as faces and as films."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from gan.checkpoint import save_networks
from gan.dcgan import Generator as Dcgan
from gan.pixels import to_pixels
from gan.stylegan2 import Generator as StyleGan2
from gan.walk import closed_way, main, walk


def dcgan(**changes):
    torch.manual_seed(0)
    return Dcgan(size=16, filters=4, max_filters=8, **changes).eval()


def stylegan(**changes):
    torch.manual_seed(0)
    settings = {"size": 32, "z_dim": 16, "w_dim": 16, "mapping_layers": 2, "channel_base": 128}
    return StyleGan2(**settings, channel_max=8, **changes).eval()


@pytest.mark.parametrize("spherical", [True, False])
def test_a_way_passes_its_stops_and_closes_without_a_jump(spherical):
    stops = np.random.default_rng(0).standard_normal((4, 3, 50)).astype(np.float32)
    way = closed_way(stops, 400, spherical=spherical)
    assert way.shape == (400, 3, 50)
    assert np.allclose(way[::100], stops, atol=1e-5)
    steps = np.diff(np.concatenate([way, way[:2]]), axis=0)
    assert np.linalg.norm(steps, axis=2).min() > 0
    # the last steps, back to the first point and on from it, turn as gently as all others
    turns = np.linalg.norm(np.diff(steps, axis=0), axis=2) / np.linalg.norm(steps[1:], axis=2)
    assert turns.max() < 0.2
    lengths = np.linalg.norm(way, axis=2)
    known = np.linalg.norm(stops, axis=2)
    if spherical:
        assert lengths.min() > 0.95 * known.min()
        assert lengths.max() < 1.05 * known.max()
    else:
        assert lengths.min() < 0.95 * known.min()


@pytest.mark.parametrize("build", [dcgan, stylegan])
def test_a_walk_is_closed_and_moves_gradually(build):
    grids = np.stack(list(walk(build(), frames=60, rows=1, columns=2, stops=3))).astype(float)
    size = build().size
    assert grids.shape == (60, size, 2 * size, 3)
    steps = np.abs(grids - np.roll(grids, -1, axis=0)).mean((1, 2, 3))
    assert 0 < steps[-1] <= 1.5 * max(steps[0], steps[-2])
    apart = np.abs(grids[0] - grids[20]).mean()
    assert steps.max() < 0.4 * apart


@pytest.mark.parametrize("build", [dcgan, stylegan])
def test_the_first_frame_is_the_first_stops_truncated_face(build):
    generator = build()
    (first, *_) = walk(generator, frames=4, rows=1, columns=1, stops=2, truncation=0.6, seed=7)
    z = np.random.default_rng([7, 0, 0, 0]).standard_normal(generator.z_dim, dtype=np.float32)
    with torch.no_grad():
        face = to_pixels(generator.truncated(torch.from_numpy(z)[None], 0.6))[0]
    assert np.abs(first.astype(int) - face.permute(1, 2, 0).numpy()).max() <= 1


@pytest.mark.parametrize("build", [dcgan, stylegan])
def test_a_network_with_labels_shows_the_same_latents_in_a_row_each(build):
    generator = build(labels=3)
    size = generator.size
    (first, *_) = walk(generator, frames=2, columns=2, stops=2, seed=1)
    assert first.shape == (3 * size, 2 * size, 3)
    z = np.random.default_rng([1, 0, 0, 1]).standard_normal(generator.z_dim, dtype=np.float32)
    for label in range(3):
        with torch.no_grad():
            face = to_pixels(generator(torch.from_numpy(z)[None], torch.tensor([label])))[0]
        seen = first[label * size : (label + 1) * size, size:]
        assert np.abs(seen.astype(int) - face.permute(1, 2, 0).numpy()).max() <= 1


@pytest.fixture
def folder(tmp_path):
    save_networks(tmp_path, {"generator": dcgan()})
    return tmp_path


def test_an_mp4_has_every_frame(folder):
    out = folder / "new" / "walk.mp4"
    words = ["--seconds", "1.2", "--fps", "10", "--stops", "3", "--rows", "2", "--columns", "3"]
    assert main([str(folder), "--out", str(out), *words]) == 0
    film, frames = cv2.VideoCapture(str(out)), []
    while (read := film.read())[0]:
        frames.append(read[1][..., ::-1])
    assert len(frames) == 12
    assert film.get(cv2.CAP_PROP_FPS) == 10
    drawn = next(walk(dcgan(), frames=12, rows=2, columns=3, stops=3))
    shrunk = cv2.resize(frames[0], drawn.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk.astype(float) - drawn).mean() < 10
    assert not list(out.parent.glob(".*"))


def test_a_gif_lasts_as_long_as_asked_and_repeats(folder):
    out = folder / "walk.gif"
    words = ["--seconds", "1", "--fps", "30", "--rows", "1", "--columns", "2"]
    assert main([str(folder), "--out", str(out), *words]) == 0
    with Image.open(out) as film:
        assert film.size == (2 * 16, 16)
        assert film.info["loop"] == 0
        shown = 0
        for number in range(film.n_frames):
            film.seek(number)
            shown += film.info["duration"]
    assert shown == 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "walk.avi"], "call it .mp4 or .gif"),
        (["--out", "walk.gif", "--fps", "60"], "50 at most"),
        (["--out", "walk.gif", "--truncation", "0"], "truncation is 0.0"),
        (["--out", "walk.gif", "--stops", "1"], "1 stops"),
        (["--out", "walk.gif", "--columns", "0"], "3 × 0 faces"),
    ],
)
def test_wrong_input_is_named(folder, capsys, monkeypatch, words, message):
    monkeypatch.chdir(folder)
    assert main([str(folder), *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(folder.glob("*walk*"))
