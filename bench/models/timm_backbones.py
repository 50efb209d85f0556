"""Backbones of the timm library, registered as ``timm:NAME``.

They are looked up by name on use, because timm is optional and has over a thousand models.
"""

from __future__ import annotations

import difflib
import importlib.util
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

from torch import nn

from bench.contracts import BackboneInfo
from bench.errors import MissingData, UserError
from bench.models.backbones import RANDOM, is_cached
from bench.registry import BACKBONES


def timm_backbone(name: str) -> BackboneInfo:
    """Describes the timm model of this name, with or without a weight tag (``resnet50d``, ``resnet50d.ra2_in1k``).

    Raises:
        MissingData: the extra ``[timm]`` is not installed.
        UserError: timm has no such model or tag; the message gives the closest names.
    """
    if importlib.util.find_spec("timm") is None:
        raise MissingData(f"backbone 'timm:{name}' needs timm: pip install -e '.[timm]' (or pip install timm)")
    import timm

    model, _, tag = name.partition(".")
    known = timm.list_models() if not tag else timm.list_pretrained(f"{model}.*") or timm.list_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0)
        raise UserError(f"unknown backbone 'timm:{name}'; did you mean {' or '.join(near)}?")
    config: Any = timm.get_pretrained_cfg(name)
    build = partial(timm_classifier, name)
    about = "timm; weights where cached or downloadable"
    return BackboneInfo(f"timm:{name}", build, about, config.mean, config.std, at_hand=partial(timm_at_hand, config))


def timm_at_hand(config: Any) -> bool:
    """Returns whether the weights that a pretrained config of timm names are cached."""
    if config.file:
        return Path(config.file).is_file()
    if not config.hf_hub_id:
        return bool(config.url) and is_cached(config.url)
    from huggingface_hub import try_to_load_from_cache

    files = ("model.safetensors", "pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(config.hf_hub_id, file), str) for file in files)


def timm_classifier(name: str, pretrained: bool) -> tuple[nn.Module, str]:
    """Builds a timm model that reads images of any size, if the model supports it.

    Pretrained weights are used if they are cached or downloadable. A model without a classifier (DINOv2, CLIP) gets a
    random one, which heads replace.

    Returns:
        The model, and the origin of its weights.
    """
    import timm

    config: Any = timm.get_pretrained_cfg(name)
    create = partial(_timm_model, name, num_classes=config.num_classes or 1000)
    if not pretrained:
        return create(), RANDOM
    if not config.has_weights:
        return create(), f"{RANDOM} (timm has no weights of {name})"
    try:
        return create(pretrained=True), f"{config.architecture}.{config.tag} (timm {timm.__version__})"
    except (URLError, OSError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        return create(), f"{RANDOM} (weights of {name} are neither cached nor downloadable: {reason})"


def _timm_model(name: str, **arguments: Any) -> nn.Module:
    import timm

    try:
        model: nn.Module = timm.create_model(name, dynamic_img_size=True, **arguments)
    except TypeError:  # CNNs need no such option, and some transformers have none
        model = timm.create_model(name, **arguments)
    return model


BACKBONES.add_family("timm", timm_backbone)
