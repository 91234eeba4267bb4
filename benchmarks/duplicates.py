"""How fast near-duplicates are found: ``python benchmarks/duplicates.py [folder of cleanvision]``.

Ours beside cleanvision's perceptual hash, on one corpus of faces of the embedded database with
planted duplicates. Both read the same Parquet file and decode its pictures; what counts is
processor time, in interleaved rounds. Ours runs as `affectory inspect` does, and once more with its
first step drawn so narrow that it finds about as many as cleanvision. That is measured where it is
installed, or lies in a folder that is given (``pip install --no-deps --target FOLDER cleanvision
imagehash PyWavelets tabulate matplotlib cycler contourpy fonttools kiwisolver``).
"""

import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import datasets
import numpy as np
from PIL import Image

from curation.corpus import Corpus, decode_png, write_corpus
from curation.inspection.reading import Reader
from curation.inspection.twins import CLOSE, find_twins
from curation.puppets import render

PEOPLE, PLANTED, ROUNDS, SIDE = 400, 60, 5, 64
EMOTIONS = ("happy", "sad", "surprise", "angry", "neutral")
KINDS = {
    "JPEG, quality 75": lambda face: jpeg(face, 75),
    "JPEG, quality 40": lambda face: jpeg(face, 40),
    "half the size and back": lambda face: cv2.resize(
        cv2.resize(face, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), (SIDE, SIDE)
    ),
    "a tenth brighter": lambda face: np.clip(face * 1.1, 0, 255).astype(np.uint8),
    "mirrored": lambda face: np.ascontiguousarray(face[:, ::-1]),
}
AS_FEW = 0.02  # distance of patterns within which ours finds about as many as cleanvision
Pairs = set[tuple[int, int]]


def jpeg(face: np.ndarray, quality: int) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB as JPEG leaves it."""
    data = cv2.imencode(".jpg", face[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]


def make(out: Path) -> dict[str, Pairs]:
    """Write the corpus; return the planted pairs of rows of each kind."""
    # the face without the background, as a standardised corpus has it
    faces = [
        cv2.resize(face[12:56, 10:54], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        for who in range(1, PEOPLE + 1)
        for emotion in EMOTIONS
        for face in [render("studio", who, 1, emotion, size=64)]
    ]
    generator = np.random.default_rng(0)
    rows = [(face, f"s{place // len(EMOTIONS)}") for place, face in enumerate(faces)]
    planted: dict[str, Pairs] = {}
    for kind, change in KINDS.items():
        chosen = generator.choice(len(faces), PLANTED, replace=False)
        planted[kind] = set()
        for place in chosen.tolist():
            planted[kind].add((place, len(rows)))
            rows.append((change(faces[place]), rows[place][1]))
    write_corpus(
        (
            {"image": np.ascontiguousarray(face), "emotion": "happy", "split": "train"}
            | {"origin": "real", "subject": who}
            for face, who in rows
        ),
        out,
    )
    return planted


def ours(folder: Path, close: float = CLOSE) -> Pairs:
    """Find near-duplicates as `affectory inspect` does."""
    reader = Reader(folder)
    survey = reader.survey(threads=1)
    found = find_twins(
        survey.patterns,
        survey.greys,
        reader.facts,
        close=close,
        most=100_000,
        most_checked=200_000,
    )
    return {(pair.first, pair.second) for pairs in found.pairs.values() for pair in pairs}


def cleanvision(folder: Path, cache: Path) -> Pairs:
    """Find near-duplicates with cleanvision's defaults: equal perceptual hashes."""
    from cleanvision import Imagelab  # type: ignore[import-not-found]

    paths: list[Any] = [str(shard) for shard in Corpus(folder).shards]
    data = datasets.Dataset.from_parquet(paths, cache_dir=str(cache))
    lab = Imagelab(hf_dataset=data, image_key="image")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        lab.find_issues({"near_duplicates": {}}, n_jobs=1)
    sets = lab.info["near_duplicates"]["sets"]
    return {pair for group in sets for pair in combinations(sorted(group), 2)}


def processor_time(way: Callable[[], object]) -> float:
    """Return the seconds of processor time that a call takes."""
    started = time.process_time()
    way()
    return time.process_time() - started


def main() -> None:
    """Print recall of each kind, other pairs, and pictures a core-second."""
    sys.path += sys.argv[1:]
    cv2.setNumThreads(1)
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "corpus")
        folder.mkdir()
        planted = make(folder)
        count = len(Corpus(folder))
        ways = {
            "ours": lambda: ours(folder),
            f"ours within {AS_FEW}": lambda: ours(folder, AS_FEW),
        }
        try:
            import cleanvision as _  # noqa: F401  # type: ignore[import-not-found]

            ways["cleanvision"] = lambda: cleanvision(folder, Path(place, "cache"))
        except ImportError:
            print("cleanvision is not here: pip install --target <folder> cleanvision")
        encoded = [row["image"] for row in Corpus(folder).rows()]
        decoders = {
            "ours": lambda: [decode_png(data) for data in encoded],
            "cleanvision": lambda: [Image.open(io.BytesIO(data)).load() for data in encoded],
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        decoding: dict[str, list[float]] = {name: [] for name in decoders}
        found: dict[str, Pairs] = {}
        for _round in range(ROUNDS + 1):
            for name, way in decoders.items():
                decoding[name].append(processor_time(way))
            for name, way in ways.items():
                started = time.process_time()
                found[name] = way()
                seconds[name].append(time.process_time() - started)
    print(f"{count} faces of {SIDE} px, {os.environ.get('OMP_NUM_THREADS', 'many')} threads")
    every = set.union(*planted.values())
    # the first round imports and warms up
    median = {name: float(np.median(times[1:])) for name, times in seconds.items()}
    decoded = {name: float(np.median(times[1:])) for name, times in decoding.items()}
    of = {name: "cleanvision" if name == "cleanvision" else "ours" for name in ways}
    for name, pairs in found.items():
        spent = f"{median[name]:.2f} s, {decoded[of[name]]:.2f} of them decoding"
        print(f"{name}: {count / median[name]:,.0f} pictures a core-second ({spent})")
        print(f"    planted pairs: {len(every & pairs)} of {len(every)}, ", end="")
        print(", ".join(f"{kind} {len(own & pairs)}" for kind, own in planted.items()))
        print(f"    pairs that nobody planted: {len(pairs - every)}")
    for name in ways if "cleanvision" in ways else ():
        if name != "cleanvision":
            ratios = np.array(seconds["cleanvision"][1:]) / np.array(seconds[name][1:])
            spread = f"{ratios.min():.1f} to {ratios.max():.1f}"
            rest = [median[way] - decoded[of[way]] for way in ("cleanvision", name)]
            print(
                f"{name}: {np.median(ratios):.1f} times as fast as cleanvision ({spread}), ", end=""
            )
            print(f"{rest[0] / rest[1]:.1f} times without decoding")


if __name__ == "__main__":
    main()
