"""Structured pruning: whole channels taken out of a network, those that matter least first.

Which channels hang together (through skips, norms, depthwise filters) is found by torch-pruning
(Fang et al. 2023, arXiv:2301.12900, "DepGraph"). What is left is a plain smaller network: no masks,
no sparse kernels, so it is faster and smaller wherever it runs.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from classifiers.networks import Recogniser, rebuild
from classifiers.networks.cost import multiply_adds, parameters
from classifiers.networks.narrow import note_shapes, shapes_of

logger = logging.getLogger(__name__)

_STEPS = 100  # cuts until no channel would be left; the measure is taken after each
_AT_MOST = 0.95  # share of a layer's channels that may go: none may vanish


@dataclass(frozen=True)
class Pruning:
    """How much of a network stays, and by what channels are judged.

    Attributes:
        keep: Share of what the network had when its training began, in (0, 1).
        of: Of what: ``multiply_adds`` (how fast it is) or ``parameters`` (how small).
        importance: ``taylor`` (how much the loss on training pictures would change to first order,
            Molchanov et al. 2019, arXiv:1906.10771), ``magnitude`` (Euclidean norm of a channel's
            weights, over all layers that it runs through) or ``random``, the control.
        multiple: What numbers of channels are multiples of. Processors compute in blocks of 8 or
            16: with other numbers a MobileNetV2 of a third of the multiply-adds was as slow as
            before, with 16 twice as fast (ONNX Runtime, AVX-512).
    """

    keep: float
    of: Literal["multiply_adds", "parameters"] = "multiply_adds"
    importance: Literal["taylor", "magnitude", "random"] = "taylor"
    multiple: int = 16

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        if not 0 < self.keep < 1:
            raise ValueError(f"phases.*.prune.keep={self.keep} must be in (0, 1)")
        if self.multiple < 1:
            raise ValueError(f"phases.*.prune.multiple={self.multiple} must be at least 1")
        for key, known in (("of", tuple(MEASURES)), ("importance", tuple(_IMPORTANCE))):
            if getattr(self, key) not in known:
                raise ValueError(
                    f"phases.*.prune.{key}={getattr(self, key)!r} is unknown; it is one of "
                    f"{', '.join(known)}"
                )


MEASURES: dict[str, Callable[[Recogniser, tuple[int, int]], int]] = {
    "multiply_adds": multiply_adds,
    "parameters": lambda network, _: parameters(network),
}
"""What a share of a network can be of: the measure of it for pictures of (H, W) pixels."""
_IMPORTANCE = {
    "magnitude": "GroupMagnitudeImportance",
    "taylor": "GroupTaylorImportance",
    "random": "RandomImportance",
}


def prune(
    network: Recogniser,
    pruning: Pruning,
    *,
    whole: int,
    side: tuple[int, int],
    losses: Callable[[], Iterable[torch.Tensor]],
    seed: int,
) -> None:
    """Take channels out of a network, in place, until a share of it is left.

    Channels of all layers compete; none loses more than 95 % of its own.

    Args:
        network: Of convolutions, batch norms and linear layers. Its recipe afterwards is that of
            the narrow network.
        pruning: How.
        whole: The measure (``pruning.of``) of which the share is taken.
        side: (H, W) of its pictures.
        losses: Yields training losses, for ``taylor``.
        seed: Of ``random``.

    Raises:
        ImportError: Without the extra ``shrink``.
        ValueError: If its layers cannot be narrowed, or so little cannot be left.
    """
    pruner_of, importances = _library()
    measure = MEASURES[pruning.of]
    goal, left = pruning.keep * whole, measure(network, side)
    if left <= goal:
        return  # an earlier phase has cut as much
    shapes, name = shapes_of(network), network.name
    network.eval()
    for weight in network.parameters():
        weight.requires_grad_(True)  # what hangs together is read off a backward graph
    given = torch.arange(256.0).repeat(3 * side[0] * side[1])[: 3 * side[0] * side[1]]
    given = given.view(1, 3, *side).to(next(network.parameters()).device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pruner = pruner_of(
            network,
            given,
            importance=getattr(importances, _IMPORTANCE[pruning.importance])(),
            global_pruning=True,
            pruning_ratio=1.0,
            max_pruning_ratio=_AT_MOST,
            iterative_steps=_STEPS,
            ignored_layers=[network.head.logits],
            round_to=pruning.multiple,
            in_channel_groups={},  # or the library would keep those of other networks
            out_channel_groups={},
        )
        if pruning.importance == "taylor":
            for loss in losses():
                loss.backward()  # a channel's gradients go with it
        for _ in range(_STEPS):
            pruner.step()
            left = measure(network, side)
            if left <= goal:
                break
    network.zero_grad()
    if left > goal:
        raise ValueError(
            f"{name} cannot be cut to {pruning.keep:.0%} of its {pruning.of}: with the least of "
            f"each layer, {pruning.multiple} channels or 5 %, {left / whole:.0%} "
            "are left (phases.*.prune.keep, .multiple)"
        )
    note_shapes(network, shapes)
    _require_rebuilds(network, given, name)
    logger.info(
        "%s: %s %.3g → %.3g (%.0f %%)",
        name,
        pruning.of.replace("_", " "),
        whole,
        left,
        100 * left / whole,
    )


def _require_rebuilds(network: Recogniser, given: torch.Tensor, name: str) -> None:
    """Raise unless the recipe and the weights give the same network again."""
    try:
        again = rebuild(network.recipe, network.classes)
        again.load_state_dict(network.state_dict())
        with torch.no_grad():
            said = again.to(given.device).eval()(given)
            same = torch.allclose(said, network(given), rtol=1e-3, atol=1e-4)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{name} cannot be pruned: {error}") from error
    if not same:
        raise ValueError(f"{name} cannot be pruned: rebuilt from its recipe it says other things")


def _library() -> tuple[Any, Any]:
    try:
        from torch_pruning import pruner
        from torch_pruning.pruner import importance
    except ImportError as error:
        raise ImportError(
            "pruning needs the package torch-pruning: pip install 'affectory[shrink]'"
        ) from error
    return pruner.BasePruner, importance
