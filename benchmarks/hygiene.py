"""Doubtful labels: are faces that were named wrongly on purpose found, and how many others?

    OMP_NUM_THREADS=1 python benchmarks/hygiene.py [--seeds 3] [--share 0.05] [OVERRIDE ...]

The quickstart's training faces (70 people, two sittings, seven emotions), standardised, with a
share of their labels changed: to any other emotion, or to the one that it is likeliest taken for.
Then the stages of ``+hygiene=hold_back`` judge them: networks that never saw the person, and
``check_labels``. Each seed draws other people. Overrides are those of the command, such as
``database.subjects=20``.
"""

import argparse
import csv
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from curation.corpus import Corpus, write_corpus
from curation.gates import wilson_interval
from curation.labels import TABLE

ROOT = Path(__file__).parents[1]
# the stage's default comes first
METHODS = ("prune_by_noise_rate", "low_self_confidence", "both")
KINDS = ("any other", "the likeliest other")
MISTAKEN = {
    "angry": "disgust",
    "disgust": "angry",
    "fear": "surprise",
    "happy": "neutral",
    "neutral": "sad",
    "sad": "neutral",
    "surprise": "fear",
}


def stages(seed: int, overrides: list[str]) -> dict[str, Any]:
    """Return the calls of the stages, built as the road builds them."""
    named = ["experiment=quickstart", "+hygiene=hold_back", f"seed={seed}"]
    named += ["~test_databases.lab", "~test_databases.ten"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", overrides=[*named, *overrides])
    wanted = ("ingest", "standardise", "train_label_judge", "check_labels")
    return {
        name: instantiate(config.stages[name].call, _partial_=True, _convert_="all")
        for name in wanted
    }


def misnamed(corpus: Corpus, share: float, kind: str, seed: int, wrong: set[str]) -> Iterator[dict]:
    """Yield the rows with some labels changed; put the ids of the changed ones into `wrong`."""
    facts = corpus.facts
    training = np.flatnonzero((facts["split"] == "train").to_numpy())
    generator = np.random.default_rng([9000, seed])
    chosen = generator.choice(training, round(share * len(training)), replace=False)
    names = sorted(facts["emotion"].unique())
    for place, row in enumerate(corpus.rows()):
        if place in chosen:
            others = [name for name in names if name != row["emotion"]]
            any_other = others[generator.integers(len(others))]
            row["emotion"] = any_other if kind == KINDS[0] else MISTAKEN[row["emotion"]]
            wrong.add(row["id"])
        yield row


def judge(
    root: Path, calls: dict[str, Any], kind: str, share: float, seed: int
) -> Iterator[tuple[str, list[int]]]:
    """Yield for each method how many faces were judged, misnamed, doubted, and doubted rightly."""
    for name in ("named", "judge"):
        (root / name).mkdir(parents=True)
    wrong: set[str] = set()
    corpus = Corpus(root.parent / "standardise")
    rows = misnamed(corpus, share, kind, seed, wrong)
    write_corpus(rows, root / "named", corpus.emotions)
    facts = calls["train_label_judge"](corpus=root / "named", out=root / "judge", accelerator="cpu")
    print(f"seed {seed}, {kind}: {facts['out_of_fold']['accuracy']['value']:.1%} read as named")
    for method in METHODS:
        (root / method).mkdir()
        paths = {"corpus": root / "named", "classifier": root / "judge", "out": root / method}
        facts = calls["check_labels"](**paths, hold_back=False, method=method)
        with (root / method / TABLE).open(newline="", encoding="utf-8") as file:
            doubted = {line["id"] for line in csv.DictReader(file)}
        yield method, [facts["judged"], len(wrong), len(doubted), len(wrong & doubted)]


def share_of(hits: int, n: int) -> str:
    """Write a share with its 95 % Wilson interval."""
    low, high = wilson_interval(hits, n) or (0.0, 1.0)
    return f"{hits} of {n}, {hits / max(n, 1):.1%} ({low:.1%} to {high:.1%})"


def main() -> None:
    """Print recall and precision of the list of suspects for each kind of mistake."""
    parser = argparse.ArgumentParser(description="Plant wrong labels and look for them.")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    parser.add_argument("--seeds", type=int, default=3, help="that many, from 0")
    parser.add_argument("--share", type=float, default=0.05, help="of labels that are changed")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    found = {(kind, method): np.zeros(4, int) for kind in KINDS for method in METHODS}
    for seed in range(arguments.seeds):
        calls = stages(seed, arguments.overrides)
        with tempfile.TemporaryDirectory() as place:
            root = Path(place)
            for name in ("ingest", "standardise"):
                (root / name).mkdir()
            calls["ingest"](out=root / "ingest", workers=1)
            calls["standardise"](corpus=root / "ingest", out=root / "standardise", workers=1)
            for kind in KINDS:
                for method, counts in judge(root / kind, calls, kind, arguments.share, seed):
                    found[kind, method] += counts
                    print(f"  {method}: judged, misnamed, doubted, rightly so: {counts}")
    for (kind, method), (judged, wrong, doubted, both) in found.items():
        print(f"{kind}, {method}: {judged} faces judged, {wrong} misnamed")
        print(f"  recall {share_of(both, wrong)}; precision {share_of(both, doubted)}")
        print(f"  of those named rightly doubted: {share_of(doubted - both, judged - wrong)}")


if __name__ == "__main__":
    main()
