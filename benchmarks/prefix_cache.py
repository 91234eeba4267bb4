"""What looking frozen layers up saves: ``python benchmarks/prefix_cache.py [--people 43]``.

Both steps of protocol 1, ten epochs each, with and without `classifiers.prefix.PrefixCache`: the
head alone, then the last stage of ResNet-50 or the last block of VGG16. The cache starts empty in
each run, so filling it is in the time. Weights are random, for speed does not depend on them; the
running statistics of their norms are brought to the pictures first, or features would be of no
sensible size. Both ways see the same batches and must end at the same network: the largest
difference of logits and both accuracies are printed. On one thread, in processor seconds, since
machines have moods, and in seconds of the clock.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from classifiers.finetune import Fitted, fit
from classifiers.networks import Network, Recogniser, timm_network
from classifiers.prefix import PrefixCache
from classifiers.training import Phase, Training
from curation.corpus import EMOTIONS
from curation.puppets import render


@dataclass(frozen=True)
class Case:
    """A network, what of it trains, and how many times faster it must be."""

    words: str
    network: str
    size: int
    trains: int
    needed: float

    @property
    def training(self) -> Training:
        """Ten epochs of it."""
        rate = 1e-3 if self.trains == 0 else 1e-4
        phase = Phase("10 epochs", self.trains, "adam", rate, schedule="constant")
        return Training({"step": phase}, batch_size=32)


CASES = (
    Case("ResNet-50, step 1: the head", "resnet50", 128, 0, 9.0),
    Case("ResNet-50, step 2: the last stage", "resnet50", 128, 4, 2.0),
    Case("VGG16, step 1: the head", "vgg16", 96, 0, 9.0),
    Case("VGG16, step 2: the last block", "vgg16", 96, 5, 3.0),
)


def drawn(people: range, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 3, size, size) uint8 faces and (N,) labels, seven of each person."""
    faces = [render("studio", who, 1, emotion, size=size) for who in people for emotion in EMOTIONS]
    labels = np.tile(np.arange(len(EMOTIONS)), len(people))
    return np.stack(faces).transpose(0, 3, 1, 2).copy(), labels


def random_network(name: str, images: np.ndarray) -> Network:
    """Return a builder of a network whose random weights are the same each time."""

    def build(classes: int) -> Recogniser:
        return timm_network(classes, name=name, hidden=256)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = build(len(EMOTIONS))
        for layer in made.trunk.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    calibrate(made, images)
    state = made.state_dict()

    def again(classes: int) -> Recogniser:
        fresh = build(classes)
        fresh.load_state_dict(state)
        return fresh

    return again


def calibrate(network: Recogniser, images: np.ndarray) -> None:
    """Set running means and variances to those of some pictures, averaged over batches."""
    norms = [each for each in network.trunk.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
    network.train()
    with torch.inference_mode():
        for start in range(0, min(len(images), 128), 32):
            network.features(torch.from_numpy(images[start : start + 32]))
    for norm in norms:
        norm.momentum = 0.1


def timed(work: Callable[[], Fitted]) -> tuple[Fitted, float, float]:
    """Return what a training gave, its processor seconds and its seconds."""
    begun, started = time.process_time(), time.perf_counter()
    done = work()
    return done, time.process_time() - begun, time.perf_counter() - started


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=43, help="seven pictures each")
    parser.add_argument("--only", default="", help="cases whose words hold this")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for case in [case for case in CASES if given.only in case.words]:
        images, labels = drawn(range(1, given.people + 1), case.size)
        test, truth = drawn(range(1001, 1021), case.size)
        network = random_network(case.network, images)

        def train(
            cache: PrefixCache | None,
            data: tuple[np.ndarray, np.ndarray] = (images, labels),
            case: Case = case,
            network: Network = network,
        ) -> Fitted:
            return fit(
                *data,
                classes=len(EMOTIONS),
                network=network,
                training=case.training,
                seed=0,
                prefix=cache,
                accelerator="cpu",
            )

        plain, cpu_plain, wall_plain = timed(lambda: train(None))
        quick, cpu_quick, wall_quick = timed(lambda: train(PrefixCache()))
        assert quick.prefix[0]["cached"], quick.prefix
        with torch.inference_mode():
            logits = [each.recogniser(torch.from_numpy(test)) for each in (plain, quick)]
        gap = float((logits[0] - logits[1]).abs().max())
        scale = float(logits[0].abs().max())
        right = [float((each.argmax(1).numpy() == truth).mean()) for each in logits]
        print(
            f"{case.words}, {len(images)} pictures of {case.size} px: "
            f"{cpu_plain:.1f} → {cpu_quick:.1f} processor seconds, {cpu_plain / cpu_quick:.1f} "
            f"times as fast (by the clock {wall_plain:.1f} → {wall_quick:.1f}, "
            f"{wall_plain / wall_quick:.1f} times; at least {case.needed:.0f} asked); logits "
            f"differ by {gap:.1e} of {scale:.1f}; accuracy {right[0]:.3f} and {right[1]:.3f} "
            f"(n = {len(test)})",
            flush=True,
        )


if __name__ == "__main__":
    main()
