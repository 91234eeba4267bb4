"""The training loop around a GAN module: ticks, metrics, saved state, roll-backs, early end."""

import csv
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from torch.multiprocessing.spawn import ProcessRaisedException
from torch.utils.data import DataLoader

from curation.progress import quiet_lightning, track
from gan.checkpoint import load_state, save_networks, save_state
from gan.devices import choose_precision, choose_strategy, count_devices
from gan.grids import interpolation_grid, sample_grid, write_grid
from gan.module import GanModule
from gan.watch import Observer

log = logging.getLogger(__name__)

STATE = "state.ckpt"
METRICS = "metrics.csv"
LOSSES = ("loss_codes", "loss_discriminator", "loss_generator", "logit_real", "logit_fake")
READINGS = ("kernel", "low", "high", "diversity")
# beyond this a loss or a logit has left every loss's working range
LARGEST = 1e6


def fit(
    module: GanModule,
    out: Path,
    *,
    label: str,
    precision: str,
    accelerator: str,
    devices: int | str,
    observer: Observer | None,
    rollbacks: int,
    keep_from: int | None,
    loggers: Mapping[str, Callable[..., Logger]],
) -> dict[str, Any]:
    """Train a GAN to its end, from the state in the folder if there is one.

    Args:
        module: The GAN; trained in place, and left with the chosen networks on the CPU.
        out: Folder for ``samples/*.png``, ``interpolation.png``, ``metrics.csv``, ``kept/`` and
            the state, which the caller deletes when the networks are saved.
        label: Word for the progress line.
        precision: As for `gan.train.train`.
        accelerator: Lightning's.
        devices: Lightning's.
        observer: Measures at the ticks, and chooses; None to measure nothing.
        rollbacks: How often a divergence may send training back to the last good tick.
        keep_from: Step from which the generator of every tick stays in ``kept/``, or None.
        loggers: Name → builder of a Lightning logger that gets the metrics too.

    Returns:
        ``losses`` of the last tick, ``rollbacks``, ``devices``, ``stopped`` early at which step
        and why, and the observer's ``choice``.

    Raises:
        ValueError: If training diverges for good, the state is damaged, or devices and batch
            size do not fit.
    """
    count = count_devices(devices, accelerator)
    if module.batch_size % count:
        raise ValueError(
            f"gan.batch_size is {module.batch_size}, which {count} devices cannot share equally"
        )
    state = out / STATE
    ticks = Ticks(out, label, observer=observer, rollbacks=rollbacks, keep_from=keep_from)
    steps = DataLoader(range(module.tick_steps), batch_size=None)  # pyright: ignore
    with quiet_lightning():
        trainer = L.Trainer(
            accelerator=accelerator,
            devices=devices,
            strategy=choose_strategy(count),
            precision=choose_precision(precision, accelerator),  # pyright: ignore
            max_epochs=-1,  # a rolled-back tick comes again: the module knows when it is done
            callbacks=[ticks],
            logger=[build() for build in loggers.values()],
            log_every_n_steps=module.tick_steps,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        try:
            trainer.fit(module, steps)
        except ProcessRaisedException as error:
            raise ValueError(str(error).strip().splitlines()[-1]) from error
    # with several devices the training happened in other processes: the file knows its end
    end = load_state(state)
    module.cpu()
    module.ema.eval()
    module.restore(end, optimizers=False)
    facts = {
        "losses": end["figures"],
        "devices": count,
        "rollbacks": end["rollbacks"],
        "stopped": end["stopped"],
    }
    if observer is not None:
        observer.restore(end["observer"])
        facts["choice"] = observer.facts()
        if observer.best is not None:
            module.ema.load_state_dict(observer.best["ema"])
            module.discriminator.load_state_dict(observer.best["discriminator"])
    write_grid(interpolation_grid(module.ema, module.classes), out / "interpolation.png")
    return facts


class DivergenceError(ValueError):
    """Losses or weights are no longer finite, and no roll-back is left."""


class Ticks(L.Callback):
    """At the end of each tick: check, measure, write metrics and a sample grid, save the state.

    Files are written by the first device alone.
    """

    def __init__(
        self,
        out: Path,
        label: str,
        *,
        observer: Observer | None,
        rollbacks: int,
        keep_from: int | None,
    ) -> None:
        self.out, self.label, self.observer = out, label, observer
        self.rollbacks, self.keep_from = rollbacks, keep_from
        # asked before devices part ways: the first one writes a state while others still start
        self.goes_on = (out / STATE).exists()
        self.columns: list[str] = []
        self.stopped: dict[str, Any] | None = None
        self.bar: Any = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go back to the saved state, forget what was written after it, open the progress line."""
        module = _gan(pl_module)
        penalties = [f"penalty_{each.name}" for each in module.regularisers]
        self.columns = ["step", *LOSSES, *penalties, *module.augmentation.figures()]
        self.columns += READINGS if self.observer else ()
        if self.goes_on and module.total_steps:
            self._restore(module, load_state(self.out / STATE))
            log.info("GAN %s: goes on from step %d", self.label, module.step)
        elif self.rollbacks:
            self._save(trainer, module, {})  # where the first tick would go back to
        if trainer.is_global_zero:
            total = module.total_steps
            self.bar = track(None, label=f"train {self.label}", total=total, unit="step")
            self.bar.update(module.step)
            lines = []
            if (path := self.out / METRICS).exists():
                with path.open(newline="") as file:
                    lines = [x for x in csv.DictReader(file) if int(x["step"]) <= module.step]
            self._write(lines, "w")
        if not module.total_steps:  # a trunk that is specialised and not trained on
            self._close_and_save(trainer, module, {})
        if module.step >= module.total_steps or self.stopped:  # killed after the last tick
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        """Move the progress line."""
        if self.bar is not None:
            self.bar.update(_gan(pl_module).step - self.bar.n)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close a tick."""
        module = _gan(pl_module)
        figures = {name: float(value) for name, value in module.losses.items()}
        if not trainer.strategy.reduce_boolean_decision(_sound(module, figures), all=True):
            self._roll_back(trainer, module, figures)
            return
        self._close_and_save(trainer, module, figures | module.augmentation.figures())

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the progress line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _close_and_save(
        self, trainer: L.Trainer, module: GanModule, figures: dict[str, float]
    ) -> None:
        reason = None
        if trainer.is_global_zero:
            reason = self._close(module, figures, trainer.loggers)
        reason = trainer.strategy.broadcast(reason)
        if reason is not None:
            self.stopped = {"step": module.step, "reason": reason}
        if self.stopped or module.step >= module.total_steps:
            trainer.should_stop = True
        self._save(trainer, module, figures)

    def _close(
        self, module: GanModule, figures: dict[str, float], loggers: list[Logger]
    ) -> str | None:
        """Measure and write what a tick leaves; return why training should end early, or None."""
        step, reason = module.step, None
        line: dict[str, Any] = {"step": step, **figures}
        tick = -(-step // module.tick_steps)
        observer = self.observer
        if observer and (tick % observer.watch.every == 0 or step >= module.total_steps):
            reading = observer.measure(module.ema, step)
            line |= {name: getattr(reading, name) for name in READINGS}
            if observer.watch.choose and observer.chosen == reading:
                observer.best = {
                    "ema": _copied(module.ema.state_dict()),
                    "discriminator": _copied(module.discriminator.state_dict()),
                }
            reason = observer.reason_to_stop()
            if reason:
                log.info("GAN %s: ends at step %d (%s)", self.label, step, reason)
        self._write([line], "a")
        for logger in loggers:
            numbers = {key: value for key, value in line.items() if key != "step"}
            logger.log_metrics(numbers, step)
        write_grid(
            sample_grid(module.ema, module.classes), self.out / "samples" / f"step-{step:06d}.png"
        )
        if self.keep_from is not None and step >= self.keep_from:
            folder = self.out / "kept" / f"step-{step:06d}"
            folder.mkdir(parents=True, exist_ok=True)
            save_networks(folder, {"generator": module.ema}, step=step)
        return reason

    def _roll_back(self, trainer: L.Trainer, module: GanModule, figures: dict[str, float]) -> None:
        failed = module.step
        if len(module.rollbacks) >= self.rollbacks:
            raise DivergenceError(
                f"GAN {self.label} diverged before step {failed} ({figures}), after "
                f"{len(module.rollbacks)} roll-backs that each halved the learning rate; lower "
                "gan.learning_rate, raise the weight of a penalty (gan.regularisers), or allow "
                "more (gan.rollbacks)"
            )
        state = load_state(self.out / STATE)
        self._restore(module, state)
        module.rollbacks.append({"from": failed, "to": module.step})
        log.warning(
            "GAN %s: diverged before step %d; back to step %d with half the learning rate",
            self.label, failed, module.step,
        )  # fmt: skip
        trainer.strategy.barrier()  # nobody writes the file that another still reads
        self._save(trainer, module, state["figures"])

    def _restore(self, module: GanModule, state: dict[str, Any]) -> None:
        module.restore(state)
        self.stopped = state["stopped"]
        if self.observer and state["observer"]:
            self.observer.restore(state["observer"])

    def _save(self, trainer: L.Trainer, module: GanModule, figures: dict[str, float]) -> None:
        if trainer.is_global_zero:
            observed = self.observer.state() if self.observer else None
            extra = {"figures": figures, "stopped": self.stopped, "observer": observed}
            save_state(self.out / STATE, module.state() | extra)
        trainer.strategy.barrier()

    def _write(self, lines: list[dict[str, Any]], mode: str) -> None:
        with (self.out / METRICS).open(mode, newline="") as file:
            writer: csv.DictWriter[str] = csv.DictWriter(file, self.columns)
            if mode == "w":
                writer.writeheader()
            writer.writerows(lines)


def _sound(module: GanModule, figures: dict[str, float]) -> bool:
    """Whether losses and weights are those of a training that goes somewhere."""
    if not all(abs(value) < LARGEST for value in figures.values()):  # also false for NaN
        return False
    weights = [*module.generator.parameters(), *module.discriminator.parameters()]
    return bool(torch.stack([weight.detach().sum() for weight in weights]).isfinite().all())


def _copied(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in weights.items()}


def _gan(module: L.LightningModule) -> GanModule:
    assert isinstance(module, GanModule)
    return module
