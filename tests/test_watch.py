"""Watching films: faces followed and smoothed, films and tables written, what cannot be read."""

import csv
import json
import os
import signal
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from classifiers.watch import command as module
from classifiers.watch.command import main, watch
from classifiers.watch.drawing import _Area, _common, _placed, draw
from classifiers.watch.film import Film, film_writer
from classifiers.watch.tracker import Track, Tracker
from curation.align import BoxFrame, EyeFrame
from curation.detect import Box, Haar
from curation.puppets import render
from curation.standard import Standard

EMOTIONS = ("happy", "sad")
HAPPY, SAD = np.array([0.9, 0.1]), np.array([0.1, 0.9])


def write_film(path, frames, fps=20):
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


@pytest.fixture(scope="module")
def puppets(tmp_path_factory):
    """A face that moves to the right, eight frames of 320 × 240."""
    face = render("studio", 1, 1, "happy", size=160)
    frames = []
    for number in range(8):
        frame = np.full((240, 320, 3), 170, np.uint8)
        frame[40:200, 20 + 10 * number : 180 + 10 * number] = face
        frames.append(frame)
    return write_film(tmp_path_factory.mktemp("films") / "puppet.mp4", frames)


class Told:
    """A pipeline that says of each frame what it was told to."""

    predictor = SimpleNamespace(emotions=EMOTIONS)

    def __init__(self, *frames):
        self.frames = iter(frames)

    def __call__(self, image):
        assert image.dtype == np.uint8
        found = next(self.frames)
        if isinstance(found, Exception):
            raise found
        return found


def test_faces_that_cross_keep_their_numbers():
    tracker = Tracker(half_life_s=0)
    for step in range(11):
        left, right = Box(10 * step, 0, 50, 50), Box(100 - 10 * step, 30, 50, 50)
        # the detector gives them in any order
        faces = [(left, HAPPY), (right, SAD)][:: 1 if step % 2 else -1]
        found = {track.box: track.number for track in tracker.update(faces, step / 25)}
        if step == 0:
            first = found[left], found[right]
        assert (found[left], found[right]) == first


def test_the_best_pair_is_matched_first():
    tracker = Tracker(half_life_s=0)
    tracker.update([(Box(0, 0, 100, 100), HAPPY)], 0.0)
    near, exact = Box(40, 0, 100, 100), Box(2, 0, 100, 100)
    numbers = [track.number for track in tracker.update([(near, SAD), (exact, HAPPY)], 0.1)]
    assert numbers == [1, 0]


@pytest.mark.parametrize("rate", [10, 40])
def test_a_judgement_counts_half_after_its_half_life_at_any_frame_rate(rate):
    tracker, box = Tracker(half_life_s=0.5), Box(0, 0, 10, 10)
    tracker.update([(box, HAPPY)], 0.0)
    for step in range(1, rate // 2 + 1):
        (track,) = tracker.update([(box, SAD)], step / rate)
    np.testing.assert_allclose(track.probabilities, (HAPPY + SAD) / 2, atol=1e-12)
    assert track.probabilities.sum() == pytest.approx(1)


def test_a_face_is_waited_for_but_not_for_ever():
    tracker, box = Tracker(patience_s=0.5), Box(0, 0, 10, 10)
    numbers = []
    for time_s, there in [(0.0, True), (0.2, False), (0.4, True), (0.6, False), (1.0, False)]:
        numbers += [t.number for t in tracker.update([(box, HAPPY)] if there else [], time_s)]
    assert numbers == [0, 0]
    assert [track.number for track in tracker.update([(box, SAD)], 1.1)] == [1]


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="overlap 0 over 0 and no more than 1"):
        Tracker(overlap=0)
    with pytest.raises(ValueError, match=r"half-life -1 .* must be 0 s or more"):
        Tracker(half_life_s=-1)
    with pytest.raises(ValueError, match="half-life nan"):
        Tracker(half_life_s=float("nan"))


def test_smoothing_keeps_two_faces_and_what_each_frame_said_apart():
    tracker = Tracker(half_life_s=1.0)
    left, right = Box(0, 0, 50, 50), Box(200, 0, 50, 50)
    for step in range(5):
        tracks = tracker.update([(left, HAPPY), (right, SAD)], step / 10)
    np.testing.assert_allclose([track.probabilities for track in tracks], [HAPPY, SAD])
    first, second = tracker.update([(right, HAPPY), (left, HAPPY)], 1.4)
    np.testing.assert_allclose(first.probabilities, (SAD + HAPPY) / 2)  # the one at the right
    np.testing.assert_allclose(first.raw, HAPPY)
    np.testing.assert_allclose(second.probabilities, HAPPY)


def test_a_film_has_its_frames_at_their_times(puppets):
    film = Film(puppets)
    assert (film.size, film.fps, film.live) == ((320, 240), 20, False)
    times = [time_s for time_s, _ in film]
    film.close()
    np.testing.assert_allclose(times, np.arange(8) / 20)


def test_films_that_cannot_be_read_are_told(puppets, tmp_path):
    (tmp_path / "words.mp4").write_text("no film")
    with pytest.raises(ValueError, match=r"words.mp4 is no film that OpenCV"):
        Film(tmp_path / "words.mp4")
    whole = puppets.read_bytes()
    (tmp_path / "begun.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"begun.mp4 .* cut off before its end was written"):
        Film(tmp_path / "begun.mp4")
    with pytest.raises(FileNotFoundError, match="a camera is named by its number"):
        Film(tmp_path / "nothing.mp4")
    with pytest.raises(ValueError, match="camera 97 does not open"):
        Film(97)


def test_table_and_film_say_what_was_seen(puppets, tmp_path):
    box = Box(30.4, 50, 80, 90)
    frames = [[(box, HAPPY)], [], *([[(box, SAD)]] * 6)]
    film = Film(puppets)
    done = watch(
        film, Told(*frames), Tracker(half_life_s=0), out=tmp_path / "new" / "seen.mp4",
        table=tmp_path / "seen.csv",
    )  # fmt: skip
    assert (done["frames"], done["faces"]) == (8, 1)
    with (tmp_path / "seen.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == list(range(8))
    assert rows[0] == {
        "frame": "0", "time_s": "0.000", "face": "0", "left": "30", "top": "50", "width": "80",
        "height": "90", "emotion": "happy", "happy": "0.9000", "sad": "0.1000",
        "raw_happy": "0.9000", "raw_sad": "0.1000",
    }  # fmt: skip
    # nobody was found, and the row says so
    assert set(list(rows[1].values())[2:]) == {""}
    assert rows[1]["time_s"] == "0.050"
    assert rows[2]["emotion"] == "sad"
    seen, plain = Film(tmp_path / "new" / "seen.mp4"), Film(puppets)
    pairs = list(zip(seen, plain, strict=True))
    assert len(pairs) == 8
    (_, drawn), (_, original) = pairs[0]
    apart = np.abs(drawn.astype(int) - original).max(2)
    assert apart[50, 40:100].mean() > 40  # the upper edge of the box
    assert apart[:40, 200:].mean() < 10


def test_a_film_that_fails_is_not_left_behind(puppets, tmp_path):
    told = Told([], [], ValueError("no more"))
    with pytest.raises(ValueError, match="no more"):
        watch(
            Film(puppets), told, Tracker(), out=tmp_path / "seen.mp4", table=tmp_path / "seen.csv"
        )
    assert not list(tmp_path.iterdir())


def test_boxes_that_reach_out_of_the_frame_are_drawn():
    frame = np.full((60, 80, 3), 90, np.uint8)
    boxes = [Box(-30, -20, 60, 60), Box(50, 30, 90, 90), Box(300, 300, 10, 10)]
    tracks = [Track(number, box, HAPPY, HAPPY, 0.0) for number, box in enumerate(boxes)]
    draw(frame, tracks, EMOTIONS, 25.0)
    assert (frame[:40, 30] != 90).any()  # the right edge of the first
    assert (frame[31:, 50] != 90).any()  # the left edge of the second


@pytest.mark.parametrize(
    "box", [(0, 0, 90, 90), (230, 0, 90, 90), (0, 150, 90, 90), (230, 150, 90, 90)]
)
def test_what_is_written_stays_in_the_frame_and_off_all_faces(box):
    face, other, corner = _Area(*box), _Area(115, 75, 90, 90), _Area(0, 230, 60, 10)
    panel = _placed(face, 100, 64, (240, 320, 3), [corner, face, other])
    assert panel.left >= 0 <= panel.top
    assert panel.left + 100 <= 320
    assert panel.top + 64 <= 240
    assert not any(_common(panel, each) for each in (face, corner))
    assert _common(panel, other) <= 0.15 * 100 * 64


def test_bars_of_a_tiny_face_are_as_long_as_those_of_a_large_one():
    def coloured(side):
        frame = np.zeros((480, 640, 3), np.uint8)
        draw(frame, [Track(0, Box(100, 100, side, side), HAPPY, HAPPY, 0.0)], EMOTIONS, 25.0)
        full = (frame == (80, 220, 80)).all(2)
        full[95 : 105 + side, 95 : 105 + side] = False
        return full.sum()

    assert coloured(20) == coloured(200) > 300


class Uneven(Film):
    """A camera: so many seconds pass before each frame."""

    def __init__(self, gaps, sizes=((64, 48),)):
        self.gaps, self.sizes, self.fps, self.size = gaps, sizes, 10.0, sizes[0]
        self.live, self.source = True, 0

    def __iter__(self):
        for number, time_s in enumerate(np.cumsum(self.gaps)):
            width, height = self.sizes[number % len(self.sizes)]
            yield float(time_s), np.full((height, width, 3), 20 * number, np.uint8)

    def close(self):
        pass


def test_a_film_of_a_slow_camera_is_no_quick_motion(tmp_path):
    film = Uneven([0, 0.5, 0.02, 0.48])
    with film_writer(tmp_path / "seen.mp4", film) as write:
        for time_s, frame in film:
            write(frame, time_s)
    levels = [round(float(frame.mean()) / 20) for _, frame in Film(tmp_path / "seen.mp4")]
    assert levels == [0] * 5 + [1] + [2] * 4 + [3]


def test_frames_of_another_size_are_not_lost(tmp_path):
    film = Uneven([0, 0.1, 0.1, 0.1], sizes=((64, 48), (32, 24)))
    done = watch(film, Told([], [], [], []), Tracker(), out=tmp_path / "seen.mp4")
    assert done["frames"] == len(list(Film(tmp_path / "seen.mp4"))) == 4


def test_uneven_times_are_those_of_the_file(puppets, monkeypatch, caplog):
    class Capture:
        """Gives frames at its own times, then a clock that is set anew, then none."""

        def __init__(self, *_):
            self.times = iter([500.0, 540.0, 700.0, 0.0, 50.0])
            self.left, self.now = 5, 0.0

        def isOpened(self):
            return True

        def read(self):
            self.left, self.now = self.left - 1, next(self.times, 0.0)
            return (self.left >= 0), (np.zeros((4, 4, 3), np.uint8) if self.left >= 0 else None)

        def get(self, what):
            told = {cv2.CAP_PROP_FPS: 20.0, cv2.CAP_PROP_FRAME_COUNT: 9.0}
            return told.get(what, self.now)

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    times = [time_s for time_s, _ in Film(puppets)]
    np.testing.assert_allclose(times, [0, 0.04, 0.2, 0.25, 0.3])
    assert "says that it has 9 frames, and 5 can be read" in caplog.text


def test_a_film_cut_off_is_read_to_there_and_told(tmp_path, caplog):
    frames = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), dtype=np.uint8)
    path = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 64))
    for frame in frames:
        writer.write(frame)
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    count = len(list(Film(path)))
    assert 5 < count < 15
    assert f"says that it has 20 frames, and {count} can be read" in caplog.text


class Real(Told):
    """Faces found for certain, emotions made up."""

    standard = Standard(Haar(), BoxFrame(), size=32)
    predictor = SimpleNamespace(
        emotions=EMOTIONS, name="told", hash="0123456789", contract=standard.contract
    )
    after = staticmethod(lambda: None)

    def __call__(self, image):
        self.after()
        return [(face.box, HAPPY) for face in self.standard.detector(image)]


@pytest.fixture
def real(monkeypatch):
    monkeypatch.setattr(module.Pipeline, "load", classmethod(lambda *_, **__: Real()))


def test_the_command_works_without_a_display(puppets, tmp_path, monkeypatch, capsys, real):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module.sys, "platform", "linux")
    assert main([str(tmp_path), str(puppets)]) == 2
    assert "there is no display for a window" in capsys.readouterr().err
    table = tmp_path / "seen.csv"
    assert main([str(tmp_path), str(puppets), "--csv", str(table)]) == 0
    assert capsys.readouterr().out.strip() == str(table)
    with table.open() as file:
        rows = [row for row in csv.DictReader(file) if row["face"]]
    assert len(rows) >= 7
    assert {row["face"] for row in rows} == {"0"}
    assert int(rows[-1]["left"]) - int(rows[0]["left"]) > 40
    made = json.loads((tmp_path / "seen.csv.json").read_text())
    assert made["source"] == "puppet.mp4"
    assert (made["recogniser"], made["frames"], made["half_life_s"]) == ("told", 8, 0.3)
    assert made["detector"]["detector"] == "haar"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_film_and_table_whole(puppets, tmp_path, monkeypatch, capsys, real, sent):
    seen = []

    def interrupt():
        seen.append(1)
        if len(seen) == 3:
            os.kill(os.getpid(), sent)

    monkeypatch.setattr(Real, "after", staticmethod(interrupt))
    before = signal.getsignal(sent)
    film, table = tmp_path / "seen.mp4", tmp_path / "seen.csv"
    assert main([str(tmp_path), str(puppets), "--out", str(film), "--csv", str(table)]) == 0
    assert capsys.readouterr().out.split() == [str(film), str(table)]
    assert len(list(Film(film))) == 3
    with table.open() as file:
        assert {int(row["frame"]) for row in csv.DictReader(file)} == {0, 1, 2}
    assert signal.getsignal(sent) is before
    assert not list(tmp_path.glob(".partial*"))


def test_a_window_shows_each_frame_until_q(puppets, tmp_path, monkeypatch, real):
    shown, closed = [], []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda title, frame: shown.append((title, frame.copy())))
    monkeypatch.setattr(cv2, "waitKey", lambda _: ord("q") if len(shown) == 4 else -1)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: closed.append(1))
    assert main([str(tmp_path), str(puppets)]) == 0
    assert len(shown) == 4
    assert closed
    assert {title for title, _ in shown} == {module.TITLE}
    _, plain = next(iter(Film(puppets)))
    assert (shown[0][1] != plain).any()  # with what is drawn


def test_an_opencv_without_windows_is_told(puppets, tmp_path, monkeypatch, capsys, real):
    def no_window(*_):
        raise cv2.error("The function is not implemented")

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", no_window)
    monkeypatch.setattr(cv2, "destroyAllWindows", no_window)
    assert main([str(tmp_path), str(puppets)]) == 2
    assert "this OpenCV opens no window" in capsys.readouterr().err


def test_a_folder_is_no_place_for_a_film_or_a_table(puppets, tmp_path):
    (tmp_path / "seen.csv").mkdir()
    film = Film(puppets)
    with pytest.raises(IsADirectoryError, match=r"seen.csv is a folder; name a file in it"):
        watch(film, Told(), Tracker(), table=tmp_path / "seen.csv")
    film.close()
    assert [path.name for path in tmp_path.iterdir()] == ["seen.csv"]


def test_what_is_watched_is_never_overwritten(puppets, tmp_path, capsys):
    before = puppets.read_bytes()
    assert main([str(tmp_path), str(puppets), "--out", str(puppets)]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    same = ["--out", str(tmp_path / "a.mp4"), "--csv", str(tmp_path / "a.mp4")]
    assert main([str(tmp_path), str(puppets), *same]) == 2
    assert "give two files" in capsys.readouterr().err
    assert puppets.read_bytes() == before


def test_the_command_tells_a_folder_that_was_not_exported(tmp_path, puppets, capsys):
    assert main([str(tmp_path), str(puppets), "--csv", str(tmp_path / "a.csv")]) == 2
    assert "make one by `affectory export`" in capsys.readouterr().err


def test_another_detector_is_warned_of(caplog):
    from classifiers.runtime import Pipeline

    pipeline = Pipeline(None, Standard(Haar(), BoxFrame(), size=32))
    changed = module._with_detector(pipeline, "yunet", [])
    assert type(changed.standard.detector).__name__ == "YuNet"
    assert "those that the recogniser learned from were found by haar" in caplog.text
    caplog.clear()
    assert module._with_detector(pipeline, "haar", []) is pipeline
    assert not caplog.text


def test_haar_is_refused_where_faces_are_cut_by_eyes():
    from classifiers.runtime import Pipeline

    other = SimpleNamespace(settings={"detector": "yunet"})
    pipeline = Pipeline(None, Standard(other, EyeFrame(), size=32))
    with pytest.raises(ValueError, match="haar finds none: no face would be judged; use yunet"):
        module._with_detector(pipeline, "haar", [])
