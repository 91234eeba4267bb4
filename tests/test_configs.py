import importlib
import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from classifiers.training import Training
from curation.pipeline import Plan, in_order

CONF = Path(__file__).parents[1] / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
GROUPS = sorted(
    (group.name, option.stem)
    for group in CONF.iterdir()
    if group.is_dir() and group.name not in ("experiment", "stage", "__pycache__")
    for option in group.glob("*.yaml")
)


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def root_of(experiment):
    # a user's databases lie where only the user knows
    missing = OmegaConf.missing_keys(composed(f"experiment={experiment}"))
    return [f"{key}=x" for key in sorted(missing) if key.split(".")[0] != "stages"]


def tasks(cfg):
    plan = Plan(cfg)
    return [task for stage in cfg.stages for task in plan.wanted(stage)]


def targets(node):
    if OmegaConf.is_dict(node):
        if "_target_" in node:
            yield node
        for key in node:
            yield from targets(node[key])
    elif OmegaConf.is_list(node):
        for item in node:
            yield from targets(item)


def callable_of(name):
    """The object that a dotted name means: a function, a class, or a class's method."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"nothing is called {name}")


def accepted(function):
    """Names of a function's arguments, those of its **TypedDict included."""
    names = set()
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            names |= set(parameter.annotation.__args__[0].__annotations__)
        else:
            names.add(parameter.name)
    return names


ADDITIONS = {
    "imported": ("+imported=folder", "imported.database.root=x"),
    "hygiene": ("+hygiene=hold_back",),
}


@pytest.mark.parametrize("experiment", [*EXPERIMENTS, *ADDITIONS])
def test_every_stage_of_an_experiment_resolves_and_instantiates(experiment):
    if experiment in ADDITIONS:
        cfg = composed("experiment=quickstart", *ADDITIONS[experiment])
    else:
        cfg = composed(f"experiment={experiment}", *root_of(experiment))
    seen = set()
    for task in tasks(cfg):
        if task.stage in seen:
            continue
        seen.add(task.stage)
        assert task.settings
        assert callable(instantiate(task.node.call, _partial_=True))
        function = callable_of(task.node.call._target_)
        given = {*task.settings, *task.node.reads, *(task.node.get("runtime") or {}), "out"}
        unknown = given - {"_target_"} - accepted(function)
        assert not unknown, f"{task.stage} is given {unknown}"
        needed = {
            name
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.default is inspect.Parameter.empty
            and parameter.kind is not inspect.Parameter.VAR_KEYWORD
        }
        assert needed <= given, f"{task.stage} lacks {needed - given}"
    assert seen == set(cfg.stages)


@pytest.mark.parametrize(("group", "option"), GROUPS)
def test_every_option_composes_and_names_what_exists(group, option):
    # a group without a default is an addition; a training is a network's, whose layers it counts
    added = "" if group in (*composed(), "training") else "+"
    place = "classifier.training" if group == "training" else group
    cfg = composed(f"{added}{group}{'@' + place if place != group else ''}={option}")
    for key in OmegaConf.missing_keys(cfg.get(group) or {}):
        OmegaConf.update(cfg, key, "x")
    for node in targets(OmegaConf.select(cfg, place)):
        function = callable_of(node._target_)
        unknown = set(node) - {"_target_", "_partial_", "_convert_"} - accepted(function)
        assert not unknown, f"{group}={option} gives {node._target_} {unknown}"


@pytest.mark.parametrize("option", [option for group, option in GROUPS if group == "labels"])
def test_every_grouping_leads_to_each_of_its_emotions(option):
    labels = composed(f"labels={option}").labels
    assert set(labels.mapping.values()) == set(labels.emotions)
    assert len(set(labels.emotions)) == len(labels.emotions)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_opens_with_its_command(experiment):
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert head[0] == "# @package _global_"
    assert any(f"experiment={experiment}" in line for line in head)
    assert any("minute" in line for line in head)


def test_quickstart_follows_protocol_1():
    cfg = composed("experiment=quickstart")
    pictures = cfg.database.subjects * cfg.database.sessions * len(cfg.emotions)
    assert pictures == 980
    assert pictures * cfg.augment.copies == 4900
    assert cfg.per_emotion * len(cfg.emotions) == 1050
    assert cfg.size == 64
    steps = {step._target_.rsplit(".", 1)[1]: step for step in cfg.augment.operators.steps}
    assert list(steps) == ["Rotation", "Zoom", "Flip", "Height", "Width", "Contrast"]
    assert [s.get("factor") for s in steps.values()] == [0.1, 0.1, None, 0.2, 0.2, 0.2]


def test_each_emotion_and_fold_is_a_task_of_its_own():
    plan = Plan(composed("experiment=photos", "database.root=x"))
    labels = {task.label for task in plan.wanted("train_gan")}
    assert len(labels) == 3 * 5
    assert "train_gan fold 2 emotion sad" in labels
    only = Plan(composed("experiment=photos", "database.root=x", "emotion=sad", "fold=1"))
    assert [task.label for task in only.wanted("train_gan")] == ["train_gan fold 1 emotion sad"]


def test_what_changes_only_the_time_does_not_change_a_fingerprint():
    plans = [
        Plan(composed("experiment=quickstart", *extra))
        for extra in ([], ["workers=7", "trainer=cpu"], ["size=32"])
    ]
    first, faster, smaller = ([task.settings for task in tasks(plan.cfg)] for plan in plans)
    assert first == faster
    assert first != smaller


def test_a_stage_that_is_added_runs_before_its_reader_and_others_stay_in_order():
    plain = composed("experiment=quickstart")
    assert in_order(plain) == list(plain.run)
    web = ("experiment=randellini2022", *root_of("randellini2022"), "+gan/extra=folder")
    order = in_order(composed(*web))
    assert order.index("standardise_extra") < order.index("train_gan")
    assert "train_trunk" not in order
    added = [word for words in ADDITIONS.values() for word in words]
    order = in_order(composed("experiment=quickstart", *added))
    assert [stage for stage in order if stage in plain.run] == list(plain.run)
    for before, after in (
        ("ingest", "import"),
        ("import", "standardise_imported"),
        ("select_imported", "gather"),
        ("gather", "publish"),
        ("train_label_judge", "check_labels"),
        ("check_labels", "augment"),
    ):
        assert order.index(before) < order.index(after)


@pytest.mark.parametrize("option", [option for group, option in GROUPS if group == "training"])
def test_every_training_is_built_from_its_preset(option):
    cfg = composed(f"training@classifier.training={option}", "classifier.tuned=5")
    training = instantiate(cfg.stages.train_classifier.call, _partial_=True).keywords["training"]
    assert isinstance(training, Training)
    assert list(training.phases) == list(cfg.classifier.training.phases)
    if option == "two_step":
        assert [phase.trains for phase in training.phases.values()] == [0, 5]
        assert [phase.steps(100) for phase in training.phases.values()] == [1000, 6500]
