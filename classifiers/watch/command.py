"""The command ``affectory watch``: faces of a camera or a film, and their emotions as they move."""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from classifiers.runtime import MODELS, Pipeline
from classifiers.watch.drawing import draw
from classifiers.watch.film import Film, film_writer, table_writer
from classifiers.watch.tracker import Tracker
from curation.artifact import file_hash, versions, write_json
from curation.detect import Haar, YuNet

log = logging.getLogger(__name__)

TITLE = "affectory watch (q quits)"


def watch(
    film: Film,
    pipeline: Pipeline,
    tracker: Tracker,
    *,
    out: Path | None = None,
    table: Path | None = None,
    show: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Follow the faces of a film to its end.

    Args:
        film: Camera or file.
        pipeline: Finds and judges faces.
        tracker: Follows and smooths.
        out: A .mp4 to write, with what was drawn; None for none. See `film_writer`.
        table: A CSV to write; None for none. See `table_writer`.
        show: Whether to open a window, in which q quits.
        stop: Asked after each frame whether to end here; film and table are then whole.

    Returns:
        ``frames``, ``faces`` (tracks), ``seconds``, and ``fps``: frames a second that the work
        itself allows, without the waiting for a camera.

    Raises:
        OSError: If the film cannot be written. Film and table are there whole or not at all.
    """
    emotions = pipeline.predictor.emotions
    frames, numbers, worked = 0, set(), 0.0
    pace: float | None = None
    started = time.monotonic()
    with ExitStack() as open_files:
        write = open_files.enter_context(film_writer(out, film)) if out else None
        note = open_files.enter_context(table_writer(table, emotions)) if table else None
        for time_s, frame in film:
            began = time.perf_counter()
            found = pipeline(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            tracks = tracker.update(found, time_s)
            took = time.perf_counter() - began
            pace = took if pace is None else 0.9 * pace + 0.1 * took
            if note:
                note(frames, time_s, tracks)
            if write or show:
                draw(frame, tracks, emotions, 1 / max(pace, 1e-9))
            if write:
                write(frame, time_s)
            frames += 1
            numbers |= {track.number for track in tracks}
            worked += time.perf_counter() - began
            if (show and not _shown(frame)) or stop():
                break
    return {
        "frames": frames,
        "faces": len(numbers),
        "seconds": time.monotonic() - started,
        "fps": frames / max(worked, 1e-9),
    }


def _shown(frame: np.ndarray) -> bool:
    """Show a frame; False when q was pressed or the window closed."""
    cv2.imshow(TITLE, frame)
    quits = cv2.waitKey(1) & 0xFF == ord("q")
    return not quits and cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1


def _open_window() -> None:
    # without a display OpenCV's window system ends the process, with a page of its own words
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise OSError("there is no display for a window; write a film or a table (--out, --csv)")
    try:
        cv2.namedWindow(TITLE)
    except cv2.error as error:
        raise OSError(
            "this OpenCV opens no window (opencv-python-headless?); install opencv-python, or "
            "write a film or a table (--out, --csv)"
        ) from error


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Yield what says whether to end: Ctrl-C waits for the frame at hand; twice, it does not."""
    asked = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(each) for each in signals]

    def back() -> None:
        for each, handler in zip(signals, before, strict=True):
            signal.signal(each, handler)

    def ask(*_: object) -> None:
        asked.set()
        back()

    for each in signals:
        signal.signal(each, ask)
    try:
        yield asked.is_set
    finally:
        back()


def _quieten() -> None:
    """Keep OpenCV's own words off the screen: what they mean for the user is said by `Film`."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    # a damaged film gives a line for each of its blocks; 8 is FFmpeg's level of fatal errors
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "8")


def _with_detector(pipeline: Pipeline, name: str, files: Sequence[Path]) -> Pipeline:
    """Return a pipeline with another detector than its contract has, and say what that means."""
    learned = pipeline.standard.contract["detector"]["detector"]
    if learned == name:
        return pipeline
    standard = pipeline.standard
    skips = standard.frame.needs_eyes and standard.eyes is None and standard.eyes_missing == "skip"
    if name == "haar" and skips:
        raise ValueError(
            "this recogniser's faces are cut by their eyes, and haar finds none: no face would be "
            "judged; use yunet, or leave --detector away"
        )
    log.warning(
        "%s finds the faces, and those that the recogniser learned from were found by %s: they "
        "are cut in another way, so trust it less",
        *(name, learned),
    )
    detector = Haar() if name == "haar" else YuNet(model=files[0] if files else None)
    return replace(pipeline, standard=replace(standard, detector=detector))


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
        "--csv",
        type=Path,
        metavar="FILE.csv",
        help="a row for each face and frame; FILE.csv.json says how it was made",
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
    _quieten()
    try:
        source = int(given.source) if given.source.isdecimal() else Path(given.source)
        _check_targets(source, given.out, given.csv)
        if show:
            _open_window()
        tracker = Tracker(half_life_s=given.half_life)
        pipeline = Pipeline.load(given.folder, precision=given.precision, files=given.model)
        if given.detector != "contract":
            pipeline = _with_detector(pipeline, given.detector, given.model)
        film = Film(source)
        with _interruptible() as stop:
            done = watch(
                film, pipeline, tracker, out=given.out, table=given.csv, show=show, stop=stop
            )
            if stop():
                log.info("stopped; what was written so far is whole")
        log.info(
            "%d frames, %d faces, %.1f frames a second", done["frames"], done["faces"], done["fps"]
        )
        if done["frames"] and not done["faces"]:
            log.warning("no face was found; --detector yunet also finds small and turned ones")
        if given.csv:
            _describe(given.csv, film, pipeline, tracker, done)
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
            with suppress(cv2.error):  # where none can be opened
                cv2.destroyAllWindows()
    return 0


def _check_targets(source: int | Path, *targets: Path | None) -> None:
    named = [path.resolve() for path in targets if path is not None]
    if isinstance(source, Path) and source.resolve() in named:
        raise ValueError(f"{source} would be overwritten by what is seen in it; write elsewhere")
    if len(set(named)) < len(named):
        raise ValueError(f"--out and --csv both name {named[0]}; give two files")


def _describe(
    table: Path, film: Film, pipeline: Pipeline, tracker: Tracker, done: Mapping[str, Any]
) -> None:
    """Write beside a table how its numbers were made."""
    predictor, source = pipeline.predictor, film.source
    content = {
        "source": f"camera {source}" if isinstance(source, int) else source.name,
        "source_sha256": None if isinstance(source, int) else file_hash(source),
        "frames_per_second": film.fps,
        "frame_size": film.size,
        "recogniser": predictor.name,
        "recogniser_hash": predictor.hash,
        "contract": dict(predictor.contract),
        "detector": pipeline.standard.contract["detector"],
        "half_life_s": tracker.half_life_s,
        "overlap": tracker.overlap,
        "patience_s": tracker.patience_s,
        "frames": done["frames"],
        "faces": done["faces"],
        "versions": versions(),
    }
    write_json(table.with_name(f"{table.name}.json"), content)
