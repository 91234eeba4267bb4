"""What a recogniser costs: multiply-adds a picture and weights."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from classifiers.networks.recogniser import Recogniser


def multiply_adds(network: Recogniser, side: tuple[int, int]) -> int:
    """Return the multiply-adds of a picture of (H, W) pixels, in convolutions and matrices."""
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 3, *side, device=device))
    return counter.get_total_flops() // 2


def parameters(network: Recogniser) -> int:
    """Return the number of weights."""
    return sum(weight.numel() for weight in network.parameters())
