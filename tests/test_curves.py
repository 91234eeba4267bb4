"""How GANs trained: the section of the report, and the command that writes it alone."""

import json
import re
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pandas as pd
import pytest

from classifiers import curves as command
from classifiers.report_parts import charts, pictures
from classifiers.report_parts.charts.lines import summed_up
from classifiers.report_parts.training import training_section
from classifiers.report_parts.training_folder import read_training

SIDE = 8


def table(ticks=20, **columns):
    """Lines as a training writes them: a reading at every fifth tick."""
    steps = 100 * np.arange(1, ticks + 1)
    read = np.arange(1, ticks + 1) % 5 == 0
    kernel = np.where(read, 0.2 / steps, np.nan)
    given = {
        "step": steps,
        "loss_codes": np.where(steps <= 300, 0.2, np.nan),
        "loss_discriminator": np.where(steps > 300, 1.2, np.nan),
        "loss_generator": np.where(steps > 300, 0.8, np.nan),
        "logit_real": np.where(steps > 300, 0.3, np.nan),
        "logit_fake": np.where(steps > 300, -0.3, np.nan),
        "kernel": kernel,
        "low": 0.8 * kernel,
        "high": 1.2 * kernel,
        "diversity": np.where(read, 30.0, np.nan),
    }
    return pd.DataFrame({**given, **columns})


CHOICE = {
    "rule": "lowest kernel distance", "step": 1500, "kernel": 1.3e-4, "low": 1.1e-4,
    "high": 1.6e-4, "diversity": 30.0, "chosen_from": 4, "against": "validation", "caveat": None,
    "real_to_real": 5e-5, "real_diversity": 40.0, "collapsed_at": [],
}  # fmt: skip


def write(folder, lines, choice=CHOICE, config=None, sheets=(100, 1500, 2000), **facts):
    """A finished GAN's folder; without a choice, one that nothing was measured in."""
    folder.mkdir(parents=True)
    lines.to_csv(folder / "metrics.csv", index=False)
    (folder / "samples").mkdir()
    for step in sheets:
        write_sheet(folder / "samples" / f"step-{step:06d}.png")
    write_sheet(folder / "interpolation.png")
    facts = {"emotions": ["fear"], "images": 150, "extra": {"fear": 10}, **facts}
    record = {
        "stage": "train_gan", "emotion": "fear", "inputs": {}, "seconds": 185.0,
        "config": {"watch": {"collapse": 0.3}, "generator": {"size": SIDE}, **(config or {})},
        "facts": {**facts, **({"choice": choice} if choice else {})},
    }  # fmt: skip
    (folder / "gan.json").write_text(json.dumps(record))
    return folder


def write_sheet(path, rows=3):
    """Ten faces a row, each of one grey: face c of row r is 20 r + c."""
    grey = np.add.outer(20 * np.arange(rows), np.arange(10)).astype(np.uint8)
    sheet = grey.repeat(SIDE, axis=0).repeat(SIDE, axis=1)
    cv2.imwrite(str(path), np.stack([sheet] * 3, axis=2))


def section(*folders, **more):
    return training_section([read_training(folder) for folder in folders], **more)


def charts_of(gan):
    """Name of what is measured → the drawing as XML."""
    trees = [ET.fromstring(str(figure["chart"])) for figure in gan["charts"]]
    return {
        tree.get("aria-label", "").split(": ")[1][: -len(" over training")]: tree for tree in trees
    }


def corners(element):
    pairs = (pair.split(",") for pair in element.get("points").split())
    return np.array([[float(a), float(b)] for a, b in pairs])


def test_the_chosen_step_is_marked_where_the_record_says(tmp_path):
    (gan,) = section(write(tmp_path / "fear", table()))["gans"]
    drawn = charts_of(gan)
    for name in ("kernel distance", "diversity in grey levels"):
        (moment,) = drawn[name].iterfind("g")
        assert moment.findtext("title") == "kept: step 1,500"
        # readings at 500, 1000, 1500, 2000: the third point of the curve
        x, y = corners(drawn[name].find("polyline"))[2]
        ring = moment.find("circle")
        assert [float(ring.get("cx")), float(ring.get("cy"))] == pytest.approx([x, y])
        assert float(moment.find("line").get("x1")) == pytest.approx(x)
    assert [(frame["name"], frame["kept"]) for frame in gan["film"]] == [
        ("step 100", False), ("step 1,500", True), ("step 2,000", False),
    ]  # fmt: skip


def test_floor_and_collapse_lie_at_their_heights(tmp_path):
    (gan,) = section(write(tmp_path / "fear", table()))["gans"]
    drawn = charts_of(gan)
    diversity = drawn["diversity in grey levels"]
    real, collapse = (float(line.get("y1")) for line in diversity.iterfind("line[@class='level']"))
    curve = corners(diversity.find("polyline"))[0, 1]
    # samples 30 lie between the real faces' 40 and 0.3 of that
    assert real < curve < collapse
    assert (collapse - curve) / (curve - real) == pytest.approx((30 - 12) / (40 - 30), abs=0.02)
    floor = float(drawn["kernel distance"].find("line[@class='level']").get("y1"))
    assert floor > corners(drawn["kernel distance"].find("polyline"))[:, 1].max()
    assert drawn["kernel distance"].find("polygon[@class='band s0']") is not None


def test_the_table_holds_what_the_record_says(tmp_path):
    folder = write(
        tmp_path / "fear", table(), {**CHOICE, "collapsed_at": [1000, 2000]},
        rollbacks=[{"from": 700, "to": 600}], stopped={"step": 2000, "reason": "no better reading"},
    )  # fmt: skip
    found = section(folder)
    (row,) = found["rows"]
    assert row == {
        "name": "fear",
        "faces": "140 + 10 extra",
        "steps": "2,000",
        "kept": "step 1,500: lowest kernel distance of 4 readings",
        "kernel": "0.00013 [0.00011, 0.00016]",
        "floor": "5.0e−05",
        "diversity": "75 %",
        "time": "3 min 05 s",
        "events": [
            "1 roll-back",
            "collapse at step 1,000 and 1 later reading",
            "stopped at step 2,000: no better reading",
        ],
    }
    assert found["notes"] == ["fear: measured on the validation faces."]
    drawn = charts_of(found["gans"][0])
    bad = [each.findtext("title") for each in drawn["losses"].iterfind("g")]
    assert bad == ["roll-back from step 700"]
    titles = [each.findtext("title") for each in drawn["diversity in grey levels"].iterfind("g")]
    assert titles[1:] == ["collapse at step 1,000", "collapse at step 2,000"]


def test_the_caveat_of_training_faces_is_printed_once_for_all(tmp_path):
    choice = {**CHOICE, "against": "train", "caveat": "measured on the training faces, alas"}
    folders = [write(tmp_path / name, table(), choice) for name in ("a", "b")]
    assert section(*folders)["notes"] == ["All of them: measured on the training faces, alas."]
    unmeasured = write(tmp_path / "c", table(), choice=None)
    notes = section(*folders, unmeasured)["notes"]
    assert notes == ["fear, fear: measured on the training faces, alas."]


def test_p_has_a_curve_with_ada_only(tmp_path):
    plain = write(tmp_path / "plain", table())
    p = np.linspace(0, 0.4, 20)
    ada = write(
        tmp_path / "ada", table(ada_p=p, ada_r=0.6 + 0 * p),
        config={"augmentation": {"target": 0.6}},
    )  # fmt: skip
    without, with_it = (charts_of(gan) for gan in section(plain, ada)["gans"])
    assert "p and r of ADA" not in without
    drawn = with_it["p and r of ADA"]
    rising, r = (corners(line) for line in drawn.iterfind("polyline"))
    assert (np.diff(rising[:, 1]) < 0).all()  # down is up in a drawing
    target = float(drawn.find("line[@class='level']").get("y1"))
    assert r[:, 1] == pytest.approx(target)


def test_losses_and_logits_are_drawn_where_they_have_figures(tmp_path):
    (gan,) = section(write(tmp_path / "fear", table()))["gans"]
    drawn = charts_of(gan)
    discriminator, generator, codes = map(corners, drawn["losses"].iterfind("polyline"))
    assert (len(codes), len(discriminator), len(generator)) == (3, 17, 17)
    assert codes[:, 0].max() < discriminator[:, 0].min()
    assert len(list(drawn["mean logits"].iterfind("polyline"))) == 2


def test_without_a_watch_a_sentence_stands_for_the_curves(tmp_path):
    lines = table().drop(columns=["kernel", "low", "high", "diversity"])
    found = section(write(tmp_path / "fear", lines, choice=None))
    (gan,) = found["gans"]
    assert gan["sentences"] == ["Kernel distance and diversity were not measured (gan.watch=null)."]
    assert list(charts_of(gan)) == ["losses", "mean logits"]
    assert found["rows"][0]["kept"] == "last step"
    assert found["rows"][0]["kernel"] == charts.DASH


def test_one_tick_is_told_and_not_drawn(tmp_path):
    (gan,) = section(write(tmp_path / "fear", table().iloc[[9]]))["gans"]
    assert gan["charts"] == []
    assert gan["sentences"][0].startswith("One tick, so no curves. At its end the discriminator's")
    assert "loss 1.2" in gan["sentences"][0]


@pytest.mark.parametrize(
    ("content", "ticks"),
    [
        (None, 0),
        ("", 0),
        ("step,loss_discriminator,kernel\n", 0),
        ("step,loss_discriminator,kernel\n10,1.2,\n20,nan,inf\n30,1.1,0.2\n40,1.1e", 4),
        ("step,loss_discriminator,kernel\n10,1.2,\n\n20,1,2,3,4\n,1.1,0.3\n", 1),
    ],
)
def test_what_a_running_training_has_written_is_read(tmp_path, content, ticks):
    folder = tmp_path / ".fear-0123456789.partial"
    folder.mkdir()
    if content is not None:
        (folder / "metrics.csv").write_text(content)
    training = read_training(folder)
    assert training.name == "fear"
    assert len(training.ticks) == ticks
    found = training_section([training])
    assert found["rows"][0]["events"] == ["not finished"]
    assert "still trains" in found["gans"][0]["sentences"][0]
    for figure in found["gans"][0]["charts"]:
        ET.fromstring(str(figure["chart"]))


def test_a_half_written_sheet_is_left_out_while_training_and_refused_after(tmp_path):
    running = tmp_path / ".fear.partial"
    (running / "samples").mkdir(parents=True)
    table().to_csv(running / "metrics.csv", index=False)
    (running / "samples" / "step-000100.png").write_bytes(b"\x89PNG")
    write_sheet(running / "samples" / "step-000200.png")
    (gan,) = section(running)["gans"]
    assert [frame["name"] for frame in gan["film"]] == ["step 200"]
    done = write(tmp_path / "fear", table())
    (done / "samples" / "step-000100.png").write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match="not a readable picture"):
        section(done)


def test_thinning_keeps_the_extremes():
    x = np.arange(60_000.0)
    y = np.sin(x / 9000)
    y[12_345], y[43_210] = 7.0, -5.0
    nothing = np.full_like(y, np.nan)
    banded = summed_up(np.array([x, y, y - 0.1, y + 0.1]))
    assert banded.shape[1] <= charts.MOST_POINTS
    assert banded[:2, [0, -1]].T.tolist() == [[0, y[0]], [59_999, y[-1]]]
    assert {(12_345, 7.0), (43_210, -5.0)} <= set(map(tuple, banded[:2].T))
    # without a band of its own, the band is the extremes
    plain = summed_up(np.array([x, y, nothing, nothing]))
    assert plain.shape[1] <= charts.MOST_POINTS
    assert (plain[3].max(), plain[2].min()) == (7.0, -5.0)
    assert np.average(plain[1]) == pytest.approx(y.mean(), abs=1e-3)


def test_a_long_training_draws_a_short_path_with_its_worst_tick(tmp_path):
    logits = np.zeros(6000)
    logits[4000] = -50.0
    lines = table(6000, logit_real=logits)
    (gan,) = section(write(tmp_path / "fear", lines))["gans"]
    drawn = charts_of(gan)["mean logits"]
    shade = corners(drawn.find("polygon[@class='band s0']"))
    assert len(corners(drawn.find("polyline"))) <= charts.MOST_POINTS
    assert np.ptp(shade[:, 1]) > 100  # of 120 px
    assert "lowest -50 at 400" in drawn.findtext("desc").replace("\N{NARROW NO-BREAK SPACE}", "")
    assert len("".join(str(figure["chart"]) for figure in gan["charts"])) < 120_000


def test_distances_over_decades_have_a_logarithmic_axis():
    def drawn(values):
        line = charts.Curve("d", range(len(values)), values)
        chart = charts.curves([line], title="t", x="step", y="d", bounds=(0, 0), log=True)
        tree = ET.fromstring(str(chart))
        return "(log scale)" in str(chart), corners(tree.find("polyline"))[:, 1]

    log, heights = drawn([1.0, 0.1, 0.01])
    assert log
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)
    # an unbiased distance may fall below zero, where no logarithm is
    log, heights = drawn([1.0, 0.1, -0.01])
    assert not log
    assert (np.diff(heights) > 0).all()


def test_every_drawing_has_a_title_and_its_figures_in_words(tmp_path):
    (gan,) = section(write(tmp_path / "a<b>&c", table()))["gans"]
    for tree in charts_of(gan).values():
        assert tree.findtext("title") == tree.get("aria-label")
        assert re.search(r": [\d.e\N{MINUS SIGN}-]+ at ", tree.findtext("desc"))
    words = charts_of(gan)["kernel distance"].findtext("desc")
    assert "0.0004 at 500, 0.0001 at 2" in words
    assert words.endswith("real to real. kept: step 1,500.")


def test_a_film_shows_the_first_row_or_the_first_face_of_each_class(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(pictures, "data_uri", lambda data, kind: seen.append(data) or "")
    write_sheet(tmp_path / "sheet.png", rows=7)
    for side in (SIDE, None):
        _, plain = pictures.row_of_faces(tmp_path / "sheet.png", side=side, first_of_each=False)
        _, classes = pictures.row_of_faces(tmp_path / "sheet.png", side=side, first_of_each=True)
        assert (plain, classes) == (10 * pictures.SHOWN, 7 * pictures.SHOWN)
    rows = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) for data in seen[:2]]
    middles = [row[SIDE // 2, SIDE // 2 :: SIDE].astype(int) for row in rows]
    assert np.abs(middles[0] - np.arange(10)).max() <= 4
    assert np.abs(middles[1] - 20 * np.arange(7)).max() <= 4


def test_the_command_draws_recipes_over_each_other(tmp_path, capsys):
    plain = write(tmp_path / "plain" / "gans" / "fear-0123456789", table())
    write(
        tmp_path / "safe" / "gans" / "fear-9876543210", table(ada_p=np.linspace(0, 0.4, 20)),
        config={"batch_size": 16},
    )  # fmt: skip
    running = tmp_path / "safe" / "gans" / ".trunk-0123456789.partial"
    running.mkdir()
    table(7).to_csv(running / "metrics.csv", index=False)
    out = tmp_path / "pages" / "page.html"
    assert command.main([str(plain), str(tmp_path / "safe"), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    page = out.read_text()
    assert re.findall("<h3>(.*?)</h3>", page) == [
        "Together", "fear of plain", "trunk", "fear of safe",
    ]  # fmt: skip
    assert "http" not in page.replace("http-equiv", "")
    together = page[page.index("<h3>Together") : page.index("<h3>fear of plain")]
    drawn = [ET.fromstring(text) for text in re.findall('<svg class="chart".*?</svg>', together)]
    assert [tree.get("aria-label") for tree in drawn] == [
        "kernel distance of 3 trainings", "diversity in grey levels of 3 trainings",
        "p of ADA of 3 trainings",
    ]  # fmt: skip
    names = [line.findtext("title") for line in drawn[0].iterfind("polyline")]
    assert names == ["fear of plain", "trunk", "fear of safe"]
    assert len(list(drawn[2].iterfind("polyline"))) == 1


def test_trainings_of_one_name_are_told_apart_as_shortly_as_can_be(tmp_path):
    places = ("a/gans/fear-0000000000", "a/gans/sad-1111111111", "b/gans/.sad-1111111111.partial")
    twins = ("a/gans/.trunk-2222222222.partial", "a/gans/.trunk-3333333333.partial")
    folders = [tmp_path / place for place in (*places, *twins)]
    for folder in folders:
        folder.mkdir(parents=True)
    assert command._names(folders) == [
        "fear", "sad of a", "sad of b", "trunk-2222222222", "trunk-3333333333",
    ]  # fmt: skip


def test_the_command_says_what_is_no_gan(tmp_path, capsys):
    folder = write(tmp_path / "fear", table())
    assert command.main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "x.html")]) == 2
    assert "no metrics.csv" in capsys.readouterr().err
    assert command.main([str(folder), "--out", str(folder / "x.html")]) == 2
    assert "is hashed" in capsys.readouterr().err
    assert not (folder / "x.html").exists()
