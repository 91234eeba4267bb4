"""What lies before the first trainable unit of a network: computed once, then looked up.

Frozen layers give the same numbers for the same picture at every step. `Split` cuts a recogniser
there, and a `PrefixCache` keeps those numbers, in memory or in files that several processes share,
for all epochs, seeds, heads and numbers of tuned layers that agree in what lies before the cut. A
mirrored picture is a second constant. Where the numbers would not be constant, the cache is not
used, and the training says why.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from timm.layers import DropPath  # pyright: ignore[reportPrivateImportUsage]
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from classifiers.networks import Recogniser
from curation.artifact import locked, write_json
from curation.progress import track

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")

_MIRRORED = "-mirrored"
# what a recipe says about the part behind every cut
_HEAD = ("dropout", "hidden", "weights", "pretrained")


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return the context in which a network runs at a precision of `PRECISIONS`."""
    if precision == "32-true":
        return contextlib.nullcontext()
    kind = torch.bfloat16 if precision == "bf16-mixed" else torch.float16
    return torch.autocast(device.type, dtype=kind)  # type: ignore[return-value]


def pictures_at_once(device: torch.device) -> int:
    """Return how many pictures to run at a time where nothing is learned."""
    # what a processor's cache holds: twice as many were a quarter slower there
    return 32 if device.type == "cpu" else 256


def content_ids(images: np.ndarray) -> list[str]:
    """Return a name for each of (N, 3, H, W) uint8 pictures, equal for equal pixels only."""
    shape = repr(images.shape[1:]).encode()
    return [
        hashlib.sha256(shape + np.ascontiguousarray(image).tobytes()).hexdigest()[:20]
        for image in images
    ]


class Split:
    """A recogniser in two: what is before a unit of its trunk, and the rest with the head.

    Args:
        recogniser: The network.
        cut: Index of the first unit of ``recogniser.trunk`` that belongs to the second half.
    """

    def __init__(self, recogniser: Recogniser, cut: int) -> None:
        self.recogniser, self.cut = recogniser, cut
        self._before, self._after = recogniser.trunk[:cut], recogniser.trunk[cut:]

    @torch.no_grad()
    def before(self, images: torch.Tensor) -> torch.Tensor:
        """Return what the trunk has made of (N, 3, H, W) RGB in 0 … 255 at the cut."""
        pictures = self.recogniser.normalise(images)
        return self._before(pictures.contiguous(memory_format=torch.channels_last))

    def after(self, features: torch.Tensor) -> torch.Tensor:
        """Return (N, classes) raw outputs from what `before` gave."""
        return self.recogniser.head(self._after(features))

    def varies(self) -> str | None:
        """Say what makes `before` give other numbers at each step; None if nothing does."""
        for name, module in self._before.named_modules():
            if not module.training:
                continue
            if isinstance(module, _NormBase) and module.track_running_stats:
                return f"the statistics of norm {name} adapt although it is frozen"
            rates = ((_DropoutNd, "p"), (DropPath, "drop_prob"))
            if any(isinstance(module, kind) and getattr(module, rate) for kind, rate in rates):
                return f"{type(module).__name__} {name} drops at random"
        return None

    def key(self, **circumstances: str | int | bool) -> str:
        """Return the identity of `before`: architecture, normalisation, weights and cut.

        Args:
            **circumstances: What else decides the numbers, for example the precision.
        """
        recipe = self.recogniser.recipe
        arguments = {
            name: value for name, value in recipe["arguments"].items() if name not in _HEAD
        }
        facts = [recipe["constructor"], arguments, self.cut, circumstances]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
        for name, weight in self._before.state_dict().items():
            values = weight.detach().cpu().contiguous()
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.flatten().view(torch.uint8).numpy())
        return digest.hexdigest()[:20]


class Declined(Exception):
    """The cache is not worth or not able to hold something; the text says why."""


@dataclass(frozen=True)
class _Block:
    """Features of some pictures: `values` (N, …), one row for each name."""

    names: Sequence[str]
    values: np.ndarray


class Constants:
    """Features at the cut, looked up by row of the pictures and by side.

    Args:
        blocks: Where they lie.
        ids: Identity of each picture, (N,).
    """

    def __init__(self, blocks: Sequence[_Block], ids: list[str]) -> None:
        self._values = [block.values for block in blocks]
        sizes = [len(values) for values in self._values]
        self._starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        place = {
            name: int(start) + row
            for block, start in zip(blocks, self._starts, strict=True)
            for row, name in enumerate(block.names)
        }
        self._places = np.array(
            [[place.get(name + side, -1) for name in ids] for side in ("", _MIRRORED)], np.int64
        )

    def __call__(self, rows: np.ndarray, turned: np.ndarray) -> torch.Tensor:
        """Return the (N, …) float features of some rows, mirrored where `turned` (N,) says so."""
        places = self._places[turned.astype(np.int64), rows]
        assert (places >= 0).all(), "asked for features that were never computed"
        owners = np.searchsorted(self._starts, places, side="right") - 1
        first = self._values[0]
        found = np.empty((len(rows), *first.shape[1:]), first.dtype)
        for owner in np.unique(owners):
            mine = owners == owner
            found[mine] = self._values[owner][places[mine] - self._starts[owner]]
        features = torch.from_numpy(found)
        # kept with channels last, so that the next convolution need not turn them round
        return features.permute(0, 3, 1, 2) if features.ndim == 4 else features


class PrefixCache:
    """Keeps what frozen layers give for each picture.

    Args:
        folder: Where to keep it in files, which other processes share and which may be deleted at
            any time between trainings; None for this process's memory.
        half: Keep float16, which halves the room and rounds at the fourth digit.
        limit_gb: Room in gigabytes (1e9 bytes). In memory the oldest features give way; what does
            not fit is not kept, and the training runs the frozen layers as usual.
    """

    def __init__(
        self, folder: Path | str | None = None, *, half: bool = False, limit_gb: float = 8.0
    ) -> None:
        self.folder = Path(folder) if folder is not None else None
        self.half, self.limit_gb = half, limit_gb
        self._held: dict[str, list[_Block]] = {}

    def constants(
        self,
        split: Split,
        images: torch.Tensor,
        ids: list[str],
        rows: np.ndarray,
        *,
        mirrored: np.ndarray,
        device: torch.device,
        precision: str = "32-true",
        uses: int | None = None,
        label: str = "frozen layers",
    ) -> Constants:
        """Return the features of pictures at the cut, computing those that are missing.

        Args:
            split: The network, in evaluation mode on `device`.
            images: (N, 3, H, W) uint8 RGB.
            ids: Identity of each picture by its pixels, (N,).
            rows: (M,) rows that will be asked for.
            mirrored: (K,) rows that will be asked for mirrored, too.
            device: Where to compute.
            precision: One of `PRECISIONS`.
            uses: How many features will be asked for in all; None for no limit.
            label: What a progress line calls it.

        Raises:
            Declined: If more would be computed than used, there is no room, or float16 overflows.
        """
        wanted: dict[str, tuple[int, bool]] = {ids[row]: (int(row), False) for row in rows}
        wanted |= {ids[row] + _MIRRORED: (int(row), True) for row in mirrored}
        key = split.key(precision=precision, half=self.half, size=str(tuple(images.shape[2:])))
        with self._alone(key):
            blocks = self._blocks(key)
            known = {name for block in blocks for name in block.names}
            missing = {name: where for name, where in wanted.items() if name not in known}
            if uses is not None and len(missing) > uses:
                raise Declined(f"{len(missing)} features would be computed and only {uses} be used")
            if missing:
                fresh = self._compute(key, split, images, missing, device, precision, label)
                blocks = [*blocks, fresh]
                if self.folder is None:
                    self._held[key] = blocks
        return Constants(blocks, ids)

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        # a second process waits here rather than compute the same features
        with locked(self.folder / key) if self.folder else contextlib.nullcontext():
            yield

    def _blocks(self, key: str) -> list[_Block]:
        if self.folder is None:
            return self._held.get(key, [])
        blocks = []
        for card in sorted((self.folder / key).glob("*.json")):
            try:
                names = json.loads(card.read_text())["names"]
                # mapped, not read: the system keeps in memory what is used, once for all processes
                values = np.load(card.with_suffix(".npy"), mmap_mode="r")
                if len(names) != len(values):
                    raise ValueError(f"{len(values)} rows for {len(names)} names")
            except (ValueError, KeyError, OSError) as error:
                raise ValueError(
                    f"{card} and its .npy file are damaged ({error}); delete {card.parent}"
                ) from error
            blocks.append(_Block(names, values))
        return blocks

    def _compute(
        self,
        key: str,
        split: Split,
        images: torch.Tensor,
        missing: Mapping[str, tuple[int, bool]],
        device: torch.device,
        precision: str,
        label: str,
    ) -> _Block:
        names = list(missing)
        places = np.array([row for row, _ in missing.values()])
        sides = np.array([side for _, side in missing.values()])
        values: np.ndarray | None = None
        stem = hashlib.sha256("\n".join(names).encode()).hexdigest()[:20]
        with track(None, label=label, total=len(names)) as bar:
            many = pictures_at_once(device)
            for start in range(0, len(names), many):
                batch = slice(start, start + many)
                pictures = turn(images[torch.from_numpy(places[batch])], sides[batch])
                with torch.inference_mode(), autocast(precision, device):
                    features = split.before(pictures.to(device)).float()
                if features.ndim == 4:
                    features = features.permute(0, 2, 3, 1)
                done = features.cpu().numpy()
                if values is None:
                    values = self._room(key, stem, (len(names), *done.shape[1:]))
                with np.errstate(over="ignore"):  # asked below
                    values[batch] = done
                if self.half and not np.isfinite(values[batch]).all():
                    raise Declined("features exceed float16; set half: false")
                bar.update(len(done))
        assert values is not None
        if self.folder is None:
            return _Block(names, values)
        return self._written(key, stem, names, values)

    def _room(self, key: str, stem: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return an array to fill, in memory or in a file, if there is room for it."""
        kind = np.dtype(np.float16 if self.half else np.float32)
        needed = int(np.prod(shape)) * kind.itemsize
        if self.folder is None:
            others = [name for name in self._held if name != key]
            while others and needed + self._bytes() > self.limit_gb * 1e9:
                del self._held[others.pop(0)]
            used = self._bytes()
        else:
            used = sum(path.stat().st_size for path in self.folder.glob("*/*.npy"))
        if needed + used > self.limit_gb * 1e9:
            raise Declined(
                f"features would take {(needed + used) / 1e9:.1f} GB and limit_gb is "
                f"{self.limit_gb:g}"
            )
        if self.folder is None:
            return np.empty(shape, kind)
        (self.folder / key).mkdir(parents=True, exist_ok=True)
        for leftover in (self.folder / key).glob("*.partial"):
            leftover.unlink()  # of a killed process: a living one would hold the lock
        partial = self.folder / key / f"{stem}.partial"
        return np.lib.format.open_memmap(partial, mode="w+", dtype=kind, shape=shape)

    def _bytes(self) -> int:
        return sum(block.values.nbytes for blocks in self._held.values() for block in blocks)

    def _written(self, key: str, stem: str, names: list[str], values: np.ndarray) -> _Block:
        assert self.folder is not None
        assert isinstance(values, np.memmap)
        values.flush()
        path = self.folder / key / f"{stem}.npy"
        path.with_suffix(".partial").replace(path)
        # the names come last: features without them were never finished
        write_json(path.with_suffix(".json"), {"names": names})
        return _Block(names, np.load(path, mmap_mode="r"))


def turn(images: torch.Tensor, turned: np.ndarray) -> torch.Tensor:
    """Turn some of (N, 3, H, W) pictures left to right, in place, and return them all."""
    chosen = torch.from_numpy(np.asarray(turned, bool))
    images[chosen] = images[chosen].flip(-1)
    return images
