"""Images a core-second of a DCGAN step: ``python benchmarks/gan_throughput.py [rounds]``.

Ours beside the networks and the loop of PyTorch's DCGAN example at 64 px (latent 100, 64 filters,
batch normalisation, binary cross-entropy, Adam 2e-4 with β₁ 0.5; the discriminator learns from a
real and from a generated batch in two passes each way, the generator from a third), written from
its description. Contestants take turns in one process, since machines have moods; the figure is
the median over rounds, and the ratio the median of the rounds' ratios.
"""

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader

from curation.progress import quiet_lightning
from gan.augmentation import Augmentation
from gan.dcgan import Discriminator, Generator
from gan.devices import choose_precision
from gan.losses import NonSaturating
from gan.module import GanModule

BATCH, STEPS, ROUNDS = 32, 4, 7
NZ, WIDTH = 100, 64
Step = Callable[[], None]


def example(device: str, *, half: bool) -> Step:
    """Return a step of the example: its networks, its losses, its three passes."""
    inner = [
        (NZ, WIDTH * 8, 1, 0),
        *((WIDTH * 2**k, WIDTH * 2 ** (k - 1), 2, 1) for k in (3, 2, 1)),
    ]
    layers: list[nn.Module] = []
    for inputs, outputs, stride, padding in inner:
        layers += [
            nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    generator = nn.Sequential(
        *layers, nn.ConvTranspose2d(WIDTH, 3, 4, 2, 1, bias=False), nn.Tanh()
    ).to(device)
    layers = [nn.Conv2d(3, WIDTH, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for k in (1, 2, 3):
        layers += [
            nn.Conv2d(WIDTH * 2 ** (k - 1), WIDTH * 2**k, 4, 2, 1, bias=False),
            nn.BatchNorm2d(WIDTH * 2**k),
            nn.LeakyReLU(0.2, inplace=True),
        ]
    judge = nn.Sequential(*layers, nn.Conv2d(WIDTH * 8, 1, 4, 1, 0, bias=False)).to(device)
    adam = partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999))
    for_generator, for_judge = adam(generator.parameters()), adam(judge.parameters())
    entropy = nn.BCEWithLogitsLoss()  # bfloat16 has no binary cross-entropy on probabilities
    images = torch.rand(512, 3, 64, 64, device=device) * 2 - 1
    ones, zeros = torch.ones(BATCH, device=device), torch.zeros(BATCH, device=device)

    def step() -> None:
        real = images[torch.randint(len(images), (BATCH,), device=device)]
        with torch.autocast(device, torch.bfloat16, enabled=half):
            judge.zero_grad()
            entropy(judge(real).flatten(), ones).backward()
            fake = generator(torch.randn(BATCH, NZ, 1, 1, device=device))
            entropy(judge(fake.detach()).flatten(), zeros).backward()
            for_judge.step()
            generator.zero_grad()
            entropy(judge(fake).flatten(), ones).backward()
            for_generator.step()

    return step


class Timed(L.Callback):
    """Times the steps after the first of a training."""

    def __init__(self, device: str) -> None:
        self.device, self.seconds = device, 0.0

    def on_train_batch_end(self, *args: object, **kwargs: object) -> None:
        """Start the clock after the first step."""
        if not self.seconds:
            self.seconds = -clock(self.device)

    def on_train_end(self, *args: object) -> None:
        """Stop it."""
        self.seconds += clock(self.device)


def ours(device: str, *, half: bool, alternating: bool, quickstart: bool) -> Callable[[], float]:
    """Return a function that trains for some steps and says how many seconds each took."""
    widths = (
        {"filters": 24, "max_filters": 192}
        if quickstart
        else {"filters": WIDTH, "max_filters": 512}
    )
    judge = {"filters": 32, "max_filters": 192} if quickstart else widths
    module = GanModule(
        Generator(size=64, **widths),
        Discriminator(size=64, **judge, spread=False),
        torch.randint(0, 256, (512, 3, 64, 64), dtype=torch.uint8),
        None,
        loss=NonSaturating(),
        regularisers=[],
        augmentation=Augmentation(),
        alternating=alternating,
        passes=False,
        warm_steps=0,
        steps=10**9,
        head_start=0,
        decay=False,
        tick_steps=STEPS + 1,
        batch_size=BATCH,
        learning_rate=2e-4,
        betas=(0.5, 0.999),
        lazy_adam=False,
        mirror=True,
        ema_decay=0.998,
        seed=0,
    )

    def train() -> float:
        timed = Timed(device)
        module.train()
        with quiet_lightning():
            L.Trainer(
                accelerator="gpu" if device == "cuda" else device,
                devices=1,
                precision="bf16-mixed" if half else "32-true",
                max_epochs=1,
                callbacks=[timed],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            ).fit(module, DataLoader(range(STEPS + 1), batch_size=None))  # pyright: ignore
        return timed.seconds / STEPS

    return train


def clock(device: str) -> float:
    """Return seconds of processor time, of wall clock on a GPU once it has done its work."""
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def plainly(step: Step, device: str) -> Callable[[], float]:
    """Return a function that takes some steps and says how many seconds each took."""

    def run() -> float:
        step()
        started = clock(device)
        for _ in range(STEPS):
            step()
        return (clock(device) - started) / STEPS

    return run


def main() -> None:
    """Print a table for each number format that the device computes with."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    device = "cuda" if torch.cuda.is_available() else "cpu"
    formats = [False]
    if choose_precision("auto", device) == "bf16-mixed":
        formats.append(True)
    else:
        print(f"this {device} only emulates bfloat16: measured in float32 alone")
    for half in formats:
        contestants = {
            "example: networks and loop": plainly(example(device, half=half), device),
            "ours, same widths, one pass": ours(
                device, half=half, alternating=False, quickstart=False
            ),
            "ours, same widths, alternating": ours(
                device, half=half, alternating=True, quickstart=False
            ),
            "ours, quickstart's networks": ours(
                device, half=half, alternating=False, quickstart=True
            ),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, contestant in contestants.items():
                seconds[name].append(contestant())
        base = next(iter(seconds.values()))
        print(
            f"\n{device}, {'bfloat16' if half else 'float32'}, {torch.get_num_threads()} threads, "
            f"batch {BATCH}, 64 px, {rounds} rounds of {STEPS} steps"
        )
        unit = "images a second" if device == "cuda" else "images a core-second"
        for name, each in seconds.items():
            ratio = statistics.median(b / s for b, s in zip(base, each, strict=True))
            print(f"{name:32s} {BATCH / statistics.median(each):8.1f} {unit}  × {ratio:.2f}")


if __name__ == "__main__":
    main()
