"""What a recogniser learns to say: one of the emotions (of labels or a teacher), or affect.

An objective turns labels into targets, a network's outputs into a loss, and says how good they are.
"""

from typing import Protocol

import numpy as np
import torch
from torch.nn import functional as F

_TINY = 1e-8


class Objective(Protocol):
    """The swap point: labels in, targets, losses and figures out.

    Attributes:
        outputs: How many numbers the network gives.
    """

    outputs: int

    def targets(self, labels: np.ndarray) -> torch.Tensor:
        """Return (N, outputs) float32 targets, which mixup may blend."""
        ...

    def loss(self, raw: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the training loss, a scalar, of (N, outputs) raw outputs of the network."""
        ...

    def scores(self, raw: torch.Tensor) -> torch.Tensor:
        """Return what is reported, (N, outputs): such scores may be averaged over views."""
        ...

    def judge(self, scores: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        """Return ``loss`` and one figure of merit of scores on unseen pictures."""
        ...


class Emotion:
    """Cross-entropy over the emotions.

    Args:
        classes: Number of emotions.
        label_smoothing: Share of the target spread over all classes, in [0, 1) (Szegedy et al.
            2016, section 7).
        weights: (classes,) weight of a picture of each class; None for 1. The mean is taken over
            pictures and not over weights, as Keras does.
    """

    def __init__(
        self, classes: int, *, label_smoothing: float = 0.0, weights: np.ndarray | None = None
    ) -> None:
        self.outputs, self.label_smoothing = classes, label_smoothing
        self.weights = None if weights is None else torch.from_numpy(weights).float()

    def targets(self, labels: np.ndarray) -> torch.Tensor:
        """Return (N, classes) one-hot rows of (N,) integers."""
        return F.one_hot(torch.from_numpy(np.array(labels, np.int64)), self.outputs).float()

    def loss(self, raw: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy of (N, classes) logits with (N, classes) shares."""
        losses = F.cross_entropy(
            raw, targets, label_smoothing=self.label_smoothing, reduction="none"
        )
        if self.weights is not None:
            losses = losses * (targets @ self.weights.to(targets.device))
        return losses.mean()

    def scores(self, raw: torch.Tensor) -> torch.Tensor:
        """Return (N, classes) probabilities."""
        return raw.softmax(1)

    def judge(self, scores: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        """Return the plain cross-entropy, neither smoothed nor weighted, and the accuracy."""
        named = (scores * targets).sum(1).clamp(min=torch.finfo(scores.dtype).tiny)
        hits = scores.argmax(1) == targets.argmax(1)
        return {"loss": float(-named.log().mean()), "accuracy": float(hits.float().mean())}


class Taught:
    """Labels, and what a teacher says of the same pictures (Hinton et al. 2015, arXiv:1503.02531).

    (1 − w) · cross-entropy with the labels + w · T² · KL(teacher ‖ pupil), both softened by the
    temperature T; T² keeps the size of the gradients.

    Args:
        labels: What is learned from the labels; also what judges.
        temperature: T > 0.
        weight: w in [0, 1].
    """

    def __init__(self, labels: Emotion, *, temperature: float, weight: float) -> None:
        self.labels, self.outputs = labels, labels.outputs
        self.temperature, self.weight = temperature, weight

    def targets(self, labels: np.ndarray) -> torch.Tensor:
        """Return (N, classes) one-hot rows; the teacher's logits are put beside them."""
        return self.labels.targets(labels)

    def loss(self, raw: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of (N, classes) logits; targets are (N, 2 · classes), see `targets`."""
        named, said = targets.split(self.outputs, dim=1)
        heat = self.temperature
        apart = F.kl_div(
            (raw / heat).log_softmax(1),
            (said / heat).log_softmax(1),
            reduction="batchmean",
            log_target=True,
        )
        own = self.labels.loss(raw, named) if self.weight < 1 else torch.zeros_like(apart)
        return (1 - self.weight) * own + self.weight * heat**2 * apart

    def scores(self, raw: torch.Tensor) -> torch.Tensor:
        """Return (N, classes) probabilities."""
        return self.labels.scores(raw)

    def judge(self, scores: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        """Return cross-entropy with the labels and accuracy; the teacher does not judge."""
        return self.labels.judge(scores, targets)


class Circumplex:
    """Valence and arousal in [−1, 1], Russell's circumplex of affect (1980).

    The loss is the mean squared error plus 1 − the concordance of the batch, as regression on
    AffectNet is mostly trained: the first pulls to the values, the second keeps their spread.
    """

    outputs = 2

    def targets(self, labels: np.ndarray) -> torch.Tensor:
        """Return (N, 2) valence and arousal.

        Raises:
            ValueError: If they are not (N, 2) numbers in [−1, 1].
        """
        values = np.array(labels, np.float32)
        if values.ndim != 2 or values.shape[1] != 2:
            raise ValueError(
                f"labels of target=valence_arousal are (N, 2) floats, got {values.shape}"
            )
        return torch.from_numpy(values)

    def loss(self, raw: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return MSE + 1 − mean CCC of (N, 2) outputs before their tanh."""
        scores = self.scores(raw)
        return F.mse_loss(scores, targets) + 1 - _concordance(scores, targets).mean()

    def scores(self, raw: torch.Tensor) -> torch.Tensor:
        """Return (N, 2) valence and arousal in [−1, 1]."""
        return raw.tanh()

    def judge(self, scores: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        """Return the loss and the mean concordance of valence and arousal."""
        agreed = float(_concordance(scores, targets).mean())
        return {"loss": float(F.mse_loss(scores, targets)) + 1 - agreed, "ccc": agreed}


def _concordance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the concordance of each column."""
    a, b = first - first.mean(0), second - second.mean(0)
    gap = (first.mean(0) - second.mean(0)).square()
    spread = a.square().mean(0) + b.square().mean(0) + gap
    return 2 * (a * b).mean(0) / (spread + _TINY)


def ccc(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return Lin's concordance correlation coefficient (Lin 1989), in [−1, 1].

    1 only if the values are equal; unlike a correlation it falls with a shift or a wrong scale.
    Two constant series give 0.

    Args:
        truth: (N,) values.
        predicted: (N,) values.
    """
    columns = [torch.from_numpy(np.array(each, np.float64))[:, None] for each in (truth, predicted)]
    return float(_concordance(*columns)[0])


def rmse(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the root of the mean squared error, ≥ 0, in the unit of the (N,) values."""
    gap = np.asarray(truth, np.float64) - np.asarray(predicted, np.float64)
    return float(np.sqrt(np.mean(np.square(gap))))
