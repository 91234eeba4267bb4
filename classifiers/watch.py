"""The command ``affectory watch``: faces of a camera or a film, and their emotions as they move."""

import argparse
import csv
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from classifiers.runtime import MODELS, Pipeline
from curation.detect import Box, Haar, YuNet
from curation.detect.faces import iou

log = logging.getLogger(__name__)

TITLE = "affectory watch (q quits)"
CAMERA_FPS = 25.0
"""Of what is written from a camera that does not say its own."""
_COLOURS = ((80, 220, 80), (240, 160, 60), (90, 120, 255), (230, 90, 200), (60, 210, 230))
"""BGR, by face."""


@dataclass(frozen=True)
class Track:
    """One face over time.

    Attributes:
        number: Which face, from 0 in the order of appearance.
        box: Where it is, in pixels of the frame.
        probabilities: (C,), smoothed.
        seen: When it was seen last, in seconds.
    """

    number: int
    box: Box
    probabilities: np.ndarray
    seen: float


class Tracker:
    """Follows faces by overlap and smooths what is said of each.

    A face is the one of before whose box it shares most with; the best pairs are matched first.
    Probabilities are averaged with weights that fall by half in each half-life, whatever the frame
    rate.

    Args:
        half_life_s: Seconds after which a judgement counts half; 0 for no smoothing.
        overlap: Least share of their union that two boxes of one face share, in (0, 1].
        patience_s: Seconds that a face may be lost before it counts as another one.

    Raises:
        ValueError: If a setting is out of its range.
    """

    def __init__(
        self, *, half_life_s: float = 0.3, overlap: float = 0.3, patience_s: float = 0.5
    ) -> None:
        if half_life_s < 0 or patience_s < 0 or not 0 < overlap <= 1:
            raise ValueError(
                f"half-life {half_life_s} and patience {patience_s} must be 0 s or more, overlap "
                f"{overlap} over 0 and no more than 1"
            )
        self.half_life_s, self.overlap, self.patience_s = half_life_s, overlap, patience_s
        self._tracks: list[Track] = []
        self._count = 0

    def update(self, faces: Sequence[tuple[Box, np.ndarray]], time_s: float) -> list[Track]:
        """Take the faces of one frame and return their tracks, in the same order.

        Args:
            faces: Box and (C,) probabilities of each.
            time_s: When the frame was taken; never less than before.
        """
        pairs = sorted(
            (
                (iou(track.box, box), -track.number, place, track)
                for track in self._tracks
                for place, (box, _) in enumerate(faces)
            ),
            key=lambda pair: pair[:3],
            reverse=True,
        )
        before: dict[int, Track] = {}
        taken: set[int] = set()
        for shared, _, place, track in pairs:
            if shared < self.overlap:
                break
            if place not in before and track.number not in taken:
                before[place] = track
                taken.add(track.number)
        found = [
            self._next(before.get(place), box, said, time_s)
            for place, (box, said) in enumerate(faces)
        ]
        waiting = [
            track
            for track in self._tracks
            if track.number not in taken and time_s - track.seen <= self.patience_s
        ]
        self._tracks = [*found, *waiting]
        return found

    def _next(self, before: Track | None, box: Box, said: np.ndarray, time_s: float) -> Track:
        if before is None:
            self._count += 1
            return Track(self._count - 1, box, said, time_s)
        kept = 0.5 ** ((time_s - before.seen) / self.half_life_s) if self.half_life_s else 0.0
        smoothed = kept * before.probabilities + (1 - kept) * said
        return replace(before, box=box, probabilities=smoothed, seen=time_s)


class Film:
    """Frames of a camera or of a video file, with their times.

    Args:
        source: Number of a camera, or a file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the camera does not open, or the file has no frame that OpenCV reads.
    """

    def __init__(self, source: int | Path) -> None:
        if isinstance(source, Path) and not source.is_file():
            raise FileNotFoundError(f"there is no film {source}; a camera is named by its number")
        self._capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
        opened, first = self._capture.read() if self._capture.isOpened() else (False, None)
        if not opened or first is None:
            self._capture.release()
            raise ValueError(
                f"camera {source} does not open; is it there, and does nobody else use it?"
                if isinstance(source, int)
                else f"{source} is no film that OpenCV {cv2.__version__} reads; try another "
                "format, such as .mp4"
            )
        self._first: np.ndarray | None = first
        self.live = isinstance(source, int)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = rate if 0 < rate < 1000 else CAMERA_FPS
        self.size = (int(first.shape[1]), int(first.shape[0]))

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield seconds from the start and (H, W, 3) uint8 BGR, as OpenCV draws."""
        started, number, frame = time.monotonic(), 0, self._first
        self._first = None
        while frame is not None:
            yield (time.monotonic() - started if self.live else number / self.fps), frame
            number += 1
            read, frame = self._capture.read()
            if not read:
                return

    def close(self) -> None:
        """Let go of the camera or the file."""
        self._capture.release()


def draw(frame: np.ndarray, tracks: Sequence[Track], emotions: Sequence[str], fps: float) -> None:
    """Draw boxes, first choices, a bar an emotion, and frames a second into a frame.

    Args:
        frame: (H, W, 3) uint8 BGR; changed.
        tracks: Its faces.
        emotions: What their probabilities are of.
        fps: Frames a second.
    """
    height = frame.shape[0]
    line = max(10, height // 32)
    for track in tracks:
        colour = _COLOURS[track.number % len(_COLOURS)]
        left, top, wide, high = (round(value) for value in track.box)
        cv2.rectangle(frame, (left, top), (left + wide, top + high), colour, 2)
        best = int(track.probabilities.argmax())
        title = f"{emotions[best]} {track.probabilities[best]:.0%}"
        _darken(frame, left, top - line, wide, line)
        _write(frame, title, left + 3, top - 4, line)
        # below the face, or over its lower part where the frame ends
        panel = len(emotions) * line
        first = min(top + high + 3, height - panel)
        _darken(frame, left, first, wide, panel)
        for place, (name, value) in enumerate(zip(emotions, track.probabilities, strict=True)):
            y, end = first + place * line, left + max(1, round(wide * float(value)))
            cv2.rectangle(frame, (left, y + 2), (end, y + line - 2), colour, -1)
            _write(frame, name, left + 3, y + line - 4, line)
    _write(frame, f"{fps:.0f} frames/s", 6, height - 8, line)


def _darken(frame: np.ndarray, left: int, top: int, width: int, height: int) -> None:
    part = frame[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)]
    part //= 3


def _write(frame: np.ndarray, words: str, x: int, y: int, line: int) -> None:
    # dark under white is read on any ground
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(frame, words, (x, y), font, line / 32, colour, thickness, cv2.LINE_AA)


def watch(
    film: Film,
    pipeline: Pipeline,
    tracker: Tracker,
    *,
    out: Path | None = None,
    table: Path | None = None,
    show: bool = False,
) -> dict[str, Any]:
    """Follow the faces of a film to its end.

    Args:
        film: Camera or file.
        pipeline: Finds and judges faces.
        tracker: Follows and smooths.
        out: A .mp4 to write, with what was drawn; None for none.
        table: A CSV to write, one row a face and frame; None for none.
        show: Whether to open a window, in which q quits.

    Returns:
        ``frames``, ``faces`` (tracks), ``seconds``, and ``fps``: frames a second that the work
        itself allows, without the waiting for a camera.

    Raises:
        OSError: If the film cannot be written.
    """
    emotions = pipeline.predictor.emotions
    frames, numbers, worked = 0, set(), 0.0
    pace: float | None = None
    started = time.monotonic()
    with ExitStack() as open_files:
        write = open_files.enter_context(_writer(out, film)) if out else None
        rows = None
        if table:
            table.parent.mkdir(parents=True, exist_ok=True)
            file = open_files.enter_context(table.open("w", newline="", encoding="utf-8"))
            rows = csv.writer(file)
            box = ("left", "top", "width", "height")
            rows.writerow(["frame", "time_s", "face", *box, "emotion", *emotions])
        for time_s, frame in film:
            began = time.perf_counter()
            found = pipeline(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            tracks = tracker.update(found, time_s)
            took = time.perf_counter() - began
            pace = took if pace is None else 0.9 * pace + 0.1 * took
            if rows:
                rows.writerows(_row(frames, time_s, track, emotions) for track in tracks)
            if write or show:
                draw(frame, tracks, emotions, 1 / max(pace, 1e-9))
            if write:
                write.write(frame)
            frames += 1
            numbers |= {track.number for track in tracks}
            worked += time.perf_counter() - began
            if show and not _shown(frame):
                break
    return {
        "frames": frames,
        "faces": len(numbers),
        "seconds": time.monotonic() - started,
        "fps": frames / max(worked, 1e-9),
    }


@contextmanager
def _writer(path: Path, film: Film) -> Iterator[cv2.VideoWriter]:
    """Write a film beside its place, and move it there when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    code = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(partial), code, film.fps, film.size)
    try:
        if not writer.isOpened():
            raise OSError(f"OpenCV cannot write the film {path}; name a .mp4 (--out)")
        try:
            yield writer
        finally:
            writer.release()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _row(frame: int, time_s: float, track: Track, emotions: Sequence[str]) -> list[Any]:
    best = emotions[int(track.probabilities.argmax())]
    shares = [f"{value:.4f}" for value in track.probabilities]
    return [frame, f"{time_s:.3f}", track.number, *map(round, track.box), best, *shares]


def _shown(frame: np.ndarray) -> bool:
    """Show a frame; False when q was pressed or the window closed."""
    cv2.imshow(TITLE, frame)
    quits = cv2.waitKey(1) & 0xFF == ord("q")
    return not quits and cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1


def _require_window() -> None:
    # without a display OpenCV's window system ends the process, with a page of its own words
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise OSError("there is no display for a window; write a film or a table (--out, --csv)")


def _with_detector(pipeline: Pipeline, name: str, files: Sequence[Path]) -> Pipeline:
    """Return a pipeline with another detector than its contract has, and say what that means."""
    learned = pipeline.standard.contract["detector"]["detector"]
    if learned == name:
        return pipeline
    log.warning(
        "%s finds the faces, and those that the recogniser learned from were found by %s: they "
        "are cut in another way, so trust it less",
        *(name, learned),
    )
    detector = Haar() if name == "haar" else YuNet(model=files[0] if files else None)
    return replace(pipeline, standard=replace(pipeline.standard, detector=detector))


def main(arguments: Sequence[str]) -> int:
    """Watch a camera or a film.

    Args:
        arguments: What follows ``affectory watch`` on the command line.

    Returns:
        0, or 2 if the film, the recogniser or the detector cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="affectory watch",
        description="Find the faces of a camera or a film, follow them, and name their emotions "
        "with an exported recogniser. A window opens, q quits; with --out or --csv none does.",
    )
    parser.add_argument("folder", type=Path, help="an exported recogniser (affectory export)")
    parser.add_argument("source", help="a video file, or the number of a camera, from 0")
    parser.add_argument("--precision", choices=[*MODELS], default="int8", help="(int8)")
    parser.add_argument("--out", type=Path, metavar="FILE.mp4", help="a film of what was drawn")
    parser.add_argument(
        "--csv", type=Path, metavar="FILE.csv", help="a row for each face and frame"
    )
    parser.add_argument("--show", action="store_true", help="a window beside --out or --csv")
    parser.add_argument(
        "--half-life", type=float, default=0.3, help="of a judgement, in seconds (0.3)"
    )
    parser.add_argument(
        "--detector",
        choices=["contract", "haar", "yunet"],
        default="contract",
        help="what finds faces (what found those that the recogniser learned from)",
    )
    parser.add_argument(
        "--model", type=Path, action="append", default=[], help="a model file of the detector"
    )
    given = parser.parse_args(list(arguments))
    show = given.show or not (given.out or given.csv)
    film = None
    try:
        if show:
            _require_window()
        tracker = Tracker(half_life_s=given.half_life)
        pipeline = Pipeline.load(given.folder, precision=given.precision, files=given.model)
        if given.detector != "contract":
            pipeline = _with_detector(pipeline, given.detector, given.model)
        film = Film(int(given.source) if given.source.isdecimal() else Path(given.source))
        done = watch(film, pipeline, tracker, out=given.out, table=given.csv, show=show)
        log.info(
            "%d frames, %d faces, %.1f frames a second", done["frames"], done["faces"], done["fps"]
        )
        for path in (given.out, given.csv):
            if path is not None:
                print(path.absolute())  # noqa: T201  the command's result
    except (ValueError, OSError, ImportError) as error:
        print(f"affectory watch: {error}", file=sys.stderr)  # noqa: T201
        return 2
    finally:
        if film is not None:
            film.close()
        if show:
            cv2.destroyAllWindows()
    return 0
