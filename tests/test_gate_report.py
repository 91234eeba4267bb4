"""What the report says about gates, from planted metrics."""

import re

import numpy as np

from classifiers.calibration import calibrate
from classifiers.report import environment
from classifiers.report_parts.gates import gate_section


def line(emotion, removed=4, **changed):
    before = {"precision": 0.8, "recall": 0.5, "density": 1.0, "coverage": 0.6}
    after = {"precision": 0.9, "recall": None, "density": 1.1, "coverage": 0.55}
    return {
        "gate": "realism",
        "emotion": emotion,
        "removed": removed,
        "n_real": 40,
        "n_before": 20,
        "n_after": 16,
        "before": before,
        "after": after,
        "coverage_by_lot": 0.52,
        **changed,
    }


def metrics():
    generator = np.random.default_rng(0)
    said = generator.dirichlet(np.ones(3), 300)
    labels = said.argmax(1)
    calibration = calibrate(said, labels, np.arange(300) % 3, np.arange(300).tolist(), seed=0)
    spread = {"n": 90, "q05": 0.2, "q50": 0.4}
    return {
        "neighbours": 5,
        "space": {"extractor": "a <tiny> extractor", "hash": "1"},
        "classifier": {"name": "x", "hash": "1", "calibration": calibration},
        "identity": {"missing": "not checked: no face embedding was given (gate.embedding)"},
        "memorisation": {
            "distances": {"generated": spread, "same_person": {"n": 0}, "strangers": spread},
            "authentic": {"value": 0.875, "n": 1200},
            "nearer_to_training": {
                "value": 0.625,
                "interval": [0.5, 0.75],
                "n": 1200,
                "people": 12,
                "holdout": "validation",
            },
        },
        "gates": {"costs": [line("happy"), line("all")]},
    }


def rendered(section):
    templates = (environment().get_template(f"{n}.html.jinja") for n in ("gates", "reliability"))
    page = "\n".join(template.render(gates=section) for template in templates)
    return re.sub(r"<td class=[^>]*>", "<td>", page)


def test_costs_copies_identity_and_reliability_are_told():
    content = metrics()
    page = rendered(gate_section([content]))
    assert page.count("<td>realism</td>") == 2
    assert "80.0 → 90.0" in page
    assert "50.0 → –" in page
    assert "60.0 → 55.0" in page
    assert "<td>52.0</td>" in page
    assert "a &lt;tiny&gt; extractor" in page
    assert "Identity was not checked: no face embedding was given" in page
    assert "Of 1,200 synthetic faces, 87.5 % are farther" in page
    assert "62.5 % (50.0 to 75.0" in page
    assert "two pictures of one person" not in page  # nobody has two
    after = content["classifier"]["calibration"]["after"]
    assert f"<td>{100 * after['ece']:.1f}</td>" in page
    assert page.count("<polyline") == 3


def test_folds_are_told_apart_and_older_metrics_say_nothing():
    page = rendered(gate_section([metrics(), metrics()]))
    assert page.count("fold 1") >= 4
    assert rendered(gate_section([{"seed": 0}])).strip() == ""
    assert rendered(gate_section([])).strip() == ""
