import math
import os
import pickle
import sys
import types
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gan.checkpoint import load_generator, load_network
from gan.import_stylegan import CheckpointError, import_stylegan, main, read_pickle

TAPS = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


@pytest.fixture(autouse=True)
def originals(monkeypatch):
    """Modules of the names that such pickles refer to, for as long as pickles are written."""

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("the reader must not call this")

    class EasyDict(dict):
        pass

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    EasyDict.__module__, EasyDict.__qualname__ = "dnnlib.util", "EasyDict"
    names = {
        "torch_utils": {},
        "torch_utils.persistence": {"_reconstruct_persistent_obj": _reconstruct_persistent_obj},
        "dnnlib": {},
        "dnnlib.util": {"EasyDict": EasyDict},
    }
    for name, content in names.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)


class Persistent:
    """A module as such checkpoints hold it: pickled with its source code instead of by class."""

    def __init__(self, name, *, parameters=(), buffers=(), modules=(), **attributes):
        self.name = name
        self.parameters = OrderedDict((k, nn.Parameter(v)) for k, v in dict(parameters).items())
        self.buffers = OrderedDict(buffers)
        self.modules = OrderedDict(modules)
        self.attributes = attributes

    def __reduce__(self):
        state = {
            "training": False,
            "_parameters": self.parameters,
            "_buffers": self.buffers,
            "_non_persistent_buffers_set": set(),
            "_backward_hooks": OrderedDict(),
            "_modules": self.modules,
            "_init_args": (),
            "_init_kwargs": sys.modules["dnnlib.util"].EasyDict(self.attributes),
            **self.attributes,
        }
        meta = {
            "type": "class",
            "version": 6,
            "module_src": "raise SystemExit('this source must never run')",
            "class_name": self.name,
            "state": state,
        }
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)

    def tensors(self, prefix=""):
        found = {prefix + k: v.detach() for k, v in {**self.parameters, **self.buffers}.items()}
        for name, module in self.modules.items():
            found |= module.tensors(f"{prefix}{name}.")
        return found


def dense(inputs, outputs, rate=1.0):
    return Persistent(
        "FullyConnectedLayer",
        parameters={
            "weight": torch.randn(outputs, inputs) / rate,
            "bias": torch.randn(outputs) * 0.1 / rate + (rate == 1),
        },
        bias_gain=rate,
        activation="lrelu",
    )


def mapping(z_dim, labels, w_dim, depth, average=True):
    widths = [z_dim + (w_dim if labels else 0)] + [w_dim] * depth
    modules = {f"fc{i}": dense(widths[i], widths[i + 1], 0.01) for i in range(depth)}
    if labels:
        modules = {"embed": dense(labels, w_dim), **modules}
    buffers = {"w_avg": torch.randn(w_dim)} if average else {}
    return Persistent(
        "MappingNetwork", buffers=buffers, modules=modules, num_layers=depth, w_dim=w_dim
    )


def styled(inputs, outputs, w_dim, side, clamp):
    return Persistent(
        "SynthesisLayer",
        parameters={
            "weight": torch.randn(outputs, inputs, 3, 3),
            "noise_strength": torch.tensor(0.3),
            "bias": torch.randn(outputs) * 0.2,
        },
        buffers={"resample_filter": TAPS, "noise_const": torch.randn(side, side)},
        modules={"affine": dense(w_dim, inputs)},
        conv_clamp=clamp,
    )


def convolution(inputs, outputs, taps, *, bias=True, clamp=None):
    parameters = {"weight": torch.randn(outputs, inputs, taps, taps)}
    if bias:
        parameters["bias"] = torch.randn(outputs) * 0.2
    return Persistent(
        "Conv2dLayer", parameters=parameters, buffers={"resample_filter": TAPS}, conv_clamp=clamp
    )


def generator(*, widths=(8, 8, 4), labels=0, architecture="skip", clamp=None, depth=2):
    w_dim, levels, sides = 6, OrderedDict(), [4 << i for i in range(len(widths))]
    for i, side in enumerate(sides):
        modules, parameters = OrderedDict(), {}
        if i:
            modules["conv0"] = styled(widths[i - 1], widths[i], w_dim, side, clamp)
        else:
            parameters["const"] = torch.randn(widths[0], 4, 4)
        modules["conv1"] = styled(widths[i], widths[i], w_dim, side, clamp)
        if side == sides[-1] or architecture == "skip":
            modules["torgb"] = Persistent(
                "ToRGBLayer",
                parameters={
                    "weight": torch.randn(3, widths[i], 1, 1),
                    "bias": torch.randn(3) * 0.1,
                },
                modules={"affine": dense(w_dim, widths[i])},
                conv_clamp=clamp,
            )
        if i and architecture == "resnet":
            modules["skip"] = convolution(widths[i - 1], widths[i], 1, bias=False)
        levels[f"b{side}"] = Persistent(
            "SynthesisBlock",
            parameters=parameters,
            buffers={"resample_filter": TAPS},
            modules=modules,
            architecture=architecture,
        )
    return Persistent(
        "Generator",
        modules={
            "synthesis": Persistent("SynthesisNetwork", modules=levels),
            "mapping": mapping(5, labels, w_dim, depth),
        },
        z_dim=5,
        c_dim=labels,
        w_dim=w_dim,
        img_resolution=sides[-1],
        img_channels=3,
    )


def discriminator(*, widths=(4, 8, 8), labels=0, architecture="resnet", clamp=None):
    sides = [4 << i for i in range(len(widths))][::-1]
    modules = OrderedDict()
    for i, side in enumerate(sides[:-1]):
        layers = OrderedDict()
        if i == 0 or architecture == "skip":
            layers["fromrgb"] = convolution(3, widths[i], 1, clamp=clamp)
        layers["conv0"] = convolution(widths[i], widths[i], 3, clamp=clamp)
        layers["conv1"] = convolution(widths[i], widths[i + 1], 3, clamp=clamp)
        if architecture == "resnet":
            layers["skip"] = convolution(widths[i], widths[i + 1], 1, bias=False)
        modules[f"b{side}"] = Persistent(
            "DiscriminatorBlock",
            buffers={"resample_filter": TAPS},
            modules=layers,
            architecture=architecture,
        )
    last = widths[-1]
    layers = OrderedDict()
    if architecture == "skip":
        layers["fromrgb"] = convolution(3, last, 1)
    layers["mbstd"] = Persistent("MinibatchStdLayer", group_size=4, num_channels=1)
    layers["conv"] = convolution(last + 1, last, 3, clamp=clamp)
    layers["fc"] = dense(last * 16, last)
    layers["out"] = dense(last, last if labels else 1)
    modules["b4"] = Persistent("DiscriminatorEpilogue", modules=layers, architecture=architecture)
    if labels:
        modules["mapping"] = mapping(0, labels, last, 3, average=False)
    return Persistent(
        "Discriminator",
        modules=modules,
        c_dim=labels,
        img_resolution=sides[0],
        img_channels=3,
    )


def write(path, protocol=3, **content):
    with path.open("wb") as file:
        pickle.dump({"training_set_kwargs": None, "augment_pipe": None, **content}, file, protocol)
    return path


# The same networks written down from the papers, on tensors under the original names, with other
# arithmetic than ours: filter banks a face, pictures stuffed with zeros, true convolutions.


def unit(x):
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def rectified(x, clamp=None, gain=1.0):
    x = F.leaky_relu(x, 0.2) * math.sqrt(2) * gain
    return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)


def linear(t, name, x, rate=1.0):
    return x @ (t[f"{name}.weight"].T * rate / math.sqrt(x.shape[1])) + t[f"{name}.bias"] * rate


def mapped(t, z, label, depth):
    parts = [] if z is None else [unit(z)]
    if "mapping.embed.weight" in t:
        labels = F.one_hot(label, t["mapping.embed.weight"].shape[1]).float()
        parts.append(unit(linear(t, "mapping.embed", labels)))
    x = torch.cat(parts, 1)
    for number in range(depth):
        x = rectified(linear(t, f"mapping.fc{number}", x, 0.01))
    return x


def stuffed(x):
    n, c, h, w = x.shape
    wide = x.new_zeros(n, c, 2 * h, 2 * w)
    wide[:, :, ::2, ::2] = x
    return wide


def smoothed(x, before, after, gain=1.0):
    x = F.pad(x, [before, after, before, after])
    return F.conv2d(x, (TAPS * gain).expand(x.shape[1], 1, 4, 4), groups=x.shape[1])


def drawn_layer(t, name, x, w, up, clamp, gain=1.0):
    style = linear(t, f"{name}.affine", w)
    faces = []
    for n in range(len(x)):
        bank = t[f"{name}.weight"] * style[n][None, :, None, None]
        bank = bank / (bank.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        face = x[n : n + 1]
        if up:  # stuffed, truly convolved (hence turned), filtered
            face = F.conv2d(F.pad(stuffed(face), [2, 1, 2, 1]), bank.flip(2, 3))
            face = smoothed(face, 1, 2, 4.0)[:, :, : 2 * x.shape[2], : 2 * x.shape[3]]
        else:
            face = F.conv2d(face, bank, padding=1)
        faces.append(face)
    x = torch.cat(faces) + t[f"{name}.noise_const"] * t[f"{name}.noise_strength"]
    return rectified(x + t[f"{name}.bias"][:, None, None], clamp, gain)


def drawn(t, z, label, *, sides, depth, architecture, clamp):
    w = mapped(t, z, label, depth)
    x = t["synthesis.b4.const"][None].repeat(len(z), 1, 1, 1)
    picture = None
    for side in sides:
        name = f"synthesis.b{side}"
        before, gain = x, 1.0
        if side > 4:
            gain = math.sqrt(0.5) if architecture == "resnet" else 1.0
            x = drawn_layer(t, f"{name}.conv0", x, w, True, clamp)
        x = drawn_layer(t, f"{name}.conv1", x, w, False, clamp, gain)
        if side > 4 and architecture == "resnet":
            weight = t[f"{name}.skip.weight"] / math.sqrt(before.shape[1])
            x = x + F.conv2d(smoothed(stuffed(before), 2, 1, 4.0), weight) * gain
        if f"{name}.torgb.weight" in t:
            style = linear(t, f"{name}.torgb.affine", w) / math.sqrt(x.shape[1])
            own = F.conv2d(x * style[:, :, None, None], t[f"{name}.torgb.weight"])
            own = own + t[f"{name}.torgb.bias"][:, None, None]
            own = own if clamp is None else own.clamp(-clamp, clamp)
            picture = own if picture is None else own + smoothed(stuffed(picture), 2, 1, 4.0)
    return picture


def seen_layer(t, name, x, clamp=None, down=False, gain=1.0):
    weight = t[f"{name}.weight"]
    weight = weight / math.sqrt(weight[0].numel())
    if down:
        pad = (weight.shape[2] + 1) // 2
        x = F.conv2d(smoothed(x, pad, pad), weight, stride=2)
    else:
        x = F.conv2d(x, weight, padding=weight.shape[2] // 2)
    if f"{name}.bias" not in t:
        return x * gain
    return rectified(x + t[f"{name}.bias"][:, None, None], clamp, gain)


def judged(t, faces, label, *, sides, architecture, clamp):
    x, picture, half = None, faces, math.sqrt(0.5)
    for side in sides[:0:-1]:
        name = f"b{side}"
        if f"{name}.fromrgb.weight" in t:
            y = seen_layer(t, f"{name}.fromrgb", picture, clamp)
            x = y if x is None else x + y
            picture = smoothed(picture, 1, 1)[:, :, ::2, ::2]
        y = seen_layer(t, f"{name}.conv0", x, clamp)
        if architecture == "resnet":
            skip = seen_layer(t, f"{name}.skip", x, down=True, gain=half)
            x = skip + seen_layer(t, f"{name}.conv1", y, clamp, down=True, gain=half)
        else:
            x = seen_layer(t, f"{name}.conv1", y, clamp, down=True)
    if architecture == "skip":
        x = x + seen_layer(t, "b4.fromrgb", picture)
    spread = x.view(4, -1, *x.shape[1:]).var(0, unbiased=False).add(1e-8).sqrt().mean((1, 2, 3))
    spread = spread.repeat(4)[:, None, None, None].expand(-1, 1, 4, 4)
    x = seen_layer(t, "b4.conv", torch.cat([x, spread], 1), clamp)
    x = linear(t, "b4.out", rectified(linear(t, "b4.fc", x.flatten(1))))
    if label is None:
        return x[:, 0]
    return (x * mapped(t, None, label, 3)).sum(1) / math.sqrt(x.shape[1])


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize(
    ("labels", "ours", "theirs", "clamp"),
    [
        (0, "skip", "resnet", None),
        (3, "skip", "resnet", 256),
        (0, "resnet", "skip", 0.8),
        (0, "orig", "orig", None),
    ],
)
def test_imported_networks_compute_what_the_originals_do(
    tmp_path, protocol, labels, ours, theirs, clamp
):
    torch.manual_seed(0)
    pickled = generator(labels=labels, architecture=ours, clamp=clamp)
    critic = discriminator(labels=labels, architecture=theirs, clamp=clamp)
    path = write(tmp_path / "net.pkl", protocol, G=pickled, D=critic, G_ema=pickled)
    networks = import_stylegan(path)
    label = torch.arange(8) % 3 if labels else None
    z, faces = torch.randn(8, 5), torch.randn(8, 3, 16, 16)
    sides = [4, 8, 16]
    expected = drawn(
        pickled.tensors(), z, label, sides=sides, depth=2, architecture=ours, clamp=clamp
    )
    found = networks["generator"].train()(z, label)  # in training: not cut at ±1
    assert expected.abs().max() > 0.7
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    logits = judged(critic.tensors(), faces, label, sides=sides, architecture=theirs, clamp=clamp)
    torch.testing.assert_close(
        networks["discriminator"](faces, label), logits, rtol=1e-4, atol=1e-4
    )
    average = pickled.tensors()["mapping.w_avg"]
    assert torch.equal(networks["generator"].centre, average.expand(max(labels, 1), -1))


def test_widths_lead_back_to_the_rule_of_channels(tmp_path):
    narrow = {"widths": (8, 8, 8, 4)}
    path = write(
        tmp_path / "net.pkl", G_ema=generator(**narrow), D=discriminator(widths=(4, 8, 8, 8))
    )
    arguments = import_stylegan(path)["generator"].arguments
    assert (arguments["size"], arguments["channel_base"], arguments["channel_max"]) == (32, 128, 8)


def test_other_entries_of_the_file_do_no_harm(tmp_path):
    pipe = Persistent("AugmentPipe", buffers={"p": torch.tensor(0.2)})
    kwargs = sys.modules["dnnlib.util"].EasyDict(path="faces.zip", max_size=None)
    with (tmp_path / "net.pkl").open("wb") as file:
        pickle.dump(
            {"G_ema": generator(), "D": discriminator(), "augment_pipe": pipe, "set": kwargs}, file
        )
    content = read_pickle(tmp_path / "net.pkl")
    assert content["set"] == {"path": "faces.zip", "max_size": None}
    assert content["augment_pipe"].tensors()["p"].item() == pytest.approx(0.2)


class Asks:
    """Pickles as a call of something."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("way", ["os.system", "eval", "exec", "getattr", "open", "torch", "module"])
def test_a_hostile_pickle_is_refused_by_name_and_not_run(tmp_path, way, protocol):
    mark = tmp_path / "ran"
    payload = {
        "os.system": lambda: Asks(os.system, f"touch {mark}"),
        "eval": lambda: Asks(eval, f"open({str(mark)!r}, 'w')"),
        "exec": lambda: Asks(exec, f"open({str(mark)!r}, 'w')"),
        "getattr": lambda: Asks(getattr, Asks(__import__, "os"), "system"),
        "open": lambda: Asks(open, str(mark), "w"),
        "torch": lambda: Asks(torch.load, str(mark)),
        "module": lambda: Asks(__import__, "os"),
    }[way]()
    path = write(tmp_path / "net.pkl", protocol, D=payload)
    name = {
        "os.system": r"(posix|nt)\.system",
        "torch": r"torch\.serialization\.load",
        "module": "__import__",
        "getattr": "getattr",
    }.get(way, way)
    with pytest.raises(CheckpointError, match=rf"net\.pkl is refused: it asks for .*{name}"):
        import_stylegan(path)
    assert not mark.exists()


def test_dotted_names_lead_nowhere(tmp_path):
    # protocol 4 lets a name walk through attributes: collections → OrderedDict.fromkeys, say
    stream = b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93."
    (tmp_path / "net.pkl").write_bytes(stream)
    with pytest.raises(CheckpointError, match=r"asks for collections\.OrderedDict\.fromkeys"):
        read_pickle(tmp_path / "net.pkl")


def test_a_storage_cannot_smuggle_a_pickle(tmp_path):
    mark = tmp_path / "ran"
    inner = pickle.dumps(Asks(os.system, f"touch {mark}"), 2)
    path = write(tmp_path / "net.pkl", D=Asks(torch.storage._load_from_bytes, inner))
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        read_pickle(path)
    assert not mark.exists()


def test_a_tensor_cannot_look_beyond_its_storage(tmp_path):
    class Wide:
        def __reduce__(self):
            function, (storage, *_) = torch.zeros(4).__reduce_ex__(2)
            return function, (storage, 0, (1000,), (1,), False, OrderedDict())

    path = write(tmp_path / "net.pkl", D=Wide())
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        read_pickle(path)


def test_a_tensorflow_checkpoint_is_named_as_such(tmp_path):
    (tmp_path / "net.pkl").write_bytes(b"\x80\x03cdnnlib.tflib.network\nNetwork\nq\x00.")
    with pytest.raises(CheckpointError, match=r"TensorFlow checkpoint.*PyTorch"):
        read_pickle(tmp_path / "net.pkl")


def alias_free():
    pickled = generator()
    pickled.modules["synthesis"] = Persistent(
        "SynthesisNetwork", modules={"input": Persistent("SynthesisInput")}
    )
    return pickled


def changed(make, path, **attributes):
    pickled = module = make()
    for name in path:
        module = module.modules[name]
    module.attributes.update(attributes)
    return pickled


def more(tensor=None):
    pickled = generator()
    pickled.modules["mapping"].buffers["extra"] = torch.zeros(2)
    return pickled


def without(name):
    pickled = generator()
    del pickled.modules["synthesis"].modules["b8"].modules["conv0"].parameters[name]
    return pickled


def without_centre():
    pickled = generator()
    del pickled.modules["mapping"].buffers["w_avg"]
    return pickled


def filtered_otherwise():
    pickled = generator()
    pickled.modules["synthesis"].modules["b8"].buffers["resample_filter"] = TAPS.sqrt()
    return pickled


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: {"G_ema": alias_free()}, "alias-free"),
        (lambda: {"G_ema": None}, "no network G_ema, only training_set_kwargs"),
        (lambda: {"G_ema": changed(generator, (), img_channels=1)}, "1 channels, not 3"),
        (lambda: {"G_ema": changed(generator, ("mapping", "fc0"), bias_gain=1.0)}, "at 1.0 of"),
        (
            lambda: {
                "G_ema": changed(generator, ("synthesis", "b16"), architecture="dense"),
            },
            "'dense' is none of orig, skip, resnet",
        ),
        (lambda: {"G_ema": generator(widths=(8, 2, 4))}, "are not min"),
        (lambda: {"G_ema": more()}, r"without a place: mapping\.extra"),
        (lambda: {"G_ema": without("noise_strength")}, r"not in the file: levels\.1\.conv0\.stre"),
        (
            lambda: {"G_ema": changed(generator, (), z_dim=7)},
            r"layers\.0\.weight is \(6, 5\), ours \(6, 7\)",
        ),
        (lambda: {"G_ema": without_centre()}, r"no tensor 'mapping\.w_avg'"),
        (lambda: {"G_ema": changed(generator, (), img_resolution=48)}, "size 48 does not fit"),
        (lambda: {"G_ema": changed(generator, (), z_dim="wide")}, "does not fit"),
        (lambda: {"G_ema": filtered_otherwise()}, r"resample_filter is not \[1, 3, 3, 1\]"),
        (lambda: {"D": changed(discriminator, ("b4", "mbstd"), num_channels=2)}, "one channel"),
        (lambda: {"D": changed(lambda: discriminator(labels=2), ("mapping",), w_dim=3)}, "as wide"),
    ],
)
def test_other_networks_are_refused_clearly(tmp_path, content, message):
    path = write(tmp_path / "net.pkl", **{"G_ema": generator(), "D": discriminator(), **content()})
    with pytest.raises(CheckpointError, match=message) as caught:
        import_stylegan(path)
    assert "net.pkl" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04]."])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "net.pkl").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"net\.pkl (is no readable checkpoint|holds a list)"):
        read_pickle(tmp_path / "net.pkl")


def test_the_command_writes_a_folder_to_go_on_from(tmp_path, capsys):
    path = write(tmp_path / "net.pkl", G_ema=generator(labels=2), D=discriminator(labels=2))
    out = tmp_path / "trunk"
    assert main([str(path), str(out), "--emotions", "angry,happy"]) == 0
    z, label = torch.randn(1, 5), torch.tensor([1])
    expected = import_stylegan(path)["generator"](z, label)
    assert torch.equal(load_generator(out)(z, label), expected)
    faces = torch.randn(4, 3, 16, 16)
    assert load_network(out, "discriminator").specialised(0)(faces).shape == (4,)
    assert main([str(path), str(out), "--emotions", "angry"]) == 1
    assert "has 2 classes, --emotions names 1" in capsys.readouterr().err
    assert main([str(tmp_path / "none.pkl"), str(out)]) == 1
    assert "none.pkl" in capsys.readouterr().err
