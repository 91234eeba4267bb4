"""The gates one by one, on planted features and scores."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from curation.fidelity import precision_recall_density_coverage
from curation.gates import Budget, Identity, Quality, Realism, Repeats, Scored
from curation.gates.identity import identity_distances
from curation.gates.manifold import Manifold, ball_ratios, held_out_ratios
from curation.gates.memorisation import memorisation
from curation.gates.selection import _costs

K = 3


def cloud(count, seed, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, (count, 4)).astype(np.float32)


def scored(facts, emotions=("happy",), **evidence):
    codes = np.frombuffer("\n".join(emotions).encode(), np.uint8)
    return Scored(pd.DataFrame(facts), {"emotions": codes, **evidence}, K)


def test_manifold_figures_are_those_of_the_whole_set():
    real, made = cloud(60, 0), cloud(50, 1, 0.5)
    manifold = Manifold(real, made, K)
    for kept in (np.arange(50), np.arange(0, 50, 3)):
        expected = precision_recall_density_coverage(real, made[kept], K)
        assert manifold.figures(kept) == pytest.approx(expected)
    assert manifold.figures(np.arange(2))["recall"] is None
    assert manifold.figures(np.arange(0)) == {
        "precision": None,
        "recall": None,
        "density": None,
        "coverage": 0.0,
    }


def test_coverage_by_lot_is_the_mean_over_all_draws():
    manifold = Manifold(cloud(40, 0), cloud(30, 1), K)
    standing = np.arange(5, 30)
    generator = np.random.default_rng(0)
    drawn = [
        manifold.figures(generator.choice(standing, 10, replace=False))["coverage"]
        for _ in range(2000)
    ]
    assert manifold.coverage_by_lot(standing, 10) == pytest.approx(np.mean(drawn), abs=0.01)
    assert manifold.coverage_by_lot(standing, 25) == manifold.figures(standing)["coverage"]
    assert manifold.coverage_by_lot(standing, 0) == 0


def test_a_ball_reaches_to_its_neighbour():
    real = np.array([[0.0, 0], [1, 0], [2, 0], [3, 0]])
    # with k = 1 every ball has radius 1
    ratios = ball_ratios(real, np.array([[0.0, 0.5], [3, 2], [1.5, 0]]), 1)
    np.testing.assert_allclose(ratios, [0.5, 2, 0.5], rtol=1e-5)


def test_held_out_people_are_never_measured_by_their_own_pictures():
    # pairs of equal pictures far from all others, each pair one person
    real = np.repeat(np.arange(12.0)[:, None] * 10, 2, axis=0)
    people = np.repeat(np.arange(12), 2)
    found = held_out_ratios(real, people, 2, np.random.default_rng(0))
    assert (found > 0.4).all()
    strangers = held_out_ratios(real, np.arange(24), 2, np.random.default_rng(0))
    assert (strangers < 0.1).any()


def test_realism_refuses_what_lies_outside_and_few_honest_faces():
    people = np.arange(300)
    real, honest, odd = cloud(300, 0), cloud(300, 1), cloud(100, 2, 6.0)
    held = held_out_ratios(real, people, K, np.random.default_rng(0))
    ratios = ball_ratios(real, np.concatenate([honest, odd]), K)
    known = scored({"off_manifold": ratios}, real_off_manifold=held)
    refused = Realism(0.01).refuse(known, np.arange(400))
    assert sum(place < 300 for place in refused) <= 0.02 * 300
    assert sum(place >= 300 for place in refused) == 100
    assert refused[399].startswith("realism: radii to the nearest real face of its emotion ")
    assert Realism(None).refuse(known, np.arange(400)) == {}
    # a face that an earlier gate refused is not refused again
    assert set(Realism(0.01).refuse(known, np.arange(350))) == {p for p in refused if p < 350}


def test_quality_takes_its_limits_from_real_faces():
    real = {"real_sharpness": np.linspace(0.1, 0.3, 999), "real_exposure": np.full(999, 0.5)}
    known = scored({"sharpness": [0.2, 0.09, 0.31, 0.2], "exposure": [0.5, 0.5, 0.5, 0.9]}, **real)
    assert Quality(0.01).refuse(known, np.arange(4)) == {
        1: "quality: sharpness 0.09 < 0.1",
        2: "quality: sharpness 0.31 > 0.3",
        3: "quality: exposure 0.9 > 0.5",
    }
    assert Quality(None).refuse(known, np.arange(4)) == {}


def test_identity_finds_the_person_and_does_nothing_unasked():
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(200, 64))
    people = np.repeat(np.arange(200), 3)
    real = centres[people] + 0.2 * generator.normal(size=(600, 64))
    stolen = centres[:10] + 0.2 * generator.normal(size=(10, 64))
    fresh = generator.normal(size=(200, 64))
    found, distances, strangers = identity_distances(np.concatenate([stolen, fresh]), real, people)
    assert (people[found[:10]] == np.arange(10)).all()
    # somebody else's nearest picture, not the own second one
    assert strangers.min() > 0.5
    ids = np.array([f"r{place}" for place in range(600)])
    facts = {"identity_distance": distances, "identity_id": ids[found]}
    known = scored(facts, identity_strangers=strangers)
    refused = Identity(0.01).refuse(known, np.arange(210))
    assert set(range(10)) <= set(refused)
    assert len(refused) <= 10 + 0.02 * 200
    assert refused[3].startswith(f"identity: {distances[3]:.3f} from training face r")
    unasked = scored(facts, identity_strangers=np.empty(0))
    assert Identity(0.01).refuse(unasked, np.arange(210)) == {}


def test_a_budget_keeps_coverage_before_it_keeps_scores():
    # three clusters of real faces; the best 20 generated ones all lie in the first
    centres = np.array([[0.0, 0], [50, 0], [0, 50]])
    generator = np.random.default_rng(0)
    real = np.concatenate([c + generator.normal(size=(20, 2)) for c in centres])
    made = np.concatenate([c + 0.5 * generator.normal(size=(20, 2)) for c in centres])
    agreement = np.concatenate([np.linspace(0.9, 1, 20), np.linspace(0.5, 0.6, 40)])
    known = scored(
        {"emotion": ["happy"] * 60, "agreement": agreement},
        real_emotion=np.zeros(60, int),
        real_space=real,
        space=made,
    )
    kept = {}
    for most in (3, 10, 20, 60):
        refused = Budget(most).refuse(known, np.arange(60))
        kept[most] = set(range(60)) - set(refused)
        assert len(kept[most]) == most
    assert {place // 20 for place in kept[3]} == {0, 1, 2}
    assert kept[3] < kept[10] < kept[20]
    manifold = known.manifolds["happy"][1]
    coverage = manifold.figures(np.array(sorted(kept[20])))["coverage"]
    assert coverage > manifold.figures(np.arange(20))["coverage"] + 0.3
    assert coverage >= manifold.coverage_by_lot(np.arange(60), 20)
    # what covers nothing new is chosen by its score
    extra = sorted(kept[20] - kept[10], key=lambda place: -agreement[place])
    assert agreement[extra[0]] > 0.9
    with pytest.raises(ValueError, match=r"gate\.budget is 0"):
        Budget(0)


def test_of_repeats_the_first_that_stands_is_kept():
    pairs = {
        "pair_first": np.array([0, 0, 1, 3]),
        "pair_second": np.array([1, 2, 2, 4]),
        "pair_distance": np.array([0.1, 0.1, 0.1, 0.3]),
        "copy_strangers": np.full(100, 0.2),
    }
    known = scored({"id": list("abcde")}, **pairs)
    assert Repeats(0.01).refuse(known, np.arange(5)) == {
        1: "repeat: of generated face a",
        2: "repeat: of generated face a",
    }
    assert Repeats(0.01).refuse(known, np.arange(1, 5)) == {2: "repeat: of generated face b"}
    with pytest.raises(ValueError, match=r"gate\.repeats is 0\.5"):
        Repeats(0.5)


def test_each_gate_says_what_it_cost():
    real = np.concatenate([cloud(40, 0), cloud(40, 1, 20.0)])
    made = np.concatenate([cloud(30, 2), cloud(10, 3, 60.0), cloud(20, 4, 20.0)])
    known = scored(
        {"emotion": ["happy"] * 40 + ["sad"] * 20},
        emotions=("happy", "sad"),
        real_emotion=np.repeat([0, 1], 40),
        real_space=real,
        space=made,
    )
    everything = np.arange(60)
    happy, total = _costs("realism", known, everything, np.delete(everything, np.arange(30, 40)))
    assert (happy["emotion"], happy["removed"], happy["n_before"], happy["n_after"]) == (
        "happy",
        10,
        40,
        30,
    )
    # ten faces that lie nowhere: precision rises by a third, coverage stays
    assert happy["after"]["precision"] == pytest.approx(happy["before"]["precision"] * 4 / 3)
    assert happy["after"]["coverage"] == happy["before"]["coverage"] > happy["coverage_by_lot"]
    assert (total["emotion"], total["removed"], total["n_after"]) == ("all", 10, 50)
    sad = Manifold(real[40:], made[40:], K).figures(np.arange(20))
    assert total["after"]["coverage"] == pytest.approx(
        (happy["after"]["coverage"] + sad["coverage"]) / 2
    )
    assert total["after"]["precision"] == pytest.approx(
        (30 * happy["after"]["precision"] + 20 * sad["precision"]) / 50
    )
    assert _costs("realism", known, everything, everything) == []


def faces(count, seed):
    generator = np.random.default_rng(seed)
    low = generator.integers(0, 255, (count, 3, 8, 8), dtype=np.uint8)
    return low.repeat(8, axis=2).repeat(8, axis=3)


@pytest.mark.parametrize("copied", [0, 60])
def test_memorisation_is_seen_beside_a_holdout(copied):
    real, held, people = faces(60, 0), faces(60, 1), np.arange(60)
    noise = np.random.default_rng(3).integers(0, 20, real.shape, dtype=np.uint8)
    made = np.concatenate([real[:copied] // 2 + noise[:copied], faces(60 - copied, 2)])
    from curation.duplicates import calibrate, describe, nearest, own_distances

    ids = [str(place) for place in range(60)]
    places, distances = nearest(made, describe(real), ids)
    found = memorisation(
        made,
        distances,
        np.array(places, dtype=int),
        real,
        people,
        strangers=calibrate(real).strangers,
        own=own_distances(real, people),
        held=(held, people),
        held_name="validation",
        seed=0,
    )
    closest = found["nearer_to_training"]
    assert closest["interval"][0] <= closest["value"] <= closest["interval"][1]
    assert found["distances"]["same_person"] == {"n": 0}
    if copied:
        assert closest["interval"][0] > 0.6
        assert found["authentic"]["value"] < 0.1
    else:
        assert closest["interval"][0] < 0.5 < closest["interval"][1]
        assert found["authentic"]["value"] > 0.3


def test_a_budget_starts_with_the_faces_that_a_person_keeps():
    agreement = [0.9, 0.8, 0.7, 0.6, 0.5]
    facts = {"id": list("abcde"), "emotion": ["happy"] * 5, "agreement": agreement}
    nothing = {"real_emotion": np.zeros(0), "real_space": np.zeros((0, 4))}
    known = scored(facts, **nothing)
    everybody = np.arange(5)
    assert sorted(Budget(2).refuse(known, everybody)) == [2, 3, 4]
    known = replace(known, insisted=frozenset({3}))
    assert sorted(Budget(2).refuse(known, everybody)) == [1, 2, 4]
    known = replace(known, insisted=frozenset({2, 3, 4}))
    assert sorted(Budget(2).refuse(known, everybody)) == [0, 1]


def test_a_budget_adds_to_what_a_persons_faces_cover():
    # two clumps of real faces: the best two lie in the first, where the person's face lies too
    real = np.concatenate([cloud(10, 0), cloud(10, 1, 50.0)])
    made = np.array([real[0], real[0], real[0], real[15]])
    facts = {"id": list("abcd"), "emotion": ["happy"] * 4, "agreement": [0.6, 0.9, 0.8, 0.5]}
    evidence = {"real_emotion": np.zeros(20, int), "real_space": real, "space": made}
    known = replace(scored(facts, **evidence), insisted=frozenset({0}))
    assert 3 not in Budget(2).refuse(known, np.arange(4))
    assert 0 not in Budget(2).refuse(known, np.arange(4))
