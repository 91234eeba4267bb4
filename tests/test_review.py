import json

import pytest

from curation.review.decisions import Decision, Decisions, read


def _file(tmp_path, **changed):
    content = {"version": 1, "corpus": "aa", "decisions": {"x": {"verdict": "keep"}}} | changed
    path = tmp_path / "decisions.json"
    path.write_text(json.dumps({k: v for k, v in content.items() if v != "absent"}))
    return path


def test_read(tmp_path):
    said = {"x": {"verdict": "keep"}, "b": {"verdict": "reject", "note": "blurred"}}
    assert read(_file(tmp_path, decisions=said, reviewer="Ada"), "aa") == Decisions(
        {"x": Decision("keep"), "b": Decision("reject", "blurred")}, "Ada"
    )
    assert read(_file(tmp_path, decisions={}), "aa") == Decisions()


def test_a_file_for_another_corpus_is_refused_with_both_hashes(tmp_path):
    with pytest.raises(ValueError, match=r"corpus aa, this one is bb"):
        read(_file(tmp_path), "bb")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"version": 2}, "version 2, this program reads version 1"),
        ({"version": "absent"}, "version None"),
        ({"decisions": {"x": {"verdict": "?"}}}, r"'\?' of x; use keep or reject"),
        ({"decisions": {"x": {"verdict": ["keep"]}}}, "of x; use keep or reject"),
        ({"decisions": "absent"}, "needs an object `decisions`.*it has none"),
        ({"decisions": ["x"]}, "needs an object `decisions`.*it has list"),
        ({"decisions": {"x": "keep"}}, "a text for x"),
        ({"decisions": {"x": {"verdict": "keep", "note": 3}}}, "the note on x is a number"),
        ({"reviewer": ["me"]}, "reviewer is a list"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path, changed, told):
    with pytest.raises(ValueError, match=rf"{told}.*gate\.decisions"):
        read(_file(tmp_path, **changed), "aa")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"", b"[1]", b'"text"', b"null"])
def test_what_is_no_object_is_refused(tmp_path, content):
    path = tmp_path / "decisions.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"decisions\.json (is no JSON|holds a).*gate\.decisions"):
        read(path, "aa")


def test_decisions_find_their_rows():
    said = Decisions({"a": Decision("reject", "blurred"), "b": Decision("keep")})
    assert said.places(["b", "c", "a", "a"], "reject") == dict.fromkeys((2, 3), said.by_id["a"])
    assert said.places(["b", "c", "a"], "keep") == {0: Decision("keep")}
    with pytest.raises(ValueError, match="1 of 2 decisions are about no row"):
        said.places(["a"], "keep")


def test_a_reason_is_one_line():
    assert Decision("reject").reason == "person: rejected"
    assert Decision("reject", " eye\n missing ").reason == "person: eye missing"
