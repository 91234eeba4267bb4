import numpy as np
import pandas as pd
import pytest

from classifiers.splits import ByDatabase, ByPicture, BySubject, External

EMOTIONS = ("happy", "sad")


def facts(people=10, copies=2):
    rows = []
    for person in range(people):
        for emotion in EMOTIONS:
            one = {
                "id": f"{person}-{emotion}",
                "subject": f"a/{person}" if person < people // 2 else f"b/{person}",
                "parent": None,
                "database": "a" if person < people // 2 else "b",
                "emotion": emotion,
                "origin": "real",
                "split": "train" if person < people - 2 else "test",
            }
            rows.append(one)
            rows += [
                one | {"id": f"{one['id']}-{copy}", "parent": one["id"], "origin": "geometric"}
                for copy in range(copies)
            ]
    gan = {"subject": None, "parent": None, "database": "a", "origin": "gan", "split": "train"}
    rows += [gan | {"id": f"g{n}", "emotion": EMOTIONS[n % 2]} for n in range(20)]
    return pd.DataFrame(rows).sample(frac=1, random_state=0).reset_index(drop=True)


def test_an_external_split_is_the_corpuss_own():
    table = facts()
    assert External().assign(table, 0).equals(table["split"])
    with pytest.raises(ValueError, match=r"part 1 .* protocol.parts=1"):
        External().assign(table, 1)


def test_folds_by_picture_test_every_picture_once_and_are_stratified():
    table, splitter = facts(), ByPicture(parts=5)
    sides = [splitter.assign(table, part) for part in range(5)]
    tested = np.stack([side == "test" for side in sides])
    assert (tested.sum(0) == 1).all()
    for side in sides:
        counts = table.loc[side == "test", "emotion"].value_counts()
        assert counts.max() - counts.min() <= 1
    # where a picture stands, and what else there is in other emotions, changes nothing
    turned = table.iloc[::-1]
    assert splitter.assign(turned, 2).sort_index().equals(sides[2])
    assert not ByPicture(parts=5, seed=1).assign(table, 2).equals(sides[2])


def test_folds_by_picture_put_people_on_both_sides_and_say_so():
    table = facts()
    side = ByPicture(parts=5).assign(table, 0)
    both = set(table.loc[side == "train", "subject"]) & set(table.loc[side == "test", "subject"])
    assert both - {None}
    assert ByPicture.leaky
    assert not BySubject.leaky
    assert not ByDatabase.leaky


def test_folds_by_subject_keep_people_and_their_copies_on_one_side():
    table, splitter = facts(), BySubject(parts=5)
    times = pd.Series(0, table["subject"].dropna().unique())
    for part in range(5):
        side = splitter.assign(table, part)
        trained, tested = (set(table.loc[side == name, "subject"]) for name in ("train", "test"))
        assert not trained & tested
        assert side[table["origin"] == "gan"].isna().all()
        times[list(tested)] += 1
    assert (times == 1).all()


def test_a_picture_of_nobody_is_somebody_and_its_copies_are_the_same():
    table = facts().assign(subject=None)
    for part in range(3):
        side = BySubject(parts=3).assign(table, part)
        of = dict(zip(table["id"], side, strict=True))
        copies = table[table["parent"].notna()]
        assert [of[parent] for parent in copies["parent"]] == [of[name] for name in copies["id"]]


def test_one_database_is_left_out():
    table, splitter = facts(), ByDatabase()
    side = splitter.assign(table, 1)
    assert set(table.loc[side == "test", "database"]) == {"b"}
    assert set(table.loc[side == "train", "database"]) == {"a"}
    assert side[table["origin"] == "gan"].isna().all()
    with pytest.raises(ValueError, match=r"2 databases: a, b: set protocol.parts=2"):
        splitter.assign(table, 2)
    with pytest.raises(ValueError, match="takes two at least, the corpus has a"):
        splitter.assign(table[table["database"] == "a"], 0)
