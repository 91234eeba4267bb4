import hashlib
import json

import pytest

from curation.contract import contract_id, describe_difference

CONTRACT = {"size": 64, "frame": {"frame": "box", "margin": 0.1}, "clahe": None, "cascades": ["a"]}


def test_the_id_is_of_the_canonical_json():
    text = '{"cascades":["a"],"clahe":null,"frame":{"frame":"box","margin":0.1},"size":64}'
    assert json.loads(text) == CONTRACT
    assert contract_id(CONTRACT) == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_order_and_the_spelling_of_numbers_do_not_matter():
    turned = dict(reversed(CONTRACT.items()))
    assert contract_id(turned) == contract_id(CONTRACT)
    assert contract_id({**CONTRACT, "size": 64.0}) == contract_id(CONTRACT)
    assert contract_id({**CONTRACT, "cascades": ("a",)}) == contract_id(CONTRACT)


@pytest.mark.parametrize(
    "change",
    [
        {"size": 65},
        {"clahe": 0},
        {"cascades": ["a", "b"]},
        {"frame": {"margin": 0.1}},
        {"new": None},
    ],
)
def test_any_change_is_another_contract(change):
    other = {**CONTRACT, **change}
    assert contract_id(other) != contract_id(CONTRACT)
    assert describe_difference(CONTRACT, other)


def test_a_contract_survives_json():
    again = json.loads(json.dumps(CONTRACT))
    assert contract_id(again) == contract_id(CONTRACT)
    assert describe_difference(again, CONTRACT) == ""


def test_differences_name_keys_with_both_values():
    other = {"size": 128, "frame": {"frame": "eyes", "margin": 0.1, "sides": 1.7}, "clahe": None}
    assert describe_difference(CONTRACT, other) == (
        'cascades: ["a"] against (absent); frame.frame: "box" against "eyes"; '
        "frame.sides: (absent) against 1.7; size: 64 against 128"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object()])
def test_other_than_json_is_told(value):
    with pytest.raises(ValueError, match="JSON values only"):
        contract_id({"size": value})
