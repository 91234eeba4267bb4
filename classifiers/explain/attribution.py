"""Which part of a picture a recogniser judged by: Grad-CAM and integrated gradients.

Both by Captum. Pictures go in and maps come out; nothing here draws.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata
from torch import nn

from classifiers.networks import Recogniser, rebuild
from classifiers.predict import pick_device

if TYPE_CHECKING:
    from captum.attr import IntegratedGradients, LayerGradCam

QUADRATURE = 64  # steps between a picture and its baseline
_PROBES = 4  # noises whose gradients measure a receptive field
_INSTALL = "attributions need Captum: pip install 'affectory[explain]'"


@dataclass(frozen=True)
class Gradients:
    """Integrated gradients of N pictures.

    Attributes:
        maps: (N, h, w) float32; what each pixel adds to the logit, below 0 where it speaks
            against the class. (h, w) is the size that the network's trunk sees.
        gain: (N,) logit of the picture minus logit of its baseline.
        error: (N,) sum of the map minus `gain`: 0 where the integral is exact (completeness).
    """

    maps: np.ndarray
    gain: np.ndarray
    error: np.ndarray


def last_spatial(network: Recogniser, images: np.ndarray) -> int:
    """Return the index of the last unit of the trunk that still tells places apart.

    Args:
        network: The recogniser.
        images: (N, 3, H, W) uint8 RGB, of which the first is tried.

    Raises:
        ValueError: If the trunk is no sequence of units, or they end in tokens (a transformer) or
            in features without any map.
    """
    device = next(network.parameters()).device
    found = None
    with torch.inference_mode():
        values = network.eval().normalise(torch.from_numpy(images[:1].copy()).to(device))
        for index, unit in enumerate(_units(network)):
            values = unit(values)
            if values.ndim == 3:
                found = None  # what follows mixes tokens, and its maps would need their layout
            elif values.ndim == 4 and values.shape[2] * values.shape[3] > 1:
                found = index
    if found is None:
        raise ValueError(f"no unit of {network.name} ends in a map (N, d, h, w) for Grad-CAM")
    return found


def grad_cam(
    network: Recogniser,
    images: np.ndarray,
    classes: np.ndarray,
    *,
    unit: int | None = None,
    device: str = "auto",
    batch_size: int = 64,
) -> np.ndarray:
    """Return Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2) of each picture for one class.

    Args:
        network: The recogniser; left in evaluation mode on `device`.
        images: (N, 3, H, W) uint8 RGB.
        classes: (N,) which output is explained in each picture.
        unit: Index in ``network.trunk``; None for `last_spatial`.
        device: ``auto``, ``cpu``, ``cuda``, …
        batch_size: Pictures at a time.

    Returns:
        (N, h, w) float32 ≥ 0 on the unit's own grid, which `enlarge` lays over the picture by its
        `centres`. In units of logit times the unit's values: compare places within a picture.

    Raises:
        ImportError: If Captum is not installed.
        ValueError: See `last_spatial`.
    """
    where = pick_device(device)
    network.to(where).eval()
    chosen = last_spatial(network, images) if unit is None else unit
    cam: LayerGradCam = _captum("LayerGradCam")(_after(network), _units(network)[chosen])

    def explain(pictures: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = cam.attribute(pictures, target=targets, relu_attributions=True)
        return (found[:, 0],)  # pyright: ignore[reportArgumentType, reportCallIssue]

    return _over(explain, network, images, classes, where, batch_size)[0]


def integrated_gradients(
    network: Recogniser,
    images: np.ndarray,
    classes: np.ndarray,
    *,
    steps: int = QUADRATURE,
    device: str = "auto",
    batch_size: int = 256,
) -> Gradients:
    """Return integrated gradients (Sundararajan et al. 2017) of each picture for one class.

    The baseline is one colour, the picture's own mean, and the path runs through what the trunk
    sees. Between raw pixels it could not be followed: a network that normalises each picture
    sees the same all along it and a leap at its end.

    Args:
        network: The recogniser; left in evaluation mode on `device`.
        images: (N, 3, H, W) uint8 RGB.
        classes: (N,) which output is explained in each picture.
        steps: Of the Gauss–Legendre quadrature; more make `Gradients.error` smaller.
        device: ``auto``, ``cpu``, ``cuda``, …
        batch_size: Gradients at a time.

    Raises:
        ImportError: If Captum is not installed.
    """
    where = pick_device(device)
    network.to(where).eval()
    after = _after(network)
    gradients: IntegratedGradients = _captum("IntegratedGradients")(after)

    def explain(pictures: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
        baseline = pictures.mean((2, 3), keepdim=True).expand_as(pictures)
        found, error = gradients.attribute(
            pictures, baseline, targets, n_steps=steps, return_convergence_delta=True
        )
        with torch.no_grad():
            ends = [after(each).gather(1, targets[:, None])[:, 0] for each in (pictures, baseline)]
        return found.sum(1), ends[0] - ends[1], error

    size = max(1, batch_size // steps)
    return Gradients(*_over(explain, network, images, classes, where, size))


def centres(network: Recogniser, unit: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return what the cells of a unit's map look at: the middles of their receptive fields.

    Not the middles of a grid laid over the picture: a convolution of stride 2 that pads both
    sides centres its first cell on the first pixel. After four of them a map so laid lies half a
    cell, 8 pixels, too far down and to the right. Measured by gradients on noise of a larger
    size, where no border cuts the middle cell's field.

    Args:
        network: The recogniser.
        unit: Index in ``network.trunk`` of a unit with a map.
        size: (h, w) that the trunk sees, in pixels.

    Returns:
        Rows and columns, one value a cell, as shares of the picture's height and width.
    """
    weight = next(network.parameters())
    units, channels = _units(network.eval())[: unit + 1], network.normalise.channels
    # by a multiple of every stride, so that the strides come out exactly
    margin = [64 * math.ceil(side / 32) for side in size]
    with torch.inference_mode():
        cells = units(torch.zeros(1, channels, *size, device=weight.device)).shape[2:]
    draw = torch.Generator().manual_seed(0)
    power = [np.zeros(side + more) for side, more in zip(size, margin, strict=True)]
    count = middle = (0, 0)
    for _ in range(_PROBES):
        noise = torch.randn(1, channels, size[0] + margin[0], size[1] + margin[1], generator=draw)
        noise = noise.to(weight.device).requires_grad_()
        found = units(noise)
        count = found.shape[2:]
        middle = (count[0] // 2, count[1] // 2)
        signs = torch.randn(found.shape[1], generator=draw).to(found)
        (gradient,) = torch.autograd.grad((found[0, :, *middle] * signs).sum(), [noise])
        field = gradient[0].square().sum(0).cpu().double().numpy()
        for axis in (0, 1):
            power[axis] += field.sum(1 - axis) / field.sum()
    shares = []
    for axis in (0, 1):
        place = (np.arange(len(power[axis])) + 0.5) * power[axis] / power[axis].sum()
        step = margin[axis] / (count[axis] - cells[axis])
        shares.append((place.sum() + step * (np.arange(cells[axis]) - middle[axis])) / size[axis])
    return shares[0], shares[1]


def enlarge(
    maps: np.ndarray,
    size: tuple[int, int],
    places: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Bring (N, h, w) maps to (N, H, W) linearly.

    Args:
        maps: One value a cell.
        size: (H, W).
        places: Where the cells' middles lie (`centres`); None for a grid laid over the picture.
    """
    weights = []
    for axis, (count, side) in enumerate(zip(maps.shape[1:], size, strict=True)):
        here = (np.arange(count) + 0.5) / count if places is None else places[axis]
        wanted = (np.arange(side) + 0.5) / side
        weights.append(np.stack([np.interp(wanted, here, cell) for cell in np.eye(count)], 1))
    return (weights[0] @ maps @ weights[1].T).astype(np.float32)


def smoothed(maps: np.ndarray) -> np.ndarray:
    """Blur (N, h, w) maps by a thirty-second of their width (standard deviation).

    Single pixels of integrated gradients are grain: two networks trained on one database agree
    on them no better than by chance, but do on spots of this size.
    """
    blur = maps.shape[2] / 32
    return gaussian_filter(maps, (0, blur, blur))


def randomised(network: Recogniser, *, seed: int = 0) -> Recogniser:
    """Return the same architecture with fresh weights, in evaluation mode.

    For the sanity check of Adebayo et al. 2018: a map that hardly changes when everything that was
    learned is taken away shows the picture, not what was learned.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return rebuild(network.recipe, network.classes).eval()


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of the maps of each picture.

    Args:
        first: (N, h, w).
        second: (N, h, w).

    Returns:
        (N,) float64 in [−1, 1]; NaN where a map has the same value everywhere.
    """
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    a, b = (each - each.mean(1, keepdims=True) for each in ranks)
    spread = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.divide((a * b).sum(1), spread, out=np.full(len(a), np.nan), where=spread > 0)


def _captum(name: str) -> type:
    try:
        import captum.attr
    except ImportError as error:
        raise ImportError(_INSTALL) from error
    return getattr(captum.attr, name)


def _units(network: Recogniser) -> nn.Sequential:
    if not isinstance(network.trunk, nn.Sequential):
        raise ValueError(f"the trunk of {network.name} is no sequence of units to look into")
    return network.trunk


def _after(network: Recogniser) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what follows the normalisation; in evaluation mode, where dropout does nothing."""
    return lambda pictures: network.head(network.trunk(pictures))


def _over(
    explain: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]],
    network: Recogniser,
    images: np.ndarray,
    classes: np.ndarray,
    where: torch.device,
    batch_size: int,
) -> list[np.ndarray]:
    if len(images) != len(classes) or len(images) == 0:
        raise ValueError(f"{len(images)} pictures and {len(classes)} classes to explain")
    targets = torch.from_numpy(np.asarray(classes, np.int64))
    parts: list[list[np.ndarray]] = []
    for start in range(0, len(images), batch_size):
        batch = torch.from_numpy(np.array(images[start : start + batch_size])).to(where)
        with torch.no_grad():
            pictures = network.normalise(batch)
        found = explain(pictures, targets[start : start + batch_size].to(where))
        parts.append([each.detach().float().cpu().numpy() for each in found])
    return [np.concatenate(each) for each in zip(*parts, strict=True)]
