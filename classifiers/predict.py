"""Prediction with trained recognisers: single networks, and ensembles from a folder."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from classifiers.calibration import temper
from classifiers.networks import Recogniser, rebuild
from curation.artifact import file_hash, fingerprint, read_json, write_json

_CARD = "recogniser.json"


def pick_device(device: str) -> torch.device:
    """Return the device of a name of torch (``cuda:1``) or Lightning (``auto``, ``gpu``)."""
    if device not in ("auto", "gpu"):
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    if device == "gpu":
        raise ValueError("there is no GPU here; use `auto` or `cpu`")
    return torch.device("cpu")


def probabilities_of(
    network: Recogniser, images: np.ndarray, *, device: str = "auto", batch_size: int = 256
) -> np.ndarray:
    """Return (N, C) float32 probabilities of one network.

    Args:
        network: The recogniser; left in evaluation mode on `device`.
        images: (N, 3, H, W) uint8 RGB.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, …
        batch_size: Pictures at a time.
    """
    return _over(
        lambda batch: network(batch).float().softmax(1), network, images, device, batch_size
    )


def _over(
    function: Callable[[torch.Tensor], torch.Tensor],
    network: Recogniser,
    images: np.ndarray,
    device: str,
    batch_size: int,
) -> np.ndarray:
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"pictures must be (N, 3, H, W) uint8 RGB, got {images.shape} {images.dtype}"
        )
    where = pick_device(device)
    network.to(where).eval()
    done: list[np.ndarray] = []
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            # a copy, because torch takes no arrays with negative strides or without write access
            batch = torch.from_numpy(np.array(images[start : start + batch_size]))
            done.append(function(batch.to(where)).cpu().numpy())
    if not done:
        raise ValueError("no picture was given")
    return np.concatenate(done)


def save_ensemble(
    networks: Sequence[Recogniser],
    out: Path,
    *,
    emotions: Sequence[str],
    size: Sequence[int],
    calibration: Mapping[str, Any] | None = None,
) -> None:
    """Write ``fold-<i>.safetensors`` and the ``recogniser.json`` that rebuilds them.

    Args:
        networks: Trained networks of one architecture.
        out: An existing folder.
        emotions: Their outputs, in order.
        size: (H, W) of the pictures they were trained on.
        calibration: What `classifiers.calibration.calibrate` found, None where nobody could.
    """
    members: dict[str, str] = {}
    for number, network in enumerate(networks):
        file = out / f"fold-{number}.safetensors"
        state = network.state_dict()
        save_file(
            {name: weight.detach().cpu().contiguous() for name, weight in state.items()}, file
        )
        members[file.name] = file_hash(file)
    card = {
        "recipe": networks[0].recipe,
        "emotions": list(emotions),
        "size": list(size),
        "members": members,
        "calibration": calibration,
    }
    # the card comes last: a folder without one was never finished
    write_json(out / _CARD, card)


class Predictor:
    """An ensemble of recognisers that judges pictures.

    Attributes:
        emotions: Names of the C outputs, in order.
        size: (H, W) that the networks were trained on; others are refused.
        name: What to call it in a table, for example ``small_cnn x3``.
        hash: Identity of its weights, architecture and temperature, 10 hexadecimal digits.
        calibration: Its temperature and how reliable it is on new people; None if not known.
    """

    def __init__(
        self,
        networks: Sequence[Recogniser],
        *,
        emotions: Sequence[str],
        size: Sequence[int],
        hash: str,
        calibration: Mapping[str, Any] | None = None,
        device: str = "auto",
        batch_size: int = 256,
    ) -> None:
        """Use trained networks; `load` is the usual way.

        Args:
            networks: Members of the ensemble.
            emotions: Their outputs, in order.
            size: (H, W) of their training pictures.
            hash: Identity of their weights.
            calibration: With the ``temperature`` that `probabilities` are brought to.
            device: ``auto``, ``cpu``, ``cuda``, …
            batch_size: Pictures at a time.
        """
        self.networks = list(networks)
        self.emotions = tuple(emotions)
        self.size = (int(size[0]), int(size[1]))
        self.hash, self.calibration = hash, calibration
        self.device, self.batch_size = device, batch_size
        count = len(self.networks)
        self.name = self.networks[0].name + (f" x{count}" if count > 1 else "")

    @classmethod
    def load(
        cls, folder: Path | str, *, device: str = "auto", batch_size: int = 256
    ) -> "Predictor":
        """Load what `train_gate` wrote.

        Args:
            folder: A finished classifier folder.
            device: ``auto``, ``cpu``, ``cuda``, …
            batch_size: Pictures at a time.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is damaged or does not belong to the others.
        """
        folder = Path(folder)
        card_path = folder / _CARD
        if not card_path.is_file():
            raise FileNotFoundError(
                f"{folder} holds no classifier ({_CARD} is missing); run train_classifier first"
            )
        try:
            card: dict[str, Any] = read_json(card_path)
            recipe, emotions = card["recipe"], list(card["emotions"])
            size, members = card["size"], dict(card["members"])
            calibration = card.get("calibration")
            # one of before calibration keeps its identity
            heat = {"temperature": calibration["temperature"]} if calibration else {}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{card_path} is damaged ({type(error).__name__}: {error}); "
                "delete the folder and run train_classifier again"
            ) from error
        if not members:
            raise ValueError(f"{card_path} names no weight file; run train_classifier again")
        networks = [
            _member(folder / name, expected, recipe, len(emotions))
            for name, expected in members.items()
        ]
        return cls(
            networks,
            emotions=emotions,
            size=size,
            hash=fingerprint(recipe=recipe, emotions=emotions, size=size, members=members, **heat),
            calibration=calibration,
            device=device,
            batch_size=batch_size,
        )

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return (N, C) float32 probabilities, the mean over the calibrated members.

        Each member is calibrated on people whom it never saw. Their mean is no surer than they
        are; how well it is calibrated itself, no held-out person can tell, since two thirds of the
        members know each.

        Args:
            images: (N, 3, H, W) uint8 RGB of the training size.
        """
        self._require_size(images)
        options = {"device": self.device, "batch_size": self.batch_size}
        heat = float(self.calibration["temperature"]) if self.calibration else 1.0
        members = [
            temper(probabilities_of(network, images, **options), heat) for network in self.networks
        ]
        return np.stack(members).mean(0)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Return (N, d) float32 features of the **first** member, before its head.

        Of one member, because features of separately trained networks share no axes and their
        mean would mean nothing.

        Args:
            images: (N, 3, H, W) uint8 RGB of the training size.
        """
        self._require_size(images)
        first = self.networks[0]
        return _over(
            lambda batch: first.features(batch).float(), first, images, self.device, self.batch_size
        )

    def _require_size(self, images: np.ndarray) -> None:
        if tuple(images.shape[2:]) != self.size:
            height, width = self.size
            raise ValueError(
                f"{self.name} was trained on {height}x{width} pictures, got shape {images.shape}; "
                "standardise both corpora to one size"
            )


def _member(path: Path, expected: str, recipe: dict[str, Any], classes: int) -> Recogniser:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run train_classifier again")
    if (found := file_hash(path)) != expected:
        raise ValueError(
            f"{path} is damaged: its SHA-256 starts with {found[:10]}, {_CARD} says "
            f"{expected[:10]}; restore it or run train_classifier again"
        )
    network = rebuild(recipe, classes)
    try:
        network.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise ValueError(
            f"{path} does not fit the network that {_CARD} describes; another version may have "
            f"written it: run train_classifier again ({error})"
        ) from error
    return network.eval()
