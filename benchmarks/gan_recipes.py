"""GAN recipes at equal cost: ``python benchmarks/gan_recipes.py [--arms ...] [--seeds 0 1 2]``.

All arms learn the same faces of the embedded database at 64 px, one core, one process. The first
arm of a seed says what it cost in processor seconds; the others get as many steps as cost the same
(a short trial says how long a step is). Judged are 150 faces an emotion by people whom no GAN saw:
a recogniser trained on 150 others says whether a face shows what it is named, and the kernel
distance is taken to 980 faces of 70 more people, in that recogniser's features and in random ones.

``--images 40`` has 20 people instead of 70, for the collapse of small sets. Finished arms are
skipped; the table is printed over all that is finished.
"""

import argparse
import json
import logging
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from hydra import compose, initialize_config_dir

from classifiers.predict import Predictor
from curation import pipeline
from curation.corpus import Corpus
from curation.features import ClassifierFeatures, RandomConvolutions
from curation.fidelity import compare, kernel_distance

CONF = Path(__file__).resolve().parents[1] / "conf"
GANS = ("train_trunk", "train_gan")
# the training of Radford et al. 2016 and protocol 1 on the same networks: no warm start, no trunk,
# no augmentation of what the discriminator sees, no penalty, no averaged weights
PLAIN = [
    "gan.from_trunk=null",
    "gan.regularisers=[]",
    "gan.augmentation.operations=[]",
    "gan.alternating=true",
    "gan.passes=true",
    "gan.mirror=false",
    "gan.decay=false",
    "gan.learning_rate=2e-4",
    "gan.betas=[0.5,0.999]",
    "gan.ema_decay=0.0",
]
LONG = ["gan.trunk_steps=1500", "gan.tick_steps=50", "gan.watch.every=1"]
ARMS: dict[str, list[str]] = {
    "recipe": [],
    "recipe, bfloat16": ["gan.precision=bf16-mixed"],
    "plain": PLAIN,
    "plain, batch normalisation": [*PLAIN, "gan.generator.batch_norm=2"],
    "from scratch, our steps": ["gan.from_trunk=null"],
    "one conditional GAN": ["gan=conditional"],
    # twice as long and more, to see what becomes of small sets, and without what guards against it
    "guarded": LONG,
    "unguarded": [
        *LONG,
        "gan.regularisers=[]",
        "gan.augmentation.operations=[]",
        "gan.mirror=false",
        "gan.decay=false",
        "gan.ema_decay=0.0",
    ],
}
BUDGETED = {
    "plain": "gan.steps",
    "plain, batch normalisation": "gan.steps",
    "from scratch, our steps": "gan.steps",
    "one conditional GAN": "gan.trunk_steps",
}


def configured(out: Path, *overrides: str) -> Any:
    """Compose the quickstart with overrides."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(
            "config",
            overrides=[
                "experiment=quickstart",
                f"out={out}",
                "workers=2",
                "trainer=cpu",
                "gan.precision=32-true",
                *overrides,
            ],
        )


def made(cfg: Any, *stages: str) -> dict[Any, Path]:
    """Run stages; return the folders of the last, by its variables."""
    for stage in stages:
        cfg.command = stage
        tasks = pipeline.run(cfg)
    return {dict(task.variables).get("emotion"): task.folder for task in tasks}


def training(arm: str, seed: int, people: int) -> list[str]:
    """Return the overrides of an arm."""
    return [*ARMS[arm], f"seed={seed}", "database.seed=0", f"database.subjects={people}"]


def steps_within(budget: float, arm: str, given: list[str], out: Path) -> int:
    """Return how many steps of an arm cost a number of processor seconds, by a trial of two."""
    key = BUDGETED[arm]
    stage = "train_trunk" if key == "gan.trunk_steps" else "train_gan"
    shares = 1 if stage == "train_trunk" else 7
    spent = []
    for steps in (20, 120):
        cfg = configured(out / "trial", *given, f"{key}={steps}", "emotion=fear", "gan.watch=null")
        made(cfg, "ingest", "standardise")
        started = time.process_time()
        made(cfg, stage)
        spent.append(time.process_time() - started)
    a_step = (spent[1] - spent[0]) / 100
    return max(1, round((budget / shares - (spent[0] - 20 * a_step)) / a_step))


def run(arm: str, seed: int, out: Path, people: int, budget: float | None) -> dict[str, Any]:
    """Train and sample an arm; return its cost and where its faces are."""
    given = training(arm, seed, people)
    if arm in BUDGETED:
        assert budget is not None
        given.append(f"{BUDGETED[arm]}={steps_within(budget, arm, given, out)}")
    cfg = configured(out, *given)
    made(cfg, "ingest", "standardise")
    started = time.process_time()
    stages = GANS if cfg.gan.from_trunk else GANS[1:]
    gans = made(cfg, *stages)
    cost = time.process_time() - started
    (faces,) = made(cfg, "sample").values()
    return {
        "arm": arm,
        "seed": seed,
        "steps": [int(cfg.gan.trunk_steps) if cfg.gan.from_trunk else 0, int(cfg.gan.steps)],
        "processor_seconds": round(cost),
        "faces": str(faces),
        "gans": {name: str(folder) for name, folder in gans.items()},
    }


class Judge:
    """A recogniser and faces of people whom no GAN saw."""

    def __init__(self, out: Path) -> None:
        cfg = configured(
            out, "augment=flip", "seed=0", "database.seed=101", "database.subjects=150"
        )
        (folder,) = made(cfg, "ingest", "standardise", "augment", "train_classifier").values()
        self.predictor = Predictor.load(folder)
        cfg = configured(out, "seed=0", "database.seed=202", "database.subjects=70")
        (folder,) = made(cfg, "ingest", "standardise").values()
        held = Corpus(folder)
        own = (held.facts["split"] == "train").to_numpy()
        self.faces, facts = held.images(own), held.facts[own]
        self.named, self.people = facts["emotion"].to_numpy(), facts["subject"].to_numpy(str)
        self.extractors = {
            "judge": ClassifierFeatures(self.predictor),
            "random": RandomConvolutions(),
        }
        self.features = {name: each(self.faces) for name, each in self.extractors.items()}
        right = self._read(self.faces) == self.named
        print(f"the judge is right about {100 * right.mean():.1f} % of {len(right)} held-out faces")

    def _read(self, images: np.ndarray) -> np.ndarray:
        names = np.array(self.predictor.emotions, dtype=object)
        return names[self.predictor.probabilities(images).argmax(1)]

    def figures(self, folder: Path) -> dict[str, dict[str, float]]:
        """Return agreement and kernel distances of a sampled corpus, by emotion."""
        corpus = Corpus(folder)
        images, named = corpus.images(), corpus.facts["emotion"].to_numpy()
        agreed = self._read(images) == named
        fake = {name: each(images) for name, each in self.extractors.items()}
        found: dict[str, dict[str, float]] = {}
        for emotion in corpus.emotions:
            own, real = named == emotion, self.named == emotion
            line: dict[str, float] = {"agreement": float(agreed[own].mean()), "n": int(own.sum())}
            for name in self.extractors:
                figure = compare(
                    self.features[name][real], fake[name][own], subjects=self.people[real]
                )["kernel"]
                low, high = figure.interval or (np.nan, np.nan)
                line |= {name: figure.value, f"{name}_low": low, f"{name}_high": high}
                line[f"{name}_floor"] = figure.floor or np.nan
            found[emotion] = line
        whole = {"agreement": float(agreed.mean()), "n": len(agreed)}
        whole |= {name: kernel_distance(self.features[name], fake[name]) for name in fake}
        return found | {"all": whole}


def rows_of(folder: Path, count: int) -> np.ndarray:
    """Return the first faces of every emotion as a sheet, a row an emotion."""
    corpus = Corpus(folder)
    images, named = corpus.images(), corpus.facts["emotion"].to_numpy()
    rows = [np.concatenate(list(images[named == e][:count]), 2) for e in corpus.emotions]
    return np.concatenate(rows, 1).transpose(1, 2, 0)


def show(results: list[dict[str, Any]]) -> None:
    """Print a table an arm, and the paired differences to the first arm."""
    arms = list(dict.fromkeys(each["arm"] for each in results))
    emotions = list(results[0]["figures"])
    for quantity in ("agreement", "judge", "random"):
        print(f"\n{quantity if quantity == 'agreement' else 'kernel distance, ' + quantity}")
        print(f"{'arm':28s} seeds  cpu s " + " ".join(f"{name:>9s}" for name in emotions))
        for arm in arms:
            own = [each for each in results if each["arm"] == arm]
            values = np.array([[e["figures"][n][quantity] for n in emotions] for e in own])
            cost = np.mean([each["processor_seconds"] for each in own])
            texts = [f"{mean:9.3f}" for mean in values.mean(0)]
            print(f"{arm:28s} {len(own):5d} {cost:6.0f} " + " ".join(texts))
            if len(own) > 1:
                texts = [f"±{value:8.3f}" for value in values.std(0, ddof=1)]
                print(f"{'':28s} {'':12s} " + " ".join(texts))


def main() -> None:
    """Train what is missing, judge it, print the table and draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["recipe", "plain"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=140, help="an emotion; an even number")
    parser.add_argument("--out", type=Path, default=Path("out/gan_recipes"))
    parser.add_argument("--sheet", type=Path, help="draw the faces of the arms, seed by seed")
    given = parser.parse_args()
    logging.basicConfig(level="WARNING")
    torch.set_num_threads(1)
    out = given.out.absolute()
    place = out / f"results-{given.images}"
    place.mkdir(parents=True, exist_ok=True)
    judge = Judge(out)
    results = []
    for seed in given.seeds:
        budget = None
        for arm in given.arms:
            path = place / f"{arm.replace(' ', '_').replace(',', '')}-{seed}.json"
            if not path.exists():
                line = run(arm, seed, out, given.images // 2, budget)
                line["figures"] = judge.figures(Path(line["faces"]))
                path.write_text(json.dumps(line, indent=1))
            results.append(json.loads(path.read_text()))
            budget = budget or results[-1]["processor_seconds"]
            print(f"{arm}, seed {seed}: {results[-1]['processor_seconds']} s", flush=True)
    show(results)
    if given.sheet:
        own = [each for each in results if each["seed"] == given.seeds[0]]
        sheet = np.concatenate([rows_of(Path(each["faces"]), 6) for each in own], 1)
        cv2.imwrite(str(given.sheet), sheet[..., ::-1])


if __name__ == "__main__":
    main()
