"""What a plugin returned, if it is what its contract says."""

from __future__ import annotations

from torch import Tensor

from bench.contracts import UserError


def check_maps(name: str, maps: object, images: int) -> Tensor:
    """What an explainer returned, if it is one two-dimensional map an image.

    Raises:
        UserError: it is not, saying what it is instead.
    """
    if not isinstance(maps, Tensor):
        raise UserError(f"explainer {name!r} returned {type(maps).__name__}, not a tensor of maps (N,h,w)")
    if maps.ndim != 3 or len(maps) != images or not maps.numel() or maps.is_complex():
        shape = f"{tuple(maps.shape)} of {maps.dtype}"
        raise UserError(f"explainer {name!r} returned shape {shape} for {images} images, not real maps (N,h,w)")
    return maps


def check_values(name: str, values: object, images: int) -> Tensor:
    """What a metric returned, if it is one number an image.

    Raises:
        UserError: it is not.
    """
    if not isinstance(values, Tensor) or values.shape != (images,):
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise UserError(f"metric {name!r} returned {shape} for {images} images, not a tensor (N,)")
    return values
