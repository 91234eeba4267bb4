"""Any network of timm as a recogniser, its trunk cut into ordered units."""

import copy
import difflib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path

import timm
import torch
from timm.models.vgg import VGG
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from classifiers.networks.keras import keras_layers
from classifiers.networks.normalise import Mode, Normalise
from classifiers.networks.recogniser import Recogniser
from classifiers.networks.weights import (
    find_weights,
    load_network,
    load_strictly,
    read_state,
    rescale_first,
)

# Children of timm's classes in the order in which they run; whatever is not listed is one unit.
# A plain nn.Sequential is always opened.
_PARTS: Mapping[str, str] = {
    "VGG": "features head",
    "ClassifierHead": "global_pool",
    "ResNet": "conv1 bn1 act1 maxpool layer1 layer2 layer3 layer4 global_pool",
    "InceptionV3": "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 Pool1 Conv2d_3b_1x1 Conv2d_4a_3x3 "
    "Pool2 Mixed_5b Mixed_5c Mixed_5d Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e Mixed_7a "
    "Mixed_7b Mixed_7c global_pool",
    "InceptionResnetV2": "conv2d_1a conv2d_2a conv2d_2b maxpool_3a conv2d_3b conv2d_4a maxpool_5a "
    "mixed_5b repeat mixed_6a repeat_1 mixed_7a repeat_2 block8 conv2d_7b global_pool",
    "Xception": "conv1 bn1 act1 conv2 bn2 act2 block1 block2 block3 block4 block5 block6 block7 "
    "block8 block9 block10 block11 block12 conv3 bn3 act3 conv4 bn4 act4 global_pool",
    "EfficientNet": "conv_stem bn1 blocks conv_head bn2 global_pool",
    "MobileNetV3": "conv_stem bn1 blocks global_pool conv_head norm_head act2 flatten",
    "ConvNeXt": "stem stages norm_pre head",
    "ConvNeXtStage": "downsample blocks",
    "NormMlpClassifierHead": "global_pool norm flatten pre_logits",
    "VisionTransformer": "blocks norm",
}
# the families whose layers a paper counts in Keras
_AS_KERAS = ("VGG", "InceptionV3", "InceptionResnetV2")


def timm_network(
    classes: int,
    *,
    name: str,
    weights: Path | str = "random",
    normalise: Mode = "imagenet",
    trained_with: Mode | None = None,
    size: int | None = None,
    grey: bool = False,
    dropout: float = 0.0,
    hidden: int | None = None,
) -> Recogniser:
    """Build a recogniser on any network of timm.

    Its units are as fine as timm's modules allow: layers in VGGs and stems, blocks elsewhere. The
    VGGs lose their two 4,096-wide layers: what remains is the convolutional trunk that papers
    mean by "VGG16 without top" (14,714,688 parameters).

    Args:
        classes: Number of emotions.
        name: timm's name, for example ``resnet18.tv_in1k``, ``vgg16`` or ``inception_resnet_v2``;
            its tag says which weights ``hub`` means.
        weights: ``random``; ``hub`` for those of the name, from the hub's cache (`affectory
            prefetch` fills it); or a file (.pth or .safetensors) of them, in timm's layout or
            torchvision's, or of a recogniser trained here.
        normalise: See `Normalise`; must be what the weights were trained with, or else see next.
        trained_with: What the weights were trained with if `normalise` is another mode; the
            first convolution is then brought to it. For ``imagenet`` and ``caffe``.
        size: Side that pictures are brought to; None takes them as they come.
        grey: See `Normalise`.
        dropout: Before the head.
        hidden: Width of a ReLU layer in the head; 256 in Randellini et al. 2022; None for none.

    Raises:
        ValueError: If timm has no such network.
        FileNotFoundError: If the weights are not there.
        RuntimeError: If the file does not hold weights of this network.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), 3)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise ValueError(f"timm has no network {name!r}{hint}")
    path = find_weights(name, weights)
    state = None if path is None else read_state(path)
    own = state is not None and all(key.startswith(("trunk.", "head.")) for key in state)
    network = load_network(name, None if own else state, path)
    if size is not None and hasattr(network, "set_input_size"):
        network.set_input_size(img_size=size)  # type: ignore[operator]
    trunk = units(network)
    if state is not None and own:
        load_strictly(trunk, state, path)
    elif state is not None and trained_with not in (None, normalise):
        rescale_first(trunk, trained_with=trained_with, fed_with=normalise)
    arguments = {
        "name": name,
        "normalise": normalise,
        "size": size,
        "grey": grey,
        "dropout": dropout,
        "hidden": hidden,
    }
    return Recogniser(
        trunk,
        width=_width(network),
        classes=classes,
        normalise=Normalise(normalise, grey=grey, size=size),
        dropout=dropout,
        hidden=hidden,
        layers=keras_layers(trunk) if type(network).__name__ in _AS_KERAS else None,
        recipe={"constructor": "timm_network", "arguments": arguments},
    )


def _width(network: nn.Module) -> int:
    if isinstance(network, VGG):  # whose pre_logits are gone
        return int(network.num_features)
    return int(getattr(network, "head_hidden_size", network.num_features))  # type: ignore[arg-type]


def units(network: nn.Module) -> nn.Sequential:
    """Return a network of timm without classes as the sequence of its units.

    The modules are the network's own, and their names come from theirs. A network of a family
    that is not listed here is one unit.
    """
    if isinstance(network, VGG):
        network.pre_logits = nn.Identity()
    found: OrderedDict[str, nn.Module] = OrderedDict()
    for path, unit in _units(network, ""):
        name = path.replace(".", "_") or "network"
        assert name not in found, f"two units are called {name}"
        found[name] = unit
    return nn.Sequential(found)


def _units(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    kind = type(module).__name__
    if type(module) is nn.Sequential:
        parts = [name for name, _ in module.named_children()]
    elif kind in _PARTS:
        parts = _PARTS[kind].split()
    else:
        if not isinstance(module, nn.Identity):
            yield path, module
        return
    if isinstance(module, VisionTransformer):
        yield "embed", _Embed(module)
    for part in parts:
        yield from _units(getattr(module, part), f"{path}.{part}" if path else part)
    if isinstance(module, VisionTransformer):
        yield "pool", _Pool(module)


class _Embed(nn.Module):
    """What a vision transformer does before its blocks: patches, class token, positions."""

    def __init__(self, network: VisionTransformer) -> None:
        super().__init__()
        self.network = _only(network, "patch_embed", "pos_drop", "patch_drop", "norm_pre")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        network = self.network
        tokens = network._pos_embed(network.patch_embed(x))
        return network.norm_pre(network.patch_drop(tokens))


class _Pool(nn.Module):
    """What it does after them: (N, tokens, d) → (N, d)."""

    def __init__(self, network: VisionTransformer) -> None:
        super().__init__()
        self.network = _only(network, "attn_pool", "fc_norm")
        self.network._parameters = {}  # the tokens are those of `_Embed`

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network.fc_norm(self.network.pool(x))


def _only(network: VisionTransformer, *children: str) -> VisionTransformer:
    part = copy.copy(network)
    part._modules = {key: child for key, child in network._modules.items() if key in children}
    part._parameters = dict(network._parameters)
    return part
