import json

import pytest

from curation.review.decisions import Decision, apply, read


def _file(tmp_path, **changed):
    content = {"version": 1, "corpus": "aa", "decisions": {"x": {"verdict": "keep"}}} | changed
    path = tmp_path / "decisions.json"
    path.write_text(json.dumps(content))
    return path


def test_read(tmp_path):
    assert read(_file(tmp_path), "aa") == {"x": Decision("keep")}


def test_a_file_for_another_corpus_is_refused_with_both_hashes(tmp_path):
    with pytest.raises(ValueError, match=r"corpus aa, this one is bb"):
        read(_file(tmp_path), "bb")


@pytest.mark.parametrize("changed", [{"version": 2}, {"decisions": {"x": {"verdict": "?"}}}])
def test_a_malformed_file_is_refused(tmp_path, changed):
    with pytest.raises(ValueError, match=r"gate\.decisions"):
        read(_file(tmp_path, **changed), "aa")


def test_a_person_overrides_gates_but_not_safety():
    said = {"a": Decision("reject", "blurred"), "b": Decision("keep"), "c": Decision("keep")}
    reasons = [None, "agreement 0.2", "copy of x", None]
    after, unheeded = apply(["a", "b", "c", "d"], reasons, said, guarded={2})
    assert after == ["person: blurred", None, "copy of x", None]
    assert unheeded == 1


def test_a_decision_about_no_row_is_refused():
    with pytest.raises(ValueError, match="name no row"):
        apply(["a"], [None], {"z": Decision("keep")}, guarded=())
