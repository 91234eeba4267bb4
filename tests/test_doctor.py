import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from PIL import Image

from curation import weights
from curation.artifact import folder_hash, write_json
from curation.databases.ckplus import counts
from curation.doctor import command, devices, hubs, packages
from curation.doctor import weights as model_files
from curation.doctor.facts import Fact
from curation.weights import Weights

ROOT = Path(__file__).parents[1]
CONTENT = b"a small network"
EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A cache and a working folder of the test's own, and no torch to wait for."""
    monkeypatch.setenv("AFFECTORY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "devices", lambda: iter([Fact("torch", "there")]))
    return tmp_path


@pytest.fixture
def answer(capsys):
    def ask(*arguments):
        code = command.main(["--json", *arguments])
        told = json.loads(capsys.readouterr().out)
        assert code == (0 if told["ok"] else 1)
        return code, told

    return ask


def described(name="net", content=CONTENT):
    return Weights(
        name=name,
        url=f"https://nowhere.example/{name}.onnx",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        licence="MIT (nobody)",
    )


def kdef(root, without=()):
    for session, sex, number, code in product(
        "AB", "FM", range(1, 36), ("AF", "AN", "DI", "HA", "NE", "SA", "SU")
    ):
        person = f"{session}{sex}{number:02d}"
        if f"{person}{code}S" not in without:
            (root / person).mkdir(parents=True, exist_ok=True)
            (root / person / f"{person}{code}S.JPG").write_bytes(b"never decoded")
    return root


def by_name(facts):
    return {fact["name"]: fact for fact in facts}


class Installed:
    """Metadata of packages that the test says are installed."""

    def __init__(self, monkeypatch, versions, requires, extras=(), python=">=3.11"):
        about = metadata.metadata("pip")
        for key, value in (("Version", "0.1.0"), ("Requires-Python", python)):
            del about[key]
            about[key] = value
        del about["Provides-Extra"]
        for extra in extras:
            about["Provides-Extra"] = extra

        def version(name):
            if name not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(packages.metadata, "metadata", lambda name: about)
        monkeypatch.setattr(packages.metadata, "requires", lambda name: list(requires))
        monkeypatch.setattr(packages.metadata, "version", version)


def test_a_package_in_its_range_is_well_and_one_outside_or_absent_is_wrong(monkeypatch, answer):
    Installed(
        monkeypatch,
        {"old": "1.9", "good": "2.4.0+cpu", "odd": None},
        ["old>=2", "good>=2,<3", "odd>=1", "gone>=1", 'elsewhere>=1; sys_platform == "none"'],
    )
    code, told = answer()
    facts = by_name(told["sections"]["versions"])
    assert code == 1
    assert told["wrong"] == ["old", "odd", "gone"]
    assert facts["good"]["state"] == "there"
    assert (facts["old"]["state"], facts["old"]["version"]) == ("out of range", "1.9")
    assert facts["old"]["way_out"] == "pip install 'old>=2'"
    assert facts["gone"]["state"] == facts["odd"]["state"] == "not installed"
    assert "elsewhere" not in facts


def test_a_python_outside_the_range_is_wrong(monkeypatch, answer):
    Installed(monkeypatch, {}, [], python="<3")
    code, told = answer()
    assert (code, told["wrong"]) == (1, ["python"])


def test_without_its_metadata_the_package_says_how_to_install_it(monkeypatch, answer):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.metadata, "metadata", nothing)
    code, told = answer()
    assert (code, told["wrong"]) == (1, ["affectory"])
    assert "pip install -e ." in told["sections"]["versions"][0]["way_out"]
    assert told["sections"]["model files"]


def test_an_extra_is_there_only_when_all_of_it_is_and_is_never_wrong(monkeypatch, answer):
    Installed(
        monkeypatch,
        {"one": "1.0", "two": "1.0", "three": "1.0", "albumentationsx": "2.1"},
        [
            'one>=1; extra == "full"',
            'one>=1; extra == "half"',
            'four>=1; extra == "half"',
            'two>=2; extra == "old"',
            'three>=1; extra == "all"',
            'affectory[half]; extra == "all"',
        ],
        extras=("full", "half", "old", "all"),
    )
    code, told = answer()
    facts = by_name(told["sections"]["optional packages"])
    assert code == 0
    assert facts["full"]["state"] == facts["all"]["state"] == "there"
    assert facts["half"]["state"] == "not installed"
    assert facts["half"]["packages"] == {"one": "1.0", "four": None}
    assert facts["half"]["way_out"] == "pip install 'affectory[half]'"
    assert facts["old"]["state"] == "out of range"
    assert facts["albumentations"]["state"] == "there"  # its successor will do
    assert facts["facenet-pytorch"]["way_out"] == "pip install --no-deps facenet-pytorch"


def test_every_extra_of_the_project_says_what_it_is_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"].keys() == packages.PURPOSES.keys()


def test_model_files_are_told_there_missing_or_damaged(place, monkeypatch, answer):
    known = described("there"), described("missing"), described("damaged")
    monkeypatch.setattr(weights, "KNOWN", known)
    for each, content in ((known[0], CONTENT), (known[2], CONTENT[:-1] + b"!")):
        path = place / "cache" / each.name / each.file
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    code, told = answer()
    facts = by_name(told["sections"]["model files"])
    assert (code, told["wrong"]) == (1, ["damaged"])
    for name in ("there", "missing", "damaged"):
        assert facts[name]["state"] == name
        assert facts[name]["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert str(place / "cache" / "there" / "there.onnx") in facts["there"]["detail"]
    assert facts["missing"]["way_out"].startswith(
        f"affectory prefetch missing, or copy the file to {place}/cache/missing/missing.onnx"
    )
    assert hashlib.sha256(CONTENT[:-1] + b"!").hexdigest() in facts["damaged"]["detail"]
    assert facts["damaged"]["way_out"] == "affectory prefetch damaged"


def test_a_missing_model_file_is_not_wrong(answer):
    code, told = answer()
    assert [fact["state"] for fact in told["sections"]["model files"]].count("missing") == len(
        weights.KNOWN
    )
    assert code == 0


def test_cascades_of_opencv_are_told_with_their_hash(monkeypatch, answer):
    import cv2

    path = Path(cv2.__file__).parent / "data" / "haarcascade_eye.xml"
    _, told = answer()
    facts = {fact.get("file"): fact for fact in told["sections"]["model files"]}
    assert facts["haarcascade_eye.xml"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(model_files.util, "find_spec", lambda name: None)
    code, told = answer()
    assert (code, set(told["wrong"])) == (1, {"opencv-python"})


def test_every_cascade_that_the_project_names_is_looked_for():
    named = set()
    for folder, pattern in (("conf", "*.yaml"), ("curation/detect", "*.py")):
        for path in (ROOT / folder).rglob(pattern):
            named |= set(re.findall(r"haarcascade_\w+\.xml", path.read_text()))
    assert named == set(model_files.BUNDLED)


def test_folders_say_whether_they_take_a_file_and_are_not_made(place, answer):
    _, told = answer()
    facts = by_name(told["sections"]["folders"])
    assert facts["cache"]["state"] == facts["out"]["state"] == "writable"
    assert facts["out"]["path"] == str(place / "out")
    assert facts["out"]["free_bytes"] > 0
    assert list(place.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_told_and_hides_nothing(place, monkeypatch, answer):
    (place / "file").write_text("in the way")
    monkeypatch.setenv("AFFECTORY_CACHE", str(place / "file" / "cache"))
    code, told = answer()
    cache = by_name(told["sections"]["folders"])["cache"]
    assert cache["state"] == "not writable"
    assert "AFFECTORY_CACHE=/path" in cache["way_out"]
    assert code == 0


@pytest.mark.parametrize("cache", [None, "~/cache"])
def test_without_a_home_all_else_is_told(cache, monkeypatch, answer):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("AFFECTORY_CACHE")
    if cache:
        monkeypatch.setenv("AFFECTORY_CACHE", cache)
    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.setattr(Path, "expanduser", lambda path: nowhere())
    code, told = answer()
    assert code == 0
    assert by_name(told["sections"]["folders"])["cache"]["state"] == "unknown"
    assert "affectory prefetch yunet" in told["sections"]["model files"][0]["way_out"]


def test_without_roots_every_database_stands_with_its_terms(answer, capsys):
    code, told = answer()
    facts = by_name(told["sections"]["databases"])
    options = {path.stem for path in (ROOT / "conf" / "database").glob("*.yaml")}
    assert options == facts.keys() - {"to count one"}
    unrecorded = {name for name in options if "No licence record" in facts[name]["terms"]}
    assert unrecorded == {"hf"}
    free = {name for name in options if facts[name]["redistribute"]}
    assert free == {"puppets", "puppets_lab", "puppets_ten"}
    assert "KDEF" in facts["kdef"]["terms"]
    assert code == 0
    command.main([])
    page = capsys.readouterr().out
    for name in options:  # each in one line of a terminal
        terms = facts[name]["detail"]
        assert re.search(rf"^  {name} +{re.escape(terms)}$", page, re.MULTILINE)


def test_a_complete_database_is_well(place, answer):
    code, told = answer(f"kdef={kdef(place / 'KDEF_and_AKDEF')}")
    fact, licence = told["sections"]["databases"]
    assert (code, fact["state"], fact["missing"]) == (0, "complete", {})
    assert fact["found"] == fact["expected"] == dict.fromkeys(EMOTIONS, 140)
    assert "may not be passed on" in licence["detail"]


def test_what_a_database_lacks_is_counted_by_label_and_named(place, answer):
    root = kdef(place / "kdef", without=("AF01ANS", "BM35ANS", "AF02HAS"))
    (root / "AF03" / "AF03SAS.JPG").write_bytes(b"")
    code, told = answer(f"kdef={root}")
    fact = told["sections"]["databases"][0]
    assert (code, told["wrong"], fact["state"]) == (1, ["kdef"], "incomplete")
    assert fact["missing"] == {"angry": 2, "happy": 1, "sad": 1}
    assert fact["skipped"] == {"file not found": 3, "empty file": 1}
    for words in ("angry 138 of 140", "AF01/AF01ANS.JPG", "AF03/AF03SAS.JPG", "fear 140 of 140"):
        assert words in fact["detail"]
    assert "kdef.se" in fact["way_out"]


def test_more_than_the_complete_database_is_not_the_complete_database(place, answer):
    for name, number in counts(3, 0, "labelled").items():
        (place / "CK+48" / name).mkdir(parents=True)
        for index in range(number + (name == "angry")):
            path = place / "CK+48" / name / f"S{index:03d}_001_00000001.png"
            path.write_bytes(b"never decoded")
    code, told = answer(f"ckplus48={place / 'CK+48'}")
    fact = told["sections"]["databases"][0]
    assert (code, fact["state"], fact["missing"]) == (1, "too many", {"angry": -1})


def test_a_folder_of_which_nobody_knows_the_counts_is_counted(place, answer):
    root = place / "my faces, ${of} [mine]"
    (root / "joy").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(root / "joy" / "1.png")
    code, told = answer(f"folder={root}")
    fact = told["sections"]["databases"][0]
    assert (code, fact["state"], fact["found"]) == (0, "there", {"happy": 1})


@pytest.mark.parametrize("name", ["kdef", "hf"])
def test_a_root_that_is_not_there_is_wrong_and_asks_no_network(name, answer):
    code, told = answer(f"{name}=no/where")
    fact = told["sections"]["databases"][0]
    assert (code, fact["state"]) == (1, "missing")
    assert "no/where" in fact["detail"]


def test_a_folder_that_holds_something_else_is_told_what_it_should_hold(place, answer):
    (place / "other").mkdir()
    code, told = answer(f"kdef={place / 'other'}")
    fact = told["sections"]["databases"][0]
    assert (code, fact["state"]) == (1, "unreadable")
    assert "KDEF/AF01/AF01ANS.JPG" in fact["detail"]


def test_the_embedded_database_is_counted_by_its_name_alone(answer):
    code, told = answer("puppets_ten")
    fact = told["sections"]["databases"][0]
    assert (code, fact["state"]) == (0, "complete")
    assert fact["found"] == dict.fromkeys(EMOTIONS, 30)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing=/data"], "no database 'nothing'; known are affectnet,"),
        (["kdef"], "kdef=/path"),
        (["kdef="], "kdef=/path"),
        (["puppets=/data"], "lies nowhere"),
        (["kdef=/a", "kdef=/b"], "named twice"),
        (["--yaml"], "unrecognized"),
    ],
)
def test_wrong_usage_has_an_exit_code_of_its_own(arguments, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    told = capsys.readouterr()
    assert words in told.err
    assert told.out == ""


def test_a_section_that_breaks_is_told_and_hides_no_other(monkeypatch, answer):
    def broken():
        yield Fact("first", "there")
        raise AttributeError("no such thing")

    monkeypatch.setattr(command, "folders", broken)
    code, told = answer()
    assert [fact["name"] for fact in told["sections"]["folders"]] == ["first", "folders"]
    assert "no such thing" in told["sections"]["folders"][1]["detail"]
    assert code == 1
    assert told["sections"]["databases"]
    assert told["sections"]["devices"]


def test_what_is_known_is_printed_before_the_next_is_looked_at(monkeypatch, capsys):
    seen = []

    def late():
        seen.append(capsys.readouterr().out)
        yield Fact("torch", "there")

    monkeypatch.setattr(command, "devices", late)
    assert command.main([]) == 0
    assert "affectory prefetch yunet" in seen[0]
    assert "devices" in seen[0]


BROKEN = {
    "raises": "raise OSError('libcuda is not as it should be')",
    "crashes": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_torch_hides_nothing_where_no_home_and_no_file_can_be_written(place, how):
    (place / "broken").mkdir()
    (place / "broken" / "torch.py").write_text(BROKEN[how])
    done = subprocess.run(
        [sys.executable, "-m", "curation.cli", "doctor", "--json"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/proc/nowhere",
            "PYTHONPATH": os.pathsep.join([str(place / "broken"), str(ROOT)]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert "torch" in told["wrong"]
    facts = by_name(told["sections"]["devices"])
    assert facts["processor"]["cores"] >= 1
    assert facts["torch"]["state"] == "broken"
    if how == "raises":
        assert "libcuda is not as it should be" in facts["torch"]["detail"]
    cache = by_name(told["sections"]["folders"])["cache"]
    assert (cache["state"], cache["path"]) == ("not writable", "/proc/nowhere/.cache/affectory")
    assert len(told["sections"]["model files"]) == len(weights.KNOWN) + len(model_files.BUNDLED)


def torch_that_finds(number):
    """What `tell_torch` asks of torch, which takes seconds to load."""
    about = SimpleNamespace(name="Someone's GPU", total_memory=24 * 2**30)
    cuda = SimpleNamespace(
        device_count=lambda: number,
        get_device_properties=lambda index: about,
        is_bf16_supported=lambda including_emulation: False,
    )
    backends = SimpleNamespace(
        cpu=SimpleNamespace(get_cpu_capability=lambda: "AVX2"),
        mps=SimpleNamespace(is_available=lambda: False),
    )
    return SimpleNamespace(
        __version__="2.9.0",
        version=SimpleNamespace(cuda="13.0", hip=None),
        get_num_threads=lambda: 8,
        cuda=cuda,
        backends=backends,
    )


@pytest.mark.parametrize("number", [0, 2])
def test_every_gpu_that_torch_finds_is_told(number, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", torch_that_finds(number))
    devices.tell_torch()
    first, *gpus = (Fact(*item) for item in json.loads(capsys.readouterr().out))
    assert (first.name, first.detail, first.wrong) == ("torch", "2.9.0, 8 threads, AVX2", False)
    if number:
        assert [gpu.name for gpu in gpus] == ["gpu 0", "gpu 1"]
        assert gpus[1].detail == "Someone's GPU, 24 GiB, without bfloat16"
    else:
        assert [gpu.state for gpu in gpus] == ["none"]
        assert "built for CUDA 13.0, finds none" in gpus[0].detail


def in_hub(place, network, content, blob=None, name="model.safetensors"):
    """Put a file into the hub's cache as its client does: a link to a blob called by its hash."""
    folder = place / "hub" / f"models--timm--{network}"
    blob = folder / "blobs" / (blob or hashlib.sha256(content).hexdigest())
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link = folder / "snapshots" / "0123" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(blob)
    return link


def test_the_configuration_names_networks_of_timm(monkeypatch, tmp_path):
    assert hubs.named_in_configuration()["vit_small_patch14_dinov2.lvd142m"] == "features=dinov2"
    sheets = {
        "plain": {"network": {"_target_": "a.timm_network", "name": "vgg16", "pretrained": True}},
        "random": {"network": {"_target_": "a.timm_network", "name": "resnet18"}},
        "own": {
            "file": "a.pth",
            "parts": [{"_target_": "a.TimmModel", "model": "big", "weights": "${features.file}"}],
        },
        "taken": {"model": "tiny", "x": {"_target_": "a.TimmModel", "model": "${features.model}"}},
    }
    for name, content in sheets.items():
        write_json(tmp_path / f"{name}.yaml", content)  # JSON is YAML
    (tmp_path / "empty.yaml").touch()
    monkeypatch.setattr(hubs, "CONF", tmp_path)
    folder = tmp_path.name
    assert hubs.named_in_configuration() == {"vgg16": f"{folder}=plain", "tiny": f"{folder}=taken"}


def test_weights_in_the_hubs_cache_are_told_there_missing_or_damaged(place, monkeypatch, answer):
    named = {"dino.a": "features=dinov2", "gone.b": "features=gone", "vgg16": "classifier=vgg16"}
    monkeypatch.setattr(hubs, "named_in_configuration", lambda: named)
    in_hub(place, "dino.a", CONTENT)
    in_hub(place, "vgg16.tv_in1k", b"cut", blob="ab" * 32)
    in_hub(place, "other.c", b"another", name="pytorch_model.bin")
    in_hub(place, "other.c", b"{}", name="config.json")
    code, told = answer()
    facts = {fact["model"]: fact for fact in told["sections"]["weights of the hubs"]}
    assert (code, told["wrong"]) == (1, ["timm"])
    assert {name: fact["state"] for name, fact in facts.items()} == {
        "dino.a": "there",
        "gone.b": "missing",
        "vgg16.tv_in1k": "damaged",
        "other.c": "there",
    }
    assert facts["dino.a"]["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert "for features=dinov2" in facts["dino.a"]["detail"]
    assert facts["gone.b"]["way_out"] == "hf download timm/gone.b model.safetensors"
    assert str(place / "hub") in facts["gone.b"]["detail"]
    assert "ab" * 32 in facts["vgg16.tv_in1k"]["detail"]
    assert "features.model=other.c takes it" in facts["other.c"]["detail"]


def test_a_network_without_a_tag_is_fetched_by_timm(monkeypatch, answer):
    monkeypatch.setattr(hubs, "named_in_configuration", lambda: {"vgg16": "classifier=vgg16"})
    code, told = answer()
    (fact,) = told["sections"]["weights of the hubs"]
    assert (code, fact["state"]) == (0, "missing")
    assert "timm.create_model('vgg16', pretrained=True)" in fact["way_out"]


def test_checkpoints_of_torchs_hub_are_compared_with_their_names(place, answer):
    folder = place / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    names = {f"whole-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth": "there"}
    names |= {"cut-0123abcd.pth": "damaged", "no_hash.pt": "there"}
    for name in (*names, "notes.txt"):
        (folder / name).write_bytes(CONTENT)
    code, told = answer()
    facts = told["sections"]["weights of the hubs"]
    assert {each["model"]: each["state"] for each in facts if each["name"] == "torch hub"} == names
    assert code == 0  # nothing takes them unless somebody names one


def test_the_folder_of_torchs_hub_is_where_torch_looks(monkeypatch):
    monkeypatch.setenv("TORCH_HOME", "/elsewhere")
    assert hubs.torch_hub() == Path("/elsewhere/hub")
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert hubs.torch_hub() == Path("/caches/torch/hub")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert hubs.torch_hub() == Path.home() / ".cache/torch/hub"


@pytest.fixture
def models(place):
    """A GAN and a classifier as the pipeline leaves them."""
    gan, classifier = place / "out/small/gans/sad-1", place / "out/small/classifiers/gate-1"
    for folder in (gan, classifier):
        folder.mkdir(parents=True)
    (gan / "generator.safetensors").write_bytes(CONTENT)
    (gan / "metrics.csv").write_text("step\n")
    mark = hashlib.sha256(CONTENT).hexdigest()
    facts = {"facts": {"generator": mark[:20]}}
    write_json(gan / "gan.json", {"content": folder_hash(gan, without=""), **facts})
    for number in range(2):
        (classifier / f"fold-{number}.safetensors").write_bytes(CONTENT)
    members = {f"fold-{number}.safetensors": mark for number in range(2)}
    write_json(classifier / "recogniser.json", {"members": members})
    content = folder_hash(classifier, without="")
    write_json(classifier / "classifier.json", {"content": content})
    return gan, classifier


def test_trained_models_are_told_with_their_hashes(place, models, answer):
    (place / "out/small/gans/.sad-2.partial").mkdir()
    (place / "out/small/gans/.sad-2.partial/generator.safetensors").touch()
    code, told = answer()
    facts = told["sections"]["trained models"]
    assert code == 0
    assert [(fact["name"], fact["state"]) for fact in facts] == [("small", "as its card")] * 2
    mark = hashlib.sha256(CONTENT).hexdigest()
    assert facts[0]["sha256"] == {"fold-0.safetensors": mark, "fold-1.safetensors": mark}
    assert facts[1]["detail"] == f"gans/sad-1: generator.safetensors {mark[:20]}"


CHANGES = {
    "generator": ("differs", "its card has generator.safetensors"),
    "sheet": ("differs", "other files in it are not those of gan.json"),
    "member": ("differs", "its card has fold-1.safetensors"),
    "lost": ("damaged", "fold-1.safetensors"),
    "card": ("damaged", "JSONDecodeError"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_trained_model_that_is_not_as_its_card_says_is_wrong(models, change, answer):
    gan, classifier = models
    if change == "generator":
        (gan / "generator.safetensors").write_bytes(CONTENT + b"!")
    elif change == "sheet":
        (gan / "metrics.csv").write_text("step\n1\n")
    elif change == "member":
        (classifier / "fold-1.safetensors").write_bytes(CONTENT + b"!")
    elif change == "lost":
        (classifier / "fold-1.safetensors").unlink()
    else:
        (classifier / "recogniser.json").write_text("{")
    code, told = answer()
    assert (code, told["wrong"]) == (1, ["small"])
    (fact,) = [each for each in told["sections"]["trained models"] if each["wrong"]]
    state, words = CHANGES[change]
    assert fact["state"] == state
    assert words in fact["detail"]
    assert "put back a copy, or delete" in fact["way_out"]


def test_an_imported_gan_has_no_card_and_is_not_wrong(models, answer):
    gan, _ = models
    (gan / "gan.json").unlink()
    code, told = answer()
    assert (code, told["sections"]["trained models"][1]["state"]) == (0, "no card")


def test_without_a_trained_model_the_folder_is_named(place, answer):
    _, told = answer()
    (fact,) = told["sections"]["trained models"]
    assert (fact["state"], fact["detail"]) == ("none", f"no trained model below {place / 'out'}")
