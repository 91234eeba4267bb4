"""Packages: those that are required, and the optional ones, against the ranges that are stated."""

import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from curation.doctor.facts import Fact

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PURPOSES = {
    "tensorboard": "curves of a training in TensorBoard: +gan/loggers=tensorboard",
    "wandb": "curves of a training in Weights & Biases: +gan/loggers=wandb",
    "mlflow": "curves of a training in MLflow: +gan/loggers=mlflow",
    "onnx": "recognisers and generators in ONNX files: affectory export, watch; features=onnx",
    "faiss": "approximate nearest neighbours among very many faces",
    "hygiene": "doubtful labels: affectory check_labels",
    "explain": "maps of what a recogniser judges by: affectory explain, and the report",
    "shrink": "networks with channels cut away: classifier=pruned, experiment=shrink",
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
NOT_INSTALLED = "not installed"


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
