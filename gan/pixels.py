"""Between pictures, uint8 in 0–255, and what networks see, float in [-1, 1]."""

import torch


def to_network(images: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) uint8 in 0–255 → float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_pixels(images: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) float in [-1, 1] → uint8 in 0–255."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
