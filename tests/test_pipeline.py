import logging
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from curation.artifact import read_json
from curation.pipeline import MissingStageError, Plan, in_order, run

# a small road of its own: numbers → doubled for each emotion → sum
STAGES = """
def numbers(*, count, out):
    (out / "numbers.txt").write_text(" ".join(map(str, range(count))))
    return {"count": count}

def doubled(*, source, emotion, out):
    text = (source / "numbers.txt").read_text()
    (out / "numbers.txt").write_text(text + " " + text)
    return {}

def total(*, parts, nothing, out, threads=1):
    assert nothing is None
    texts = {name: (path / "numbers.txt").read_text() for name, path in parts.items()}
    (out / "total.txt").write_text(str({k: sum(map(int, v.split())) for k, v in texts.items()}))
    return {}

def cut(*, size, out):
    (out / "faces.txt").write_text("face" * size)
    return {"contract": {"size": size, "detector": "haar"}}

def joined(*, first, second, out):
    (out / "joined.txt").write_text((first / "faces.txt").read_text())
    return {}

def grown(*, name, before, out):
    text = "" if before is None else (before / "name.txt").read_text() + " "
    (out / "name.txt").write_text(text + name)
    return {}

def failing(*, source, out):
    (out / "half.txt").write_text("half")
    raise ValueError("the stage found something wrong")
"""

CONFIG = """
command: run
run: [numbers, doubled, total]
seed: 0
out: {out}
emotions: [happy, sad]
emotion: all
folds: 1
fold: all
after: {{happy: sad, sad: null}}
count: 4
threads: 1
stages:
  numbers:
    {{version: 1, each: [fold], folder: a/numbers, record: a.json, reads: {{}},
      call: {{_target_: small_road.numbers, count: "${{count}}"}}}}
  doubled:
    {{version: 1, each: [fold, emotion], folder: "b/${{emotion}}", record: b.json,
      reads: {{source: numbers}},
      call: {{_target_: small_road.doubled, emotion: "${{emotion}}"}}}}
  total:
    {{version: 1, each: [fold], folder: c/total, record: c.json,
      reads: {{parts: doubled, nothing: null}}, runtime: {{threads: "${{threads}}"}},
      call: {{_target_: small_road.total}}}}
  small:
    {{version: 1, each: [], folder: e/small, record: e.json, reads: {{}},
      call: {{_target_: small_road.cut, size: 32}}}}
  large:
    {{version: 1, each: [], folder: e/large, record: e.json, reads: {{}},
      call: {{_target_: small_road.cut, size: 64}}}}
  again:
    {{version: 1, each: [], folder: f/again, record: f.json, reads: {{first: small, second: small}},
      call: {{_target_: small_road.joined}}}}
  mixed:
    {{version: 1, each: [], folder: f/mixed, record: f.json, reads: {{first: again, second: large}},
      call: {{_target_: small_road.joined}}}}
  grown:
    {{version: 1, each: [emotion], folder: "g/${{emotion}}", record: g.json,
      reads: {{before: {{stage: grown, emotion: "${{after.${{emotion}}}}"}}}},
      call: {{_target_: small_road.grown, name: "${{emotion}}"}}}}
  failing:
    {{version: 1, each: [fold], folder: d/failing, record: d.json, reads: {{source: numbers}},
      call: {{_target_: small_road.failing}}}}
"""


@pytest.fixture
def road(tmp_path, monkeypatch):
    (tmp_path / "small_road.py").write_text(STAGES)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "small_road", raising=False)

    def configured(**changes):
        cfg = OmegaConf.create(CONFIG.format(out=tmp_path / "out"))
        return OmegaConf.merge(cfg, changes)

    return configured


def starts(caplog):
    return [r.getMessage().split(":")[0] for r in caplog.records if "starts" in r.getMessage()]


def test_a_run_makes_every_result_once(road, caplog, tmp_path):
    caplog.set_level(logging.INFO)
    finished = run(road())
    assert starts(caplog) == ["numbers", "doubled emotion happy", "doubled emotion sad", "total"]
    assert (finished[-1].folder / "total.txt").read_text() == "{'happy': 12, 'sad': 12}"
    caplog.clear()
    run(road())
    assert starts(caplog) == []
    assert not [path for path in tmp_path.rglob(".*") if path.is_dir()]


def test_a_change_runs_again_what_depends_on_it_and_nothing_else(road, caplog):
    run(road())
    caplog.set_level(logging.INFO)
    changed = road()
    changed.stages.doubled.version = 2
    run(changed)
    assert starts(caplog) == ["doubled emotion happy", "doubled emotion sad"]  # same bytes: stop
    caplog.clear()
    run(road(count=5))
    assert len(starts(caplog)) == 4
    caplog.clear()
    run(road(threads=8))
    assert starts(caplog) == []


def test_the_record_says_what_made_it(road):
    task = run(road())[1]
    record = read_json(task.record_path)
    assert record["stage"] == "doubled"
    assert record["emotion"] == "happy"
    assert record["config"]["emotion"] == "happy"
    assert record["seed"] == 0
    assert record["versions"]["python"].startswith("3.")
    above = read_json(run(road())[0].record_path)
    assert record["inputs"]["source"]["content"] == above["content"]
    assert above["facts"] == {"count": 4}


def test_one_emotion_of_one_stage(road, caplog):
    caplog.set_level(logging.INFO)
    run(road(command="numbers"))
    run(road(command="doubled", emotion="sad"))
    assert starts(caplog) == ["numbers", "doubled emotion sad"]
    with pytest.raises(MissingStageError, match="doubled emotion happy has not run"):
        run(road(command="total"))


def test_an_input_can_be_a_folder(road, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "numbers.txt").write_text("5 6")
    cfg = road(command="doubled", emotion="sad")
    cfg.stages.doubled.reads.source = str(folder)
    (task,) = run(cfg)
    assert (task.folder / "numbers.txt").read_text() == "5 6 5 6"
    cfg.stages.doubled.reads.source = str(tmp_path / "nowhere")
    with pytest.raises(MissingStageError, match="nowhere"):
        run(cfg)


def test_a_failing_stage_leaves_nothing(road, tmp_path):
    run(road(command="numbers"))
    with pytest.raises(ValueError, match="something wrong"):
        run(road(command="failing"))
    assert not [path for path in (tmp_path / "out" / "d").iterdir() if path.is_dir()]
    assert not list((tmp_path / "out").rglob("half.txt"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"command": "doubled", "emotion": "joy"}, "emotion 'joy' is unknown; it is one of happy"),
        ({"command": "numbers", "fold": 3}, "fold 3 is unknown"),
        ({"command": "bake"}, "stage 'bake' is unknown; choose from numbers"),
    ],
)
def test_wrong_words_are_named(road, changes, message):
    with pytest.raises(ValueError, match=message):
        run(road(**changes))


def test_a_changed_file_of_the_users_is_noticed(road, tmp_path):
    root = tmp_path / "database"
    root.mkdir()
    cfg = road()
    cfg.stages.numbers.call.root = str(root)
    before = Plan(cfg).wanted("numbers")[0].folder
    assert Plan(cfg).wanted("numbers")[0].folder == before
    (root / "new.png").write_text("x")
    assert Plan(cfg).wanted("numbers")[0].folder != before


def test_two_processes_make_one_result(road, tmp_path):
    script = textwrap.dedent(
        """
        import sys, time
        sys.path.insert(0, {path!r})
        import small_road
        real = small_road.numbers
        def slow(**arguments):
            with open({log!r}, "a") as file:
                file.write("made\\n")
            time.sleep(1.0)
            return real(**arguments)
        small_road.numbers = slow
        from omegaconf import OmegaConf
        from curation.pipeline import run
        run(OmegaConf.load({config!r}))
        """
    ).format(path=str(tmp_path), log=str(tmp_path / "log"), config=str(tmp_path / "c.yaml"))
    OmegaConf.save(road(command="numbers"), tmp_path / "c.yaml")
    root = str(Path(__file__).parents[1])
    both = [subprocess.Popen([sys.executable, "-c", script], cwd=root) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert (tmp_path / "log").read_text() == "made\n"


def test_a_killed_stage_is_made_again(road, tmp_path):
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import small_road, time\n"
        "def stuck(*, count, out):\n"
        "    (out / 'numbers.txt').write_text('0 1'); time.sleep(60)\n"
        "small_road.numbers = stuck\n"
        "from omegaconf import OmegaConf; from curation.pipeline import run\n"
        f"run(OmegaConf.load({str(tmp_path / 'c.yaml')!r}))\n"
    )
    OmegaConf.save(road(command="numbers"), tmp_path / "c.yaml")
    process = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[1])
    deadline = time.time() + 60
    while not list((tmp_path / "out").rglob("numbers.txt")) and time.time() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    (left,) = (tmp_path / "out").rglob("numbers.txt")
    assert left.parent.name.startswith(".")
    (task,) = run(road(command="numbers"))
    assert (task.folder / "numbers.txt").read_text() == "0 1 2 3"
    assert not left.parent.exists()


def test_a_contract_is_handed_down_and_another_is_refused(road):
    run(road(run=["small", "large", "again"]))
    (small,) = Plan(road()).wanted("small")
    (again,) = Plan(road()).wanted("again")
    assert read_json(again.record_path)["contract"] == {"size": 32, "detector": "haar"}
    with pytest.raises(
        ValueError, match=r"mixed would mix .*32.*64.*differ in size: 32 against 64"
    ):
        run(road(run=["mixed"]))
    assert not Plan(road()).wanted("mixed")[0].folder.exists()
    assert small.done


def test_a_stage_can_read_results_of_its_own_one_after_the_other(road, caplog):
    caplog.set_level(logging.INFO)
    cfg = road(command="grown", emotions=["happy", "angry", "sad"])
    cfg.after = {"happy": "angry", "angry": "sad", "sad": None}
    texts = {task.variables: (task.folder / "name.txt").read_text() for task in run(cfg)}
    assert list(texts.values()) == ["sad angry happy", "sad angry", "sad"]
    assert starts(caplog) == [f"grown emotion {name}" for name in ("sad", "angry", "happy")]
    task = Plan(cfg).task("grown", {"emotion": "angry"})
    assert read_json(task.record_path)["inputs"]["before"]["path"].startswith("g/sad-")
    # what comes first must be there where it is not asked for
    with pytest.raises(MissingStageError, match=r"grown emotion sad has not run"):
        run(road(command="grown", emotion="happy", out=f"{cfg.out}-new"))
    # and all of the road finds its order
    assert in_order(road(run=["grown", "total"])) == ["grown", "numbers", "doubled", "total"]


def test_a_stage_that_waits_for_itself_is_refused(road):
    with pytest.raises(ValueError, match=r"grown emotion \w+ reads itself; name another"):
        run(road(command="grown", after={"happy": "sad", "sad": "happy"}))
    with pytest.raises(ValueError, match=r"reads grown of emotion 'joy', which is none; there are"):
        run(road(command="grown", after={"happy": "joy"}))
