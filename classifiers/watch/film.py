"""Films: frames of a camera or a file with their times, and films and tables that are written."""

import csv
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from classifiers.watch.tracker import Track

log = logging.getLogger(__name__)

UNKNOWN_FPS = 25.0
"""Frames a second of a source that does not say its own."""
_LONGEST_S = 3600.0  # that a frame may last; a greater step is a clock that was set anew


class Film:
    """Frames of a camera or of a video file, with their times.

    Args:
        source: Number of a camera, or a file.

    Attributes:
        fps: Frames a second, as the source says, else `UNKNOWN_FPS`.
        size: (width, height) in pixels.
        live: Whether it is a camera.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the camera does not open, or the file has no frame that OpenCV reads.
    """

    def __init__(self, source: int | Path) -> None:
        if isinstance(source, Path) and not source.is_file():
            raise FileNotFoundError(f"there is no film {source}; a camera is named by its number")
        self.source, self.live = source, isinstance(source, int)
        self._capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
        opened, first = self._capture.read() if self._capture.isOpened() else (False, None)
        if not opened or first is None:
            self._capture.release()
            raise ValueError(
                f"camera {source} does not open; is it there, and does nobody else use it?"
                if self.live
                else f"{source} is no film that OpenCV {cv2.__version__} reads: it is damaged, was "
                "cut off before its end was written, or has an unknown format; make an .mp4 of it"
            )
        self._first: np.ndarray | None = first
        self._began = self._clock()
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        known = 0 < rate < 1000
        if not known and not self.live:
            log.warning(
                "%s does not say how many frames a second it has; %g are assumed, and times may "
                "follow from that alone",
                *(source, UNKNOWN_FPS),
            )
        self.fps = rate if known else UNKNOWN_FPS
        self.size = (int(first.shape[1]), int(first.shape[0]))
        self._announced = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield seconds from the first frame and (H, W, 3) uint8 BGR, as OpenCV draws.

        The times of a file are its own: phones and screen recorders take frames unevenly.
        """
        started, number, time_s, frame = time.monotonic(), 0, 0.0, self._first
        self._first = None
        while frame is not None:
            if self.live:
                time_s = time.monotonic() - started
            yield time_s, frame
            number += 1
            read, frame = self._capture.read()
            if not read:
                break
            if not self.live:
                later = self._clock() - self._began
                # some formats have no times
                time_s = later if 0 < later - time_s < _LONGEST_S else time_s + 1 / self.fps
        if self.live:
            log.warning("camera %s gives no more frames", self.source)
        elif number < 0.98 * self._announced - 1:  # often but an estimate
            log.warning(
                "%s says that it has %d frames, and %d can be read: it is damaged, was cut "
                "off, or was trimmed by a note in the file",
                *(self.source, self._announced, number),
            )

    def _clock(self) -> float:
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def close(self) -> None:
        """Let go of the camera or the file."""
        self._capture.release()


@contextmanager
def film_writer(path: Path, film: Film) -> Iterator[Callable[[np.ndarray, float], None]]:
    """Yield what writes (H, W, 3) uint8 BGR frames with their times in seconds, as an .mp4.

    It runs as fast as what was watched: a frame stays until the next one's time, and one that comes
    before its place is left out. So a camera whose frames are judged more slowly than it takes them
    is not shown in quick motion.

    Args:
        path: Where the film will be once it is whole.
        film: Gives frames a second and size; frames of another size are brought to it.

    Raises:
        OSError: If the film cannot be written.
    """
    with _whole(path) as partial:
        code = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(partial), code, film.fps, film.size)
        if not writer.isOpened():
            raise OSError(f"OpenCV cannot write the film {path}; name a .mp4 (--out)")
        count, last = 0, None

        def write(frame: np.ndarray, time_s: float) -> None:
            nonlocal count, last
            place = round(time_s * film.fps)
            while last is not None and count < place:
                writer.write(last)
                count += 1
            if frame.shape[1::-1] != film.size:  # OpenCV would leave it out and say nothing
                frame = cv2.resize(frame, film.size, interpolation=cv2.INTER_AREA)
            last = frame
            if count <= place:
                writer.write(frame)
                count += 1

        try:
            yield write
        finally:
            writer.release()


@contextmanager
def table_writer(
    path: Path, emotions: Sequence[str]
) -> Iterator[Callable[[int, float, Sequence[Track]], None]]:
    """Yield what writes the faces of a frame, given its number and time in seconds, as CSV.

    A row for each face and frame: ``frame``, ``time_s``, ``face`` (`Track.number`), ``left``,
    ``top``, ``width`` and ``height`` in pixels, ``emotion`` (the first choice of the smoothed
    probabilities), a column an emotion of smoothed probabilities, and ``raw_…`` of those of the
    frame alone. A frame without a face has one row, empty but for its number and time: nobody was
    found in it, which is not the same as a frame that nobody looked at.

    Args:
        path: Where the table will be once it is whole.
        emotions: Names of the probabilities, in order.
    """
    with _whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        head = ["frame", "time_s", "face", "left", "top", "width", "height", "emotion", *emotions]
        head += [f"raw_{emotion}" for emotion in emotions]
        rows.writerow(head)

        def write(frame: int, time_s: float, tracks: Sequence[Track]) -> None:
            when = [frame, f"{time_s:.3f}"]
            faces = [_cells(track, emotions) for track in tracks] or [[""] * (len(head) - 2)]
            rows.writerows([*when, *cells] for cells in faces)

        yield write


def _cells(track: Track, emotions: Sequence[str]) -> list[Any]:
    best = emotions[int(track.probabilities.argmax())]
    shares = [f"{value:.4f}" for value in (*track.probabilities, *track.raw)]
    return [track.number, *map(round, track.box), best, *shares]


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield a file beside `path` to write, and move it there when the block ends well."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it (--out, --csv)")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")  # keeps its ending, by which OpenCV goes
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
