"""Validation of what a plugin returns against its contract.

A wrong shape is reported with the plugin's name instead of failing later in foreign code.
"""

from __future__ import annotations

from torch import Tensor

from bench.errors import UserError


def check_maps(name: str, maps: object, images: int) -> Tensor:
    """Returns an explainer's maps (N,h,w) unchanged if there is one two-dimensional real map per image.

    Raises:
        UserError: They are anything else; the message says what.
    """
    if not isinstance(maps, Tensor):
        raise UserError(f"explainer {name!r} returned {type(maps).__name__}, not a tensor of maps (N,h,w)")
    if maps.ndim != 3 or len(maps) != images or not maps.numel() or maps.is_complex():
        shape = f"{tuple(maps.shape)} of {maps.dtype}"
        raise UserError(f"explainer {name!r} returned shape {shape} for {images} images, not real maps (N,h,w)")
    return maps


def check_values(name: str, values: object, images: int) -> Tensor:
    """Returns a metric's values (N,) unchanged if there is one number per image.

    Raises:
        UserError: They are anything else; the message says what.
    """
    if not isinstance(values, Tensor) or values.shape != (images,):
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise UserError(f"metric {name!r} returned {shape} for {images} images, not a tensor (N,)")
    return values
