import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from curation.artifact import (
    building,
    file_hash,
    fingerprint,
    folder_hash,
    locked,
    read_json,
    tree_state,
    versions,
    write_json,
)

ROOT = Path(__file__).parents[1]


@contextmanager
def python(code, *arguments, **environment):
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # where a test fails, nobody else ends it


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def build_and_fail(target, failure, **options):
    with building(target, **options) as out:
        (out / "half").write_text("half")
        raise failure


def test_a_finished_folder_gets_its_name_and_nothing_else_stays(tmp_path):
    target = tmp_path / "deep" / "made"
    with building(target) as out:
        assert out.parent == target.parent
        assert not target.exists()
        (out / "data").write_text("all")
        inode = out.stat().st_ino
    assert target.stat().st_ino == inode  # renamed, not copied: nobody sees it half full
    assert (target / "data").read_text() == "all"
    assert names(target.parent) == ["made"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_build_leaves_nothing(tmp_path, failure):
    with pytest.raises(failure):
        build_and_fail(tmp_path / "made", failure)
    assert names(tmp_path) == []


def test_what_an_earlier_run_left_is_cleared(tmp_path):
    stale = tmp_path / ".made.partial"
    stale.mkdir()
    (stale / "old").write_text("old")
    with building(tmp_path / "made") as out:
        assert names(out) == []


def test_a_builder_that_resumes_finds_what_it_left(tmp_path):
    target = tmp_path / "made"
    with pytest.raises(OSError, match="disk full"):
        build_and_fail(target, OSError("disk full"), resume=True)
    assert not target.exists()
    with building(target, resume=True) as out:
        assert (out / "half").read_text() == "half"
    assert names(tmp_path) == ["made"]


BUILD = """
import sys, time
from pathlib import Path
from curation.artifact import building
with building(Path(sys.argv[1]), resume=sys.argv[2] == "True") as out:
    (out / "half").write_text("half")
    print("inside", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("resume", [False, True])
def test_a_killed_build_leaves_no_finished_folder_and_the_next_one_works(tmp_path, resume):
    target = tmp_path / "made"
    with python(BUILD, target, resume) as process:
        assert process.stdout.readline() == "inside\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not target.exists()
    with building(target, resume=resume) as out:
        assert names(out) == (["half"] if resume else [])
        (out / "whole").write_text("whole")
    assert (target / "whole").exists()
    assert names(tmp_path) == ["made"]


HOLD = """
import sys
from pathlib import Path
from curation.artifact import locked
print("waits", flush=True)
with locked(Path(sys.argv[1])):
    print("holds", flush=True)
    sys.stdin.readline()
    Path(sys.argv[2]).open("a").write(sys.argv[3])
"""


def test_a_second_process_waits_for_the_first(tmp_path):
    target, order = tmp_path / "deep" / "made", tmp_path / "order"
    with python(HOLD, target, order, 1) as first:
        assert [first.stdout.readline() for _ in range(2)] == ["waits\n", "holds\n"]
        with python(HOLD, target, order, 2) as second:
            assert second.stdout.readline() == "waits\n"
            second.stdin.write("\n")  # the second would go on at once if it held the lock
            second.stdin.flush()
            time.sleep(0.3)
            assert not order.exists()
            first.stdin.write("\n")
            first.stdin.flush()
            assert second.wait(20) == 0
    assert order.read_text() == "12"


def test_a_killed_process_holds_no_lock(tmp_path):
    target, order = tmp_path / "made", tmp_path / "order"
    with python(HOLD, target, order, 1) as process:
        assert [process.stdout.readline() for _ in range(2)] == ["waits\n", "holds\n"]
        process.send_signal(signal.SIGKILL)
    started = time.monotonic()
    with locked(target):
        assert time.monotonic() - started < 5


def test_the_lock_is_one_file_for_ever(tmp_path):
    # a lock file that is deleted while a second process holds it lets a third one in
    inodes = set()
    for _ in range(2):
        with locked(tmp_path / "made"):
            pass
        (lock,) = tmp_path.iterdir()
        inodes.add(lock.stat().st_ino)
    assert len(inodes) == 1


def test_the_lock_is_free_after_a_failure(tmp_path):
    with pytest.raises(ValueError, match="inside"), locked(tmp_path / "made"):
        raise ValueError("inside")
    with locked(tmp_path / "made"):
        assert names(tmp_path) == [".made.lock"]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "folder"
    (made / "deep").mkdir(parents=True)
    (made / "a").write_bytes(b"one")
    (made / "deep" / "b").write_bytes(b"two")
    (made / "corpus.json").write_text("{}")
    return made


def content(folder):
    return folder_hash(folder, without="corpus.json")


CHANGES = {
    "a byte": lambda folder: (folder / "deep" / "b").write_bytes(b"twp"),
    "a name": lambda folder: (folder / "a").rename(folder / "A"),
    "a place": lambda folder: (folder / "deep" / "b").rename(folder / "b"),
    "a file more": lambda folder: (folder / "c").write_bytes(b""),
    "a file less": lambda folder: (folder / "a").unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_hash_of_a_folder_tells_changes(folder, change):
    before = content(folder)
    change(folder)
    assert content(folder) != before


def test_the_hash_of_a_folder_knows_neither_record_nor_place_nor_time(folder):
    before = content(folder)
    (folder / "corpus.json").write_text('{"seconds": 3}')
    os.utime(folder / "a", (1, 1))
    moved = folder.rename(folder.with_name("elsewhere"))
    assert content(moved) == before
    (moved / "corpus.json").unlink()
    assert content(moved) == before


def test_the_hash_of_a_file_is_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_hash(tmp_path / "abc") == known


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_state_of_a_users_folder_tells_changes(folder, change):
    os.utime(folder / "deep" / "b", (1, 1))
    before = tree_state(folder)
    assert tree_state(folder) == before
    change(folder)
    assert tree_state(folder) != before


def test_the_state_of_a_users_folder_tells_a_size_whatever_the_time(folder):
    os.utime(folder / "a", (1, 1))
    before = tree_state(folder)
    (folder / "a").write_bytes(b"longer")
    os.utime(folder / "a", (1, 1))
    assert tree_state(folder) != before


def test_the_state_of_a_users_folder_survives_a_dangling_link(folder):
    before = tree_state(folder)
    (folder / "gone.png").symlink_to("nowhere")
    assert tree_state(folder) != before


def test_a_fingerprint_tells_values_and_not_their_order():
    assert fingerprint(a=1, b={"x": [1, 2], "y": None}) == fingerprint(
        b={"y": None, "x": [1, 2]}, a=1
    )
    assert fingerprint(a=1) != fingerprint(a=2)
    assert fingerprint(a=[1, 2]) != fingerprint(a=[2, 1])
    assert fingerprint(a=1) != fingerprint(b=1)
    assert len(fingerprint(path=Path("a"))) == 10


def test_json_comes_back(tmp_path):
    path = tmp_path / "record.json"
    written = {"n": 3, "text": "Größe ≥ 1", "path": Path("x/y"), "none": None, "f": 0.1}
    write_json(path, written)
    assert read_json(path) == {**written, "path": "x/y"}
    assert names(tmp_path) == ["record.json"]


@pytest.mark.parametrize("failing", ["write_text", "replace"])
def test_json_is_written_whole_or_not_at_all(tmp_path, monkeypatch, failing):
    path = tmp_path / "record.json"
    write_json(path, {"old": 1})

    def fails(target, *_, **__):
        if failing == "write_text":
            target.write_bytes(b'{"new": ')
        raise OSError("disk full")

    monkeypatch.setattr(Path, failing, fails)
    with pytest.raises(OSError, match="disk full"):
        write_json(path, {"new": 2})
    assert json.loads(path.read_bytes()) == {"old": 1}


def test_json_is_utf8_whatever_the_locale(tmp_path):
    code = (
        "import sys; from pathlib import Path; from curation.artifact import read_json, write_json;"
        "path = Path(sys.argv[1]); write_json(path, {'t': '\\u2265'});"
        "assert read_json(path) == {'t': '\\u2265'}"
    )
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with python(code, tmp_path / "record.json", **plain) as process:
        assert process.wait(20) == 0, process.stderr.read()
    assert "≥".encode() in (tmp_path / "record.json").read_bytes()


def test_versions_name_python_and_what_computes():
    found = versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "numpy", "opencv-python", "affectory"} <= found.keys()
    assert found["numpy"] == __import__("numpy").__version__


def test_a_failure_before_there_is_anything_to_resume_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="at once"), building(tmp_path / "gan", resume=True):
        raise ValueError("at once")
    assert not list(tmp_path.iterdir())
