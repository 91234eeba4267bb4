"""Model files: those that can be fetched, and those that come with OpenCV, by their SHA-256."""

from collections.abc import Iterator
from importlib import util
from pathlib import Path

from curation.doctor.facts import Fact

BUNDLED = (
    "haarcascade_frontalface_default.xml",
    "haarcascade_frontalface_alt.xml",
    "haarcascade_frontalface_alt2.xml",
    "haarcascade_eye.xml",
    "haarcascade_eye_tree_eyeglasses.xml",
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
