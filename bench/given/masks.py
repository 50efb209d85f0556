"""Masks of the user's images in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bench.errors import UserError
from bench.given.pixels import as_tensor


def mask_of(value: Any, image: Tensor, place: int) -> Tensor:
    """Returns the mask (H,W) bool of an image (C,H,W): True, or above 0, inside the lesion.

    Args:
        value: (H,W), with or without a dimension of one channel.
        image: the image.
        place: number of the image, for errors.

    Raises:
        UserError: it has another size than the image.
    """
    mask = as_tensor(value)
    while mask.ndim > 2 and 1 in (mask.shape[0], mask.shape[-1]):
        mask = mask[0] if mask.shape[0] == 1 else mask[..., 0]
    if mask.shape != image.shape[1:]:
        sizes = ["×".join(map(str, one.shape)) for one in (mask, image[0])]
        raise UserError(f"the mask of image {place} is {sizes[0]}, the image {sizes[1]} pixels; they must be equal")
    return mask > 0 if mask.dtype != torch.bool else mask
