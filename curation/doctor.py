"""The command ``affectory doctor``: what is there, what is missing, and how to get it.

Each section yields facts, which are printed as they are found. Nothing is fetched, and nothing is
written but an unnamed file for a moment, to see whether a folder takes one. What a section needs
is imported by it alone, so that a broken package hides no other section.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from curation.cli import CONF

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PURPOSES = {
    "tensorboard": "curves of a training in TensorBoard: +gan/loggers=tensorboard",
    "wandb": "curves of a training in Weights & Biases: +gan/loggers=wandb",
    "mlflow": "curves of a training in MLflow: +gan/loggers=mlflow",
    "onnx": "recognisers and generators in ONNX files: affectory export, watch; features=onnx",
    "faiss": "approximate nearest neighbours among very many faces",
    "hygiene": "doubtful labels: affectory check_labels",
    "cluster": "multiruns on a cluster, or in parallel: hydra/launcher=submitit_slurm or joblib",
    "dev": "tests, style and types",
}
# no extras, since pip would put other versions of torch or OpenCV in place of ours; any of the
# packages will do
BY_HAND = (
    (("facenet-pytorch",), "detector=mtcnn", "pip install --no-deps facenet-pytorch"),
    (
        ("albumentations", "albumentationsx"),
        "augment=albumentations",
        "pip install albumentationsx",
    ),
)
BUNDLED = (
    "haarcascade_frontalface_default.xml",
    "haarcascade_frontalface_alt.xml",
    "haarcascade_frontalface_alt2.xml",
    "haarcascade_eye.xml",
    "haarcascade_eye_tree_eyeglasses.xml",
)
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
TORCH_SECONDS = 180
NOT_INSTALLED = "not installed"


class Fact(NamedTuple):
    """One line of the answer.

    Attributes:
        name: Of what there is, or should be.
        state: In a word or two.
        detail: What is known of it.
        way_out: What to do about it.
        wrong: Whether something that was asked for, or that everything needs, is not as it must be.
        figures: The same for machines.
    """

    name: str
    state: str
    detail: str = ""
    way_out: str = ""
    wrong: bool = False
    figures: Mapping[str, Any] = {}


def main(arguments: Sequence[str]) -> int:
    """Say what is there and what is missing.

    Args:
        arguments: ``database=root`` of databases to count, and ``--json``.

    Returns:
        0 if all is well; 1 if a database that is named is not complete, a model file is damaged,
        or a required package is missing or out of its range.
    """
    parser = argparse.ArgumentParser(
        prog="affectory doctor",
        description="Say which packages, model files, folders, databases and devices are there, "
        "what is missing, and how to get it. Fetches nothing.",
    )
    parser.add_argument(
        "database",
        nargs="*",
        help="a database to count, and where it lies: kdef=/data/KDEF_and_AKDEF",
    )
    parser.add_argument("--json", action="store_true", help="for machines: one JSON object")
    options = parser.parse_args(list(arguments))
    try:
        roots = _roots(options.database)
    except ValueError as error:
        parser.error(str(error))
    sections: dict[str, Callable[[], Iterator[Fact]]] = {
        "versions": versions,
        "optional packages": extras,
        "model files": model_files,
        "folders": folders,
        "databases": partial(counts, roots) if roots else databases,
        "devices": devices,  # last: torch is the slowest to load, and the likeliest to be broken
    }
    answer: dict[str, list[dict[str, Any]]] = {}
    wrong = []
    for title, section in sections.items():
        if not options.json:
            _say(title)
        answer[title] = []
        for fact in _guarded(title, section):
            facts = fact._asdict()
            answer[title].append(facts.pop("figures") | facts)
            wrong += [fact.name] if fact.wrong else []
            if not options.json:
                _say(_shown(fact))
        if not options.json:
            _say("")
    if options.json:
        _say(json.dumps({"ok": not wrong, "wrong": wrong, "sections": answer}, indent=2))
    else:
        _say(f"wrong: {', '.join(wrong)}" if wrong else "all that must be there is there")
    return 1 if wrong else 0


def versions() -> Iterator[Fact]:
    """Yield Python and the required packages, against the ranges that this package states."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        about = metadata.metadata("affectory")
    except metadata.PackageNotFoundError:
        yield Fact(
            "affectory",
            NOT_INSTALLED,
            "so nothing states the ranges of its packages",
            "pip install -e . in its folder",
            wrong=True,
        )
        return
    yield Fact("affectory", "there", about["Version"], figures={"version": about["Version"]})
    python = platform.python_version()
    wanted = about["Requires-Python"] or ""
    fits = SpecifierSet(wanted).contains(python, prereleases=True)
    yield Fact(
        "python",
        "there" if fits else "out of range",
        f"{python} ({wanted}), {sys.executable}",
        "" if fits else f"a Python {wanted}",
        wrong=not fits,
        figures={"version": python, "range": wanted},
    )
    for requirement in map(Requirement, metadata.requires("affectory") or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            state, version = _installed(requirement)
            yield Fact(
                requirement.name,
                state,
                f"{version or ''} ({requirement.specifier})".strip(),
                "" if state == "there" else f"pip install '{_plain(requirement)}'",
                wrong=state != "there",
                figures={"version": version, "range": str(requirement.specifier)},
            )


def extras() -> Iterator[Fact]:
    """Yield the optional extras, and packages installed by hand: there or not, and what for."""
    from packaging.requirements import Requirement

    try:
        names = metadata.metadata("affectory").get_all("Provides-Extra") or []
        requirements = [Requirement(text) for text in metadata.requires("affectory") or []]
    except metadata.PackageNotFoundError:  # `versions` says so
        names, requirements = [], []
    for name in names:
        found = {
            each.name: _installed(each)
            for each in requirements
            if each.marker
            and each.marker.evaluate({"extra": name})
            and not each.marker.evaluate({"extra": ""})
            and each.name != "affectory"  # another extra, which has a line of its own
        }
        states = {state for state, _ in found.values()}
        state = next((one for one in ("out of range", NOT_INSTALLED) if one in states), "there")
        packages = {package: version for package, (_, version) in found.items()}
        told = ", ".join(
            f"{package} {version or 'missing'}" for package, version in packages.items()
        )
        purpose = PURPOSES.get(name, "")
        yield Fact(
            name,
            state,
            purpose if states == {NOT_INSTALLED} else f"{purpose} ({told})".strip(),
            "" if state == "there" else f"pip install 'affectory[{name}]'",
            figures={"packages": packages},
        )
    for packages, purpose, command in BY_HAND:
        found = {package: version for package in packages if (version := _version(package))}
        told = ", ".join(f"{package} {version}" for package, version in found.items())
        yield Fact(
            packages[0],
            "there" if found else NOT_INSTALLED,
            f"{purpose} ({told})" if found else purpose,
            "" if found else command,
            figures={"packages": found},
        )


def model_files() -> Iterator[Fact]:
    """Yield the model files that can be fetched, and those that come with OpenCV, with hashes."""
    from curation.artifact import file_hash
    from curation.weights import KNOWN, cached, find

    for weights in KNOWN:
        command = f"affectory prefetch {weights.name}"
        figures = {"file": weights.file, "sha256": weights.sha256, "bytes": weights.size}
        about = f"{weights.file}, {weights.size:,} bytes, {weights.licence}"
        wanted = f"SHA-256 {weights.sha256}"
        try:
            path = find(weights, key="")
        except (FileNotFoundError, RuntimeError):
            try:
                command += f", or copy the file to {cached(weights)}"
            except (FileNotFoundError, RuntimeError) as error:  # no home
                command += f"; {error}"
            yield Fact(
                weights.name,
                "missing",
                f"{about}, {wanted}",
                f"{command} ({weights.url})",
                figures=figures,
            )
        except (ValueError, OSError) as error:
            damaged = isinstance(error, ValueError)
            yield Fact(
                weights.name,
                "damaged" if damaged else "unreadable",
                f"{about}, {wanted} wanted; {cached(weights)} "
                + (f"has {file_hash(cached(weights))}" if damaged else f"({error})"),
                command if damaged else "let yourself read it, or AFFECTORY_CACHE=/path",
                wrong=True,
                figures={**figures, "path": str(cached(weights))},
            )
        else:
            yield Fact(
                weights.name,
                "there",
                f"{about}, {wanted}, {path}",
                figures={**figures, "path": str(path)},
            )
    spec = util.find_spec("cv2")  # found, not loaded
    data = Path(spec.origin).parent / "data" if spec and spec.origin else None
    for name in BUNDLED:
        path = data / name if data else None
        if path and path.is_file():
            digest = file_hash(path)
            yield Fact(
                "opencv-python",
                "there",
                f"{name}, SHA-256 {digest}",
                figures={"file": name, "sha256": digest, "path": str(path)},
            )
        else:
            yield Fact(
                "opencv-python",
                "missing",
                f"{name}, which it brings before its version 5",
                "pip install --force-reinstall --no-deps 'opencv-python>=4.12,<5'",
                wrong=True,
                figures={"file": name},
            )


def folders() -> Iterator[Fact]:
    """Yield the folders that are written to: whether they can be, and the space left."""
    from curation.weights import cache_folder

    try:
        yield _folder("cache", cache_folder(), "another folder: AFFECTORY_CACHE=/path")
    except (FileNotFoundError, RuntimeError) as error:  # no home
        yield Fact("cache", "unknown", str(error), "AFFECTORY_CACHE=/path")
    yield _folder("out", Path("out").absolute(), "another folder: out=/path")


def databases() -> Iterator[Fact]:
    """Yield the databases that can be read, with the first sentence of their terms."""
    from curation.licences import RECORDS, read_licences

    known = read_licences([RECORDS])
    for name in _options():
        licence = _terms(name, known)
        yield Fact(
            name,
            "",
            licence.terms.split(". ")[0].strip().rstrip(".") + ".",
            figures={
                "key": _key(name),
                "licence": licence.name,
                "terms": licence.terms.strip(),
                "redistribute": licence.redistribute,
                "url": licence.url,
            },
        )
    yield Fact("to count one", "", "affectory doctor kdef=/data/KDEF_and_AKDEF ckplus=/data/CK+")


def counts(roots: Mapping[str, str]) -> Iterator[Fact]:
    """Yield the databases that are named: found against expected by label, and their terms."""
    from curation.licences import RECORDS, read_licences

    known = read_licences([RECORDS])
    for name, root in roots.items():
        licence = _terms(name, known)
        yield _count(name, root, ", ".join(filter(None, (licence.url, licence.contact))))
        yield Fact(
            "  its licence",
            "free" if licence.redistribute else "not passed on",
            f"{licence.name}. {licence.terms.strip()} {licence.url}".strip(),
            figures={"terms": licence.terms.strip(), "redistribute": licence.redistribute},
        )


def _count(name: str, root: str, source: str) -> Fact:
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from curation.ingest import count

    key = _key(name)
    try:
        place = Path(root).expanduser().absolute()
        if key and not place.exists():  # asked here: a name would be looked up on the hub
            return Fact(name, "missing", f"there is no {place}", f"get it: {source}", wrong=True)
        with initialize_config_dir(str(CONF), version_base="1.3"):
            settings = compose("config", overrides=[f"database={name}"])
        database = instantiate(settings.database, _partial_=True)(**({key: place} if key else {}))
        facts = count(database)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        return Fact(name, "unreadable", str(error), wrong=True)  # which says what it should hold
    found, expected, missing = facts["found"], facts["expected"], facts["missing"]
    labels = sorted({*found, *expected})
    told = ", ".join(
        f"{label} {found.get(label, 0):,}"
        + (f" of {expected[label]:,}" if label in expected else "")
        for label in labels
    )
    reasons: dict[str, list[str]] = {}
    for place_of, reason, _ in facts["skipped"]:
        reasons.setdefault(reason, []).append(place_of)
    left_out = "".join(
        f"; {len(places):,} × {reason}, the first {places[0]}" for reason, places in reasons.items()
    )
    if any(short > 0 for short in missing.values()):
        state = "incomplete"
    elif missing:
        state = "too many"
    else:
        state = "complete" if expected else "there"
    return Fact(
        name,
        state,
        f"{sum(found.values()):,} pictures: {told}{left_out}",
        f"get what is missing: {source}" if state == "incomplete" else "",
        wrong=bool(missing),
        figures={
            "root": root,
            "found": found,
            "expected": expected,
            "missing": missing,
            "skipped": {reason: len(places) for reason, places in reasons.items()},
        },
    )


def devices() -> Iterator[Fact]:
    """Yield the processor, and what torch finds, which another process asks it."""
    yield _processor()
    # a torch that crashes or hangs must not take this process with it
    code = "from curation.doctor import tell_torch; tell_torch()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    reinstall = "pip install --force-reinstall torch, as https://pytorch.org/get-started says"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TORCH_SECONDS,
            check=False,
        )
        last = (done.stdout.strip().splitlines() or [""])[-1]
        facts = [Fact(*item) for item in json.loads(last)] if done.returncode == 0 else None
    except (subprocess.TimeoutExpired, ValueError) as error:
        yield Fact("torch", "broken", str(error), reinstall, wrong=True)
        return
    if facts is None:
        words = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
        yield Fact("torch", "broken", words, reinstall, wrong=True)
        return
    yield from facts


def tell_torch() -> None:
    """Print what torch finds, as a line of JSON; `devices` runs this in a process of its own."""
    import torch

    facts = [
        Fact(
            "torch",
            "there",
            f"{torch.__version__}, {torch.get_num_threads()} threads, "
            f"{torch.backends.cpu.get_cpu_capability()}",
        )
    ]
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        memory = about.total_memory / 2**30
        facts.append(
            Fact(
                f"gpu {index}",
                "there",
                f"{about.name}, {memory:.0f} GiB, {'with' if native else 'without'} bfloat16",
                figures={"memory_bytes": about.total_memory, "bfloat16": native},
            )
        )
    if torch.backends.mps.is_available():
        facts.append(Fact("gpu", "there", "Apple's, through Metal"))
    if len(facts) == 1:
        cuda, rocm = torch.version.cuda, torch.version.hip
        built = f"CUDA {cuda}" if cuda else f"ROCm {rocm}" if rocm else "no GPU"
        words = f"torch, built for {built}, finds none"
        facts.append(Fact("gpu", "none", f"{words}; everything runs on the processor"))
    _say(json.dumps(facts))


def _processor() -> Fact:
    """Return the processor: its name, the cores that this process may use, and its features."""
    lines: dict[str, str] = {}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            key, _, value = line.partition(":")
            lines.setdefault(key.strip(), value.strip())
    except OSError:  # not Linux
        pass
    own = {*lines.get("flags", "").split(), *lines.get("Features", "").split()}
    features = [name for name in FEATURES if name in own]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = lines.get("model name") or platform.processor() or platform.machine()
    if {"avx512_bf16", "amx_bf16", "bf16"} & own:
        half = "computes in bfloat16"
    else:
        half = "no bfloat16" if own else "features unknown here"
    return Fact(
        "processor",
        "there",
        f"{name}, {cores} cores, {half}" + (f" ({', '.join(features)})" if features else ""),
        figures={"cores": cores, "features": features},
    )


def _folder(name: str, folder: Path, way_out: str) -> Fact:
    """Try the folder, or the nearest one above it that is there."""
    nearest = folder
    try:
        while not nearest.exists():
            nearest = nearest.parent
        with tempfile.TemporaryFile(dir=nearest):
            pass
        free = shutil.disk_usage(nearest).free
    except OSError as error:
        reason = error.strerror or error
        return Fact(
            name, "not writable", f"{folder} ({reason})", way_out, figures={"path": str(folder)}
        )
    return Fact(
        name,
        "writable",
        f"{folder}, {free / 2**30:,.1f} GiB free",
        figures={"path": str(folder), "free_bytes": free},
    )


def _roots(arguments: Sequence[str]) -> dict[str, str]:
    """Return database → root ("" for one that is drawn by code), or raise ValueError."""
    roots: dict[str, str] = {}
    for argument in arguments:
        name, _, root = argument.partition("=")
        if name not in _options():
            raise ValueError(f"no database {name!r}; known are {', '.join(_options())}")
        key = _key(name)
        if key and not root:
            raise ValueError(f"{name} needs to know where it lies: {name}=/path")
        if root and not key:
            raise ValueError(f"{name} is drawn by code and lies nowhere; write {name} alone")
        if name in roots:
            raise ValueError(f"{name} is named twice")
        roots[name] = root
    return roots


def _options() -> list[str]:
    return sorted(path.stem for path in (CONF / "database").glob("*.yaml"))


def _key(name: str) -> str | None:
    """Return the key that says where a database lies; None for one that is drawn by code."""
    import yaml

    settings = yaml.safe_load((CONF / "database" / f"{name}.yaml").read_text(encoding="utf-8"))
    return next((key for key, value in settings.items() if value == "???"), None)


def _terms(name: str, known: Mapping[str, Any]) -> Any:
    from curation.licences import unknown_licence

    # puppets stand in records by their style: puppets_studio
    styles = (licence for other, licence in known.items() if other.startswith(f"{name}_"))
    return known.get(name) or next(styles, None) or unknown_licence(name)


def _installed(requirement: "Requirement") -> tuple[str, str | None]:
    """Return a package's state and version."""
    from packaging.version import InvalidVersion

    version = _version(requirement.name)
    if version is None:
        return NOT_INSTALLED, None
    try:
        fits = requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        fits = False
    return "there" if fits else "out of range", version


def _version(package: str) -> str | None:
    try:
        return metadata.version(package) or None  # none: what a broken installation left
    except (metadata.PackageNotFoundError, KeyError):
        return None


def _plain(requirement: "Requirement") -> str:
    return f"{requirement.name}{requirement.specifier}"


def _guarded(title: str, section: Callable[[], Iterator[Fact]]) -> Iterator[Fact]:
    try:
        yield from section()
    except Exception as error:  # whatever is broken here, the other sections are wanted too
        yield Fact(title, "failed", f"{type(error).__name__}: {error}", wrong=True)


def _shown(fact: Fact) -> str:
    width = max(shutil.get_terminal_size((100, 24)).columns, 60)
    # paths, commands and hashes are copied from here
    wrap = partial(textwrap.fill, width=width, break_long_words=False, break_on_hyphens=False)
    head = f"  {fact.name:<15} " + (f"{fact.state:<13} " if fact.state else "")
    text = wrap(fact.detail, initial_indent=head, subsequent_indent=" " * 32) or head.rstrip()
    if fact.way_out:
        text += "\n" + wrap(fact.way_out, initial_indent="    → ", subsequent_indent=" " * 6)
    return text


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  the command's own words go to standard output
