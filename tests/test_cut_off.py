"""The road without a network, without a home, and with packages that cannot be written to.

A guard that every Python process loads at its start refuses what a locked-down machine refuses,
and notes it: the tests run as whom they like, also as one who may write anywhere.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = Path(sysconfig.get_paths()["purelib"])
GUARD = """
import errno, os, socket, sys

NOTES, PACKAGES = os.environ["GUARD_NOTES"], os.environ["GUARD_PACKAGES"].split(os.pathsep)
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink",
           "os.truncate", "os.chmod", "os.utime"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NOTING = os.open(NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def refuse(kind, what, code):
    os.write(NOTING, f"{kind}: {what}\\n".encode())
    raise OSError(code, f"refused by the test: {what}")

def inside(path):
    if not isinstance(path, (str, bytes, os.PathLike)):
        return False
    path = os.path.realpath(os.fsdecode(path))
    return any(path.startswith(folder + os.sep) for folder in PACKAGES)

def guard(event, arguments):
    if event == "socket.connect":
        if arguments[0].family != socket.AF_UNIX:  # by which processes of one machine talk
            refuse("network", arguments[1], errno.ENETUNREACH)
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        refuse("network", arguments, errno.ENETUNREACH)
    elif event == "open":
        path, mode, flags = arguments
        if flags & WRITING and inside(path):
            refuse("packages", path, errno.EROFS)
    elif event in CHANGES:
        for path in arguments[:2]:
            # a folder that is there is there, on a read-only disk too
            if inside(path) and not (event == "os.mkdir" and os.path.isdir(path)):
                refuse("packages", f"{event} {path}", errno.EROFS)

sys.addaudithook(guard)
"""
LEFT_OUT = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME", "HF_HUB_OFFLINE", "TORCH_HOME")
LEFT_OUT += ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "MPLCONFIGDIR", "AFFECTORY_CACHE")


class Machine:
    """Runs commands behind the guard.

    Args:
        folder: For the guard, the temporary files and what the commands write.
    """

    def __init__(self, folder):
        self.folder, self.notes = folder, folder / "notes"
        (folder / "guard").mkdir()
        (folder / "guard" / "sitecustomize.py").write_text(GUARD)
        (folder / "tmp").mkdir()
        self.environment = {key: value for key, value in os.environ.items() if key not in LEFT_OUT}
        self.environment |= {
            "HOME": "/dev/null/nobody",  # where nobody can make a folder
            "PYTHONPATH": os.pathsep.join([str(folder / "guard"), str(ROOT)]),
            "GUARD_NOTES": str(self.notes),
            # this one as well: installed, it lies among the others
            "GUARD_PACKAGES": os.pathsep.join(str(path.resolve()) for path in (PACKAGES, ROOT)),
            "TMPDIR": str(folder / "tmp"),
            "OMP_NUM_THREADS": "1",
        }

    def python(self, *words):
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )
        return done.returncode, done.stdout + done.stderr

    def affectory(self, *words):
        return self.python("-m", "curation.cli", *words)

    @property
    def refused(self):
        """What was asked for and refused, but for compiled modules, which Python does without."""
        return [line for line in self.notes.read_text().splitlines() if "__pycache__" not in line]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


HERE = f"import os, socket, subprocess, sys, tempfile; P = {str(PACKAGES / 'numpy')!r}; "
ASK = "socket.socket().connect(('127.0.0.1', 9))"
FORBIDDEN = {
    "connect": ASK,
    "look up": "socket.getaddrinfo('nowhere.example', 443)",
    "write": "open(P + '/new', 'w')",
    "append": "open(P + '/__init__.py', 'a')",
    "write beside our own": f"open({str(ROOT / 'curation' / 'new.py')!r}, 'w')",
    "make": "os.mkdir(P + '/new')",
    "rename": "os.rename(P + '/__init__.py', P + '/old')",
    "temporary": "tempfile.mkstemp(dir=P)",
    "in a child": f"subprocess.run([sys.executable, '-c', \"import socket; {ASK}\"], check=True)",
    "home": "os.makedirs(os.path.expanduser('~'))",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_guard_refuses(machine, what):
    code, printed = machine.python("-c", HERE + FORBIDDEN[what])
    assert code == 1
    if what == "home":
        assert "NotADirectoryError" in printed
    else:
        assert "refused by the test" in printed
        assert len(machine.refused) == 1


def test_the_guard_lets_packages_be_read_and_processes_talk(machine):
    allowed = (
        f"{HERE} open(P + '/__init__.py').read(); os.makedirs(P, exist_ok=True)\n"
        "open('mine', 'w').close()\n"
        "a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'"
    )
    assert machine.python("-c", allowed) == (0, "")
    assert machine.refused == []


@pytest.mark.slow
def test_the_whole_road_and_its_tools_on_a_locked_down_machine(machine):
    code, printed = machine.affectory("run", "experiment=smoke")
    assert code == 0, printed
    out = machine.folder / "out" / "smoke"
    assert printed.strip().splitlines()[-2:] == [
        f"publish: {out / 'published'}",
        f"report: {out / 'report.html'}",
    ]
    (corpus,) = out.glob("corpora/standardise-*")
    for words in (
        ("inspect", corpus),
        ("review", next(iter(out.glob("corpora/select-*")))),
        ("forget", "subject=puppets_studio/S001", "--in", out),
        ("prefetch",),
        ("doctor",),
    ):
        code, printed = machine.affectory(*words)
        assert code == 0, printed
    assert machine.refused == []
    # nothing beside the results: an unknown home can turn into a folder called ~
    assert {path.name for path in machine.folder.iterdir()} == {"guard", "notes", "tmp", "out"}
