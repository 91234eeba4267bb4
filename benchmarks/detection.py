"""How many faces the detectors find, how exact their landmarks are, and how long they take.

    python benchmarks/detection.py PHOTOS [--yunet MODEL] [--limit 100]

PHOTOS is a folder of pictures, one upright face on each. Found is the share with a face. Scatter is
the deviation of a landmark over four small turns, shifts and sizes of one picture, in distances
between the eyes: it needs no true landmarks, and says nothing of errors that are always the same.
Milliseconds are of one thread; the detectors take turns.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from curation.detect import EyeCascades, Face, Haar, WholePicture, YuNet, choose_face
from curation.ingest import read_image

CASCADES = [f"haarcascade_frontalface_{name}.xml" for name in ("default", "alt2", "alt")]
Find = Callable[[np.ndarray], Face | str]


def finder(detector: Callable[[np.ndarray], list[Face]], eyes: EyeCascades | None = None) -> Find:
    """Return what finds a picture's one face, with its eyes where a finder is given."""

    def find(picture: np.ndarray) -> Face | str:
        face = choose_face(detector(picture), picture)
        if eyes is None or isinstance(face, str):
            return face
        face = eyes(picture, face)
        return face if face.landmarks is not None else "eyes not found"

    return find


def variants(picture: np.ndarray, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return four slightly moved copies, each with the (2, 3) way back."""
    height, width = picture.shape[:2]
    made = []
    for _ in range(4):
        move = cv2.getRotationMatrix2D(
            (width / 2, height / 2), rng.uniform(-6, 6), rng.uniform(0.9, 1.05)
        )
        move[:, 2] += rng.uniform(-8, 8, 2)
        moved = cv2.warpAffine(
            picture, move, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        made.append((moved, cv2.invertAffineTransform(move)))
    return made


def main() -> None:
    """Measure and print one line for each detector."""
    parser = argparse.ArgumentParser(description="Compare the face detectors.")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--yunet", type=Path, help="model file; default: the one in the cache")
    parser.add_argument("--limit", type=int, default=100)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    kinds = {".jpg", ".jpeg", ".png"}
    paths = sorted(p for p in arguments.photos.rglob("*") if p.suffix.lower() in kinds)
    paths = paths[:: max(1, len(paths) // arguments.limit)]
    model, eyes = arguments.yunet, EyeCascades()
    finders: dict[str, Find] = {
        "yunet": finder(YuNet(model=model)),
        "yunet 160": finder(YuNet(model=model, sides=[160], refine_side=None)),
        "yunet 320": finder(YuNet(model=model, sides=[320], refine_side=None)),
        "yunet 640": finder(YuNet(model=model, sides=[640], refine_side=None)),
        "haar": finder(Haar(cascades=CASCADES)),
        "haar + eyes": finder(Haar(cascades=CASCADES), eyes),
        "none + eyes": finder(WholePicture(), eyes),
    }
    found = dict.fromkeys(finders, 0)
    seconds = dict.fromkeys(finders, 0.0)
    scatter: dict[str, list[float]] = {name: [] for name in finders}
    rng = np.random.default_rng(0)
    for path in paths:
        picture = read_image(path)
        moved = variants(picture, rng)
        for name, find in finders.items():
            started = time.perf_counter()
            face = find(picture)
            seconds[name] += time.perf_counter() - started
            if isinstance(face, str):
                continue
            found[name] += 1
            if face.landmarks is None:
                continue
            known = np.isfinite(face.landmarks[:, 0])
            apart = np.linalg.norm(face.landmarks[1] - face.landmarks[0])
            back = [
                other.landmarks[known] @ way[:, :2].T + way[:, 2]
                for other, way in ((find(copy), way) for copy, way in moved)
                if not isinstance(other, str) and other.landmarks is not None
            ]
            if len(back) > 1:
                off = np.linalg.norm(back - np.mean(back, axis=0), axis=2)  # (copies, points)
                deviation = np.sqrt((off**2).sum(0) / (len(back) - 1))
                scatter[name].append(float(deviation.mean() / apart))
    print(f"{len(paths)} pictures")
    for name in finders:
        line = f"{name:12s} found {found[name] / len(paths):6.1%}"
        line += f" {1000 * seconds[name] / len(paths):6.1f} ms"
        if scatter[name]:
            median, high = np.percentile(scatter[name], [50, 95])
            line += f"  scatter median {median:.3f}, 95 % {high:.3f} (n = {len(scatter[name])})"
        print(line)


if __name__ == "__main__":
    main()
