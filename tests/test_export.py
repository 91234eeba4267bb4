"""Recognisers and generators as ONNX: what the files say, what is written beside them, refusals."""

import json
import re
from contextlib import contextmanager
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from classifiers.export import export_recogniser
from classifiers.export import folder as folder_module
from classifiers.export.graph import Calibrated, build
from classifiers.export.parity import compare
from classifiers.export.quantise import _unquantised, quantised
from classifiers.export.source import Source
from classifiers.finetune import fit
from classifiers.networks import dao2021, small_cnn, timm_network, vanderweel2019
from classifiers.predict import Predictor, save_ensemble
from classifiers.runtime import OnnxPredictor
from classifiers.training import Phase, Training
from curation import export as command
from curation import onnx_files
from curation.align import BoxFrame
from curation.artifact import read_json, write_json
from curation.corpus import Corpus, write_corpus
from curation.detect import Haar
from curation.lineage import lineage
from curation.standard import Standard
from gan.checkpoint import load_generator, save_networks
from gan.dcgan import Generator as Dcgan
from gan.export import export_generator
from gan.pixels import to_pixels
from gan.stylegan2 import Generator as StyleGan2

EMOTIONS = ("happy", "sad")
TRAINING = Training(
    {"train": Phase(length=40, learning_rate=0.01, weight_decay=0.01, warmup=0.1)},
    batch_size=16,
    mirror=0.5,
)
CONTRACT = Standard(Haar(), BoxFrame(), size=32).contract
GRAPHS = {}
FILES = ("model.onnx", "model.fp16.onnx", "model.int8.onnx")


def faces(labels, seed):
    """A bright bar above (happy) or below (sad) on noise: (N, 3, 32, 32)."""
    pictures = np.random.default_rng(seed).integers(0, 90, (len(labels), 3, 32, 32))
    for picture, label in zip(pictures, labels, strict=True):
        top = 20 if label else 4
        picture[:, top : top + 8, 4:28] += 150
    return pictures.astype(np.uint8)


def write_faces(folder, *, contract=CONTRACT, held_out=20, database="puppets_studio"):
    folder.mkdir(parents=True)
    splits = ["train"] * 40 + ["test"] * held_out
    labels = np.arange(len(splits)) % 2
    rows = [
        {
            "image": picture.transpose(1, 2, 0), "emotion": EMOTIONS[label], "split": split,
            "origin": "real", "database": database, "subject": f"{database}/{number // 2}",
        }
        for number, (picture, label, split) in enumerate(
            zip(faces(labels, 1), labels, splits, strict=True)
        )
    ]  # fmt: skip
    write_corpus(rows, folder, EMOTIONS)
    record = {"stage": "augment", "inputs": {}, "contract": contract, "content": folder.name}
    write_json(folder / "corpus.json", record)
    return folder


def write_recogniser(folder, networks, *, corpus, temperature=1.7, contract=CONTRACT):
    folder.mkdir(parents=True)
    calibration = {"temperature": temperature}
    save_ensemble(networks, folder, emotions=EMOTIONS, size=(32, 32), calibration=calibration)
    place = f"corpora/{corpus.name}"
    accuracy = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 40, "p": None}
    record = {
        "stage": "train_classifier",
        "inputs": {"corpus": {"path": place, "content": corpus.name}},
        "contract": contract,
        "content": "0123456789",
        "facts": {"out_of_fold": {"accuracy": accuracy}},
    }
    write_json(folder / "classifier.json", record)
    return folder


@pytest.fixture(scope="module")
def networks():
    labels = np.arange(40) % 2
    network = partial(small_cnn, width=8)
    return [
        fit(
            faces(labels, 1),
            labels,
            classes=2,
            network=network,
            seed=seed,
            training=TRAINING,
            accelerator="cpu",
        ).recogniser
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory, networks):
    place = tmp_path_factory.mktemp("experiment")
    corpus = write_faces(place / "corpora" / "augment-1")
    write_recogniser(place / "classifiers" / "gate-1", networks, corpus=corpus)
    return place


@pytest.fixture(scope="module")
def gate(experiment):
    return experiment / "classifiers" / "gate-1"


@pytest.fixture(scope="module")
def exported(experiment, gate):
    out = experiment / "exported" / "gate-1"
    export_recogniser(gate, out)
    return out


@pytest.fixture(scope="module")
def single(experiment, gate):
    out = experiment / "exported" / "single"
    with remembering():
        export_recogniser(gate, out, member=0, calibration=8)
    return out


@contextmanager
def remembering():
    """Trace a network once only: where many folders are made of one recogniser."""

    def known(networks, temperature, **options):
        weights = [last_layer(network).weight.detach().numpy().tobytes() for network in networks]
        key = (*weights, temperature, str(options))
        if key not in GRAPHS:
            GRAPHS[key] = build(networks, temperature, **options)
        return GRAPHS[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_module, "build", known)
        yield


@pytest.fixture
def remembered():
    with remembering():
        yield


def last_layer(network):
    return [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)][-1]


def run(path, images):
    return onnx_files.session(path).run(None, {"images": images.astype(np.float32)})


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_an_exported_ensemble_says_what_the_predictor_says_whatever_the_batch(gate, exported):
    images = faces(np.arange(7) % 2, 5)
    said = Predictor.load(gate, device="cpu").probabilities(images)
    loaded = OnnxPredictor.load(exported)
    assert loaded.emotions == EMOTIONS
    np.testing.assert_allclose(loaded.probabilities(images), said, atol=1e-5)
    alone = np.concatenate([loaded.probabilities(image[None]) for image in images])
    np.testing.assert_allclose(alone, said, atol=1e-5)


def test_the_temperature_and_the_mean_over_members_are_in_the_graph(networks, exported):
    images = faces(np.arange(4) % 2, 6)
    with torch.no_grad():
        each = [network(torch.from_numpy(images)) / 1.7 for network in networks]
    expected = torch.stack([logits.softmax(1) for logits in each]).mean(0)
    probabilities, logits = run(exported / "model.onnx", images)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(softmax(logits), probabilities, atol=1e-6)


def test_a_graph_keeps_probabilities_that_would_underflow():
    network = small_cnn(2, width=8)
    with torch.no_grad():
        last_layer(network).bias.copy_(torch.tensor([400.0, -400.0]))
    network.eval()
    with torch.no_grad():
        _, logits = Calibrated([network, network], 1.0)(torch.zeros(1, 3, 32, 32))
    assert logits.isfinite().all()
    assert float(logits[0, 0] - logits[0, 1]) > 700


def test_one_member_is_that_network(networks, single):
    assert read_json(single / "export.json")["facts"]["networks"] == 1
    images = faces(np.arange(4) % 2, 6)
    with torch.no_grad():
        expected = (networks[0](torch.from_numpy(images)) / 1.7).softmax(1)
    found = OnnxPredictor.load(single).probabilities(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    weights = load_file(single / "weights.safetensors")
    state = networks[0].state_dict()
    assert weights.keys() == {f"members.0.{name}" for name in state}
    assert all(torch.equal(weights[f"members.0.{name}"], state[name]) for name in state)


def test_smaller_precisions_are_smaller_and_still_right(exported):
    sizes = [(exported / name).stat().st_size for name in FILES]
    assert sizes[1] < 0.6 * sizes[0]
    assert sizes[2] < 0.5 * sizes[0]  # of 20,000 weights, nodes are a good part
    labels = np.arange(40) % 2
    for precision in ("fp16", "int8"):
        said = OnnxPredictor.load(exported, precision=precision).probabilities(faces(labels, 8))
        assert (said.argmax(1) == labels).mean() >= 0.95


def test_weights_of_layers_are_int8_and_the_normalisation_is_not(exported):
    graph = onnx.load(exported / "model.int8.onnx").graph
    largest = [i for i in graph.initializer if np.prod(i.dims) > 200]
    assert largest
    assert {i.data_type for i in largest} == {onnx.TensorProto.INT8}
    # a scale a channel: each has a weight at the end of the range
    for values in map(onnx.numpy_helper.to_array, largest):
        assert (np.abs(values.astype(int)).max(axis=(1, 2, 3)) == 127).all()
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    before = list(graph.node)[: list(graph.node).index(first)]
    assert {"Mul", "Sub", "Sqrt"} <= {node.op_type for node in before}


@pytest.mark.parametrize(("second", "floats"), [(30, ["early"]), (9, ["early", "later"])])
def test_first_layers_of_few_weights_stay_in_float(second, floats):
    shapes = {"early": (second, 3, 1, 1), "later": (4, second, 1, 1), "large": (12_000, 4, 1, 1)}
    weights = [
        onnx.numpy_helper.from_array(np.ones(shape, np.float32), f"{name}.weight")
        for name, shape in shapes.items()
    ]
    names, nodes = ["images", "a", "b", "c"], []
    for place, name in enumerate(shapes):
        given = [names[place], f"{name}.weight"]
        nodes.append(onnx.helper.make_node("Conv", given, [names[place + 1]], name))
    graph = onnx.helper.make_graph(nodes, "graph", [], [], weights)
    kept = _unquantised(onnx.helper.make_model(graph))
    # two in a thousand of 48,000 weights are 96
    assert kept == floats


def test_browsers_can_run_the_files(exported):
    for name in FILES:
        model = onnx.load(exported / name)
        onnx.checker.check_model(model)
        assert [(each.domain, each.version) for each in model.opset_import if not each.domain] == [
            ("", 18)
        ]
        assert {node.domain for node in model.graph.node} <= {""}
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_depthwise_networks_are_traced_without_gathered_copies():
    torch.manual_seed(0)
    network = timm_network(3, name="test_efficientnet", normalise="imagenet").eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.bias, std=0.1)
    network.to(memory_format=torch.channels_last)
    model = build([network], 1.0, size=(32, 32), emotions="abc")
    assert "Gather" not in {node.op_type for node in model.graph.node}
    images = faces(np.arange(6) % 2, 3)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    _, found = session.run(None, {"images": images.astype(np.float32)})
    with torch.no_grad():
        np.testing.assert_allclose(found, network(torch.from_numpy(images)), atol=1e-4)
    small = quantised(model, images)
    onnx.checker.check_model(small)
    assert small.ByteSize() < 0.5 * model.ByteSize()
    # scales of biases are products, and no zero points of theirs are stored
    kinds = {each.data_type for each in small.graph.initializer if np.prod(each.dims) > 1}
    biases = [i for i in small.graph.initializer if i.data_type == onnx.TensorProto.INT32]
    assert onnx.TensorProto.INT8 in kinds
    assert biases
    assert all(onnx.numpy_helper.to_array(each).any() for each in biases)
    options = onnxruntime.SessionOptions()
    (again, _) = onnxruntime.InferenceSession(small.SerializeToString(), options).run(
        None, {"images": images.astype(np.float32)}
    )
    assert np.abs(again - softmax(found)).max() < 0.2


@pytest.mark.parametrize(
    ("made", "size"),
    [
        (vanderweel2019, 32),
        (dao2021, 48),
        (partial(timm_network, name="mobilenetv2_050", grey=True), 32),
    ],
)
def test_each_network_for_small_machines_is_exported_in_every_precision(made, size):
    torch.manual_seed(0)
    network = made(3).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
    images = np.random.default_rng(0).integers(0, 256, (6, 3, size, size), dtype=np.uint8)
    with torch.no_grad():
        wanted = (network(torch.from_numpy(images)) / 1.3).softmax(1).numpy()
    full = build([network], 1.3, size=(size, size), emotions="abc")
    half = build([network], 1.3, size=(size, size), emotions="abc", half=True)
    apart = {}
    for name, model in {"fp32": full, "fp16": half, "int8": quantised(full, images)}.items():
        onnx.checker.check_model(model)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        found = session.run(["probabilities"], {"images": images.astype(np.float32)})[0]
        apart[name] = np.abs(found - wanted).max()
    assert apart["fp32"] < 1e-5
    assert apart["fp16"] < 0.01
    assert apart["int8"] < 0.1
    assert half.ByteSize() < 0.6 * full.ByteSize()


def test_the_card_loads_the_weights_into_pytorch(exported, networks):
    text = (exported / "README.md").read_text()
    code = next(
        part for part in re.findall(r"```python\n(.*?)```", text, re.S) if "rebuild" in part
    )
    found = {}
    exec(code.replace("path/to/this/folder", str(exported)), found)
    images = torch.from_numpy(faces(np.arange(4) % 2, 6))
    with torch.no_grad():
        loaded, original = found["network"](images), networks[0](images)
    np.testing.assert_allclose(loaded, original, atol=1e-5)


def test_two_exports_are_the_same_bytes_and_tell_nothing_of_this_machine(
    experiment, gate, single, tmp_path
):
    export_recogniser(gate, tmp_path / "again", member=0, calibration=8)
    names = sorted(path.name for path in single.iterdir())
    assert names == sorted(
        [*FILES, "README.md", "export.json", "preprocessing.json", "weights.safetensors"]
    )
    for name in names:
        content = (single / name).read_bytes()
        assert content == (tmp_path / "again" / name).read_bytes(), name
        for private in (str(experiment), "/site-packages/", "classifiers/networks"):
            assert private.encode() not in content, (name, private)


def test_the_record_tells_parity_with_n_and_leads_back(exported, gate):
    record = read_json(exported / "export.json")
    facts = record["facts"]
    assert facts["held_out"]
    assert facts["parity"]["fp32"]["largest"] <= 1e-4
    assert facts["parity"]["int8"]["agreement"]["n"] == 20
    assert facts["torch"]["right"]["value"] >= 0.9
    upstream = [each.folder for each in lineage([exported])]
    assert gate.resolve() in upstream
    assert gate.parents[1].resolve() / "corpora" / "augment-1" in upstream


def test_the_card_says_licence_parity_and_how_faces_are_cut(exported):
    text = (exported / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    data = yaml.safe_load(header)
    assert data["license"] == "mit"
    assert data["model-index"][0]["results"][0]["metrics"][0]["type"] == "accuracy"
    content = read_json(exported / "preprocessing.json")
    assert content["contract"] == CONTRACT
    assert content["contract_id"] in body
    assert "happy, sad (the outputs, in this order)" in body
    assert "- 40 real faces" in body
    assert "n = 20 real faces of puppets_studio that it never saw" in body
    assert "90.0 (80.0 to 95.0) % of n = 40" in body
    row = next(line for line in body.splitlines() if line.startswith("| `model.onnx`"))
    assert f"{(exported / 'model.onnx').stat().st_size:,}" in row
    assert re.search(r"\| 100\.0 \(83\.9 to 100\.0\) \|", row)
    weights = sum(each.numel() for each in small_cnn(2, width=8).parameters())
    assert f"`small_cnn` with {weights:,} parameters, 2 of them, whose" in body
    assert re.search(r"^\| sad \| 10 \| \d", body, re.M)
    assert "by age, sex\nor skin colour was not measured" in body
    assert not re.search(r"^ |[ \t]$|\n\n\n", body.split("```")[0], re.M)


def cell_of(corpus, networks, folder, *, shared=0, faces_of=None):
    """A training of the benchmark that was tested on the first 20 faces of a corpus."""
    folder.mkdir(parents=True)
    save_ensemble(networks[:1], folder, emotions=EMOTIONS, size=(32, 32))
    facts = Corpus(corpus).facts
    table = pd.DataFrame({"picture": facts["id"][:20], "predicted": "happy"})
    table.to_parquet(folder / "predictions.parquet", index=False)
    learned = {"databases": ["kdef", "puppets_studio"], "people": 10}
    learned["faces"] = faces_of or {"real": 20, "gan": 1200}
    record = {
        "stage": "train_cell",
        "inputs": {"corpus": {"path": f"corpora/{corpus.name}", "content": corpus.name}},
        "contract": CONTRACT,
        "content": "9876543210",
        "facts": {"trained_on": learned, "shared_subjects": shared},
    }
    write_json(folder / "cell.json", record)
    return folder


def test_a_cells_card_tells_what_its_arm_learned_from(experiment, networks, tmp_path, remembered):
    corpus = experiment / "corpora" / "augment-1"
    cell = cell_of(corpus, networks, tmp_path / "cells" / "external" / "c" / "gan-0")
    record = export_recogniser(cell, tmp_path / "out", corpus=corpus, calibration=8)
    facts = record["facts"]
    # its own test faces, though the corpus calls them training faces
    assert (facts["torch"]["n"], facts["held_out"]) == (20, True)
    assert {name: share["n"] for name, share in facts["emotions"].items()} == dict.fromkeys(
        EMOTIONS, 10
    )
    body = (tmp_path / "out" / "README.md").read_text()
    assert "- 20 real faces\n- 1,200 synthetic faces, drawn by GANs\n- 10 people, of kdef" in body
    assert "license: other" in body  # KDEF's terms hold for what its faces taught a generator


def test_of_people_that_a_cell_learned_from_no_accuracy_is_stated(
    experiment, networks, tmp_path, remembered
):
    corpus = experiment / "corpora" / "augment-1"
    cell = cell_of(corpus, networks, tmp_path / "cells" / "random" / "c" / "gan-0", shared=20)
    facts = export_recogniser(cell, tmp_path / "out", corpus=corpus, calibration=8)["facts"]
    assert facts["compared_on"].endswith("some of people whom it learned from")
    assert facts["emotions"] == {}
    assert facts["torch"]["right"] is None
    assert "model-index" not in (tmp_path / "out" / "README.md").read_text()


def test_without_unseen_faces_no_accuracy_is_stated(networks, tmp_path, remembered):
    corpus = write_faces(tmp_path / "corpora" / "c", held_out=0, database="kdef")
    gate = write_recogniser(tmp_path / "classifiers" / "g", networks[:1], corpus=corpus)
    record = export_recogniser(gate, tmp_path / "out", calibration=8)
    assert not record["facts"]["held_out"]
    assert record["facts"]["parity"]["fp32"]["right"] is None
    text = (tmp_path / "out" / "README.md").read_text()
    assert "no accuracy is stated" in text
    assert "model-index" not in text
    assert "license: other" in text
    other = write_faces(tmp_path / "unseen", held_out=2, database="jaffe")
    record = export_recogniser(gate, tmp_path / "more", calibration=8, held_out=other)
    assert record["facts"]["compared_on"] == "real faces of jaffe that it never saw"
    assert record["facts"]["torch"]["n"] == 42


def test_ranges_come_from_training_faces_evenly(gate):
    source = Source(gate, None, None)
    chosen = source.calibration_faces(10)
    train = {picture.tobytes() for picture in faces(np.arange(60) % 2, 1)[:40]}
    assert all(picture.tobytes() in train for picture in chosen)
    is_sad = chosen[:, :, 20:28].mean((1, 2, 3)) > chosen[:, :, 4:12].mean((1, 2, 3))
    assert is_sad.sum() == 5
    assert len(chosen) == 10


def test_a_file_that_differs_is_not_left_behind(gate, exported, tmp_path, monkeypatch):
    altered = onnx.load(exported / "model.onnx")
    warmest = max(altered.graph.initializer, key=lambda each: np.prod(each.dims))
    warmest.CopyFrom(
        onnx.numpy_helper.from_array(1.05 * onnx.numpy_helper.to_array(warmest), warmest.name)
    )
    monkeypatch.setattr(folder_module, "build", lambda *_, **__: altered)
    with pytest.raises(ValueError, match=r"model.onnx differs from PyTorch by .* on 20 faces"):
        export_recogniser(gate, tmp_path / "out", calibration=8)
    assert not list(tmp_path.glob("*out*/*"))


def test_parity_counts():
    torch_said = np.array([[0.9, 0.1], [0.2, 0.8], [0.45, 0.55]])
    said = np.array([[0.8, 0.2], [0.2, 0.8], [0.55, 0.45]])
    found = compare(said, torch_said, np.array([0, 1, 0]))
    assert (found.n, found.agreement, found.right) == (3, 2, 3)
    assert found.largest == pytest.approx(0.1)
    assert found.mean == pytest.approx(0.4 / 6)


def test_faces_cut_otherwise_are_refused(gate, tmp_path):
    other = write_faces(tmp_path / "corpora" / "c", contract={**CONTRACT, "border": "black"})
    with pytest.raises(ValueError, match='border: "mirror" against "black"'):
        export_recogniser(gate, tmp_path / "out", corpus=other)
    with pytest.raises(ValueError, match='border: "mirror" against "black"'):
        export_recogniser(gate, tmp_path / "out", held_out=other)


def test_a_recogniser_without_a_contract_is_refused(networks, tmp_path):
    corpus = write_faces(tmp_path / "corpora" / "c", contract=None)
    gate = write_recogniser(
        tmp_path / "classifiers" / "g", networks[:1], corpus=corpus, contract=None
    )
    with pytest.raises(ValueError, match="says how its faces were cut"):
        export_recogniser(gate, tmp_path / "out")


def test_a_lost_corpus_and_a_wrong_member_are_told(gate, networks, tmp_path, capsys, remembered):
    with pytest.raises(ValueError, match=r"has 2 networks, 0 to 1; there is no 2"):
        export_recogniser(gate, tmp_path / "out", member=2)
    corpus = write_faces(tmp_path / "elsewhere" / "c")
    lost = write_recogniser(tmp_path / "classifiers" / "g", networks[:1], corpus=corpus)
    assert command.main([str(lost)]) == 2
    assert "is not there any more; name it by --corpus" in capsys.readouterr().err
    assert command.main([str(lost), "--corpus", str(corpus), "--calibration", "8"]) == 0
    made = tmp_path / "exported" / "g"
    assert capsys.readouterr().out.strip() == str(made)
    assert OnnxPredictor.load(made, precision="int8").emotions == EMOTIONS


def test_a_folder_of_nothing_is_told(tmp_path, capsys):
    assert command.main([str(tmp_path)]) == 2
    assert "holds no trained recogniser and no GAN" in capsys.readouterr().err


def generators():
    torch.manual_seed(0)
    style = StyleGan2(size=8, z_dim=8, w_dim=8, mapping_layers=1, channel_base=64, channel_max=8)
    style.centre.normal_()
    labelled = Dcgan(size=16, filters=4, max_filters=8, labels=2)
    return {"style": (style, {}), "labelled": (labelled, {"emotions": list(EMOTIONS)})}


@pytest.mark.parametrize("kind", ["style", "labelled"])
def test_a_generator_draws_the_same_faces(kind, tmp_path):
    network, facts = generators()[kind]
    gan = tmp_path / "gans" / "one-1"
    gan.mkdir(parents=True)
    save_networks(gan, {"generator": network}, **facts)
    assert command.main([str(gan), "--truncation", "0.7"]) == 0
    out = tmp_path / "exported" / "one-1"
    model = onnx.load(out / "generator.onnx")
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(told["emotions"]) == facts.get("emotions", [])
    z = np.random.default_rng(4).standard_normal((5, network.z_dim), dtype=np.float32)
    given, labels = {"latents": z}, None
    if facts:
        given["labels"] = np.arange(5) % 2
        labels = torch.from_numpy(given["labels"])
    with torch.no_grad():
        wanted = to_pixels(load_generator(gan).truncated(torch.from_numpy(z), 0.7, labels))
    (found,) = onnx_files.session(out / "generator.onnx").run(None, given)
    apart = np.abs(found - wanted.numpy().astype(np.float32))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.01
    assert read_json(out / "export.json")["facts"]["differing"] < 0.01 * 16 * 16 * 3 * 32


@pytest.mark.parametrize("kind", ["style", "labelled"])
def test_the_card_of_a_generator_says_its_source_and_how_to_draw(kind, experiment, tmp_path):
    network, facts = generators()[kind]
    gan = experiment / "gans" / f"card-{kind}"
    gan.mkdir(parents=True)
    save_networks(gan, {"generator": network}, **facts)
    record = {
        "stage": "train_gan",
        "inputs": {"corpus": {"path": "corpora/augment-1", "content": "augment-1"}},
        "content": "0123456789",
        "facts": {"emotions": ["happy"], "images": 1234},
    }
    write_json(gan / "gan.json", record)
    export_generator(gan, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    assert yaml.safe_load(header)["license"] == "mit"
    assert "1,234 faces of puppets_studio" in body
    assert "no gate has looked at them" in body
    asked = "happy, sad" if kind == "labelled" else "happy"
    assert f"of the expressions {asked}. Nothing" in body
    (code,) = re.findall(r"```python\n(.*?)```", body, re.S)
    found = {}
    exec(code.replace("path/to/this/folder", str(tmp_path / "out")), found)
    assert found["pictures"].shape == (4, network.size, network.size, 3)
    assert found["pictures"].std() > 0
    assert str(experiment) not in text


def test_a_generator_of_unknown_descent_has_unknown_terms(experiment, tmp_path):
    """A public checkpoint learned from somebody, whatever it was trained on afterwards."""
    gan = experiment / "gans" / "descent"
    gan.mkdir(parents=True)
    save_networks(gan, {"generator": generators()["style"][0]})
    corpus = {"path": "corpora/augment-1", "content": "augment-1"}
    for trunk, licence, told in ((None, "mit", False), ({"path": "gans/ffhq"}, "other", True)):
        inputs = {"corpus": corpus, "trunk": trunk}
        record = {"stage": "train_gan", "inputs": inputs, "content": "c", "facts": {"images": 9}}
        write_json(gan / "gan.json", record)
        export_generator(gan, tmp_path / licence)
        _, header, body = (tmp_path / licence / "README.md").read_text().split("---\n", 2)
        assert yaml.safe_load(header)["license"] == licence
        assert ("What else it learned from, its records do not say" in body) is told
        assert ("find out before you pass anything on" in body) is told


def test_an_impossible_truncation_is_refused(tmp_path, capsys):
    gan = tmp_path / "gans" / "one-1"
    gan.mkdir(parents=True)
    save_networks(gan, {"generator": generators()["style"][0]})
    with pytest.raises(ValueError, match=r"truncation 0 must lie in \(0, 1\]"):
        export_generator(gan, tmp_path / "out", truncation=0)
    assert not (tmp_path / "out").exists()
