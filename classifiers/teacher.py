"""A teacher: what a trained network says of the pictures that another one learns from."""

import logging

import numpy as np
import torch

from classifiers.batches import Inputs, Pictures
from classifiers.networks import Recogniser
from classifiers.prefix import Declined, PrefixCache, Split, autocast
from classifiers.training import Training

logger = logging.getLogger(__name__)


class Teacher:
    """Says its logits of each batch, of the very views that the pupil is given.

    A teacher must be consistent (Beyer et al. 2022, arXiv:2106.05237): what it says belongs to the
    mirrored, cut or blended picture that the pupil sees, not to the one that it came from. Where
    nothing but the side of a picture changes, it is asked once for each picture and side, like
    frozen layers; the head alone runs at each step.

    Args:
        network: It; put into evaluation mode.
        pictures: (N, 3, H, W) uint8 RGB, all that rows are taken from.
        ids: (N,) their identities.
        rows: (M,) rows that will be learned from.
        training: The pupil's.
        uses: How many answers will be asked for.
        cache: Where answers may be kept.
        device: Where it runs.
        label: What a progress line calls it.
    """

    def __init__(
        self,
        network: Recogniser,
        pictures: torch.Tensor,
        ids: list[str],
        rows: np.ndarray,
        *,
        training: Training,
        uses: int,
        cache: PrefixCache,
        device: torch.device,
        label: str,
    ) -> None:
        self._whole = Split(network.to(device).eval(), len(network.trunk))
        self._device, self._precision = device, training.precision
        self._pictures = Pictures(pictures)
        self._kept: Inputs | None = None
        self._same = not (training.mixup or training.ten_crop)
        if self._same:
            try:
                self._kept = cache.constants(
                    self._whole,
                    pictures,
                    ids,
                    rows,
                    mirrored=rows if training.mirror else rows[:0],
                    device=device,
                    precision=training.precision,
                    uses=uses,
                    label=f"{label}: its teacher",
                )
            except Declined as why:
                logger.debug("%s: the teacher is asked at each step: %s", label, why)

    @torch.no_grad()
    def __call__(self, rows: np.ndarray, turned: np.ndarray, inputs: torch.Tensor) -> torch.Tensor:
        """Return (B, classes) float32 logits of a batch.

        Args:
            rows: (B,) rows of the pictures.
            turned: (B,) which are mirrored.
            inputs: What the pupil is given: the pictures where they are cut or blended.
        """
        head = self._whole.recogniser.head
        with autocast(self._precision, self._device):
            if self._kept is not None:
                return head(self._kept(rows, turned).to(self._device).float()).float().cpu()
            views = self._pictures(rows, turned) if self._same else inputs
            return self._whole.recogniser(views.to(self._device)).float().cpu()
