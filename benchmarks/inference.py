"""What exported recognisers weigh, how fast they are on one core, and what int8 costs.

    OMP_NUM_THREADS=1 python benchmarks/inference.py PHOTOS --yunet MODEL [--steps 1500]

Trains a small network and a MobileNetV2 on puppets whose faces YuNet finds, exports both, and
compares the files with PyTorch on as many other people: bytes, accuracy, and milliseconds a face
of one core, the runners taking turns. Then the whole path (decode, detect, align, classify) on
the photographs in PHOTOS with the small network, and frames a second of a film.
"""

import argparse
import logging
import tempfile
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from classifiers.export import export_recogniser
from classifiers.finetune import fit
from classifiers.latency import eager, least_milliseconds, runners_of
from classifiers.networks import Network, small_cnn, timm_network
from classifiers.predict import Predictor, save_ensemble
from classifiers.runtime import MODELS, Pipeline
from classifiers.training import Phase, Training
from classifiers.watch.command import watch
from classifiers.watch.film import Film
from classifiers.watch.tracker import Tracker
from curation.align import TemplateFrame
from curation.artifact import write_json
from curation.corpus import EMOTIONS, Corpus, write_corpus
from curation.detect import Haar, YuNet
from curation.puppets import render
from curation.standard import Standard, UnusableFaceError

SIZE = 64
ROUNDS = 200
# what builds it, and the peak learning rate
NETWORKS: dict[str, tuple[Network, float]] = {
    "small_cnn": (small_cnn, 4e-3),
    "mobilenetv2_100": (
        partial(timm_network, name="mobilenetv2_100", normalise="imagenet", grey=True),
        2e-3,
    ),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Exported recognisers on one core.")
    parser.add_argument("photos", type=Path, help="a folder of photographs, one face on each")
    parser.add_argument("--yunet", type=Path, help="model file; default: the one in the cache")
    parser.add_argument("--people", type=int, default=150, help="to train on, and as many to test")
    parser.add_argument("--steps", type=int, default=1500)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    logging.basicConfig(level="WARNING")
    standard = Standard(
        YuNet(model=given.yunet, refine_side=None),
        TemplateFrame(margin=0.1, down=0.06),
        size=SIZE,
        border="edge",
    )
    files = [given.yunet] if given.yunet else []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        corpus = write_faces(place / "corpora" / "puppets", standard, given.people)
        folders = {title: exported(place, title, corpus, given.steps) for title in NETWORKS}
        whole_path(folders["small_cnn"], given.photos, files)
        film(place / "film.mp4", folders["small_cnn"], files)


def write_faces(folder: Path, standard: Standard, people: int) -> Corpus:
    """Write standard faces of people to train on, and of as many others to test on."""
    folder.mkdir(parents=True)
    rows, missed = [], 0
    for subject in range(1, 2 * people + 1):
        for session in (1, 2):
            for emotion in EMOTIONS:
                picture = render("studio", subject, session, emotion, size=128, difficulty=0.6)
                try:
                    face = standard(picture).image
                except UnusableFaceError:
                    missed += 1
                    continue
                split = "train" if subject <= people else "test"
                rows.append(
                    {
                        "image": face,
                        "emotion": emotion,
                        "split": split,
                        "origin": "real",
                        "database": "puppets_studio",
                        "subject": f"puppets_studio/S{subject:03d}",
                    }
                )
    write_corpus(rows, folder)
    contract = standard.contract
    record = {"stage": "standardise", "inputs": {}, "contract": contract, "content": "puppets"}
    write_json(folder / "corpus.json", record)
    print(f"{len(rows)} faces of {2 * people} people, {missed} not found")
    return Corpus(folder)


def exported(place: Path, title: str, corpus: Corpus, steps: int) -> Path:
    """Train, export, compare and time one network; return the exported folder."""
    network, rate = NETWORKS[title]
    facts = corpus.facts
    train = (facts["split"] == "train").to_numpy()
    labels = facts["emotion"].map({name: code for code, name in enumerate(EMOTIONS)}).to_numpy()
    fitted = fit(
        corpus.images(train),
        labels[train],
        classes=len(EMOTIONS),
        network=network,
        seed=0,
        label=title,
        training=Training(
            {"train": Phase(length=steps, learning_rate=rate, weight_decay=0.05, warmup=0.2)},
            sampling="balanced",
            mirror=0.5,
            label_smoothing=0.05,
        ),
        accelerator="cpu",
    ).recogniser
    folder, out = place / "classifiers" / title, place / "exported" / title
    folder.mkdir(parents=True)
    save_ensemble([fitted], folder, emotions=EMOTIONS, size=(SIZE, SIZE))
    facts = export_recogniser(folder, out, corpus=corpus.path)["facts"]
    face = corpus.images(~train)[:1]
    network_itself = Predictor.load(folder, device="cpu").networks[0]
    runners = runners_of(out, face, eager(network_itself, face))
    took = least_milliseconds(runners, rounds=ROUNDS)
    whole = facts["bytes"][MODELS["fp32"]]
    print(f"\n{title}, {SIZE} px, n = {facts['torch']['n']} faces of people it never saw")
    print(
        f"  torch  accuracy {facts['torch']['right']['value']:.2%}  {took['torch']:.2f} ms a face"
    )
    for precision, file in MODELS.items():
        found, size = facts["parity"][precision], facts["bytes"][file]
        print(
            f"  {precision:5s}  accuracy {found['right']['value']:.2%}  {took[precision]:.2f} ms a "
            f"face ({took['torch'] / took[precision]:.1f} x)  {size:,} bytes ({size / whole:.1%})  "
            f"same first choice {found['agreement']['value']:.2%}, differs by "
            f"{found['largest']:.1e} at most"
        )
    return out


def whole_path(folder: Path, photos: Path, files: list[Path]) -> None:
    """Time a photograph from its file to its emotion."""
    recognise = Pipeline.load(folder, files=files, threads=1)
    paths = sorted(path for path in photos.rglob("*") if path.suffix.lower() in {".jpg", ".png"})
    took, found = [], 0
    for path in [paths[0], *paths]:  # the first loads the detector
        started = time.perf_counter()
        found += bool(recognise(path))
        took.append(1000 * (time.perf_counter() - started))
    half, most = np.percentile(took[1:], (50, 95))
    print(
        f"\nwhole path, int8, YuNet: {half:.1f} ms a photograph (median of {len(paths)}), 95 % "
        f"under {most:.1f} ms; a face found on {found - 1}"
    )


def film(path: Path, folder: Path, files: list[Path], seconds: int = 6) -> None:
    """Watch a film of two faces, 640 × 480, by both detectors."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (640, 480))
    left, right = (render("studio", 1, 1, "happy", size=260), render("lab", 2, 1, "sad", size=260))
    for number in range(25 * seconds):
        frame = np.full((480, 640, 3), 170, np.uint8)
        away = 10 + number * 40 // (25 * seconds)
        frame[100:360, away : away + 260] = left
        frame[120:380, 340 - away : 600 - away] = right
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    pipeline = Pipeline.load(folder, files=files, threads=1)
    eyeless = Standard(Haar(), TemplateFrame(), size=SIZE, eyes_missing="upright")
    for title, given in (("YuNet", pipeline), ("Haar", Pipeline(pipeline.predictor, eyeless))):
        opened = Film(path)
        done = watch(opened, given, Tracker(), out=path.with_name("seen.mp4"))
        opened.close()
        print(
            f"watch, {title}: {done['fps']:.1f} frames a second at 640 x 480, "
            f"{done['faces']} faces in {done['frames']} frames, drawn and written"
        )


if __name__ == "__main__":
    main()
