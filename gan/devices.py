"""Training on several devices of one machine, and the number format that a device is good at."""

from collections.abc import Sequence

import torch
from lightning.pytorch.strategies import DDPStrategy, Strategy


class AveragedGradients(DDPStrategy):
    """One process a device; gradients are averaged by the module itself.

    Lightning's wrapper expects one backward pass through each parameter in a step. A GAN's step
    has several, through parts of the networks, and second derivatives.
    """

    def __init__(self) -> None:
        # started from within, since the command that is running may hold locks on its results
        super().__init__(start_method="spawn")

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


def count_devices(devices: int | str | Sequence[int], accelerator: str) -> int:
    """Return how many devices Lightning's settings mean."""
    if isinstance(devices, str) and devices.isdigit():
        devices = int(devices)
    if isinstance(devices, int) and devices > 0:
        return devices
    if not isinstance(devices, int | str):
        return len(devices)
    return 1 if accelerator == "cpu" else max(1, torch.cuda.device_count())


def choose_strategy(count: int) -> Strategy | str:
    """Return Lightning's strategy for a number of devices."""
    return AveragedGradients() if count > 1 else "auto"


def choose_precision(precision: str, accelerator: str) -> str:
    """Return Lightning's precision; ``auto`` means bfloat16 where the device computes with it."""
    if precision != "auto":
        return precision
    if accelerator != "cpu" and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # an older processor emulates bfloat16, at a third of the speed of float32
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if native else "32-true"
