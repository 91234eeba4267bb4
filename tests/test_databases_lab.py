import csv
import logging
import os
import re
import shutil
from collections import Counter
from io import BytesIO
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from curation.corpus import EMOTIONS, Corpus, split_subjects
from curation.databases import ckplus, jaffe, kdef, sfew
from curation.databases.ckplus import CkPlus, CkPlus48
from curation.databases.jaffe import Jaffe
from curation.databases.kdef import Kdef
from curation.databases.layout import LINK_OUTSIDE, LINK_WITHIN, entries, locate
from curation.databases.sfew import Sfew
from curation.ingest import ingest

CONF = Path(__file__).parents[1] / "conf"
NUMBERS = count()


def picture(path, mode="RGB", size=(4, 4), **options):
    """Save a picture that no other has."""
    pixels = np.random.default_rng(next(NUMBERS)).integers(0, 256, (*size, 3), np.uint8)
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, options.pop("format", "PNG"), **options)
    return path


def listed(database):
    """Return rows with a picture by source, and problems by source."""
    rows = list(database.rows())
    good = {row["source"]: row for row in rows if "problem" not in row}
    problems = {row["source"]: row["problem"] for row in rows if "problem" in row}
    assert len(good) + len(problems) == len(rows), "two rows have one source"
    return good, problems


def there(rows):
    return {source: row for source, row in rows.items() if row["image"].exists()}


@pytest.fixture
def ingested(tmp_path):
    def run(database, emotions=EMOTIONS, **options):
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        out.mkdir()
        facts = ingest(
            database=database, split=split_subjects, out=out, emotions=emotions, **options
        )
        with (out / "skipped.csv").open(newline="", encoding="utf-8") as file:
            skipped = {line["source"]: line["reason"] for line in csv.DictReader(file)}
        return Corpus(out), skipped, facts

    return run


@pytest.fixture(scope="module")
def whole_kdef(tmp_path_factory):
    root = tmp_path_factory.mktemp("KDEF_and_AKDEF")
    for name in kdef_names():
        picture(root / "KDEF" / name[:4] / f"{name}.JPG")
    picture(root / "AKDEF" / "AFAFS.JPG")
    picture(root / "AKDEF" / "AF01AFS.JPG")
    return root


def kdef_names(angles=("S",)):
    return [
        f"{session}{sex}{number:02d}{code}{angle}"
        for session in "AB"
        for sex in "FM"
        for number in range(1, 36)
        for code in ("AF", "AN", "DI", "HA", "NE", "SA", "SU")
        for angle in angles
    ]


def test_a_whole_kdef_is_read_by_its_names(whole_kdef):
    rows, problems = listed(Kdef(whole_kdef))
    assert problems == {}
    assert len(there(rows)) == len(rows) == 980
    assert Counter(row["emotion"] for row in rows.values()) == Kdef(whole_kdef).expected
    assert len({row["subject"] for row in rows.values()}) == 70
    row = rows["BM07/BM07AFS.JPG"]
    assert (row["database"], row["subject"], row["session"]) == ("kdef", "kdef/M07", "B")
    assert (row["emotion"], row["pose"], row["sex"]) == ("fear", "straight", "male")
    assert rows["AF01/AF01DIS.JPG"]["sex"] == "female"
    # one person in two sessions is one person
    assert rows["AF01/AF01DIS.JPG"]["subject"] == rows["BF01/BF01DIS.JPG"]["subject"]


def test_averaged_faces_of_akdef_are_nobody(whole_kdef):
    for near in (whole_kdef, whole_kdef / "KDEF", whole_kdef / "KDEF" / "AF01"):
        rows, _ = listed(Kdef(near))
        assert len(there(rows)) == 980
        assert not any(
            "AKDEF" in str(row["image"].relative_to(whole_kdef)) for row in rows.values()
        )


def test_a_missing_picture_of_kdef_is_named_by_ingest(whole_kdef, tmp_path, ingested, caplog):
    root = tmp_path / "kdef"
    shutil.copytree(whole_kdef / "KDEF", root)
    corpus, skipped, facts = ingested(Kdef(root))
    assert (len(corpus), skipped, facts["missing"]) == (980, {}, {})
    assert set(corpus.facts["sex"]) == {"female", "male"}
    assert corpus.facts.groupby("subject")["split"].nunique().max() == 1
    (root / "BM35" / "BM35SUS.JPG").unlink()
    shutil.rmtree(root / "AF02")
    with caplog.at_level(logging.WARNING):
        corpus, skipped, facts = ingested(Kdef(root))
    assert len(corpus) == 980 - 8
    assert skipped.pop("BM35/BM35SUS.JPG") == "file not found"
    assert skipped == {f"AF02/AF02{code}S.JPG": "file not found" for code in kdef.EMOTIONS}
    assert facts["missing"] == {"kdef": {**dict.fromkeys(EMOTIONS, 1), "surprise": 2}}
    assert "138 of 140 surprise" in caplog.text


def test_akdef_among_the_folders_of_people_is_left_out(tmp_path):
    picture(tmp_path / "AF01" / "AF01ANS.JPG")
    picture(tmp_path / "AKDEF" / "AF02ANS.JPG")
    rows, problems = listed(Kdef(tmp_path))
    assert list(there(rows)) == ["AF01/AF01ANS.JPG"]
    assert problems == {}


def test_all_poses_of_kdef_are_4900_and_one_is_980():
    assert sum(Kdef("x", poses=list(kdef.POSES.values())).expected.values()) == 4900
    assert sum(Kdef("x", poses=["half_left"]).expected.values()) == 980


def test_poses_of_kdef_are_chosen_and_others_left(tmp_path):
    for angle in kdef.POSES:
        picture(tmp_path / "AF01" / f"AF01AN{angle}.JPG")
    rows, problems = listed(Kdef(tmp_path, poses=["full_left", "half_right"]))
    assert len(rows) == 2 * 980
    assert problems == {}
    assert {source: row["pose"] for source, row in there(rows).items()} == {
        "AF01/AF01ANFL.JPG": "full_left",
        "AF01/AF01ANHR.JPG": "half_right",
    }


@pytest.mark.parametrize("poses", [[], ["front"], "straight"])
def test_unknown_poses_of_kdef_are_told(poses):
    with pytest.raises(ValueError, match=r"database.poses.*straight, half_right"):
        Kdef("x", poses=poses)


def test_names_of_kdef_count_in_any_case_folder_and_format(tmp_path):
    picture(tmp_path / "train set" / "af01ans.jpg", format="JPEG")
    picture(tmp_path / "train set" / "AF02ANS.PNG")
    picture(tmp_path / "my test" / "am03has.Jpeg", format="JPEG")
    rows, problems = listed(Kdef(tmp_path))
    assert {source: row["subject"] for source, row in there(rows).items()} == {
        "my test/am03has.Jpeg": "kdef/M03",
        "train set/af01ans.jpg": "kdef/F01",
        "train set/AF02ANS.PNG": "kdef/F02",
    }
    assert problems == {}
    # only a folder decides a split, and KDEF has none
    assert {row.get("split") for row in rows.values()} == {None}


def test_strange_names_and_second_files_of_kdef_are_listed(tmp_path):
    picture(tmp_path / "AF01" / "AF01ANS.JPG")
    picture(tmp_path / "AF01" / "Copy of AF01ANS.JPG")
    picture(tmp_path / "AF01" / "AF01XXS.JPG")
    picture(tmp_path / "AF36" / "AF36ANS.JPG")
    picture(tmp_path / "BF01" / "AF01ANS.jpg")
    picture(tmp_path / "AF01" / "._AF01HAS.JPG")
    (tmp_path / "AF01" / "Thumbs.db").write_bytes(b"x")
    rows, problems = listed(Kdef(tmp_path))
    assert list(there(rows)) == ["AF01/AF01ANS.JPG"]
    assert problems == {
        "AF01/Copy of AF01ANS.JPG": "name that no picture of the database has",
        "AF01/AF01XXS.JPG": "name that no picture of the database has",
        "AF36/AF36ANS.JPG": "subject that the database does not have",
        "BF01/AF01ANS.jpg": "second file for one picture",
    }


def test_every_kind_of_picture_passes_or_is_named(tmp_path, ingested):
    folder = tmp_path / "KDEF" / "AF01"
    for code, mode in zip(("AF", "AN", "DI", "HA"), ("L", "I;16", "P", "RGB"), strict=True):
        picture(folder / f"AF01{code}S.JPG", mode)
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(folder / "AF01NES.JPG", size=(8, 6), format="JPEG", exif=turned.tobytes())
    whole = picture(folder / "AF01SAS.JPG", size=(64, 64)).read_bytes()
    (folder / "AF01SAS.JPG").write_bytes(whole[: len(whole) // 2])
    shutil.copy(folder / "AF01HAS.JPG", folder / "AF01SUS.JPG")
    (folder / "BF01SUS.JPG").write_bytes(b"")
    corpus, skipped, facts = ingested(
        Kdef(tmp_path), emotions=("fear", "angry", "disgust", "happy", "neutral")
    )
    assert len(corpus) == 5
    sizes = {row["source"]: Image.open(BytesIO(row["image"])).size for row in corpus.rows()}
    assert sizes["AF01/AF01NES.JPG"] == (8, 6)  # width and height change places
    assert facts["missing"]["kdef"]["happy"] == 139
    everything = ("fear", "angry", "disgust", "happy", "neutral", "sad", "surprise")
    with pytest.raises(ValueError, match="no usable picture of sad, surprise"):
        ingested(Kdef(tmp_path), emotions=everything)
    for session in ("BF01SAS", "BM01SUS"):
        picture(folder / f"{session}.JPG")
    _, skipped, _ = ingested(Kdef(tmp_path), emotions=everything)
    assert skipped["AF01/AF01SAS.JPG"] == "damaged or not a picture"
    assert skipped["AF01/AF01SUS.JPG"] == "same pixels as another picture"
    assert skipped["AF01/BF01SUS.JPG"] == "empty file"


def test_links_out_of_the_root_are_named_and_not_taken(tmp_path):
    root, elsewhere = tmp_path / "kdef", tmp_path / "elsewhere"
    picture(root / "AF01" / "AF01ANS.JPG")
    picture(elsewhere / "AF02" / "AF02ANS.JPG")
    picture(elsewhere / "AF03ANS.JPG")
    (root / "AF02").symlink_to(elsewhere / "AF02")
    (root / "AF01" / "AF03ANS.JPG").symlink_to(elsewhere / "AF03ANS.JPG")
    (root / "AF01" / "AF01HAS.JPG").symlink_to(elsewhere / "AF03ANS.JPG")
    (root / "AF01" / "AF04ANS.JPG").symlink_to(root / "AF01" / "AF01ANS.JPG")
    (root / "AF01" / "loop").symlink_to(root)
    (root / "AF01" / "notes.txt").symlink_to(elsewhere)
    rows, problems = listed(Kdef(root))
    assert sorted(there(rows)) == ["AF01/AF01ANS.JPG", "AF01/AF04ANS.JPG"]
    assert problems == {
        "AF01/AF01HAS.JPG": LINK_OUTSIDE,
        "AF01/AF03ANS.JPG": LINK_OUTSIDE,
        "AF01/loop": LINK_WITHIN,
        "AF01/notes.txt": LINK_OUTSIDE,
        "AF02": LINK_OUTSIDE,
    }
    outside = next(row for row in Kdef(root).rows() if row["source"] == "AF02")
    assert outside["detail"] == str((elsewhere / "AF02").resolve())


def test_a_broken_link_is_a_file_that_is_not_there(tmp_path, ingested):
    picture(tmp_path / "KDEF" / "AF01" / "AF01ANS.JPG")
    (tmp_path / "KDEF" / "AF01" / "AF02ANS.JPG").symlink_to("gone.JPG")
    _, skipped, _ = ingested(Kdef(tmp_path), emotions=("angry",))
    assert skipped["AF01/AF02ANS.JPG"] == "file not found"


def test_the_root_may_be_a_link(tmp_path):
    picture(tmp_path / "disk" / "AF01" / "AF01ANS.JPG")
    (tmp_path / "kdef").symlink_to(tmp_path / "disk")
    rows, problems = listed(Kdef(tmp_path / "kdef"))
    assert list(there(rows)) == ["AF01/AF01ANS.JPG"]
    assert problems == {}


DATABASES = {
    "kdef": (Kdef, "KDEF"),
    "ckplus": (CkPlus, r"CK\+"),
    "ckplus48": (CkPlus48, r"CK\+48"),
    "jaffe": (Jaffe, "JAFFE"),
    "sfew": (Sfew, "SFEW"),
}


@pytest.mark.parametrize(("adapter", "name"), DATABASES.values(), ids=DATABASES)
def test_a_root_that_is_not_there_is_told(adapter, name, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"gone does not exist \(database.root\).*{name}"):
        list(adapter(tmp_path / "gone").rows())


@pytest.mark.parametrize(("adapter", "name"), DATABASES.values(), ids=DATABASES)
def test_an_archive_given_as_root_is_told(adapter, name, tmp_path):
    (tmp_path / "faces.zip").write_bytes(b"PK")
    with pytest.raises(FileNotFoundError, match=r"faces.zip is an archive that was never unpacked"):
        list(adapter(tmp_path / "faces.zip").rows())


@pytest.mark.parametrize(("adapter", "name"), DATABASES.values(), ids=DATABASES)
def test_a_folder_of_another_layout_says_what_was_expected_and_found(adapter, name, tmp_path):
    root = tmp_path / "holidays"
    picture(root / "beach.png")
    (root / "hidden").mkdir()
    (root / "downloads").mkdir()
    (root / "downloads" / "Faces.RAR").write_bytes(b"x")
    with pytest.raises(ValueError, match=name) as error:
        list(adapter(root).rows())
    text = str(error.value)
    assert "(database.root); expected for example " in text
    assert "found beach.png, downloads/, hidden/" in text
    assert "downloads/Faces.RAR is an archive that was never unpacked" in text


def test_an_empty_root_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"found nothing$"):
        list(Jaffe(tmp_path).rows())


def test_a_linked_database_folder_is_told_and_not_followed(tmp_path):
    picture(tmp_path / "disk" / "AF01" / "AF01ANS.JPG")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "KDEF").symlink_to(tmp_path / "disk")
    with pytest.raises(ValueError, match=r"found KDEF \(a link to .*disk, not followed\)"):
        list(Kdef(tmp_path / "data").rows())


def test_two_copies_of_a_database_are_told(tmp_path):
    picture(tmp_path / "one" / "AF01" / "AF01ANS.JPG")
    picture(tmp_path / "two" / "AF01" / "AF01ANS.JPG")
    with pytest.raises(ValueError, match=r"holds KDEF 2 times, in .*one and in .*two; name one"):
        list(Kdef(tmp_path).rows())


def test_a_root_is_found_near_the_folder_named(tmp_path):
    root = tmp_path / "a" / "b" / "db"
    (root / "mark").mkdir(parents=True)

    def find(place, **options):
        return locate(
            place,
            database="it",
            holds=lambda folder: (folder / "mark").is_dir(),
            example="mark",
            **options,
        )

    assert find(root) == find(root.parent) == find(tmp_path / "a") == find(root / "mark") == root
    with pytest.raises(ValueError, match="does not hold it"):
        find(tmp_path)
    with pytest.raises(ValueError, match="does not hold it"):
        find(root / "mark", up=0)


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    picture(tmp_path / "open" / "1.png")
    picture(tmp_path / "shut" / "2.png")
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == "shut":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = {entry.source: entry.problem for entry in entries(tmp_path)}
    assert found == {"open/1.png": None, "shut": "folder that may not be read"}


def test_names_in_other_encodings_can_be_stored(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        picture(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    (entry,) = entries(tmp_path)
    assert entry.source == "caf\ufffd.png"
    assert entry.path.exists()


def sequence(root, subject, number, frames, label=None, *, code=None):
    for frame in frames:
        name = f"{subject}_{number}_{frame:08d}.png"
        picture(root / "cohn-kanade-images" / subject / number / name, "L")
    folder = root / "Emotion" / subject / number
    folder.mkdir(parents=True, exist_ok=True)
    if code is None and label is not None:
        code = f"   {ckplus.CODES.index(label):.7e}\n"
    if code is not None:
        peak = max(frames, default=3)
        (folder / f"{subject}_{number}_{peak:08d}_emotion.txt").write_text(code)


@pytest.fixture(scope="module")
def whole_ckplus(tmp_path_factory):
    """593 sequences of 123 people; 327 of them, of 118 people, are labelled."""
    root = tmp_path_factory.mktemp("CK+")
    labels = [label for label, n in ckplus.LABELLED.items() for _ in range(n)]
    people = [f"S{n:03d}" for n in range(1, 124)]
    taken = Counter()
    for index, label in enumerate(labels):
        subject = people[index % 118]
        taken[subject] += 1
        sequence(root, subject, f"{taken[subject]:03d}", range(1, 5), label)
    for index in range(593 - 327):
        subject = people[-1 - index % 123]
        taken[subject] += 1
        sequence(root, subject, f"{taken[subject]:03d}", range(1, 2))
    (root / ".DS_Store").write_bytes(b"x")
    (root / "cohn-kanade-images" / "S001" / ".DS_Store").write_bytes(b"x")
    return root


RULES = re.findall(r"^(\d) +(\d) +(\w+) +([\d,]+).*? +([\d,]+)$", ckplus.__doc__, re.MULTILINE)


def test_the_table_of_rules_is_what_the_constants_give():
    assert len(RULES) == 11
    for peak, neutral, neutral_of, with_contempt, without in RULES:
        taken = ckplus.counts(int(peak), int(neutral), neutral_of)
        assert sum(taken.values()) == int(with_contempt.replace(",", ""))
        assert sum(taken.values()) - taken["contempt"] == int(without.replace(",", ""))


def test_the_902_pictures_of_the_paper_are_one_rule_of_the_table():
    rules = [rule for rule in RULES if rule[4] == "902"]
    assert [rule[:3] for rule in rules] == [("1", "1", "all")]
    counts = ckplus.counts(1, 1, "all")
    # Table 6 of the paper: precision and recall in per cent; 90.35 % of all pictures were right
    table = {
        "angry": (89, 38),
        "disgust": (72, 98),
        "fear": (55, 48),
        "happy": (100, 93),
        "neutral": (96, 96),
        "sad": (48, 71),
        "surprise": (92, 93),
    }
    right = {emotion: counts[emotion] * recall / 100 for emotion, (_, recall) in table.items()}
    assert sum(right.values()) / 902 == pytest.approx(0.9035, abs=0.005)
    # what was called an emotion must add up to all pictures too
    called = sum(100 * right[emotion] / precision for emotion, (precision, _) in table.items())
    assert called == pytest.approx(902, rel=0.01)
    # the rule with three peak frames and no neutral cannot give these figures
    other = ckplus.counts(3, 1, "labelled")
    total = sum(other[emotion] for emotion in table)
    accuracy = sum(other[emotion] * recall / 100 for emotion, (_, recall) in table.items()) / total
    assert abs(accuracy - 0.9035) > 0.03


@pytest.mark.parametrize("rule", RULES, ids=" ".join)
def test_a_whole_ckplus_gives_what_each_rule_expects(whole_ckplus, rule):
    database = CkPlus(
        whole_ckplus, peak_frames=int(rule[0]), neutral_frames=int(rule[1]), neutral_of=rule[2]
    )
    rows, problems = listed(database)
    assert Counter(row["emotion"] for row in there(rows).values()) == database.expected
    assert len(there(rows)) == len(rows) == int(rule[3].replace(",", ""))
    assert set(problems.values()) <= {"sequence without an emotion label"}


def test_neutral_once_a_person_takes_everybody_once(whole_ckplus):
    rows, _ = listed(CkPlus(whole_ckplus, neutral_of="subjects"))
    neutral = [row for row in rows.values() if row["emotion"] == "neutral"]
    assert len(neutral) == len({row["subject"] for row in neutral}) == 123
    labelled = {row["subject"] for row in rows.values() if row["emotion"] != "neutral"}
    assert len(labelled) == 118


def test_ckplus_takes_the_first_frame_and_the_last_ones(tmp_path):
    sequence(tmp_path, "S005", "001", range(1, 12), "disgust")
    sequence(tmp_path, "S010", "002", range(1, 9))
    rows, problems = listed(CkPlus(tmp_path, peak_frames=2, neutral_frames=2))
    folder = "cohn-kanade-images/S005/001/S005_001_000000"
    assert {source: row["emotion"] for source, row in rows.items()} == {
        f"{folder}01.png": "neutral",
        f"{folder}02.png": "neutral",
        f"{folder}10.png": "disgust",
        f"{folder}11.png": "disgust",
    }
    row = rows[f"{folder}11.png"]
    assert (row["database"], row["subject"], row["session"]) == ("ckplus", "ckplus/S005", "001")
    assert problems == {"cohn-kanade-images/S010/002": "sequence without an emotion label"}


def test_unlabelled_sequences_of_ckplus_give_neutral_if_asked(tmp_path):
    sequence(tmp_path, "S005", "001", range(1, 6), "fear")
    sequence(tmp_path, "S010", "002", range(1, 9))
    shutil.rmtree(tmp_path / "Emotion" / "S010")
    rows, problems = listed(CkPlus(tmp_path, peak_frames=1, neutral_of="all"))
    assert Counter(row["emotion"] for row in rows.values()) == {"neutral": 2, "fear": 1}
    assert problems == {}


def test_a_missing_peak_and_a_gap_of_ckplus_are_named(tmp_path, ingested):
    sequence(tmp_path, "S005", "001", range(1, 12), "disgust")
    sequence(tmp_path, "S006", "001", range(1, 12), "sad")
    folder = tmp_path / "cohn-kanade-images"
    (folder / "S005" / "001" / "S005_001_00000011.png").unlink()
    (folder / "S006" / "001" / "S006_001_00000010.png").unlink()
    corpus, skipped, facts = ingested(CkPlus(tmp_path), emotions=("disgust", "neutral", "sad"))
    assert skipped == {
        "cohn-kanade-images/S005/001/S005_001_00000011.png": "file not found",
        "cohn-kanade-images/S006/001/S006_001_00000010.png": "file not found",
    }
    assert len(corpus) == 2 + 2 + 2
    assert facts["missing"]["ckplus"]["disgust"] == 3 * 59 - 2


def test_pictures_missing_under_a_label_of_ckplus_are_named(tmp_path):
    sequence(tmp_path, "S005", "001", range(1, 5), "happy")
    sequence(tmp_path, "S006", "001", [], "angry")
    rows, _ = listed(CkPlus(tmp_path, peak_frames=1))
    assert sorted(rows.keys() - there(rows).keys()) == [
        "cohn-kanade-images/S006/001/S006_001_00000001.png",
        "cohn-kanade-images/S006/001/S006_001_00000003.png",
    ]


def test_a_sequence_of_ckplus_that_starts_late_has_its_neutral_there(tmp_path, caplog):
    sequence(tmp_path, "S005", "001", range(4, 12), "happy")
    sequence(tmp_path, "S006", "001", range(1, 12), "happy")
    with caplog.at_level(logging.WARNING):
        rows, _ = listed(CkPlus(tmp_path, peak_frames=1))
    late = "cohn-kanade-images/S005/001/S005_001_00000004.png"
    assert rows[late]["emotion"] == "neutral"
    assert len(there(rows)) == len(rows) == 4
    assert f"1 sequences of CK+ do not begin with frame 1, the first {late}" in caplog.text


def test_a_short_sequence_of_ckplus_keeps_its_peak(tmp_path):
    sequence(tmp_path, "S005", "001", range(1, 4), "happy")
    rows, problems = listed(CkPlus(tmp_path))
    assert [row["emotion"] for row in rows.values()] == ["happy"] * 3
    assert problems == {"cohn-kanade-images/S005/001": "sequence too short for its frames"}


def test_frames_after_the_labelled_peak_are_not_taken(tmp_path):
    sequence(tmp_path, "S005", "001", range(1, 8), "happy")
    picture(tmp_path / "cohn-kanade-images" / "S005" / "001" / "S005_001_00000008.png")
    rows, _ = listed(CkPlus(tmp_path, peak_frames=1, neutral_frames=0))
    assert list(rows) == ["cohn-kanade-images/S005/001/S005_001_00000007.png"]


def test_labels_of_ckplus_that_cannot_be_read_are_named(tmp_path):
    sequence(tmp_path, "S005", "001", range(1, 6), "happy")
    for number, code in enumerate(("", "surprise", "9", "3.5", "nan", "inf"), start=2):
        sequence(tmp_path, "S005", f"{number:03d}", range(1, 6), code=code)
    folder = tmp_path / "Emotion" / "S005" / "001"
    (folder / "S005_001_00000004_emotion.txt").write_text("1.0")
    (folder / "S005_001_00000005_landmarks.txt").write_text("1.0")
    rows, problems = listed(CkPlus(tmp_path))
    reasons = Counter(problems.values())
    assert reasons["emotion label that is no number from 0 to 7"] == 6
    assert reasons["second emotion label of a sequence"] == 1
    assert reasons["sequence without an emotion label"] == 6
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("code", "emotion"),
    list(
        enumerate(["neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise"])
    ),
)
def test_the_codes_of_ckplus_are_its_own(tmp_path, code, emotion):
    sequence(tmp_path, "S005", "001", range(1, 9), code=f"   {code}.0000000e+00\n")
    rows, _ = listed(CkPlus(tmp_path, peak_frames=1, neutral_frames=0))
    assert [row["emotion"] for row in rows.values()] == [emotion]


def test_neutral_once_a_person_comes_from_a_labelled_sequence_if_there_is_one(tmp_path):
    sequence(tmp_path, "S005", "001", range(1, 9))
    sequence(tmp_path, "S005", "002", range(1, 9), "happy")
    sequence(tmp_path, "S006", "001", range(1, 9))
    rows, problems = listed(CkPlus(tmp_path, peak_frames=0, neutral_of="subjects"))
    assert [(row["subject"], row["session"]) for row in rows.values()] == [
        ("ckplus/S005", "002"),
        ("ckplus/S006", "001"),
    ]
    assert list(problems) == ["cohn-kanade-images/S005/001"]


def test_a_sequence_that_is_labelled_neutral_is_neutral(tmp_path):
    sequence(tmp_path, "S005", "001", range(1, 9), code="0.0000000e+00")
    rows, _ = listed(CkPlus(tmp_path, peak_frames=1))
    assert [row["emotion"] for row in rows.values()] == ["neutral", "neutral"]


def test_labels_of_ckplus_that_were_never_unpacked_are_told(tmp_path):
    sequence(tmp_path, "S005", "001", range(1, 6), "happy")
    shutil.rmtree(tmp_path / "Emotion")
    (tmp_path / "Emotion_labels.zip").write_bytes(b"PK")
    with pytest.raises(
        ValueError, match=r"emotion labels of CK\+.*Emotion/S005.*Emotion_labels.zip"
    ):
        list(CkPlus(tmp_path).rows())


def test_pictures_of_ckplus_that_were_never_unpacked_are_told(tmp_path):
    sequence(tmp_path, "S005", "001", [], "happy")
    (tmp_path / "cohn-kanade-images").mkdir()
    (tmp_path / "cohn-kanade-images" / "cohn-kanade-images.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"pictures of CK\+.*kanade-images.zip is an archive"):
        list(CkPlus(tmp_path).rows())


@pytest.mark.parametrize("named", ["", "CK+", "CK+/cohn-kanade-images"])
def test_ckplus_is_found_near_the_folder_named_and_as_others_pack_it(tmp_path, named):
    root = tmp_path / "CK+"
    sequence(root, "S005", "001", range(1, 6), "happy")
    (root / "Emotion_labels").mkdir()
    (root / "Emotion").rename(root / "Emotion_labels" / "Emotion")
    rows, _ = listed(CkPlus(tmp_path / named))
    assert len(there(rows)) == 4


def test_ckplus_is_found_in_a_folder_named_extended(tmp_path):
    sequence(tmp_path, "S005", "001", range(1, 6), "happy")
    outer = tmp_path / "extended-cohn-kanade-images"
    outer.mkdir()
    (tmp_path / "cohn-kanade-images").rename(outer / "cohn-kanade-images")
    rows, _ = listed(CkPlus(tmp_path))
    assert len(there(rows)) == 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"peak_frames": -1}, "peak_frames=-1"),
        ({"peak_frames": 0, "neutral_frames": 0}, "one must be over 0"),
        ({"neutral_of": "everybody"}, r"\(database.neutral_of\) is one of labelled, subjects, all"),
    ],
)
def test_settings_of_ckplus_that_make_no_sense_are_told(options, told):
    with pytest.raises(ValueError, match=told):
        CkPlus("x", **options)


def test_a_whole_ckplus48_is_read_and_a_missing_frame_is_named(tmp_path, ingested):
    root = tmp_path / "CK+48"
    folders = {"angry": "anger", "sad": "sadness"}
    number = 0
    for emotion, n in ckplus.LABELLED.items():
        for _ in range(n):
            number += 1
            subject = f"S{number % 118:03d}_{number:03d}"
            for frame in (17, 18, 19):
                folder = folders.get(emotion, emotion)
                picture(root / folder / f"{subject}_{frame:08d}.png", "L")
    database = CkPlus48(tmp_path)
    assert sum(database.expected.values()) == 981
    labels = ("angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")
    corpus, skipped, facts = ingested(database, emotions=labels)
    assert (len(corpus), skipped, facts["missing"]) == (981, {}, {})
    assert set(corpus.facts["database"]) == {"ckplus48"}
    assert corpus.facts["subject"].str.match(r"ckplus/S\d{3}$").all()
    gone = sorted((root / "anger").iterdir())[1]
    gone.unlink()
    _, skipped, facts = ingested(database, emotions=labels)
    assert skipped == {f"anger/{gone.name[:8]}": "sequence with frames missing"}
    assert facts["missing"] == {"ckplus48": {"angry": 1}}


def test_strange_files_of_ckplus48_are_listed(tmp_path):
    for folder in ("anger", "happiness"):
        for frame in (1, 2, 3):
            picture(tmp_path / folder / f"s010_004_{frame:08d}.PNG")
    picture(tmp_path / "anger" / "S010_004.png")
    picture(tmp_path / "more" / "S010_004_00000009.png")
    rows, problems = listed(CkPlus48(tmp_path))
    assert Counter(row["emotion"] for row in rows.values()) == {"angry": 3, "happy": 3}
    assert {row["subject"] for row in rows.values()} == {"ckplus/S010"}
    assert problems == {
        "anger/S010_004.png": "name that no picture of the database has",
        "more/S010_004_00000009.png": "picture outside the class folders",
    }


def test_the_names_of_jaffe_give_the_printed_counts():
    names = jaffe.names()
    assert len(names) == len(set(names)) == 213
    assert dict(Jaffe("x").expected) == {
        "angry": 30,
        "disgust": 29,
        "fear": 32,
        "happy": 31,
        "neutral": 30,
        "sad": 31,
        "surprise": 30,
    }
    assert len({name[:2] for name in names}) == 10
    # names that papers and programs print
    printed = {"KA.AN1.39", "KM.NE1.1", "KM.SA5.13", "YM.SU3.60", "KR.SU1.80", "TM.SU1.187"}
    assert printed | {"KL.DI4.173", "NM.DI3.109", "UY.SU3.145", "NA.FE3.219"} <= set(names)
    assert not {"KM.SA4.12", "KR.HA3.76", "NM.DI2.108"} & set(names)


def test_a_whole_jaffe_is_read_and_a_missing_picture_is_named(tmp_path, ingested):
    root = tmp_path / "jaffe"
    for name in jaffe.names():
        picture(root / f"{name}.tiff", "L", format="TIFF")
    (root / "README_FIRST.txt").write_text("x")
    corpus, skipped, facts = ingested(Jaffe(tmp_path))
    assert (len(corpus), skipped, facts["missing"]) == (213, {}, {})
    assert set(corpus.facts["sex"]) == {"female"}
    assert corpus.facts["subject"].nunique() == 10
    by_source = dict(zip(corpus.facts["source"], corpus.facts["emotion"], strict=True))
    assert by_source["KA.AN1.39.tiff"] == "angry"
    (root / "MK.FE2.132.tiff").unlink()
    _, skipped, facts = ingested(Jaffe(tmp_path))
    assert skipped == {"MK.FE2.132.tiff": "file not found"}
    assert facts["missing"] == {"jaffe": {"fear": 1}}


def test_copies_of_jaffe_in_other_formats_are_read_once(tmp_path):
    picture(tmp_path / "pictures for test" / "ka.an1.39.TIF", format="TIFF")
    picture(tmp_path / "pictures for test" / "KA.AN2.40.png")
    picture(tmp_path / "pictures for test" / "KA.AN2.40.tiff", format="TIFF")
    picture(tmp_path / "pictures for test" / "KA.AN9.99.tiff", format="TIFF")
    picture(tmp_path / "pictures for test" / "KA.AN3.41 (1).tiff", format="TIFF")
    rows, problems = listed(Jaffe(tmp_path))
    assert sorted(there(rows)) == [
        "KA.AN2.40.png",
        "ka.an1.39.TIF",
    ]
    assert problems == {
        "KA.AN2.40.tiff": "second file for one picture",
        "KA.AN9.99.tiff": "name that no picture of the database has",
        "KA.AN3.41 (1).tiff": "name that no picture of the database has",
    }


def test_sfew_counts_are_the_printed_ones():
    assert (sum(sfew.TRAIN), sum(sfew.VAL)) == (958, 436)
    assert sum(Sfew("x").expected.values()) == 958 + 436
    assert sum(Sfew("x", release="675").expected.values()) == 675
    assert Sfew("x", release="675").expected["disgust"] == 75
    assert Sfew("x", faces="aligned").expected == {}


def still(root, *parts, film="Train wreck test", number=5):
    return picture(root.joinpath(*parts, f"{film}_000519240_{number:08d}.png"))


@pytest.fixture
def sfew_root(tmp_path):
    root = tmp_path / "SFEW_2"
    for number, emotion in enumerate(EMOTIONS):
        name = emotion.capitalize()
        still(root, "Train", "Train", name, number=number)
        still(root, "Val", name, film="Airheads", number=number)
        still(root, "Train", "Train_Aligned_Faces", name, number=number)
        still(root, "Val", "Val_Aligned_Faces_new", "Val_Aligned_Faces", name, number=number)
    still(root, "Test", "Test")
    still(root, "Test", "Test_Aligned_Faces")
    still(root, "loose")
    still(root, "Testimonials", "Happy")
    return root


def test_sfew_has_the_splits_that_it_states(sfew_root, ingested):
    for near in (sfew_root, sfew_root.parent, sfew_root / "Train"):
        rows, problems = listed(Sfew(near))
        assert Counter((row["split"], row["emotion"]) for row in rows.values()) == dict.fromkeys(
            [(split, emotion) for split in ("train", "validation") for emotion in EMOTIONS], 1
        )
        assert problems == {
            "Test/Test/Train wreck test_000519240_00000005.png": "picture without an emotion label",
            "Testimonials/Happy/Train wreck test_000519240_00000005.png": (
                "picture outside the folders of the database"
            ),
            "loose/Train wreck test_000519240_00000005.png": (
                "picture outside the folders of the database"
            ),
        }
    assert {row["session"] for row in rows.values() if row["split"] == "train"} == {
        "Train wreck test"
    }
    corpus, _, facts = ingested(Sfew(sfew_root))
    assert set(corpus.facts["split"]) == {"train", "validation"}
    assert facts["missing"]["sfew"]["angry"] == 178 + 77 - 2


def test_sfew_gives_aligned_faces_if_asked(sfew_root):
    rows, problems = listed(Sfew(sfew_root, faces="aligned"))
    assert len(rows) == 14
    assert all("Aligned" in source for source in rows)
    assert problems["Test/Test_Aligned_Faces/Train wreck test_000519240_00000005.png"] == (
        "picture without an emotion label"
    )


def test_test_pictures_of_sfew_in_class_folders_are_test_rows(sfew_root):
    still(sfew_root, "Test", "Happy", film="Trainspotting")
    rows, _ = listed(Sfew(sfew_root))
    assert [row["session"] for row in rows.values() if row["split"] == "test"] == ["Trainspotting"]


def test_sfew_with_only_the_other_kind_of_faces_is_told(tmp_path):
    still(tmp_path, "Train", "Train_Aligned_Faces", "Happy")
    with pytest.raises(ValueError, match=r"1 are aligned: set database.faces=aligned"):
        list(Sfew(tmp_path).rows())


def test_the_subset_of_sfew_has_no_split(tmp_path, ingested):
    root = tmp_path / "train and test" / "Subset For Assignment SFEW"
    for emotion in EMOTIONS:
        for number in range(3):
            still(root, emotion.capitalize(), number=number)
    rows, problems = listed(Sfew(tmp_path, release="675"))
    assert (len(rows), problems) == (21, {})
    assert {row["split"] for row in rows.values()} == {None}
    assert {row["subject"] for row in rows.values()} == {None}
    _, _, facts = ingested(Sfew(tmp_path, release="675"))
    assert facts["missing"]["sfew"] == {**dict.fromkeys(EMOTIONS, 97), "disgust": 72}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"release": "3"}, r"no release '3' \(database.release\); it is one of '2.0', '675'"),
        ({"faces": "cut"}, r"faces 'cut' of SFEW are unknown \(database.faces\)"),
    ],
)
def test_unknown_settings_of_sfew_are_told(options, told):
    with pytest.raises(ValueError, match=told):
        Sfew("x", **options)


@pytest.mark.parametrize("name", DATABASES)
def test_a_configuration_makes_its_database_with_the_settings_it_has_itself(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = compose(f"database/{name}", overrides=[])["database"]
    node.root = "x"
    made = instantiate(node)
    adapter, _ = DATABASES[name]
    assert isinstance(made, adapter)
    assert made.expected == adapter("x").expected
