"""The training loop around a GAN module: ticks, sample grids, metrics, saved state."""

import csv
import logging
import math
from pathlib import Path
from typing import Any

import cv2
import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader

from curation.progress import quiet_lightning, track
from gan.module import GanModule
from gan.pixels import to_pixels

log = logging.getLogger(__name__)

STATE = "state.ckpt"
METRICS = "metrics.csv"
COLUMNS = ("step", "loss_codes", "loss_discriminator", "logit_real", "logit_fake")


def fit(
    module: GanModule,
    out: Path,
    *,
    label: str,
    precision: str,
    accelerator: str,
    devices: int | str,
) -> dict[str, float]:
    """Train a GAN to its end, from the state in the folder if there is one.

    Args:
        module: The GAN; trained in place.
        out: Folder for ``samples/*.png``, ``metrics.csv`` and, until the end, the state.
        label: Word for the progress line.
        precision: As for `gan.train.train`.
        accelerator: Lightning's.
        devices: Lightning's.

    Returns:
        The losses of the last tick.

    Raises:
        ValueError: If a loss is no longer finite.
    """
    ticks = Ticks(out, label)
    state = out / STATE
    steps = DataLoader(range(module.tick_steps), batch_size=None)  # pyright: ignore
    with quiet_lightning():
        trainer = L.Trainer(
            accelerator=accelerator,
            devices=devices,
            precision=_precision(precision, accelerator),  # pyright: ignore[reportArgumentType]
            max_epochs=math.ceil(module.total_steps / module.tick_steps),
            callbacks=[ticks],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(
            module, steps, ckpt_path=str(state) if state.exists() else None, weights_only=True
        )
    state.unlink(missing_ok=True)
    module.cpu()
    return ticks.last


class Ticks(L.Callback):
    """At the end of each tick: check, write metrics and a sample grid, save the state."""

    def __init__(self, out: Path, label: str) -> None:
        self.out, self.label = out, label
        self.last: dict[str, float] = {}
        self.bar: Any = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the progress line, and forget metrics that a killed run wrote after its state."""
        module = _gan(pl_module)
        done = trainer.current_epoch * module.tick_steps
        self.bar = track(None, label=f"train {self.label}", total=module.total_steps, unit="step")
        self.bar.update(done)
        if done:
            log.info("GAN %s: goes on from step %d", self.label, done)
        lines = []
        if (path := self.out / METRICS).exists():
            with path.open(newline="") as file:
                lines = [line for line in csv.DictReader(file) if int(line["step"]) <= done]
        self._write(lines, "w")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        """Move the progress line."""
        self.bar.update(1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close a tick."""
        module = _gan(pl_module)
        step = min((trainer.current_epoch + 1) * module.tick_steps, module.total_steps)
        self.last = {name: float(value) for name, value in module.losses.items()}
        if not all(math.isfinite(value) for value in self.last.values()):
            raise ValueError(
                f"GAN {self.label} diverged before step {step} ({self.last}); "
                "lower gan.learning_rate or raise gan.r1_gamma"
            )
        self._write([{"step": step, **self.last}], "a")
        write_grid(sample_grid(module), self.out / "samples" / f"step-{step:06d}.png")
        partial = self.out / f".{STATE}.partial"
        trainer.save_checkpoint(partial, weights_only=False)
        partial.replace(self.out / STATE)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the progress line."""
        self.bar.close()

    def _write(self, lines: list[dict[str, Any]], mode: str) -> None:
        with (self.out / METRICS).open(mode, newline="") as file:
            writer: csv.DictWriter[str] = csv.DictWriter(file, COLUMNS)
            if mode == "w":
                writer.writeheader()
            writer.writerows(lines)


@torch.no_grad()
def sample_grid(module: GanModule, columns: int = 10) -> np.ndarray:
    """Draw the same latents at every tick: one row for each class, three for a plain network.

    Returns:
        (rows · H, columns · W, 3) uint8 RGB.
    """
    classes = 0 if module.labels is None else int(module.labels.max()) + 1
    rows = classes or 3
    chance = torch.Generator().manual_seed(0)
    z = torch.randn(rows * columns, module.ema.z_dim, generator=chance).to(module.device)
    label = torch.arange(rows, device=module.device).repeat_interleave(columns)
    faces = to_pixels(module.ema(z, label if classes else None)).cpu().numpy()
    height, width = faces.shape[2:]
    grid = faces.reshape(rows, columns, 3, height, width).transpose(0, 3, 1, 4, 2)
    return grid.reshape(rows * height, columns * width, 3)


def write_grid(grid: np.ndarray, path: Path) -> None:
    """Write (H, W, 3) uint8 RGB as a picture file."""
    path.parent.mkdir(exist_ok=True)
    if not cv2.imwrite(str(path), grid[..., ::-1]):
        raise OSError(f"could not write {path}")


def _gan(module: L.LightningModule) -> GanModule:
    assert isinstance(module, GanModule)
    return module


def _precision(precision: str, accelerator: str) -> str:
    if precision != "auto":
        return precision
    if accelerator != "cpu" and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # an older processor emulates bfloat16, at a third of the speed of float32
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if native else "32-true"
