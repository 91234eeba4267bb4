"""Weights of networks: files in several layouts, the hub's cache, and what is refused."""

import urllib.error
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
import torchvision
from omegaconf import OmegaConf
from safetensors.torch import save_file

from classifiers.networks import facenet, small_cnn, timm_network
from classifiers.networks.normalise import STATISTICS
from classifiers.networks.weights import read_state, rescale_first
from curation import hub, prefetch

CONFIGS = Path(__file__).parents[1] / "conf" / "classifier"
SMALL = "mobilenetv3_small_050"


def pictures(size=48):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, size, size), generator=generator, dtype=torch.uint8)


def trained(network):
    """Weights and statistics as no constructor makes them, under which pictures still matter."""
    generator = torch.Generator().manual_seed(2)
    for name, value in network.state_dict().items():
        if value.ndim > 1:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2, generator=generator)
        elif value.ndim:
            value.normal_(0, 0.1, generator=generator).add_(name.endswith("weight"))
    return network.eval()


def test_the_pictures_matter_to_these_networks():
    with torch.inference_mode():
        first, second = trained(timm_network(7, name=SMALL)).features(pictures())
    assert (first - second).abs().max() > 0.1 * first.abs().max()


def test_timm_weights_come_from_a_local_file(tmp_path):
    source = trained(timm.create_model(SMALL))
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    torch.save({"state_dict": source.state_dict()}, tmp_path / "weights.pth")
    with torch.inference_mode():
        for file in tmp_path.iterdir():
            loaded = timm_network(7, name=SMALL, weights=file).eval()
            features = source.forward_features(loaded.normalise(pictures()))
            expected = source.forward_head(features, pre_logits=True)
            torch.testing.assert_close(loaded.features(pictures()), expected)


def flat(state):
    """Names of torchvision before 2020, under which its MobileNetV2 is still passed on."""
    renamed = {}
    for key, value in state.items():
        block, _, path = key.partition(".conv.")
        if path:
            # convolution, norm and activation in one row; the last norm follows its convolution
            row = dict.fromkeys(name.rpartition(".")[0] for name in state if f"{block}." in name)
            module, _, value_name = key.rpartition(".")
            place = list(row).index(module)
            key = f"{block}.conv.{place + place // 2}.{value_name}"
        renamed[key] = value
    return renamed


@pytest.mark.parametrize("layout", [dict, flat])
def test_torchvisions_mobilenet_loads_into_timms(tmp_path, layout):
    source = trained(torchvision.models.mobilenet_v2())
    state = {key: value for key, value in source.state_dict().items() if "classifier" not in key}
    file = tmp_path / "mobilenet.safetensors"  # sorts by letters: 10 before 2
    save_file(layout(state), file)
    if layout is flat:
        assert {"features.1.conv.3.weight", "features.2.conv.7.bias"} <= set(layout(state))
    loaded = timm_network(7, name="mobilenetv2_100", weights=file).eval()
    with torch.inference_mode():
        expected = source.features(loaded.normalise(pictures())).mean((2, 3))
        torch.testing.assert_close(loaded.features(pictures()), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(RuntimeError, match="MobileNetV2 of torchvision with 104 layers; this net"):
        timm_network(7, name=SMALL, weights=file)


def test_a_recogniser_trained_here_gives_its_trunk(tmp_path):
    source = trained(timm_network(3, name=SMALL))
    file = tmp_path / "fold-0.safetensors"
    save_file(source.state_dict(), file)
    loaded = timm_network(7, name=SMALL, weights=file).eval()
    with torch.inference_mode():
        torch.testing.assert_close(loaded.features(pictures()), source.features(pictures()))
    save_file(small_cnn(3).state_dict(), file)
    with pytest.raises(RuntimeError, match=r"fold-0.safetensors does not hold weights of this tr"):
        timm_network(7, name=SMALL, weights=file)


def test_facenet_loads_the_state_dict_of_facenet_pytorch(tmp_path):
    source = facenet(2)
    assert sum(weight.numel() for weight in source.trunk.parameters()) == 22_564_096
    state = trained(source.trunk).state_dict()
    theirs = {
        key.replace("_", ".", 2).replace(".", "_", 1) if key.startswith("repeat_") else key: value
        for key, value in state.items()
    }
    assert "repeat_2.9.branch1.2.bn.running_var" in theirs
    theirs |= {"last_linear.weight": torch.zeros(512, 1792), "last_bn.weight": torch.ones(512)}
    file = tmp_path / "20180402-114759-vggface2.pt"
    torch.save(theirs, file)
    loaded = facenet(7, weights=file, size=None).eval()
    for key, value in loaded.trunk.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert loaded(pictures(80)).shape == (2, 7)
    torch.testing.assert_close(
        loaded.normalise(pictures()), (pictures().double().float() - 127.5) / 128
    )
    del theirs["block8.conv2d.bias"]
    torch.save(theirs, file)
    with pytest.raises(RuntimeError, match=r"vggface2.pt does not [^\"]*\"block8.conv2d.bias"):
        facenet(7, weights=file)
    with pytest.raises(FileNotFoundError, match=r"weights of facenet are not at .*gone.pt"):
        facenet(7, weights=tmp_path / "gone.pt")


def test_weights_for_one_normalisation_are_brought_to_another(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file(trained(timm.create_model(SMALL)).state_dict(), file)
    options = {"name": SMALL, "weights": file}
    plain = timm_network(2, **options, normalise="imagenet").eval()
    brought = timm_network(2, **options, normalise="caffe", trained_with="imagenet").eval()
    wrong = timm_network(2, **options, normalise="caffe").eval()
    with torch.inference_mode():
        expected = plain.features(pictures())
        # the two means lie up to 0.5 grey levels apart
        off = (brought.features(pictures()) - expected).abs().mean()
        assert off < 0.02 * (wrong.features(pictures()) - expected).abs().mean()
        assert off < 0.02 * expected.abs().mean()
    rescale_first(brought.trunk, trained_with="caffe", fed_with="imagenet")
    first, original = (next(network.trunk.parameters()) for network in (brought, plain))
    torch.testing.assert_close(first, original)
    with pytest.raises(ValueError, match="trained with imagenet pictures cannot be brought to uni"):
        timm_network(2, **options, normalise="unit", trained_with="imagenet")


def test_the_dense_layers_of_a_vgg_are_neither_needed_nor_in_the_way(tmp_path):
    source = trained(torchvision.models.vgg11(num_classes=2))
    state = {key: value for key, value in source.state_dict().items() if "classifier" not in key}
    dense = {
        "classifier.0.weight": torch.zeros(1, 25088).expand(4096, -1),
        "classifier.0.bias": torch.zeros(4096),
    }
    file = tmp_path / "vgg.pth"
    for extra in ({}, dense):
        torch.save(state | extra, file)
        loaded = timm_network(7, name="vgg11", weights=file).eval()
        with torch.inference_mode():
            expected = source.features(loaded.normalise(pictures())).mean((2, 3))
            torch.testing.assert_close(loaded.features(pictures()), expected, atol=1e-3, rtol=1e-4)


def test_timm_errors_name_the_file_and_the_way_out(tmp_path):
    with pytest.raises(ValueError, match=r"no network 'resnet81'; near it are .*resnet"):
        timm_network(7, name="resnet81")
    with pytest.raises(FileNotFoundError, match=r"nowhere.pth .*classifier.network.weights"):
        timm_network(7, name="resnet18", weights=tmp_path / "nowhere.pth")
    broken = tmp_path / "broken.safetensors"
    save_file({"other": torch.zeros(1)}, broken)
    with pytest.raises(RuntimeError, match=r"broken.safetensors does not hold weights of"):
        timm_network(7, name=SMALL, weights=broken)
    state = timm.create_model(SMALL).state_dict()
    del state["blocks.1.0.conv_pw.weight"]
    save_file(state, broken)
    with pytest.raises(RuntimeError, match=r"1 of its layers .* first is blocks.1.0.conv_pw"):
        timm_network(7, name=SMALL, weights=broken)


def test_files_that_are_no_weights_are_refused_unrun(tmp_path):
    file = tmp_path / "weights.pth"
    torch.save(small_cnn(2), file)
    with pytest.raises(ValueError, match=r"weights.pth holds more than weights and is not run"):
        read_state(file)
    torch.save([torch.zeros(2)], file)
    with pytest.raises(ValueError, match=r"holds a list, not tensors by name"):
        read_state(file)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"{}")
    with pytest.raises(ValueError, match=r"weights.safetensors cannot be read as weights"):
        read_state(file)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")  # nobody listens there
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "hub"


def test_weights_of_the_hub_come_from_its_cache_alone(hub_cache):
    name = f"{SMALL}.lamb_in1k"
    with pytest.raises(FileNotFoundError, match=rf"`hf download timm/{name} model.safetensors`"):
        timm_network(7, name=name, weights="hub")
    with pytest.raises(FileNotFoundError, match="`affectory prefetch vgg16`"):
        timm_network(7, name="vgg16.tv_in1k", weights="hub")
    other = "legacy_xception"  # without the tag no name of prefetch, and published at a URL
    with pytest.raises(FileNotFoundError, match=r"copy them once from https://\S+ to /"):
        timm_network(7, name=other, weights="hub")
    snapshot = hub_cache / f"models--timm--{name}" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("c0ffee")
    source = trained(timm.create_model(SMALL))
    save_file(source.state_dict(), snapshot / "model.safetensors")
    loaded = timm_network(7, name=name, weights="hub")
    first = next(iter(loaded.trunk.parameters()))
    assert torch.equal(first, next(iter(source.parameters())))
    assert hub.fetch(name) == snapshot / "model.safetensors"


def test_without_a_network_prefetch_says_so_at_once(hub_cache, capsys, monkeypatch):
    assert prefetch.main(["resnet18"]) == 1
    told = capsys.readouterr().err
    assert "resnet18.tv_in1k cannot be fetched from timm/resnet18.tv_in1k model.safetensors" in told
    assert "classifier.network.weights" in told

    def refused(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refused)
    monkeypatch.setattr("torch.hub.urlopen", refused)
    assert prefetch.main(["xception"]) == 1
    assert "xception-43020ad28.pth (<urlopen error no route to host>)" in capsys.readouterr().err
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert prefetch.main(["vgg16"]) == 1
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err


def test_the_list_names_the_weights_of_classifiers(hub_cache, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTORY_CACHE", str(tmp_path))
    assert prefetch.main([]) == 0
    told = capsys.readouterr().out
    for name in hub.BACKBONES:
        assert f"{name}: missing: affectory prefetch {name}" in told


@pytest.mark.parametrize("name", hub.BACKBONES)
def test_a_config_names_the_weights_that_prefetch_fetches_and_their_normalisation(name):
    network = OmegaConf.load(CONFIGS / f"{name}.yaml").network
    assert network.name == hub.BACKBONES[name]
    assert network.weights == "hub"
    published = hub.settings(network.name)
    mode = network.get("trained_with") or network.normalise
    if name.startswith("inception"):  # which protocol 1 feeds with 0 … 1 all the same
        assert mode == "unit"
        mode = "signed"
    mean, std = STATISTICS[mode]
    assert tuple(255 * value for value in published["mean"]) == pytest.approx(mean)
    assert tuple(255 * value for value in published["std"]) == pytest.approx(std)


def test_every_config_of_a_network_of_timm_can_be_prefetched():
    configs = {
        path.stem
        for path in CONFIGS.glob("*.yaml")
        if (network := OmegaConf.load(path).get("network"))  # none of its own: a teacher's
        and network.get("_target_", "").endswith("timm_network")
    }
    assert configs == set(hub.BACKBONES)
