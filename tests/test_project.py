"""Projection: the latent whose face is nearest to a given one."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gan import dcgan, stylegan2
from gan.checkpoint import load_generator, save_networks
from gan.pixels import to_pixels
from gan.project import main, own_samples, project, pyramid_distance

SIZE = 32


def networks(labels=0):
    torch.manual_seed(0)
    return {
        "dcgan": dcgan.Generator(size=SIZE, filters=8, max_filters=16, z_dim=8, labels=labels),
        "stylegan": stylegan2.Generator(
            size=SIZE,
            z_dim=8,
            w_dim=8,
            mapping_layers=2,
            channel_base=256,
            channel_max=16,
            labels=labels,
        ),
    }


@pytest.fixture(params=["dcgan", "stylegan"])
def generator(request):
    return networks()[request.param].eval()


@pytest.fixture
def gan(tmp_path):
    save_networks(tmp_path / "gan", {"generator": networks()["dcgan"]}, emotions=["happy"])
    return tmp_path / "gan"


@pytest.fixture(autouse=True)
def folder(tmp_path):
    (tmp_path / "gan").mkdir()


def test_distance_is_the_mean_over_levels():
    face = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert pyramid_distance(face, face).tolist() == [0, 0]
    # 32, 16 and 8 px: a flat difference is in the coarsest alone
    torch.testing.assert_close(pyramid_distance(face + 0.3, face), torch.full((2,), 0.1))
    # a checkerboard is in the finest alone
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1
    torch.testing.assert_close(pyramid_distance(face + 0.3 * board, face), torch.full((2,), 0.1))
    torch.testing.assert_close(
        pyramid_distance(face, face.flip(3)), pyramid_distance(face.flip(3), face)
    )


def test_a_face_of_its_own_is_found_again(generator):
    faces = own_samples(generator, 2, seed=5)
    first = project(generator, faces, steps=1)
    found = project(generator, faces, steps=200)
    assert (found.distances < first.distances / 5).all()
    assert found.latents.shape == (2, 8)
    # the latents are those of the faces that are shown
    with torch.no_grad():
        drawn = [to_pixels(generator.decoded(row[None]).clamp(-1, 1))[0] for row in found.latents]
    assert torch.equal(torch.stack(drawn), found.faces)


def test_a_face_from_elsewhere_stays_far(generator):
    own = own_samples(generator, 1)
    noise = torch.randint(0, 256, own.shape, generator=torch.Generator().manual_seed(1)).byte()
    found = project(generator, torch.cat([own, noise]), steps=100)
    assert found.distances[1] > 5 * found.distances[0]


def test_a_face_is_projected_whatever_the_others_are(generator):
    faces = own_samples(generator, 3)
    together, alone = (project(generator, each, steps=20) for each in (faces, faces[1:2]))
    torch.testing.assert_close(together.latents[1], alone.latents[0], rtol=1e-3, atol=1e-3)
    again = project(generator, faces, steps=20)
    assert torch.equal(together.latents, again.latents)
    assert not torch.equal(project(generator, faces, steps=20, seed=1).latents, again.latents)


def test_latents_of_own_samples_have_the_length_of_latents():
    generator = networks()["dcgan"].eval()
    found = project(generator, own_samples(generator, 4), steps=200)
    lengths = found.latents.norm(dim=1) / 8**0.5
    assert (lengths > 0.4).all()
    assert (lengths < 2).all()


def test_the_command_writes_picture_latents_and_distances(gan, tmp_path, capsys):
    picture = tmp_path / "face.png"
    face = own_samples(load_generator(gan), 1, seed=9)[0].permute(1, 2, 0).numpy()
    Image.fromarray(face).resize((64, 64), Image.Resampling.BICUBIC).save(picture)
    words = [str(gan), str(picture), "--out", str(tmp_path / "out"), "--steps", "30", "--own", "2"]
    assert main(words) == 0
    told = json.loads((tmp_path / "out" / "projections.json").read_text())
    (line,) = told["faces"]
    assert line["face"] == str(picture)
    assert told["own_samples"]["n"] == 2
    assert told["own_samples"]["lowest"] <= told["own_samples"]["mean"]
    assert load_file(tmp_path / "out" / "latents.safetensors")["latents"].shape == (1, 8)
    sheet = np.asarray(Image.open(tmp_path / "out" / "projections.png"))
    assert sheet.shape[1] > 2 * SIZE
    assert f"{line['distance']:.4f}" in capsys.readouterr().out
    assert main(words) == 2
    assert "exists; name another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no picture", "is no readable picture"),
        (None, "there is no picture"),
        ("wide", "40 × 20 px; a face is square"),
    ],
)
def test_what_is_no_face_is_named(gan, tmp_path, capsys, content, message):
    path = tmp_path / "none" / "x.png" if content is None else tmp_path / "x.png"
    if content == "wide":
        Image.new("RGB", (40, 20)).save(path)
    elif content is not None:
        path.write_bytes(content)
    assert main([str(gan), str(path), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_network_with_labels_wants_an_emotion(tmp_path, capsys):
    save_networks(
        tmp_path / "gan", {"generator": networks(labels=2)["dcgan"]}, emotions=["angry", "happy"]
    )
    picture = tmp_path / "face.png"
    Image.new("RGB", (SIZE, SIZE)).save(picture)
    words = [str(tmp_path / "gan"), str(picture), "--out", str(tmp_path / "out"), "--steps", "2"]
    assert main(words) == 2
    assert "--emotion, one of angry, happy" in capsys.readouterr().err
    assert main([*words, "--emotion", "happy", "--own", "2"]) == 0


def test_faces_of_another_size_and_no_steps_are_refused(generator):
    with pytest.raises(ValueError, match=r"faces of shape \(3, 16, 16\)"):
        project(generator, torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"0 steps are none"):
        project(generator, own_samples(generator, 1), steps=0)
