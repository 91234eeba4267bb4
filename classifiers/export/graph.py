"""The graph of an exported recogniser: pictures in 0 … 255 to calibrated probabilities."""

import copy
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from classifiers.networks import Recogniser
from curation import onnx_files

if TYPE_CHECKING:
    import onnx

INPUT = "images"
OUTPUTS = ("probabilities", "logits")


class Calibrated(nn.Module):
    """Members of an ensemble, their temperature and their mean, as one network.

    Args:
        members: Networks of one architecture.
        temperature: What each member's logits are divided by; see `classifiers.calibration`.
        half: Compute in float16 what has weights. Normalisation stays in float32, whose sums over
            a picture leave float16's range, and so do temperature and softmax.
    """

    def __init__(
        self, members: Sequence[Recogniser], temperature: float, *, half: bool = False
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.temperature, self.half_precision = temperature, half

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, C) probabilities and (N, C) logits, of which they are the softmax.

        Args:
            images: (N, 3, H, W) RGB in 0 … 255.
        """
        judged = [self._logits(member, images) for member in self.members]
        if len(judged) == 1:
            return judged[0].softmax(1), judged[0]
        # the mean of probabilities, in logarithms, so that none underflows
        each = torch.stack([logits.log_softmax(1) for logits in judged])  # (k, N, C)
        logits = each.logsumexp(0) - math.log(len(judged))
        return logits.exp(), logits

    def _logits(self, member: nn.Module, images: torch.Tensor) -> torch.Tensor:
        assert isinstance(member, Recogniser)
        # not `Recogniser.forward`: its memory format would be traced as gathered copies
        pictures = member.normalise(images)
        if self.half_precision:
            pictures = pictures.half()
        return member.head(member.trunk(pictures)).float() / self.temperature


def build(
    members: Sequence[Recogniser],
    temperature: float,
    *,
    size: tuple[int, int],
    emotions: Sequence[str],
    half: bool = False,
) -> "onnx.ModelProto":
    """Return the graph of a recogniser.

    Args:
        members: See `Calibrated`; left as they are.
        temperature: See `Calibrated`.
        size: (H, W) of the pictures.
        emotions: Names of the outputs, in order; the graph carries them.
        half: See `Calibrated`.
    """
    # copies: half precision would stay in the weights; and networks that were trained in
    # channels_last keep that layout, which would be traced as gathered copies
    copies = [copy.deepcopy(member).cpu().eval() for member in members]
    for member in copies:
        member.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        if half:
            member.trunk.half()
            member.head.half()
    return onnx_files.traced(
        Calibrated(copies, temperature, half=half),
        {INPUT: torch.zeros(2, 3, *size)},
        OUTPUTS,
        metadata={"emotions": json.dumps(list(emotions), ensure_ascii=False)},
    )
