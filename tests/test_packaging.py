"""What a built wheel carries beside Python; what it lacks fails only where it is installed."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("gan", "classifiers", "curation", "conf", "datasets_cards")
DATA = (".css", ".html", ".jinja", ".js", ".svg", ".typed", ".yaml")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Names in a wheel that is built of a copy, as building writes into its sources."""
    place = tmp_path_factory.mktemp("wheel")
    files = [ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE")]
    for room in ROOMS:
        files += [path for path in (ROOT / room).rglob("*") if path.is_file()]
    for path in files:
        if "__pycache__" not in path.parts:
            copy = place / "source" / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place]
    done = subprocess.run([*command, place / "source"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (built,) = place.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_a_wheel_holds_every_module_and_all_that_modules_read(wheel):
    wanted = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.suffix in (".py", *DATA)
    }
    assert len(wanted) > 200
    assert wanted - wheel == set()


def test_a_wheel_holds_the_page_the_cards_and_the_configuration(wheel):
    site = "classifiers/page/site/"
    names = ("index.html", "page.css", "page.js", "cascade.js", "icon.svg")
    wanted = {f"{site}{name}" for name in names}
    wanted |= {"curation/inspection/base.css", "classifiers/export/card.md.jinja"}
    wanted |= {"conf/config.yaml", "conf/experiment/quickstart.yaml"}
    assert wanted - wheel == set()
    assert not [name for name in wheel if name.startswith(("tests/", "benchmarks/"))]
