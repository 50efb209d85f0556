"""What models of some libraries state about themselves, recognised by their attributes: nothing is imported for it."""

from __future__ import annotations

from typing import Any

from torch import nn

#: Models of torchxrayvision read pixels in [-1024, 1024], as mean and deviation of pixels in [0, 1] give them.
_XRAY = ([0.5] * 3, [1 / 2048] * 3)


def stated_size(model: nn.Module) -> int | None:
    """Returns the side of the images that a model states; otherwise, None.

    Known are timm, transformers, torchvision's ViT and torchxrayvision.
    """
    configured = (getattr(model, "pretrained_cfg", None) or {}).get("input_size")
    stated = configured[-1] if configured else getattr(getattr(model, "config", model), "image_size", None)
    stated = getattr(model, "input_resolution", None) if stated is None else stated
    return int(stated) if isinstance(stated, int) else None


def stated_normalisation(model: nn.Module) -> tuple[list[float], list[float]] | None:
    """Returns mean and deviation per channel that a model of timm or torchxrayvision needs; None for other models."""
    if _is_xray(model):
        return _XRAY
    stated: Any = getattr(model, "pretrained_cfg", None) or {}
    mean, std = stated.get("mean"), stated.get("std")
    return (list(mean), list(std)) if mean and std and len(mean) == len(std) == 3 else None


def stated_classes(model: nn.Module) -> tuple[str, ...] | None:
    """Returns the findings of a model of torchxrayvision; None for other models, and if two have one name."""
    if not _is_xray(model):
        return None
    stated = getattr(model, "pathologies", None) or getattr(model, "targets", None) or ()
    names = [str(name) or f"output {at}" for at, name in enumerate(stated)]
    return tuple(names) if names and len(set(names)) == len(names) else None


def show_logits(model: nn.Module) -> str:
    """Switches off what a model of torchxrayvision does with its logits (sigmoid, calibration) -> words about it."""
    if not _is_xray(model):
        return ""
    off = []
    for attribute, value in (("op_threshs", None), ("apply_sigmoid", False)):
        if getattr(model, attribute, value) is not value:
            setattr(model, attribute, value)
            off.append(attribute)
    return f", {' and '.join(off)} switched off" if off else ""


def _is_xray(model: nn.Module) -> bool:
    return hasattr(model, "op_threshs") and (hasattr(model, "pathologies") or hasattr(model, "targets"))
