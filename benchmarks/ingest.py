"""How ingest bears damaged pictures and many pictures.

``python benchmarks/ingest.py damaged`` takes in 2,000 files of which half are damaged, and fails
unless every good one arrives and every bad one is named with its reason. ``python
benchmarks/ingest.py many`` takes in 100,000 pictures of 128 px with one and with two workers, and
prints pictures a second and peak memory. Each ingest runs in a process of its own. Folders are
temporary (100,000 pictures: 0.5 GB, and 1 to 2 GB of corpus) and deleted at the end.
"""

import argparse
import io
import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from curation.corpus import EMOTIONS, Corpus, split_subjects
from curation.databases.folder import Folder
from curation.ingest import ingest
from curation.puppets import STYLES, render

NO_PICTURE = "damaged or not a picture"
TOO_LARGE = "more than 100 million pixels"
Write = Callable[[Path, np.ndarray], None]


def _saved(path: Path, image: np.ndarray, *, mode: str = "RGB", **options: Any) -> None:
    Image.fromarray(image).convert(mode).save(path, **options)


def _animated(path: Path, image: np.ndarray, *, kind: str) -> None:
    frames = [Image.fromarray(image), Image.fromarray(image[::-1].copy())]
    frames[0].save(path, format=kind, save_all=True, append_images=frames[1:])


def _sixteen_bits(path: Path, image: np.ndarray) -> None:
    Image.fromarray(image[..., 0].astype(np.uint16) * 257).save(path)


def _with_exif(path: Path, image: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000  # description, near the most that a JPEG's segment can hold
    Image.fromarray(image).save(path, exif=exif)


def _with_broken_exif(path: Path, image: np.ndarray) -> None:
    Image.fromarray(image).save(path, exif=b"Exif\0\0MM\0*" + b"\xff" * 200)


def _cut(path: Path, image: np.ndarray, *, kind: str, **options: Any) -> None:
    memory = io.BytesIO()
    Image.fromarray(image).save(memory, kind, **options)
    data = memory.getvalue()
    path.write_bytes(data[: int(len(data) * (0.05 + 0.9 * image[0, 0, 0] / 255))])


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _header(path: Path, _: np.ndarray, *, side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + data)


def _bitmap_header(path: Path, _: np.ndarray) -> None:
    start = b"BM" + struct.pack("<IHHI", 2000, 0, 0, 54)
    path.write_bytes(
        start + struct.pack("<IiiHH6I", 40, 30_000, 30_000, 1, 24, *[0] * 6) + bytes(99)
    )


@cache
def _packed_zeros() -> bytes:
    return zlib.compress(bytes(80_000_000))


def _text_bomb(path: Path, image: np.ndarray) -> None:
    memory = io.BytesIO()
    Image.fromarray(image).save(memory, "PNG")
    png = memory.getvalue()
    path.write_bytes(png[:33] + _chunk(b"zTXt", b"Comment\0\0" + _packed_zeros()) + png[33:])


def _bytes(path: Path, image: np.ndarray, *, start: bytes) -> None:
    path.write_bytes(start + image.tobytes()[:500])


def _postscript(path: Path, image: np.ndarray) -> None:
    memory = io.BytesIO()
    Image.fromarray(image).save(memory, "EPS")
    path.write_bytes(memory.getvalue())


def _empty(path: Path, _: np.ndarray) -> None:
    path.touch()


def _folder(path: Path, _: np.ndarray) -> None:
    path.mkdir()


GOOD: dict[str, Write] = {
    "plain.jpg": _saved,
    "plain.png": _saved,
    "plain.BMP": _saved,
    "plain.webp": partial(_saved, lossless=True),
    "plain.tiff": partial(_saved, compression="tiff_lzw"),
    "cmyk.jpg": partial(_saved, mode="CMYK"),
    "grey.jpg": partial(_saved, mode="L"),
    "bits.png": partial(_saved, mode="1"),
    "palette.png": partial(_saved, mode="P"),
    "alpha.png": partial(_saved, mode="RGBA"),
    "grey16.png": _sixteen_bits,
    "animated.gif": partial(_animated, kind="GIF"),
    "animated.webp": partial(_animated, kind="WEBP"),
    "long exif.jpg": _with_exif,
    "broken exif.jpg": _with_broken_exif,
    "png called.jpg": partial(_saved, format="PNG"),
    "jpeg called.png": partial(_saved, format="JPEG"),
}
BAD: dict[str, tuple[Write, str]] = {
    "empty.jpg": (_empty, "empty file"),
    "cut.jpg": (partial(_cut, kind="JPEG"), NO_PICTURE),
    "cut progressive.jpg": (partial(_cut, kind="JPEG", progressive=True), NO_PICTURE),
    "cut.png": (partial(_cut, kind="PNG"), NO_PICTURE),
    "cut.tiff": (partial(_cut, kind="TIFF"), NO_PICTURE),
    "cut.webp": (partial(_cut, kind="WEBP", lossless=True), NO_PICTURE),
    "text.png": (partial(_bytes, start=b"no picture at all"), NO_PICTURE),
    "page.jpg": (partial(_bytes, start=b"<html><body>404</body></html>"), NO_PICTURE),
    "film.jpg": (partial(_bytes, start=b"\0\0\0\x20ftypisom"), NO_PICTURE),
    "start.jpg": (partial(_bytes, start=b"\xff\xd8\xff\xe0\0\x10JFIF\0"), NO_PICTURE),
    "letter.png": (_postscript, NO_PICTURE),
    "text bomb.png": (_text_bomb, NO_PICTURE),
    "header.png": (partial(_header, side=30_000), TOO_LARGE),
    "header.bmp": (_bitmap_header, TOO_LARGE),
    "large and short.png": (partial(_header, side=9_000), NO_PICTURE),
    "folder.jpg": (_folder, NO_PICTURE),
}


def write_mixed(root: Path, *, good: int, bad: int) -> tuple[set[str], dict[str, str]]:
    """Write good and damaged pictures of every kind in turn into one class folder.

    Returns:
        Sources of the good ones; source → reason of the others.
    """
    folder = root / "happy"
    folder.mkdir(parents=True)
    sources = set()
    for number in range(good):
        name = list(GOOD)[number % len(GOOD)]
        GOOD[name](folder / f"{number:05d} {name}", _noise(number))
        sources.add(f"happy/{number:05d} {name}")
    reasons = {}
    for number in range(good, good + bad):
        name = list(BAD)[number % len(BAD)]
        write, reason = BAD[name]
        write(folder / f"{number:05d} {name}", _noise(number))
        reasons[f"happy/{number:05d} {name}"] = reason
    return sources, reasons


def _noise(number: int, side: int = 48) -> np.ndarray:
    generator = np.random.default_rng(number)
    return generator.integers(0, 256, (side, side, 3), np.uint8)


def write_many(root: Path, count: int, *, side: int = 128) -> None:
    """Write small JPEGs, no two of equal pixels: some dozens of faces with a number in blocks."""
    faces = [
        render(STYLES[number % 3], 1 + number // 7, 1, EMOTIONS[number % 7], size=side)
        for number in range(56)
    ]
    for emotion in EMOTIONS:
        (root / emotion).mkdir(parents=True)
    for number in range(count):
        image = faces[number % len(faces)][..., ::-1].copy()
        # blocks of JPEG's own size survive its compression: the number in binary, two rows
        for bit in range(20):
            row, column = divmod(bit, side // 8)
            value = 255 * (number >> bit & 1)
            image[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = value
        cv2.imwrite(str(root / EMOTIONS[number % 7] / f"{number:06d}.jpg"), image)


def measure(root: Path, out: Path, workers: int, emotions: list[str]) -> dict[str, float]:
    """Ingest a folder in a new process; return seconds, rows, and peak memory in MB."""
    command = [sys.executable, __file__, "one", str(root), str(out), str(workers), *emotions]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ingest failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _one(root: Path, out: Path, workers: int, emotions: list[str]) -> dict[str, float]:
    cv2.setNumThreads(1)
    before = _peak(resource.RUSAGE_SELF)
    started = time.perf_counter()
    facts = ingest(
        database=Folder(root), split=split_subjects, out=out, emotions=emotions, workers=workers
    )
    return {
        "seconds": time.perf_counter() - started,
        "rows": facts["rows"],
        "start_mb": before,
        "peak_mb": _peak(resource.RUSAGE_SELF),
        "worker_mb": _peak(resource.RUSAGE_CHILDREN),  # the largest of them
    }


def _peak(who: int) -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit / 1e6


def check_damaged(folder: Path, *, good: int, bad: int, workers: int) -> str:
    """Ingest a mixed folder and compare every file's fate; return a line to print."""
    root, out = folder / "pictures", folder / f"out{workers}"
    sources, reasons = write_mixed(root, good=good, bad=bad)
    out.mkdir()
    result = measure(root, out, workers, ["happy"])
    arrived = set(Corpus(out).facts["source"])
    listed = dict(_skipped(out))
    wrong = {name: listed.get(name) for name in reasons if listed.get(name) != reasons[name]}
    if arrived != sources or wrong or len(listed) != len(reasons):
        raise AssertionError(
            f"lost {sorted(sources - arrived)[:5]}, wrongly taken in "
            f"{sorted(arrived - sources)[:5]}, wrong reasons {list(wrong.items())[:5]}"
        )
    return (
        f"{len(sources)} good pictures of {len(GOOD)} kinds arrived, {len(reasons)} damaged of "
        f"{len(BAD)} kinds are named with their reasons: {_words(result)}"
    )


def _skipped(out: Path) -> Iterator[tuple[str, str]]:
    for line in (out / "skipped.csv").read_text(encoding="utf-8").splitlines()[1:]:
        source, reason, _ = line.split(",", 2)
        yield source, reason


def _words(result: dict[str, float]) -> str:
    rate = result["rows"] / result["seconds"]
    return (
        f"{result['seconds']:.0f} s, {rate:.0f} pictures taken in a second, peak "
        f"{result['peak_mb']:.0f} MB (before: {result['start_mb']:.0f}), largest worker "
        f"{result['worker_mb']:.0f} MB"
    )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    damaged = kinds.add_parser("damaged")
    damaged.add_argument("--pictures", type=int, default=2000)
    many = kinds.add_parser("many")
    many.add_argument("--pictures", type=int, default=100_000)
    many.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    many.add_argument("--side", type=int, default=128)
    one = kinds.add_parser("one")
    one.add_argument("root", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("workers", type=int)
    one.add_argument("emotions", nargs="+")
    given = parser.parse_args()
    if given.kind == "one":
        print(json.dumps(_one(given.root, given.out, given.workers, given.emotions)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.kind == "damaged":
            half = given.pictures // 2
            print(check_damaged(folder, good=half, bad=given.pictures - half, workers=1))
            return
        write_many(folder / "pictures", given.pictures, side=given.side)
        for workers in given.workers:
            with tempfile.TemporaryDirectory(dir=folder) as out:
                result = measure(folder / "pictures", Path(out), workers, list(EMOTIONS))
            print(f"{given.pictures} pictures, {workers} workers: {_words(result)}", flush=True)


if __name__ == "__main__":
    main()
