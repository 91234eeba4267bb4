"""Watching films: faces followed and smoothed, films and tables written, what cannot be read."""

import csv
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from classifiers import watch as module
from classifiers.watch import Film, Track, Tracker, draw, main, watch
from curation.align import BoxFrame
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


def test_a_film_has_its_frames_at_their_times(puppets):
    film = Film(puppets)
    assert (film.size, film.fps, film.live) == ((320, 240), 20, False)
    times = [time_s for time_s, _ in film]
    film.close()
    np.testing.assert_allclose(times, np.arange(8) / 20)


def test_films_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / "words.mp4").write_text("no film")
    with pytest.raises(ValueError, match=r"words.mp4 is no film that OpenCV"):
        Film(tmp_path / "words.mp4")
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
    assert [int(row["frame"]) for row in rows] == [0, 2, 3, 4, 5, 6, 7]
    assert rows[0] | {} == {
        "frame": "0", "time_s": "0.000", "face": "0", "left": "30", "top": "50", "width": "80",
        "height": "90", "emotion": "happy", "happy": "0.9000", "sad": "0.1000",
    }  # fmt: skip
    assert rows[1]["emotion"] == "sad"
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
        watch(Film(puppets), told, Tracker(), out=tmp_path / "seen.mp4")
    assert not list(tmp_path.iterdir())


def test_boxes_that_reach_out_of_the_frame_are_drawn():
    frame = np.full((60, 80, 3), 90, np.uint8)
    boxes = [Box(-30, -20, 60, 60), Box(50, 30, 90, 90), Box(300, 300, 10, 10)]
    tracks = [Track(number, box, HAPPY, 0.0) for number, box in enumerate(boxes)]
    draw(frame, tracks, EMOTIONS, 25.0)
    assert (frame[:40, 30] != 90).any()  # the right edge of the first
    assert (frame[31:, 50] != 90).any()  # the left edge of the second


def test_the_command_works_without_a_display(puppets, tmp_path, monkeypatch, capsys):
    class Real(Told):
        """Faces found for certain, emotions made up."""

        standard = Standard(Haar(), BoxFrame(), size=32)

        def __call__(self, image):
            return [(face.box, HAPPY) for face in self.standard.detector(image)]

    monkeypatch.setattr(module.Pipeline, "load", classmethod(lambda *_, **__: Real()))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module.sys, "platform", "linux")
    assert main([str(tmp_path), str(puppets)]) == 2
    assert "there is no display for a window" in capsys.readouterr().err
    table = tmp_path / "seen.csv"
    assert main([str(tmp_path), str(puppets), "--csv", str(table)]) == 0
    assert capsys.readouterr().out.strip() == str(table)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 7
    assert {row["face"] for row in rows} == {"0"}
    assert int(rows[-1]["left"]) - int(rows[0]["left"]) > 40


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
