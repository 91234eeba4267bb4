"""Of 200 synthetic faces 20 are training faces in disguise: the gates find these and few others."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from curation.corpus import Corpus, write_corpus
from curation.features import RandomConvolutions
from curation.gates import score
from curation.puppets import render

ROOT = Path(__file__).parents[1]
PHOTOS = ROOT.parent / "shared" / "photos"
PLANTED, MADE = 20, 200


class Agreeable:
    """Reads every face as whatever it is asked about, so that copies are what is judged."""

    name, hash, calibration = "agreeable", "0", None

    def __init__(self, emotions):
        self.emotions = emotions

    def probabilities(self, images):
        return np.full((len(images), len(self.emotions)), 1 / len(self.emotions))

    def features(self, images):
        return images[:, :, ::8, ::8].reshape(len(images), -1) / np.float32(255)


def moved(picture, across, down, zoom=1.0):
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, zoom)
    matrix[:, 2] += across, down
    return cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def compressed(picture, quality):
    data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def disguises(generator):
    sign = generator.choice([-1, 1], 2)
    gain, offset = generator.uniform(0.7, 1.3), generator.uniform(-30, 30)
    return [
        lambda p: p,
        lambda p: p[:, ::-1],
        lambda p: compressed(p, int(generator.integers(40, 90))),
        lambda p: moved(p, 2 * sign[0], 2 * sign[1]),
        lambda p: np.clip(p * gain + offset, 0, 255).astype(np.uint8),
        lambda p: moved(p, 0, 0, zoom=generator.choice([0.96, 1.04])),
    ]


def puppets(_):
    emotions = ("happy", "sad", "surprise")
    rows = [
        # the face without the background, as a standardised corpus has it
        (cv2.resize(face[12:56, 10:54], (64, 64), interpolation=cv2.INTER_AREA), emotion, f"s{who}")
        for who in range(1, 121)
        for emotion in emotions
        for face in [render("studio", who, 1, emotion, size=64)]
    ]
    pictures, named, people = zip(*rows, strict=True)
    return np.stack(pictures), np.array(named), np.array(people)


def photographs(root):
    if not PHOTOS.is_dir():
        pytest.skip("no photographs beside the repository")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        named = ["experiment=photos", f"database.root={PHOTOS}", "fold=0"]
        stages = compose("config", overrides=named).stages
    calls = {
        stage: instantiate(stages[stage].call, _partial_=True, _convert_="all")
        for stage in ("ingest", "standardise")
    }
    for stage in calls:
        (root / stage).mkdir()
    calls["ingest"](out=root / "ingest")
    calls["standardise"](corpus=root / "ingest", out=root / "standardise", workers=1)
    corpus = Corpus(root / "standardise")
    facts = corpus.facts
    pictures = corpus.images().transpose(0, 2, 3, 1)
    return pictures, facts["emotion"].to_numpy(str), facts["subject"].to_numpy(str)


def judged(root, pictures, named, people, seed):
    """Make a training corpus and 200 synthetic faces; return the table after the gates."""
    generator = np.random.default_rng([2026, seed])
    names = generator.permutation(np.unique(people))
    known = np.isin(people, names[: len(names) // 2])
    emotions = sorted(set(named))

    def row(picture, emotion, origin, **more):
        return {"image": np.ascontiguousarray(picture), "emotion": emotion, "split": "train"} | {
            "origin": origin,
            "database": "planted",
            **more,
        }

    real = [
        row(pictures[place], named[place], "real", subject=people[place])
        for place in np.flatnonzero(known)
    ]
    stolen = generator.choice(np.flatnonzero(known), PLANTED, replace=False)
    tricks = disguises(generator)
    copies = [
        row(
            tricks[number % len(tricks)](np.ascontiguousarray(pictures[place])),
            named[place],
            "gan",
            source="copy",
        )
        for number, place in enumerate(stolen)
    ]
    strangers = np.flatnonzero(~known)
    honest = generator.choice(strangers, min(MADE - PLANTED, len(strangers)), replace=False)
    made = [*copies, *(row(pictures[p], named[p], "gan", source="honest") for p in honest)]
    for name, rows in (("real", real), ("made", made)):
        (root / name).mkdir(parents=True)
        write_corpus(rows, root / name, emotions)
    (root / "scored").mkdir()
    (root / "kept").mkdir()
    score(
        root / "made",
        root / "real",
        root / "no classifier",
        root / "scored",
        predictor=lambda _: Agreeable(emotions),
        emotions=emotions,
        space=RandomConvolutions,
    )
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        off = ["gate.agreement=null", "gate.predicted_as_named=false"]
        call = compose("config", overrides=off).stages.select.call
    instantiate(call, _partial_=True, _convert_="all")(root / "scored", root / "kept")
    return Corpus(root / "kept").facts


@pytest.mark.parametrize("source", [puppets, pytest.param(photographs, marks=pytest.mark.slow)])
def test_planted_copies_are_refused_and_honest_faces_kept(source, tmp_path):
    material = source(tmp_path)
    facts = pd.concat(
        [judged(tmp_path / f"{seed}", *material, seed) for seed in range(2)], ignore_index=True
    )
    copies = facts[facts["source"] == "copy"]
    honest = facts[facts["source"] == "honest"]
    assert len(copies) == 2 * PLANTED
    assert (~copies["keep"]).mean() >= 0.95
    assert copies.loc[~copies["keep"], "reason"].str.startswith("copy: ").mean() >= 0.9
    refused = honest[~honest["keep"]]
    assert len(refused) <= 0.02 * len(honest), refused["reason"].tolist()
