"""What the page says about a benchmark: verdicts, the papers' tables, ratios, mistakes, costs."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from classifiers.papers import read_paper
from classifiers.report_parts import benchmark, costs, papers, ratios, scores, verdicts
from classifiers.report_parts.benchmark import Bench, read_bench
from classifiers.report_parts.mistakes import mistake_section, surest
from classifiers.report_parts.papers.folds import fold_accuracies
from classifiers.report_parts.pictures import Showing
from curation.corpus import write_corpus
from curation.licences import RECORDS, read_licences
from curation.recipes import Part, Recipe

BASE = {"real": Part(), "geometric": Part()}
ARMS = {
    "geometric": Recipe(BASE),
    "imported": Recipe(BASE | {"imported": Part()}),
    "gan": Recipe(BASE | {"gan": Part()}),
    "imported_gan": Recipe(BASE | {"imported": Part(), "gan": Part()}),
}
NETWORKS = {"vgg16": 0.7, "vgg19": 1.0, "inception_v3": 0.8, "inception_resnet_v2": 1.3}


def rows_of(table):
    """A table as dicts by "group title"."""
    names = [f"{column.group} {column.title}".strip() for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in table.rows]


def named(section, name):
    return next(table for table in section["tables"] if table.name == name)


@pytest.fixture(scope="module")
def protocol_1(made_up, test_pictures, tmp_path_factory):
    """Four networks, four corpora, both test databases under their real names."""
    pictures = pd.concat([test_pictures("ckplus", people=12), test_pictures("jaffe", people=10)])
    built = made_up(
        pictures.reset_index(drop=True),
        gains={"geometric": 0.0, "imported": -0.4, "gan": 1.5, "imported_gan": 0.2},
        references=dict.fromkeys(["imported", "gan", "imported_gan"], "geometric"),
        skills=NETWORKS,
        luck=0.05,
    )
    folder = built.write(tmp_path_factory.mktemp("protocol") / "bench")
    bench = read_bench([folder], ARMS)
    assert bench is not None
    return bench


@pytest.fixture(scope="module")
def in_folds(made_up, test_pictures, tmp_path_factory):
    """One database in five folds, by picture (known faces) and by subject."""
    built = made_up(
        test_pictures("puppets_lab", people=20),
        gains={"geometric": 0.0, "gan": 0.5},
        references={"gan": "geometric"},
        skills={"vgg16": 1.0, "small_cnn": 0.8},
        seeds=range(2),
        splits={"by_picture": (5, 2.5), "by_subject": (5, 0.0)},
    )
    bench = read_bench([built.write(tmp_path_factory.mktemp("folds") / "bench")], {})
    assert bench is not None
    return bench


def test_headline_has_one_line_an_arm_and_database_pooled_over_networks(protocol_1):
    lines = verdicts.headline(protocol_1)
    assert [(line["arm"], line["place"]) for line in lines] == [
        (arm, name) for name in ("ckplus", "jaffe") for arm in ("imported", "gan", "imported_gan")
    ]
    claims = {(c["arm"], c["database"]): c for c in protocol_1.overall}
    for line in lines:
        claim = claims[line["arm"], line["place"]]
        assert line["word"] == claim["verdict"]
        assert "4 backbones, 3 paired trainings" in line["sentence"]
    assert len(claims) == 6
    assert len(protocol_1.claims) == 30


def test_of_many_claims_the_headline_names_the_decided_and_the_tally_counts_all(protocol_1):
    words = ["helps", "hurts"] + ["no evidence"] * 10
    claims = [
        {**protocol_1.overall[0], "verdict": word, "arm": "gan", "database": f"d{n}"}
        for n, word in enumerate(words)
    ]
    bench = Bench({**protocol_1.summary, "claims": claims}, protocol_1.results,
                  protocol_1.predictions)  # fmt: skip
    assert [line["word"] for line in verdicts.headline(bench)] == ["helps", "hurts"]
    tally = verdicts.verdict_section(bench)["tally"]
    assert tally.startswith("12 claims: 1 helps, 1 hurts, 10 no evidence.")


def test_verdict_tables_hold_every_claim_once(protocol_1):
    section = verdicts.verdict_section(protocol_1)
    overall, single = section["table"].rows, section["per_backbone"].rows
    assert len(overall) == 6
    assert len(single) == 24
    assert len(section["evidence"].rows) == 30
    gains = {(c["database"], c["backbone"], c["arm"]): c["difference"] for c in protocol_1.claims}
    for row in rows_of(section["per_backbone"]):
        key = (row["test database"], row["backbone"], row["arm"])
        assert row["gain"] == gains[key]
    assert all(line["name"] in ("ckplus", "jaffe") for line in section["emotions"]["charts"])


def test_missing_trainings_are_counted_and_named(protocol_1):
    cell = {"fold": None, "split": "external", "part": 0, "backbone": "vgg16", "arm": "gan",
            "seed": 2}  # fmt: skip
    summary = {**protocol_1.summary, "missing": [cell] * 7}
    bench = Bench(summary, protocol_1.results, protocol_1.predictions)
    text = verdicts.verdict_section(bench)["missing"]
    assert text.startswith("7 trainings of the plan are missing")
    assert "backbone vgg16 arm gan seed 2" in text
    assert "and 2 more" in text
    assert verdicts.verdict_section(protocol_1)["missing"] == ""


def test_arms_are_described_by_their_recipes(protocol_1):
    assert protocol_1.words("gan").startswith(
        "real faces and their geometric copies and synthetic faces that passed the gates, "
    )
    assert benchmark.describe(Recipe({"gan": Part(ratio=0.5, gate="random")})) == (
        "synthetic faces drawn by lot, as many as passed the gates, 0.5 for each real face, alone"
    )


def test_scores_are_those_of_the_summary_within_bounds(protocol_1):
    groups = scores.score_section(protocol_1)["groups"]
    assert [group["name"] for group in groups] == ["ckplus", "jaffe"]
    for group in groups:
        for row in rows_of(group["scores"]):
            figure = protocol_1.figure("external", row["backbone"], group["name"], row["arm"])
            assert row["accuracy"] == (figure["accuracy"]["mean"], figure["accuracy"]["std"])
            low, high = row["95 % interval"]
            assert 0 <= low <= figure["accuracy"]["mean"] <= high <= 1
        assert len(group["confusions"]) == 16
        assert len(group["reliability"]) == 4


def test_table_3_stands_as_published_with_ours_and_their_difference(protocol_1):
    section = papers.paper_section("randellini2022", protocol_1, [], ["kdef"])
    assert not section["twin"]
    rows = rows_of(named(section, "paper-3-cross-database"))
    assert len(rows) == 16
    best = next(r for r in rows if r["training set"] == "KDEF_Q"
                and r["model"] == "InceptionResNetV2")  # fmt: skip
    assert best["CK+ published"] == pytest.approx((0.8615, 0.0354))
    assert best["JAFFE published"] == pytest.approx((0.4258, 0.0386))
    figure = protocol_1.figure("external", "inception_resnet_v2", "ckplus", "gan")
    assert best["arm here"] == "gan"
    assert best["CK+ here"] == (figure["accuracy"]["mean"], figure["accuracy"]["std"])
    assert best["CK+ difference"] == pytest.approx(figure["accuracy"]["mean"] - 0.8615)


def test_published_gains_are_those_of_the_means_and_ours_are_claims(protocol_1):
    section = papers.paper_section("randellini2022", protocol_1, [], ["kdef"])
    rows = {
        (row["training set"], row["model"], row["tested on"]): row
        for row in rows_of(named(section, "paper-3-gains"))
    }
    assert len(rows) == 24
    # Q − OL as the text of the paper lets one reckon them
    expected = {"CK+": (1.3, 0.6, 10.9, 4.9), "JAFFE": (-2.1, -2.0, 0.5, 3.4)}
    for name, gains in expected.items():
        models = ("VGG16", "VGG19", "InceptionV3", "InceptionResNetV2")
        found = [100 * rows["KDEF_Q", model, name]["published gain"] for model in models]
        assert np.allclose(found, gains, atol=0.06)
    place = ("jaffe", "vgg19", "gan")
    claims = {(c["database"], c["backbone"], c["arm"]): c for c in protocol_1.claims}
    ours = claims[place]
    assert rows["KDEF_Q", "VGG19", "JAFFE"]["here verdict"] == ours["verdict"]
    assert rows["KDEF_Q", "VGG19", "JAFFE"]["here gain"] == ours["difference"]


def test_table_6_has_the_best_run_beside_all(protocol_1):
    section = papers.paper_section("randellini2022", protocol_1, [], ["kdef"])
    table = named(section, "paper-6-per-emotion")
    own = protocol_1.results.query(
        "backbone == 'inception_resnet_v2' and arm == 'gan' and database == 'ckplus'"
    )
    best = own.loc[own["top1"].idxmax()]
    assert f"seed {best['seed']} ({100 * best['top1']:.1f} %)" in table.caption
    rows = rows_of(table)
    assert [row["emotion"] for row in rows] == protocol_1.emotions
    sad = next(row for row in rows if row["emotion"] == "sad")
    assert (sad["published precision"], sad["published recall"]) == (0.48, 0.71)
    # every emotion has as many test pictures, so that accuracy is mean recall
    recalls = [row["here, best run recall"] for row in rows]
    assert np.mean(recalls) == pytest.approx(best["top1"])


def test_table_7_tells_known_people_and_averages_folds(in_folds):
    section = papers.paper_section("randellini2022", in_folds, [], ["puppets_studio"])
    rows = {(row["model"], row["arm here"]): row
            for row in rows_of(named(section, "paper-7-folds"))}  # fmt: skip
    row = rows["VGG16", "gan"]
    own = in_folds.results.query("backbone == 'vgg16' and arm == 'gan'")
    for split, group in (("by_picture", "here, folds by picture"),
                         ("by_subject", "here, folds by subject")):  # fmt: skip
        folds = own[own["split"] == split].groupby("part")["top1"].mean()
        mean, std = row[f"{group} accuracy"]
        assert mean == pytest.approx(folds.mean())
        assert std == pytest.approx(folds.std())
        assert row[f"{group} folds"] == 5
    assert row["here, folds by subject of known people"] == "0 of 280"
    known = re.match(r"(\d+) of 280", row["here, folds by picture of known people"])
    assert known is not None
    assert int(known[1]) == 250  # nine of ten, whole pictures in each fold of 56
    # what was published stands once, also for networks that were not trained here
    assert rows["VGG19", None]["published, by picture accuracy"] == (0.9761, 0.0058)
    published = [
        r["published, by picture accuracy"] for key, r in rows.items() if key[0] == "VGG16"
    ]
    assert sum(cell is not None for cell in published) == 1
    # nothing of this benchmark was tested across databases
    names = {table.name for table in section["tables"]}
    assert not names & {"paper-3-cross-database", "paper-3-gains", "paper-4-peers"}


def test_folds_are_counted_once_where_databases_are_put_together(in_folds):
    doubled = in_folds.results.assign(database="all")
    bench = Bench(
        in_folds.summary, pd.concat([in_folds.results, doubled]), in_folds.predictions
    )  # fmt: skip
    pd.testing.assert_frame_equal(fold_accuracies(bench), fold_accuracies(in_folds))


def test_a_twin_says_that_it_is_another_experiment(in_folds, protocol_1):
    section = papers.paper_section("randellini2022", in_folds, [], ["puppets_studio"])
    assert section["twin"]
    assert "another experiment: trained on puppets_studio, tested on puppets_lab" in section["note"]
    assert "another experiment" not in papers.paper_section(
        "randellini2022", protocol_1, [], ["kdef"]
    )["note"]  # fmt: skip


def test_protocol_2_lists_folds_and_protocol_4_weights_by_class_size(in_folds, protocol_1):
    rows = rows_of(named(papers.paper_section("gong_sfew", in_folds, [], []), "paper-1-3-folds"))
    first = rows[0]
    assert [first[f"fold {n}"] for n in range(1, 6)] == [0.385, 0.4, 0.415, 0.415, 0.43]
    assert first["mean"] == (0.409, None)
    here = [row for row in rows if row["source"] == "here"]
    assert len(here) == 8
    # eight classes there, seven here: no such table
    assert papers.paper_section("vanderweel2019_affectnet", protocol_1, [], [])["tables"] == []
    section = papers.paper_section("dao2021_fer2013", protocol_1, [], [])
    scored = [row for row in rows_of(section["tables"][0]) if row["source"] == "here"]
    figure = protocol_1.figure("external", "vgg16", "ckplus", "gan")
    row = next(r for r in scored if r["network"] == "vgg16" and r["pictures"] == "gan, ckplus")
    assert row["accuracy"][0] == figure["accuracy"]["mean"]
    # classes of one size: the weighted mean of F1 is the plain one
    counts = np.asarray(figure["confusion"])
    f1 = 2 * np.diag(counts) / (counts.sum(0) + counts.sum(1))
    assert row["F1"][0] == pytest.approx(f1.mean())


def test_published_constants_agree_with_each_other():
    paper = read_paper("randellini2022")
    kinds = {table["number"]: table for table in paper.tables}
    third = kinds[3]["rows"]
    assert set(third) == set(kinds[9]["rows"]) == set(paper.arms.values())
    assert all(set(row) == set(paper.backbones.values()) for row in third.values())
    assert kinds[4]["rows"][0][2] == third["KDEF_Q"]["InceptionResNetV2"]["CK+"][0]
    assert kinds[5]["rows"][0][2] == third["KDEF_PFA_Q"]["InceptionV3"]["JAFFE"][0]
    for table in read_paper("gong_sfew").tables:
        if table["kind"] == "folds":
            # printed to one decimal
            assert all(abs(np.mean(row[3]) - row[4]) < 0.06 for row in table["rows"])
    with pytest.raises(ValueError, match=r"it is one of .*randellini2022"):
        read_paper("nobody1999")


def test_backbones_are_known_however_they_are_spelled():
    paper = read_paper("vanderweel2019_affectnet")
    assert paper.model("mobilenetv1") == paper.model("mobilenet_v1") == "MobileNet"
    assert paper.model("resnet18") is None


@pytest.fixture(scope="module")
def by_ratio(made_up, test_pictures, tmp_path_factory):
    recipes, gains, rows = (
        {"original": Recipe({"real": Part()})},
        {"original": 0.0},
        {"original": 100},
    )
    references = {}
    for ratio in (0.5, 2.0):
        for name, parts in (
            ("geometric", {"real": Part(), "geometric": Part(ratio=ratio)}),
            ("with", {"real": Part(), "gan": Part(ratio=ratio)}),
            ("alone", {"gan": Part(ratio=ratio)}),
            ("random_drop", {"real": Part(), "gan": Part(ratio=ratio, gate="random")}),
        ):
            arm = f"{name}_{ratio:g}"
            recipes[arm], gains[arm] = Recipe(parts), 0.2 * ratio
            rows[arm] = round(100 * (ratio + ("real" in parts)))
            references[arm] = f"geometric_{ratio:g}" if name == "with" else "original"
    recipes["gan"], gains["gan"], rows["gan"] = Recipe({"real": Part(), "gan": Part()}), 0.3, 170
    references["gan"] = "original"
    built = made_up(
        test_pictures("puppets_lab", people=8), gains=gains, references=references, train_rows=rows
    )
    bench = read_bench([built.write(tmp_path_factory.mktemp("ratio") / "bench")], recipes)
    assert bench is not None
    return bench


def test_series_are_arms_that_differ_in_one_amount(by_ratio):
    series = {one.name: one.points for one in ratios.find_series(by_ratio)}
    assert series == {
        "real faces and their geometric copies": [
            (0.0, "original"), (0.5, "geometric_0.5"), (2.0, "geometric_2"),
        ],
        # the arm that takes all there is lies where its pictures put it
        "real faces and synthetic faces that passed the gates": [
            (0.0, "original"), (0.5, "with_0.5"), (0.7, "gan"), (2.0, "with_2"),
        ],
        "synthetic faces that passed the gates, alone": [(0.5, "alone_0.5"), (2.0, "alone_2")],
        "real faces and synthetic faces drawn by lot, as many as passed the gates": [
            (0.0, "original"), (0.5, "random_drop_0.5"), (2.0, "random_drop_2"),
        ],
    }  # fmt: skip


def test_ratio_table_names_what_each_gain_is_held_against(by_ratio, protocol_1):
    section = ratios.ratio_section(by_ratio)
    assert section is not None
    rows = {row["arm"]: row for row in rows_of(section["table"])}
    claims = {claim["arm"]: claim for claim in by_ratio.claims}
    for arm in ("with_2", "alone_0.5"):
        assert rows[arm]["against"] == claims[arm]["reference"]
        assert rows[arm]["gain"] == claims[arm]["difference"]
    assert rows["with_2"]["against"] == "geometric_2"
    assert rows["original"]["gain"] is None
    assert [len(figure["charts"]) for figure in section["figures"]] == [2]
    assert ratios.ratio_section(protocol_1) is None


def test_costs_are_means_over_trainings_and_count_caches(protocol_1):
    section = costs.cost_section(protocol_1)
    assert section is not None
    rows = {(row["backbone"], row["arm"]): row for row in rows_of(section["table"])}
    own = protocol_1.cells.query("backbone == 'vgg19' and arm == 'gan'")
    assert rows["vgg19", "gan"]["a training"] == pytest.approx(own["seconds"].mean())
    assert rows["vgg19", "gan"]["an epoch"] == pytest.approx(own["seconds"].sum() / (3 * 75))
    assert rows["vgg19", "gan"]["frozen part cached"] == "2 of 3"
    assert len(rows) == 16
    assert len(section["charts"]) == 2


def vote(emotion, *named):
    """Predictions of one picture by several seeds: (predicted, its probability)."""
    for seed, (predicted, p) in enumerate(named):
        shares = {"p_angry": 0.0, "p_happy": 0.0, "p_sad": 0.0} | {f"p_{predicted}": p}
        yield {"seed": seed, "emotion": emotion, "predicted": predicted, **shares}


def test_surest_mistakes_are_those_of_most_trainings(protocol_1):
    pictures = {
        "sure": vote("angry", ("sad", 0.9), ("sad", 0.8), ("sad", 0.7)),
        "most": vote("angry", ("sad", 0.9), ("sad", 0.9), ("angry", 0.9)),
        "split": vote("angry", ("sad", 0.9), ("happy", 0.9), ("angry", 0.9)),
        "right": vote("sad", ("sad", 0.9), ("sad", 0.9), ("happy", 1.0)),
    }
    place = {"split": "external", "backbone": "n", "database": "d", "arm": "gan", "origin": "real"}
    table = pd.DataFrame([row | place | {"id": name} for name, rows in pictures.items()
                          for row in rows])  # fmt: skip
    bench = Bench({"emotions": ["angry", "happy", "sad"]}, pd.DataFrame(), table)
    found, counts = surest(bench, place)
    assert [(m.id, m.predicted, m.agree, m.of) for m in found] == [
        ("sure", "sad", 3, 3), ("most", "sad", 2, 3),
    ]  # fmt: skip
    assert [m.confidence for m in found] == pytest.approx([0.8, 0.6])
    assert counts == {"pictures": 4, "wrong": 2}


def test_mistakes_show_pictures_only_where_a_licence_lets_them(made_up, tmp_path):
    draw = np.random.default_rng(0)
    rows = [
        {
            "image": draw.integers(0, 255, (32, 32, 3)).astype(np.uint8),
            "emotion": emotion,
            "database": database,
            "subject": f"{database}/{person}",
            "split": "test",
            "origin": "real",
            "id": f"{database}-{person}-{emotion}",
        }
        for database in ("puppets_lab", "jaffe")
        for person in range(4)
        for emotion in ("angry", "happy", "sad")
    ]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_corpus(rows, corpus)
    pictures = pd.DataFrame(rows)[["id", "database", "subject", "origin", "emotion"]]
    built = made_up(pictures, emotions=("angry", "happy", "sad"), skills={"n": -0.5})
    bench = read_bench([built.write(tmp_path / "bench")], {})
    assert bench is not None

    def sections(restricted):
        showing = Showing(read_licences([RECORDS]), frozenset({"jaffe"}), restricted)
        return {part["name"]: part for part in mistake_section(bench, [corpus], showing)}

    public, private = sections(False), sections(True)
    assert public["puppets_lab"]["seen"]
    assert not public["jaffe"]["seen"]
    assert all(m.picture is None and "licence of jaffe" in m.note
               for m in public["jaffe"]["mistakes"])  # fmt: skip
    assert all(m.picture for m in private["jaffe"]["mistakes"])


def test_one_benchmark_of_this_version_is_read(protocol_1, tmp_path):
    assert read_bench([], {}) is None
    with pytest.raises(ValueError, match="one benchmark, got 2"):
        read_bench([tmp_path, tmp_path], {})
    pd.DataFrame({"arm": ["gan"]}).to_parquet(tmp_path / "results.parquet")
    (tmp_path / "summary.json").write_text(json.dumps({"figures": []}))
    with pytest.raises(ValueError, match="older version"):
        read_bench([tmp_path], {})
