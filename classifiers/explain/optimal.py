"""The input that a recogniser likes best for each emotion: feature visualisation of its outputs.

Activation maximisation with the remedies of Olah, Mordvintsev and Schubert 2017 ("Feature
Visualization", Distill) against the noise that it otherwise finds: the picture is a spectrum
whose high frequencies cost more, colours are decorrelated, and it must stay good when it is
turned, scaled and moved. `optimal_faces` adds the remedy that makes it legible where these do not
suffice, a prior of what faces look like.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional as F

from classifiers.networks import Recogniser
from classifiers.predict import pick_device
from curation.progress import track

STARTS, STEPS = 3, 192
BUDGET = 0.2  # rms change of a given face in logits of its values: 13 of 255 at middle grey
COMPONENTS, REACH = 48, 4.0  # of `optimal_faces`
LEAST = 40  # faces that components are learned from; of fewer they are the faces themselves
_LEARNED = 400  # faces at most; more change the first components hardly
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
    grey = network.normalise.grey
    if face is not None and grey:
        face = np.broadcast_to(luminance(face), face.shape)  # colour would be changed unseen
    shape = (1 if grey else 3, height, width // 2 + 1, 2)

    def pictures(noise: np.ndarray, where: torch.device) -> _Pictures:
        return _Spectra(noise, (height, width), face, budget, where)

    given = (learning_rate, seed, device, batch_size)
    return _best(network, shape, pictures, (height, width), starts, steps, *given)


def optimal_faces(
    network: Recogniser,
    faces: np.ndarray,
    *,
    starts: int = 1,
    steps: int = STEPS,
    components: int = COMPONENTS,
    reach: float = REACH,
    learning_rate: float = 0.05,
    seed: int = 0,
    device: str = "auto",
    batch_size: int = 24,
) -> np.ndarray:
    """Maximise each output of a network over faces: what it takes for the clearest expression.

    Over free pictures a network may be content with textures. Here a picture is the mean of `faces`
    plus a mixture of their principal components (eigenfaces), as Nguyen et al. 2016 (NeurIPS,
    "Synthesizing the preferred inputs for neurons") put a generator there; each component in units
    of its standard deviation, and the length of all held fixed. Moved as in `optimal_inputs`.

    Args:
        network: See `optimal_inputs`.
        faces: (N, 3, H, W) uint8 RGB to learn from, at least `LEAST`.
        starts: Pictures an emotion, each from a mixture of its own.
        steps: Of each picture; 0 returns the starts.
        components: Of them at most so many, and no more than a quarter of the faces.
        reach: Length of the mixture in standard deviations. A face drawn from the same normal
            distribution has the square root of `components`; more makes a caricature.
        learning_rate: Of Adam.
        seed: See `optimal_inputs`.
        device: ``auto``, ``cpu``, ``cuda``, …
        batch_size: Pictures at a time.

    Returns:
        (classes, starts, 3, H, W) uint8 RGB.

    Raises:
        ValueError: If a setting is out of range or there are too few faces.
    """
    if starts < 1 or steps < 0 or components < 1 or reach <= 0:
        raise ValueError(
            f"starts={starts} and components={components} must be ≥ 1, steps={steps} ≥ 0 and "
            f"reach={reach} > 0"
        )
    if len(faces) < LEAST:
        raise ValueError(f"components of {len(faces)} faces say little; {LEAST} are needed")
    count, _, height, width = faces.shape
    chosen = np.random.default_rng([seed, count]).permutation(count)[:_LEARNED]
    values = faces[np.sort(chosen)].astype(np.float32)
    values = luminance(values) if network.normalise.grey else values
    mean, basis = _eigenfaces(values, min(components, len(values) // 4))

    def pictures(noise: np.ndarray, where: torch.device) -> _Pictures:
        return _Mixtures(noise, mean, basis, reach, where)

    given = (learning_rate, seed, device, batch_size)
    return _best(network, (len(basis),), pictures, (height, width), starts, steps, *given)


def luminance(pictures: np.ndarray) -> np.ndarray:
    """Return (…, 1, H, W) float32 of (…, 3, H, W) RGB, in the same range."""
    red, green, blue = np.moveaxis(np.asarray(pictures, np.float32), -3, 0)
    return (0.299 * red + 0.587 * green + 0.114 * blue)[..., None, :, :]


def _eigenfaces(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (c, h, w) of (N, c, h, w) and (count, c, h, w), one standard deviation each.

    By the N × N products: pixels are many more than faces.
    """
    flat = values.reshape(len(values), -1)
    mean = flat.mean(0)
    apart = flat - mean
    powers, mixes = np.linalg.eigh(apart @ apart.T)  # ascending
    mixes = mixes[:, ::-1][:, :count]
    powers = np.maximum(powers[::-1][:count], 1e-6)
    basis = (mixes / np.sqrt(powers)).T @ apart  # unit rows
    basis *= np.sqrt(powers / max(1, len(values) - 1))[:, None]
    return mean.reshape(values.shape[1:]), basis.reshape(-1, *values.shape[1:])


class _Pictures(Protocol):
    """Pictures as functions of some numbers, from which gradients flow."""

    values: torch.Tensor
    """(n, …), a leaf."""

    def __call__(self) -> torch.Tensor:
        """Return (n, 3, H, W) float32 in 0 … 255."""
        ...


def _best(
    network: Recogniser,
    shape: Sequence[int],
    pictures: Callable[[np.ndarray, torch.device], _Pictures],
    size: tuple[int, int],
    starts: int,
    steps: int,
    learning_rate: float,
    seed: int,
    device: str,
    batch_size: int,
) -> np.ndarray:
    """Return (classes, starts, 3, H, W) uint8 RGB, found from noise of `shape` each."""
    where = pick_device(device)
    network.to(where).eval()
    jobs = [(code, start) for code in range(network.classes) for start in range(starts)]
    done = []
    with track(None, label="optimal inputs", unit="step", total=steps * len(jobs)) as progress:
        for first in range(0, len(jobs), batch_size):
            part = jobs[first : first + batch_size]
            draw = [np.random.default_rng([seed, *job]) for job in part]
            noise = [each.standard_normal(tuple(shape)) for each in draw]
            moves = [each.uniform(-1, 1, (steps, 4)) for each in draw]
            done.append(
                _ascend(
                    network,
                    torch.tensor([code for code, _ in part], device=where),
                    pictures(np.stack(noise), where),
                    torch.from_numpy(np.stack(moves).astype(np.float32)).to(where),
                    learning_rate,
                    progress.update,
                )
            )
    return np.concatenate(done).reshape(network.classes, starts, 3, *size)


class _Mixtures:
    """Mixtures of eigenfaces; see `optimal_faces`."""

    def __init__(
        self,
        noise: np.ndarray,  # (n, k)
        mean: np.ndarray,  # (1 or 3, H, W)
        basis: np.ndarray,  # (k, 1 or 3, H, W)
        reach: float,
        where: torch.device,
    ) -> None:
        self.values = torch.from_numpy(noise.astype(np.float32)).to(where).requires_grad_()
        self.mean, self.basis = (torch.from_numpy(each).float().to(where) for each in (mean, basis))
        self.reach = reach

    def __call__(self) -> torch.Tensor:
        """Return (n, 3, H, W) float32 in 0 … 255."""
        mixture = self.reach * F.normalize(self.values, dim=1)
        found = self.mean + torch.einsum("nk,kchw->nchw", mixture, self.basis)
        return found.clamp(0, 255).expand(-1, 3, -1, -1)


class _Spectra:
    """Pictures by their spectra; see `optimal_inputs`."""

    def __init__(
        self,
        noise: np.ndarray,  # (n, channels, H, W // 2 + 1, 2)
        size: tuple[int, int],
        face: np.ndarray | None,
        budget: float,
        where: torch.device,
    ) -> None:
        self.size = size
        self.values = torch.from_numpy(0.1 * noise.astype(np.float32)).to(where).requires_grad_()
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
        spectra = torch.view_as_complex(self.values) * self.amplitude
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
    optimiser = torch.optim.Adam([pictures.values], lr=learning_rate)
    for step in range(moves.shape[1]):
        logits = network(_moved(pictures(), moves[:, step]))
        loss = -logits.gather(1, classes[:, None]).sum()
        # only these: the network's own gradients are neither needed nor left behind
        (pictures.values.grad,) = torch.autograd.grad(loss, [pictures.values])
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
