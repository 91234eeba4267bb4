import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from curation.pipeline import Plan, run

STAGE = """
import os, pathlib, time

def cell(*, arm, trial, out, wait=0.0):
    if arm == "broken":
        raise ValueError("this arm is broken")
    time.sleep(wait)
    (out / "value.txt").write_text(f"{arm} {trial}")
    (out / "worker.txt").write_text(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')}")
    return {"headline": f"{arm} is done"}
"""

CONFIG = """
command: cell
run: [cell]
seed: 0
out: {out}
folds: 1
fold: all
emotions: [happy]
emotion: all
arm: all
trial: all
cost: {{gan: 3, original: 1, broken: 0}}
protocol: {{arms: {{gan: 1, original: 1}}, seeds: [0, 1]}}
jobs: 1
wait: 0.0
stages:
  cell:
    {{version: 1, each: [trial, arm], folder: "cells/${{arm}}-${{trial}}", record: cell.json,
      reads: {{}}, jobs: "${{jobs}}", cost: "${{cost.${{arm}}}}",
      runtime: {{wait: "${{wait}}"}},
      call: {{_target_: small_cells.cell, arm: "${{arm}}", trial: "${{trial}}"}}}}
"""


@pytest.fixture
def cells(tmp_path, monkeypatch):
    (tmp_path / "small_cells.py").write_text(STAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.delitem(sys.modules, "small_cells", raising=False)

    def configured(**changes):
        return OmegaConf.merge(OmegaConf.create(CONFIG.format(out=tmp_path / "out")), changes)

    return configured


def ends(caplog):
    return [r.getMessage() for r in caplog.records if " of 4: " in r.getMessage()]


def test_the_cheapest_come_first_and_progress_is_told(cells, caplog):
    caplog.set_level(logging.INFO)
    run(cells())
    told = ends(caplog)
    assert [line.split(",")[0] for line in told] == [
        "1 of 4: cell trial 0 arm original: original is done",
        "2 of 4: cell trial 1 arm original: original is done",
        "3 of 4: cell trial 0 arm gan: gan is done",
        "4 of 4: cell trial 1 arm gan: gan is done",
    ]
    assert all(line.endswith("s left") for line in told)


def test_another_arm_or_seed_leaves_what_is_done_alone(cells, caplog):
    run(cells(arm="gan"))
    caplog.set_level(logging.INFO)
    finished = run(cells(protocol={"arms": {"more": 1}, "seeds": [0, 1]}, cost={"more": 2}))
    assert "cell: 2 of 6 are there already" in caplog.messages
    assert len(finished) == 6
    assert all(task.done for task in finished)


def test_several_at_a_time_give_the_same(cells, tmp_path):
    finished = run(cells(jobs=2))
    texts = [(task.folder / "value.txt").read_text() for task in finished]
    assert texts == ["gan 0", "original 0", "gan 1", "original 1"]
    workers = {(task.folder / "worker.txt").read_text().split()[0] for task in finished}
    assert str(os.getpid()) not in workers
    assert len(workers) <= 2


def test_an_error_in_a_process_is_the_commands_error(cells):
    broken = cells(jobs=2, protocol={"arms": {"broken": 1}})
    with pytest.raises(ValueError, match="this arm is broken"):
        run(broken)
    with pytest.raises(ValueError, match="jobs is 0"):
        run(cells(jobs=0))


def test_what_another_process_makes_is_left_to_it_till_the_end(cells, caplog, tmp_path):
    cfg = cells()
    first = Plan(cfg).task("cell", {"trial": 0, "arm": "original"})
    last = Plan(cfg).task("cell", {"trial": 1, "arm": "gan"})
    lock = first.folder.with_name(f".{first.folder.name}.lock")
    lock.parent.mkdir(parents=True)
    # gives the task up when all others are done, which they only are if nobody waits for it
    code = textwrap.dedent(
        f"""
        import pathlib, time
        from filelock import FileLock
        with FileLock({str(lock)!r}):
            pathlib.Path({str(tmp_path / "held")!r}).touch()
            while not pathlib.Path({str(last.folder)!r}).exists():
                time.sleep(0.05)
        """
    )
    other = subprocess.Popen([sys.executable, "-c", code])
    while not (tmp_path / "held").exists():
        time.sleep(0.02)
    caplog.set_level(logging.INFO)
    run(cfg)
    assert ends(caplog)[-1].startswith("4 of 4: cell trial 0 arm original")
    assert other.wait(30) == 0


def test_workers_of_a_killed_command_end_and_the_next_goes_on(cells, tmp_path):
    OmegaConf.save(cells(jobs=2, wait=30.0), tmp_path / "slow.yaml")
    script = textwrap.dedent(
        f"""
        from omegaconf import OmegaConf
        from curation.pipeline import run
        if __name__ == "__main__":
            run(OmegaConf.load({str(tmp_path / "slow.yaml")!r}))
        """
    )
    (tmp_path / "slow.py").write_text(script)
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{tmp_path}"}
    command = subprocess.Popen([sys.executable, str(tmp_path / "slow.py")], env=environment)
    deadline = time.time() + 60
    while len(list((tmp_path / "out").rglob(".*.partial"))) < 2 and time.time() < deadline:
        time.sleep(0.05)
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children")
    workers = [int(pid) for pid in children.read_text().split()] if children.exists() else []
    command.send_signal(signal.SIGKILL)
    command.wait()
    deadline = time.time() + 20
    while any(_alive(pid) for pid in workers) and time.time() < deadline:
        time.sleep(0.1)
    assert not any(_alive(pid) for pid in workers)
    assert all(task.done for task in run(cells()))


def _alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
