"""ImageNet weights of timm's networks: where they are published, found, or fetched once.

They lie in the caches of the Hugging Face hub and of torch, as timm itself puts them. Nothing here
is fetched unless somebody asks for it by name (``affectory prefetch``).
"""

import contextlib
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BACKBONES = {
    "vgg16": "vgg16.tv_in1k",
    "vgg19": "vgg19.tv_in1k",
    "inception_v3": "inception_v3.tf_in1k",
    "inception_resnet_v2": "inception_resnet_v2.tf_in1k",
    "resnet18": "resnet18.tv_in1k",
    "resnet34": "resnet34.tv_in1k",
    "resnet50": "resnet50.tv_in1k",
    "xception": "legacy_xception.tf_in1k",
    "mobilenet_v1": "mobilenetv1_100.ra4_e3600_r224_in1k",
    "mobilenet_v2": "mobilenetv2_100.ra_in1k",
    "efficientnet_b0": "efficientnet_b0.ra_in1k",
    "convnext_tiny": "convnext_tiny.fb_in1k",
    "vit_small": "vit_small_patch16_224.augreg_in21k_ft_in1k",
}
"""What ``affectory prefetch`` calls the weights of a classifier → timm's name of them."""

TIMEOUT_S = 10.0
"""How long the server may take to answer at all."""


def settings(model: str, *, key: str = "classifier.network.name") -> dict[str, Any]:
    """Return timm's description of published weights: address, normalisation, size, licence.

    Args:
        model: timm's name, with the weights' tag or for the default ones.
        key: Configuration key of `model`, for errors.

    Raises:
        ValueError: If timm knows no such network or weights.
    """
    import timm

    try:
        found = timm.get_pretrained_cfg(model)
    except RuntimeError:  # no such tag
        found = None
    if found is None:
        raise ValueError(
            f"timm knows no {model} ({key}); "
            "python -c 'import timm; print(timm.list_pretrained())' lists those with weights"
        )
    return found.to_dict()


def address(model: str) -> str:
    """Return where weights are published: ``<repository> <file>`` on the hub, or a URL.

    Args:
        model: timm's name with the weights' tag.

    Raises:
        ValueError: If timm knows no such weights, or does not say where they are.
    """
    known = settings(model)
    if repository := known.get("hf_hub_id"):
        return f"{repository} {known.get('hf_hub_filename') or 'model.safetensors'}"
    if url := known.get("url"):
        return str(url)
    raise ValueError(f"timm states no address for the weights of {model}; give a file")


def find(model: str) -> Path | None:
    """Return the file of published weights if a cache holds it; no network is touched.

    Raises:
        ValueError: If timm knows no such weights.
    """
    place = address(model)
    if "://" in place:
        there = _torch_file(place)
        return there if there.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    there = try_to_load_from_cache(*place.split())
    return Path(there) if isinstance(there, str) else None


def how_to_fetch(model: str) -> str:
    """Return how a person gets published weights into the cache, as part of a sentence."""
    place = address(model)
    call = next((call for call, known in BACKBONES.items() if known == model), None)
    if call is not None:
        return f"fetch them once with `affectory prefetch {call}` (from {place})"
    if "://" in place:
        return f"copy them once from {place} to {_torch_file(place)}"
    return f"fetch them once with `hf download {place}`"


def fetch(model: str) -> Path:
    """Download published weights into the cache that timm uses; a file that is there is kept.

    Raises:
        OSError: If they cannot be fetched; said at once where there is no network.
        ValueError: If timm knows no such weights.
    """
    if there := find(model):
        return there
    place = address(model)
    try:
        if "://" in place:
            from torch.hub import download_url_to_file

            there = _torch_file(place)
            there.parent.mkdir(parents=True, exist_ok=True)
            # the name ends in the beginning of the file's SHA-256, which is verified
            download_url_to_file(place, str(there), hash_prefix=there.stem.rsplit("-", 1)[-1])
            return there
        from huggingface_hub import constants, hf_hub_download

        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        # the hub's client tries for the best part of a minute before it says that there is no way
        _require_answer(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
        return Path(hf_hub_download(*place.split()))
    except Exception as error:  # the hub's and urllib's errors share no base
        raise OSError(
            f"the weights of {model} cannot be fetched from {place} ({error}). Without a network, "
            "copy that file here and give its path as classifier.network.weights"
        ) from error


def _torch_file(url: str) -> Path:
    from torch.hub import get_dir

    return Path(get_dir()) / "checkpoints" / Path(urlsplit(url).path).name


def _require_answer(url: str) -> None:
    request = urllib.request.Request(url, method="HEAD")
    with contextlib.suppress(urllib.error.HTTPError):  # which is an answer
        urllib.request.urlopen(request, timeout=TIMEOUT_S).close()
