"""How fast faces are standardised on one core, beside others: ``python benchmarks/standardise.py``.

All ways see the same JPEG files, in turns, in one process with one thread. Ours ends with a PNG in
a file's bytes; MTCNN only decodes and finds, and the three plain steps are told where the eyes are.
"""

import argparse
import contextlib
import multiprocessing
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from curation.align import BoxFrame, EyeFrame, eyes_of
from curation.corpus import EMOTIONS, content_id, encode_png, write_corpus
from curation.detect import Detector, Haar, WholePicture, YuNet, choose_face
from curation.ingest import read_image
from curation.puppets import STYLES, render
from curation.standardise import Clahe, Standard, UnusableFaceError, standardise

Way = Callable[[Path], bool]
CASCADES = ("default", "alt2", "alt")
PRINTED = 0.0907  # seconds an image, van der Weel 2019, section 7.4, images of 548 px on average


def ours(standard: Standard) -> Way:
    """Decode, detect, turn, cut, equalise, measure, name, encode."""

    def way(path: Path) -> bool:
        try:
            face = standard(read_image(path))
        except UnusableFaceError:
            return False
        content_id(face.image)
        return len(encode_png(face.image)) > 0

    return way


def finds(detector: Detector) -> Way:
    """Decode and detect with landmarks: as much of the way as MTCNN goes here."""

    def way(path: Path) -> bool:
        image = read_image(path)
        return not isinstance(choose_face(detector(image), image), str)

    return way


def mtcnn(min_face_size: int) -> Way | None:
    """facenet-pytorch's MTCNN: decode and detect with landmarks; None if not installed."""
    try:
        import torch
        from facenet_pytorch import MTCNN  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    torch.set_num_threads(1)
    network = MTCNN(min_face_size=min_face_size, device="cpu")
    return lambda path: network.detect(Image.open(path).convert("RGB"))[0] is not None


def plain_steps(eyes: dict[Path, np.ndarray], size: int) -> Way:
    """The three steps one after the other on the whole picture, with the eyes already known."""

    def way(path: Path) -> bool:
        image = cv2.imread(str(path))
        lab = cv2.cvtColor(image, cv2.COLOR_BGR2LAB)
        lab[..., 0] = cv2.createCLAHE(2.0, (8, 8)).apply(lab[..., 0])
        image = cv2.cvtColor(lab, cv2.COLOR_LAB2BGR)
        if path not in eyes:
            return False
        (left, top), (right, bottom) = eyes[path].tolist()
        x, y = (left + right) / 2, (top + bottom) / 2
        distance = float(np.hypot(right - left, bottom - top))
        angle = float(np.degrees(np.arctan2(bottom - top, right - left)))
        turn = cv2.getRotationMatrix2D((x, y), angle, 1.0)
        image = cv2.warpAffine(image, turn, image.shape[1::-1], flags=cv2.INTER_LINEAR)
        rows = slice(max(0, round(y - 1.3 * distance)), round(y + 3.2 * distance))
        columns = slice(max(0, round(x - 1.7 * distance)), round(x + 1.7 * distance))
        face = cv2.resize(image[rows, columns], (size, size), interpolation=cv2.INTER_AREA)
        return bool(cv2.imencode(".png", face)[0])

    return way


def drawn(folder: Path, count: int) -> None:
    """Draw pictures of the embedded database, 350 px, as JPEG."""
    for number in range(count):
        emotion = EMOTIONS[number % 7]
        picture = render(STYLES[number % 3], number // 7 + 1, 1, emotion, size=256, difficulty=0.4)
        large = Image.fromarray(picture).resize((350, 350), Image.Resampling.BICUBIC)
        large.save(folder / f"{number:04d}.jpg", quality=90)


def compare(ways: dict[str, Way], paths: Sequence[Path], rounds: int) -> None:
    """Print images a second of each way; all take turns, since machines have moods."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    done = dict.fromkeys(ways, 0)
    for way in ways.values():  # models are loaded
        way(paths[0])
    for turn in range(rounds):
        part = paths[turn::rounds]
        for name, way in ways.items():
            started = time.process_time()
            done[name] += sum(way(path) for path in part)
            seconds[name].append((time.process_time() - started) / len(part))
    first = next(iter(ways))
    print(f"{len(paths)} pictures in {rounds} rounds, one core; ratios are medians over rounds")
    for name, spent in seconds.items():
        ratio = float(np.median(np.array(spent) / seconds[first]))
        print(
            f"{name:44s} {1 / np.median(spent):6.1f} images/s {1000 * np.median(spent):6.1f} ms, "
            f"{ratio:5.2f} × the time of the first, face in {done[name]} of {len(paths)}"
        )
    print(f"the first is {PRINTED / np.median(seconds[first]):.1f} × as fast as the thesis printed")


def resident(process: str = "self", *, highest: bool = False) -> float:
    """Return the memory of a process in GB, now or at its highest (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    label = "VmHWM" if highest else "VmRSS"
    return int(re.findall(rf"{label}:\s+(\d+)", status)[0]) / 2**20


def memory(count: int) -> None:
    """Print the peak memory of standardising `count` pictures of 224 px: a face under grain."""
    rng = np.random.default_rng(0)
    face = render("studio", 1, 1, "happy", size=224)
    fixed = {"emotion": "happy", "split": "train", "origin": "real"}

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(count):
            grain = rng.integers(-12, 13, face.shape)
            image = np.clip(face + grain, 0, 255).astype(np.uint8)
            yield {**fixed, "image": image, "source": f"{number}.png"}

    workers = [0.0]

    def watch() -> None:
        while running:
            for child in multiprocessing.active_children():
                with contextlib.suppress(OSError, IndexError):
                    workers.append(resident(str(child.pid)))
            time.sleep(1)

    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "source"), Path(folder, "out")
        source.mkdir()
        out.mkdir()
        write_corpus(rows(), source)
        writing = resident(highest=True)
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest
        before, started, running = resident(), time.perf_counter(), [True]
        watcher = threading.Thread(target=watch)
        watcher.start()
        facts = standardise(
            corpus=source, detector=WholePicture(), frame=BoxFrame(), size=224, out=out, workers=2
        )
        running.clear()
        seconds = time.perf_counter() - started
        size = sum(path.stat().st_size for path in out.iterdir()) / 2**20
        watcher.join()
    print(
        f"{facts['rows']} faces, {size:.0f} MB, {seconds:.0f} s: peak {resident(highest=True):.2f} "
        f"GB here (from {before:.2f}; {writing:.2f} when the source was written), "
        f"{max(workers):.2f} GB in a worker"
    )


def speed_up(paths: Sequence[Path], standard: Standard) -> None:
    """Print how much faster two workers are than one, from corpus to corpus.

    Processor seconds too, since a shared machine hides the rest: the parent's are what no number
    of workers divides.
    """
    settings = {name: getattr(standard, name) for name in Standard.__dataclass_fields__}
    spent = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        source.mkdir()
        fixed = {"emotion": "happy", "split": "train", "origin": "real"}
        write_corpus(
            ({**fixed, "image": read_image(path), "source": path.name} for path in paths), source
        )
        for workers in (1, 2):
            out = Path(folder, str(workers))
            out.mkdir()
            before = os.times()
            standardise(corpus=source, out=out, workers=workers, **settings)
            spent[workers] = np.subtract(os.times(), before)
    user, system, of_workers, of_workers_system, elapsed = spent[2]
    print(
        f"corpus to corpus, {len(paths)} pictures: {spent[1][4]:.1f} s with one worker "
        f"({sum(spent[1][:2]):.1f} s of processor), {elapsed:.1f} s with two (processor: parent "
        f"{user + system:.1f} s, workers {of_workers + of_workers_system:.1f} s, start included)"
    )


def main() -> None:
    """Compare on the photographs of a folder, or on drawn ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="photographs, *.jpg at any depth")
    parser.add_argument("--yunet", type=Path, help="YuNet's model file; without it Haar is used")
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--also", type=Path, help="a folder with facenet-pytorch (pip --target)")
    parser.add_argument("--workers", action="store_true", help="two workers beside one instead")
    parser.add_argument("--memory", type=int, help="instead, peak memory for so many pictures")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    if given.memory:
        memory(given.memory)
        return
    if given.also:
        sys.path.append(str(given.also))
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        if given.folder is None:
            drawn(folder, given.pictures)
        found = sorted(folder.rglob("*.jpg"))
        paths = found[:: max(1, len(found) // given.pictures)][: given.pictures]
        haar = Haar(cascades=[f"haarcascade_frontalface_{name}.xml" for name in CASCADES])
        # one look finds and places eyes well enough; two more make landmarks steadier
        detectors: dict[str, Detector] = {"haar": haar}
        if given.yunet:
            detectors = {
                "YuNet, one look": YuNet(model=given.yunet, refine_side=None),
                "YuNet, three looks": YuNet(model=given.yunet),
                "haar": haar,
            }
        standards = {
            f"{name}; eyes, CLAHE": Standard(
                detector=detector,
                frame=EyeFrame(),
                size=given.size,
                fit="stretch",
                clahe=Clahe(),
                eyes_missing="upright",
            )
            for name, detector in detectors.items()
        }
        first = next(iter(standards.values()))
        if given.workers:
            speed_up(paths, first)
            return
        ways: dict[str, Way] = {f"ours: {name}": ours(each) for name, each in standards.items()}
        ways |= {f"ours: {name}; decode, detect": finds(each) for name, each in detectors.items()}
        ways["ours: haar; box, 64 px"] = ours(Standard(detector=haar, frame=BoxFrame(), size=64))
        for smallest in (20, 80):
            if way := mtcnn(smallest):
                ways[f"facenet-pytorch MTCNN, min_face_size {smallest}"] = way
        eyes = {}
        for path in paths:
            image = read_image(path)
            face = choose_face(first.detector(image), image)
            if not isinstance(face, str) and (known := eyes_of(face)) is not None:
                eyes[path] = known
        if eyes:
            ways["three plain steps, eyes given"] = plain_steps(eyes, given.size)
        compare(ways, paths, given.rounds)
        if not any("MTCNN" in name for name in ways):
            print("facenet-pytorch is not installed: MTCNN was left out (--also FOLDER)")


if __name__ == "__main__":
    main()
