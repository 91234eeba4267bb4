"""clean-fid's resizer, for any size."""

import numpy as np
import torch


def resizer_name(side: int) -> str:
    """Return what to call it beside a figure."""
    return f"clean-fid: PIL bicubic to {side} px, not quantised"


def resize(batch: torch.Tensor, side: int) -> torch.Tensor:
    """Bring (n, 3, H, W) uint8 pictures to (n, 3, side, side) float32 in 0–255, unrounded.

    Antialiased, which the resizers of OpenCV and PyTorch are not by default. Pictures that are
    not square are stretched, none is cropped.
    """
    from cleanfid.resize import make_resizer

    change = make_resizer("PIL", False, "bicubic", (side, side))
    # it takes (H, W, 3), and returns floats clipped to 0–255
    resized = [change(picture.permute(1, 2, 0).numpy()) for picture in batch]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)
