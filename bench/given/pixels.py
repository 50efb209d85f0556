"""Pixels of the user's images as 8-bit values, and the normalisation that turns them into what the model reads.

The data cache and the occlusion operators work on 8-bit images in [0, 1]; a model often reads other numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.contracts import Channels
from bench.errors import UserError

#: Distance from [0, 1] at which values still count as rounded.
_SLACK = 0.02
Normalisation = tuple[Channels, Channels]
IDENTITY: Normalisation = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Pixels:
    """Images of the user.

    Attributes:
        images: one (C,H,W) uint8 per image, C = 1 or 3; the sizes may differ.
        normalisation: mean and deviation, of values in [0, 1], that give the numbers that the model reads.
        said: how the numbers were read; empty for 8-bit images and ones in [0, 1] with a known normalisation.
    """

    images: list[Tensor]
    normalisation: Normalisation
    said: str = ""


def channels_of(values: Any, what: str) -> Channels:
    """Returns one number per channel from one number or three.

    Raises:
        UserError: it is neither.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel() if not isinstance(values, str) else np.zeros(0)
    if len(numbers) not in (1, 3) or not np.isfinite(numbers).all() or (what == "std" and not (numbers > 0).all()):
        raise UserError(f"{what}={values!r} is not one {'positive ' if what == 'std' else ''}number, or three")
    red, green, blue = np.broadcast_to(numbers, 3).tolist()
    return red, green, blue


def read_pixels(images: Any, asked: Normalisation | None, stated: Normalisation | None) -> Pixels:
    """Reads images as 8-bit pixels.

    Floats in [0, 1] are pixels. Other floats are what the model reads: they are taken back by the normalisation that
    was asked for, or that the model states; if they do not fit it, or there is none, by their range.

    Args:
        images: (N,C,H,W), (N,H,W,C) or (N,H,W), or a sequence of such images or of PIL images.
        asked: normalisation that the user asks for.
        stated: normalisation that the model states.

    Raises:
        UserError: they are not images, or do not fit the normalisation that was asked for.
    """
    arrays = [_image(one, place) for place, one in enumerate(_sequence(images))]
    if not arrays:
        raise UserError("there are no images; give at least one per class")
    kinds = {one.dtype for one in arrays}
    if not kinds - {torch.uint8}:
        return Pixels(arrays, asked or stated or IDENTITY, "" if asked or stated else _UNSTATED)
    if not all(kind.is_floating_point for kind in kinds):
        named = ", ".join(sorted(map(str, kinds)))
        raise UserError(f"the images are {named}; give uint8, or floats in [0, 1] or as the model reads them")
    lowest = min(float(one.min()) for one in arrays)
    highest = max(float(one.max()) for one in arrays)
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise UserError("the images hold NaN or infinite values; replace them")
    if lowest >= 0 and highest <= 1:
        return Pixels(
            [_eight_bit(one) for one in arrays], asked or stated or IDENTITY, "" if asked or stated else _UNSTATED
        )
    return _taken_back(arrays, (lowest, highest), asked, stated)


_UNSTATED = "no mean and std are given or stated by the model, so it reads values in [0, 1]"


def _taken_back(
    arrays: list[Tensor], ends: tuple[float, float], asked: Normalisation | None, stated: Normalisation | None
) -> Pixels:
    span = f"[{ends[0]:.4g}, {ends[1]:.4g}]"
    for normalisation in filter(None, (asked, stated)):
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in normalisation)
        pixels = [(one.float() * std + mean) if len(one) == 3 else (one.float() * std[:1] + mean[:1]) for one in arrays]
        if all(float(one.min()) >= -_SLACK and float(one.max()) <= 1 + _SLACK for one in pixels):
            said = f"the images lie in {span} and are read as normalised by mean and std already"
            return Pixels([_eight_bit(one.clamp(0, 1)) for one in pixels], normalisation, said)
    if asked and ends[0] >= 0 and ends[1] <= 255:
        said = f"the images lie in {span} and are divided by 255"
        return Pixels([_eight_bit(one.float() / 255) for one in arrays], asked, said)
    if asked:
        raise UserError(
            f"the images lie in {span}: neither pixels in [0, 1] or [0, 255] nor normalised by this mean and std; "
            "leave mean and std out for images as the model reads them"
        )
    width = ends[1] - ends[0]
    channels = channels_of(-ends[0] / width, "mean"), channels_of(1 / width, "std")
    said = f"the images lie in {span} and are read as what the model reads, to {width / 510:.2g} (8 bits)"
    return Pixels([_eight_bit((one.float() - ends[0]) / width) for one in arrays], channels, said)


def _eight_bit(image: Tensor) -> Tensor:
    return (image.float() * 255).round().to(torch.uint8)


def _sequence(images: Any) -> Sequence[Any]:
    if isinstance(images, np.ndarray | Tensor):
        if images.ndim not in (3, 4):
            raise UserError(f"the images have the shape {tuple(images.shape)}; give (N,C,H,W), (N,H,W,C) or (N,H,W)")
        return list(images)
    try:
        return list(images)
    except TypeError as error:
        raise UserError(f"the images are a {type(images).__name__}; give an array, a tensor or a sequence") from error


def as_tensor(value: Any) -> Tensor:
    """Returns an array, tensor, nested list or PIL image as a tensor on the CPU, without gradient."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    return torch.from_numpy(np.array(value))  # a copy: PIL's and other arrays may be read-only


def _image(value: Any, place: int) -> Tensor:
    image = as_tensor(value)
    if image.ndim == 2:
        image = image[None]
    if image.ndim == 3 and image.shape[0] not in (1, 3) and image.shape[2] in (1, 3):
        image = image.movedim(2, 0)
    if image.ndim != 3 or image.shape[0] not in (1, 3) or not image.numel():
        raise UserError(f"image {place} has the shape {tuple(image.shape)}; give (C,H,W), (H,W,C) or (H,W), C = 1 or 3")
    return image.contiguous()
