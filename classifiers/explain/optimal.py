"""The input that a recogniser likes best for each emotion: feature visualisation of its outputs.

Activation maximisation with the remedies of Olah, Mordvintsev and Schubert 2017 ("Feature
Visualization", Distill) against the noise that it otherwise finds: the picture is a spectrum
whose high frequencies cost more, colours are decorrelated, and it must stay good when it is
turned, scaled and moved.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from classifiers.networks import Recogniser
from classifiers.predict import pick_device
from curation.progress import track

STARTS, STEPS = 3, 192
BUDGET = 0.2  # rms change of a given face in logits of its values: 13 of 255 at middle grey
_CONTRAST = 1.3  # standard deviation of a free picture in logits
_ANGLE, _SCALE, _SHIFT = math.radians(8), 0.08, 0.06
_DECAY = 1.5  # amplitude falls with frequency^1.5; at 1, as photographs have it, grain is left
_EXTREMES = (8, 247)  # of 255; what is darker or lighter has no finite logit to start from
# axes of light, red against blue and green against both (Ohta et al. 1980, the principal axes of
# natural colours), each as long as it varies over photographs
_COLOURS = torch.stack(
    [
        torch.tensor([1.0, 1.0, 1.0]) / math.sqrt(3),
        0.28 * torch.tensor([1.0, 0.0, -1.0]) / math.sqrt(2),
        0.13 * torch.tensor([-1.0, 2.0, -1.0]) / math.sqrt(6),
    ]
)


def optimal_inputs(
    network: Recogniser,
    size: Sequence[int],
    *,
    face: np.ndarray | None = None,
    starts: int = STARTS,
    steps: int = STEPS,
    learning_rate: float = 0.05,
    budget: float = BUDGET,
    seed: int = 0,
    device: str = "auto",
    batch_size: int = 24,
) -> np.ndarray:
    """Maximise each output of a network over its input.

    The logit of the emotion is raised (not its probability, which rises as well by lowering the
    others) by Adam, over a spectrum whose amplitudes are scaled by 1/frequency^1.5. The contrast
    is held fixed: else a network that normalises each picture is best served by one spot. At each
    step the picture is turned by up to 8°, scaled by up to 8 % and moved by up to 6 %.

    Args:
        network: The recogniser; left in evaluation mode on `device`. If it looks at luminance
            only, so do the pictures.
        size: (H, W) of the pictures.
        face: (3, H, W) RGB in 0 … 255 to start from, for example an average face. What is then
            found is a change of it. None for a free picture, started from noise.
        starts: Pictures an emotion, each from a noise of its own.
        steps: Of each picture; 0 returns the starts.
        learning_rate: Of Adam.
        budget: How far a `face` is changed: root mean square, in logits of its values.
        seed: Of the starts and of the movements; a picture depends on nothing but this, its
            emotion and its number.
        device: ``auto``, ``cpu``, ``cuda``, …
        batch_size: Pictures at a time.

    Returns:
        (classes, starts, 3, H, W) uint8 RGB.

    Raises:
        ValueError: If a setting is out of range or `face` is of another size.
    """
    height, width = (int(side) for side in size)
    if starts < 1 or steps < 0 or budget <= 0:
        raise ValueError(f"starts={starts} must be ≥ 1, steps={steps} ≥ 0 and budget={budget} > 0")
    if face is not None and face.shape != (3, height, width):
        raise ValueError(f"face has shape {face.shape}, the network takes (3, {height}, {width})")
    where = pick_device(device)
    network.to(where).eval()
    jobs = [(code, start) for code in range(network.classes) for start in range(starts)]
    done = []
    with track(None, label="optimal inputs", unit="step", total=steps * len(jobs)) as progress:
        for first in range(0, len(jobs), batch_size):
            part = jobs[first : first + batch_size]
            draw = [np.random.default_rng([seed, *job]) for job in part]
            channels = 1 if network.normalise.grey else 3
            noise = [each.standard_normal((channels, height, width // 2 + 1, 2)) for each in draw]
            moves = [each.uniform(-1, 1, (steps, 4)) for each in draw]
            done.append(
                _ascend(
                    network,
                    torch.tensor([code for code, _ in part], device=where),
                    _Pictures(np.stack(noise), (height, width), face, budget, where),
                    torch.from_numpy(np.stack(moves).astype(np.float32)).to(where),
                    learning_rate,
                    progress.update,
                )
            )
    return np.concatenate(done).reshape(network.classes, starts, 3, height, width)


class _Pictures:
    """Pictures as functions of spectra, from which gradients flow."""

    def __init__(
        self,
        noise: np.ndarray,  # (n, channels, H, W // 2 + 1, 2)
        size: tuple[int, int],
        face: np.ndarray | None,
        budget: float,
        where: torch.device,
    ) -> None:
        self.size = size
        self.spectra = torch.from_numpy(0.1 * noise.astype(np.float32)).to(where).requires_grad_()
        frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None])
        amplitude = np.maximum(frequency, 1 / max(size)) ** -_DECAY
        amplitude /= np.sqrt(np.mean(amplitude**2))
        self.amplitude = torch.from_numpy(amplitude.astype(np.float32)).to(where)
        self.colours = _COLOURS.to(where)
        self.contrast, self.start = _CONTRAST, torch.zeros((), device=where)
        if face is not None:
            values = torch.from_numpy(face.astype(np.float32)).to(where).clamp(*_EXTREMES)
            self.contrast, self.start = budget, torch.logit(values / 255)

    def __call__(self) -> torch.Tensor:
        """Return (n, 3, H, W) float32 in 0 … 255."""
        spectra = torch.view_as_complex(self.spectra) * self.amplitude
        waves = torch.fft.irfft2(spectra, s=self.size, norm="ortho")
        if waves.shape[1] == 3:
            waves = torch.einsum("nkhw,kc->nchw", waves, self.colours)
        else:
            waves = waves.expand(-1, 3, -1, -1)
        variance, mean = torch.var_mean(waves, dim=(1, 2, 3), keepdim=True, correction=0)
        waves = (waves - mean) / variance.clamp(min=1e-12).sqrt()
        return 255 * torch.sigmoid(self.start + self.contrast * waves)


def _ascend(
    network: Recogniser,
    classes: torch.Tensor,  # (n,)
    pictures: _Pictures,
    moves: torch.Tensor,  # (n, steps, 4) in [-1, 1]
    learning_rate: float,
    tick: Callable[[int], object],
) -> np.ndarray:
    optimiser = torch.optim.Adam([pictures.spectra], lr=learning_rate)
    for step in range(moves.shape[1]):
        logits = network(_moved(pictures(), moves[:, step]))
        loss = -logits.gather(1, classes[:, None]).sum()
        # only the spectra: the network's own gradients are neither needed nor left behind
        (pictures.spectra.grad,) = torch.autograd.grad(loss, [pictures.spectra])
        optimiser.step()
        tick(len(classes))
    with torch.no_grad():
        return pictures().round().to(torch.uint8).cpu().numpy()


def _moved(pictures: torch.Tensor, moves: torch.Tensor) -> torch.Tensor:
    """Turn, scale and shift each of (n, 3, H, W) as one row of (n, 4) in [-1, 1] says."""
    angle, zoom = moves[:, 0] * _ANGLE, torch.exp(moves[:, 1] * _SCALE)
    cosine, sine = zoom * torch.cos(angle), zoom * torch.sin(angle)
    shift = 2 * _SHIFT * moves[:, 2:]  # a picture is 2 wide in the grid's units
    rows = [
        torch.stack([cosine, -sine, shift[:, 0]], 1),
        torch.stack([sine, cosine, shift[:, 1]], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(pictures.shape), align_corners=False)
    # reflected, because an edge of one grey would be a feature that no face has
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
