"""Reader of mask files: by one rule for the common codings, or by values that the user states."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.readers.faults import Kind
from bench.data.readers.images import BadFile, Opened, decode, require_size_of
from bench.data.readers.mask_rule import FAR, Bools, Rgb, UnclearMask, alpha_of, lesion_of, rgb_of, strays
from bench.specs import MaskValues

#: Share of a mask's border that a lesion does not cover unless lesion and background are swapped.
_MOST_OF_BORDER = 0.75
_STATE = "state the lesion's value, for example [data] mask_values = "
#: Difference from a stated value that compression with loss may cause inside a region.
_COMPRESSED = 32


def read_mask(path: Path) -> Tensor:
    """Reads a mask file whose coding is one of the common ones -> (H,W) bool, True inside the lesion.

    The content decides, not the suffix:

    - two values, one of them 0: the other one is lesion (0/1, 0/255, or any other number, also with 16 bit);
    - two colours, one of them black: the other one is lesion;
    - a palette: its index 0 is background, unless another index is black;
    - transparency that varies: opaque pixels are lesion, transparent ones are not;
    - a smoothed or JPEG-compressed outline between black and a bright value: at least half of the range is lesion.

    Raises:
        BadFile: as ``read_image``.
        UnclearMask: the coding is none of these, such as several labels, no 0, or 0 to 3 in a JPEG.
    """
    return torch.from_numpy(decode(path, lesion_of))


def read_mask_of(image: Tensor, path: Path) -> Tensor:
    """Reads the mask file of an image (3,H,W) -> (H,W) bool, as ``read_mask``.

    Raises:
        BadFile: as ``read_mask``, or the mask and the image have different sizes.
    """

    def convert(opened: Opened) -> Bools:
        _require_size(image, opened, "")
        return lesion_of(opened)

    return torch.from_numpy(decode(path, convert))


def read_regions_of(
    image: Tensor, path: Path, values: MaskValues | None = None, name: str = ""
) -> tuple[Tensor, Tensor | None]:
    """Reads the mask of an image (3,H,W) by the stated values, otherwise as ``read_mask``.

    Args:
        image: the image.
        path: the mask file.
        values: values of lesion and ignored pixels; every other value is background.
        name: name of the image in errors.

    Returns:
        The lesion (H,W) bool, and the ignored pixels (H,W) bool (None if no ignored values are stated).

    Raises:
        BadFile: as ``read_mask_of``, with the values to state; or the stated values are colours and the file has none,
            or the reverse, or values in a lossy file are too close to be told apart.
    """

    def convert(opened: Opened) -> Bools:
        _require_size(image, opened, name)
        if not values:
            return lesion_of(opened)[None]
        lesion = _matching(opened, values.lesion, values.ignored)
        return np.stack([lesion, _matching(opened, values.ignored, values.lesion) & ~lesion])

    try:
        regions = torch.from_numpy(decode(path, convert))
    except UnclearMask as error:
        hint = f"{_STATE}[{error.value}]" if error.value else "save it as PNG with 0 and 255"
        raise BadFile(path, f"{error.plain}; {hint}", Kind.MASK_CODE) from error
    return regions[0], regions[1] if values and values.ignored else None


def _require_size(image: Tensor, opened: Opened, name: str) -> None:
    width, height = opened.image.size
    require_size_of(image, torch.empty(height, width), opened.path, name)


def border_share(mask: Tensor) -> float:
    """Returns the share of the outermost pixels of a mask (H,W) that are lesion, in [0, 1]."""
    inner = torch.zeros_like(mask)
    inner[1:-1, 1:-1] = True
    return mask[~inner].float().mean().item()


def require_plausible(mask: Tensor, path: Path) -> None:
    """Refuses a mask (H,W) whose border is nearly all lesion, because lesion and background are probably swapped.

    Raises:
        BadFile: at least three quarters of the border are lesion.
    """
    share = border_share(mask)
    if share >= _MOST_OF_BORDER:
        reason = (
            f"is lesion on {share:.0%} of its border and {mask.float().mean().item():.0%} of its area, as if lesion and"
            f" background were swapped; {_STATE}[0] (or [255], if this is right)"
        )
        raise BadFile(path, reason, Kind.IMPLAUSIBLE)


def _matching(opened: Opened, wanted: Collection[int | Rgb], others: Collection[int | Rgb]) -> Bools:
    """Finds the pixels with one of the wanted values or colours -> (H,W); transparent pixels match nothing.

    ``others`` are stated as well, with another meaning; they matter in lossy files.
    """
    image = opened.image
    numbers, other_numbers = ([(one,) for one in some if isinstance(one, int)] for some in (wanted, others))
    colours, other_colours = ([one for one in some if not isinstance(one, int)] for some in (wanted, others))
    found = np.zeros(image.size[::-1], dtype=np.bool_)
    if colours:
        found |= _equal(rgb_of(image).astype(np.int64), colours, other_colours, opened)
    if numbers:
        found |= _equal(_numbers(opened)[:, :, None], numbers, other_numbers, opened)
    alpha = alpha_of(image)
    return found if alpha is None or not alpha.any() else found & (alpha > 0)


def _numbers(opened: Opened) -> NDArray[np.int64]:
    image = opened.image
    if image.mode == "P" or image.mode.startswith("I"):
        return np.asarray(image).astype(np.int64)
    if image.mode == "F":
        return np.asarray(np.rint(np.asarray(image)).astype(np.int64))
    rgb = rgb_of(image).astype(np.int64)
    if opened.lossy:
        return np.asarray(np.rint(rgb.mean(axis=2)).astype(np.int64))
    if not (rgb == rgb[:, :, :1]).all():
        raise UnclearMask(opened.path, "is in colour, but a grey value is stated", "'#ff0000'")
    return rgb[:, :, 0]


def _equal(
    pixels: NDArray[np.int64],
    wanted: Collection[tuple[int, ...]],
    others: Collection[tuple[int, ...]],
    opened: Opened,
) -> Bools:
    """Compares pixels (H,W,K) with stated values -> (H,W).

    In a lossy file, the nearest of the stated values, black and white counts.

    Raises:
        BadFile: the values are too close for that, or the file holds further values.
    """
    if not opened.lossy:
        return np.asarray(np.any([(pixels == np.asarray(value)).all(axis=2) for value in wanted], axis=0))
    width = pixels.shape[2]
    known = np.array(list(dict.fromkeys((*wanted, *others, (0,) * width, (255,) * width))))
    apart = np.abs(known[:, None] - known).max(axis=2)[~np.eye(len(known), dtype=bool)]
    distances = np.abs(pixels[:, :, None, :] - known).max(axis=3)
    found = np.asarray(distances.argmin(axis=2) < len(set(wanted)))
    unknown = distances.min(axis=2) > _COMPRESSED
    if apart.min() <= _COMPRESSED or strays(unknown, found & ~unknown, ~found & ~unknown, FAR):
        reason = "is a lossy file, in which the stated values cannot be told from others; save it as PNG"
        raise BadFile(opened.path, reason, Kind.MASK_CODE)
    return found
