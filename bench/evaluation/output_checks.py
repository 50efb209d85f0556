"""Validation of what a plugin returns against its contract.

A wrong shape is reported with the plugin's name instead of failing later in foreign code.
"""

from __future__ import annotations

from torch import Tensor

from bench.contracts import Explainer
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


def check_grid(name: str, explainer: Explainer, maps: Tensor, feature_grid: tuple[int, int]) -> None:
    """Checks that maps (N,h,w) have the grid that their explainer states, because they would be drawn elsewhere.

    Raises:
        UserError: they should be on the feature map's grid, and have other sides.
    """
    if explainer.grid == "features" and tuple(maps.shape[1:]) != feature_grid:
        sides, expected = ("×".join(map(str, one)) for one in (maps.shape[1:], feature_grid))
        raise UserError(
            f"explainer {name!r} returned maps of {sides} cells, but the feature map that it states as its grid has "
            f'{expected}; state grid = "pixels" if its cells divide the image evenly'
        )


def check_values(name: str, values: object, images: int) -> Tensor:
    """Returns a metric's values (N,) unchanged if there is one number per image.

    Raises:
        UserError: They are anything else; the message says what.
    """
    if not isinstance(values, Tensor) or values.shape != (images,):
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise UserError(f"metric {name!r} returned {shape} for {images} images, not a tensor (N,)")
    return values
