"""Reader of mask files: one rule decides which pixels are lesion, and refuses a coding that it cannot be sure of."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

from bench.data.readers.faults import Kind
from bench.data.readers.images import BadFile, Opened, decode, require_size_of
from bench.specs import MaskValues

Bools = NDArray[np.bool_]
Rgb = tuple[int, int, int]

_BLACK: Rgb = (0, 0, 0)
#: Values that mean "lesion" even if they fill a mask; another constant could be a background that is not 0.
_FULL = (1, 255, 65535)
#: At least this many values may be an outline that was smoothed or compressed; fewer are labels.
_SMOOTH = 5
_NOISY = 16
#: Shares of the range between which a value is neither background nor lesion.
_LOW, _HIGH = 0.125, 0.875
#: Distance in pixels from an outline within which such values may occur: of a smoothed, and of a compressed one.
_NEAR, _FAR = 3, 8
#: Share of a mask's border that a lesion does not cover unless lesion and background are swapped.
_MOST_OF_BORDER = 0.75
_STATE = "state the lesion's, for example [data] mask_values = "


def read_mask(path: Path) -> Tensor:
    """Reads a mask file whose coding is one of the common ones -> (H,W) bool, True inside the lesion.

    The content decides, not the suffix:

    - two values, one of them 0: the other one is lesion (0/1, 0/255, or any other number, also with 16 bit);
    - two colours, one of them black: the other one is lesion;
    - a palette: its index 0 is background, unless another index is black;
    - transparency that varies: opaque pixels are lesion, transparent ones are not;
    - a smoothed or JPEG-compressed outline between black and a bright value: at least half of the range is lesion.

    Raises:
        BadFile: as ``read_image``; or the coding is none of these, such as several labels, no 0, or 0 to 3 in a JPEG.
    """
    return read_regions(path)[0]


def read_regions(path: Path, values: MaskValues | None = None) -> tuple[Tensor, Tensor | None]:
    """Reads a mask file by the stated values, otherwise as ``read_mask`` -> lesion (H,W) bool, ignored (H,W) bool.

    Args:
        path: the file.
        values: values of lesion and ignored pixels; every other value is background.

    Returns:
        The lesion, and the ignored pixels (None if no ignored values are stated).

    Raises:
        BadFile: as ``read_mask``; or the stated values are colours and the file has none, or the reverse.
    """
    if not values:
        return torch.from_numpy(decode(path, _lesion)), None
    lesion = decode(path, lambda opened: _matching(opened, values.lesion))
    ignored = decode(path, lambda opened: _matching(opened, values.ignored)) if values.ignored else None
    return torch.from_numpy(lesion), None if ignored is None else torch.from_numpy(ignored & ~lesion)


def read_mask_of(image: Tensor, path: Path) -> Tensor:
    """Reads the mask file of an image (3,H,W) -> (H,W) bool, as ``read_mask``.

    Raises:
        BadFile: as ``read_mask``, or the mask and the image have different sizes.
    """
    return read_regions_of(image, path)[0]


def read_regions_of(
    image: Tensor, path: Path, values: MaskValues | None = None, name: str = ""
) -> tuple[Tensor, Tensor | None]:
    """Reads the mask file of an image (3,H,W), called ``name`` in errors, as ``read_regions``.

    Raises:
        BadFile: as ``read_regions``, or the mask and the image have different sizes.
    """
    require_size_of(image, torch.from_numpy(decode(path, lambda opened: np.zeros(opened.image.size[::-1]))), path, name)
    return read_regions(path, values)


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


def _lesion(opened: Opened) -> Bools:
    """Applies the rule of ``read_mask`` -> (H,W)."""
    image = opened.image
    alpha = _alpha(image)
    if alpha is not None and np.ptp(alpha):
        return _with_alpha(opened, alpha)
    if alpha is not None and not alpha.any() and not np.ptp(_rgb(image).reshape(-1, 3), axis=0).any():
        return np.zeros(alpha.shape, dtype=np.bool_)
    if image.mode == "P":
        return _by_palette(opened)
    if image.mode.startswith("I") or image.mode == "F":
        return _by_value(np.asarray(image), opened)
    return _by_colour(_rgb(image), opened)


def _alpha(image: Image.Image) -> NDArray[np.uint8] | None:
    if not image.has_transparency_data or image.mode.startswith("I"):
        return None
    return np.array(image.convert("RGBA"))[:, :, 3]


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Returns the colours (H,W,3), whatever is transparent."""
    return np.array(image.convert("RGBA").convert("RGB") if image.has_transparency_data else image.convert("RGB"))


def _with_alpha(opened: Opened, alpha: NDArray[np.uint8]) -> Bools:
    """The shape is in the transparency; black that is opaque next to another opaque colour is background as well."""
    shape = _by_value(alpha, opened)
    colours = np.unique(_rgb(opened.image)[shape], axis=0)
    if len(colours) == 1:
        return shape
    bright = _rgb(opened.image).any(axis=2)
    if len(colours) == 2 and not colours[0].any():
        return shape & bright
    raise _unknown(opened.path, f"has {len(colours)} colours and transparent pixels; {_STATE}['#ff0000']")


def _by_palette(opened: Opened) -> Bools:
    image, path = opened.image, opened.path
    index = np.asarray(image)
    table = np.array(image.convert("RGB")).reshape(-1, 3)
    used, first = np.unique(index, return_index=True)
    colours = {int(key): tuple(table[place].tolist()) for key, place in zip(used, first, strict=True)}
    black = [key for key, colour in colours.items() if colour == _BLACK]
    if len(used) >= _SMOOTH and all(len(set(colour)) == 1 for colour in colours.values()):
        return _by_value(table[:, 0].reshape(index.shape), opened)
    if len(used) == 1:
        return np.full(index.shape, 0 not in colours and not black)
    if len(used) > 2:
        raise _unknown(path, f"has {len(used)} palette entries ({_some(used)}); {_STATE}['index:{int(used[1])}']")
    if 0 in colours and (0 in black or not black):
        return index > 0
    if 0 not in colours and len(black) == 1:
        return np.asarray(index != black[0])
    hint = f"{_STATE}['index:{int(used[0])}'] or ['index:{int(used[1])}']"
    raise _unknown(path, f"has the palette entries {_some(used)}, and background is not black at index 0; {hint}")


def _by_colour(rgb: NDArray[np.uint8], opened: Opened) -> Bools:
    if (rgb == rgb[:, :, :1]).all():
        return _by_value(rgb[:, :, 0], opened)
    colours = np.unique(rgb.reshape(-1, 3), axis=0)
    if opened.lossy or len(colours) >= _SMOOTH:
        return _by_smooth_colour(rgb, opened)
    if len(colours) == 2 and not colours[0].any():
        return np.asarray(rgb.any(axis=2))
    raise _several_colours(opened.path, [tuple(colour.tolist()) for colour in colours])


def _by_smooth_colour(rgb: NDArray[np.uint8], opened: Opened) -> Bools:
    """Two clear colours, one of them black, with values in between only along the outline."""
    codes = (rgb >= 128) @ np.array([4, 2, 1])
    between = np.asarray(((rgb > 255 * _LOW) & (rgb < 255 * _HIGH)).any(axis=2))
    clear = np.unique(codes[~between])
    lesion: Bools = codes != 0
    if len(clear) != 2 or clear[0] != 0 or _strays(between, lesion, _FAR):
        raise _several_colours(opened.path, [(255 * (c >> 2), 255 * (c >> 1 & 1), 255 * (c & 1)) for c in clear])
    return lesion


def _by_value(values: NDArray[np.generic], opened: Opened) -> Bools:
    """One number per pixel (H,W)."""
    found = np.unique(values)
    if not np.isfinite(found.astype(np.float64)).all():
        raise _unknown(opened.path, "holds values that are not finite; save it with 8 bit")
    if len(found) == 1:
        if found[0] not in (0, *_FULL) or (opened.lossy and found[0] == 1):
            raise _unknown(opened.path, f"is {found[0]:g} everywhere: lesion or background is unknown; {_STATE}[255]")
        return np.asarray(values != 0)
    if opened.lossy or len(found) >= _SMOOTH:
        return _by_half(values, opened, _FAR if opened.lossy or len(found) >= _NOISY else _NEAR)
    if len(found) > 2:
        raise _unknown(
            opened.path, f"holds the values {_some(found)}, whose meaning is unknown; {_STATE}[{found[1]:g}]"
        )
    if found[0] != 0:
        reason = f"holds the values {_some(found)} and no 0, so that its background is unknown"
        raise _unknown(opened.path, f"{reason}; {_STATE}[{found[1]:g}]")
    return np.asarray(values != 0)


def _by_half(values: NDArray[np.generic], opened: Opened, distance: int) -> Bools:
    """Half of the range separates lesion and background, and values in between are only allowed along the outline."""
    numbers = values.astype(np.float64)
    tops = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    top = next((top for top in tops if numbers.max() <= top), numbers.max())
    share = numbers / top
    if numbers.min() < 0 or share.max() < 0.5:
        kind = "a lossy file" if opened.lossy else "no clear lesion"
        reason = f"holds values from {numbers.min():g} to {numbers.max():g} in {kind}; save it as PNG with 0 and 255"
        raise _unknown(opened.path, reason)
    lesion: Bools = share >= 0.5
    if _strays((share > _LOW) & (share < _HIGH), lesion, distance):
        raise _unknown(opened.path, f"holds several grey levels, whose meaning is unknown; {_STATE}[255]")
    return lesion


def _strays(between: Bools, lesion: Bools, distance: int) -> bool:
    """Tells whether undecided pixels are also away from the outline of the lesion, as labels are and smoothing is not.

    One in a hundred may be, because compression also disturbs single pixels.
    """
    if not between.any():
        return False
    inside, outside = (ndimage.maximum_filter(region, 2 * distance + 1) for region in (lesion, ~lesion))
    return bool((between & ~(inside & outside)).sum() > 0.01 * between.sum())


def _matching(opened: Opened, wanted: Collection[int | Rgb]) -> Bools:
    """Finds the pixels with one of the stated values or colours -> (H,W); transparent pixels match nothing."""
    image = opened.image
    numbers = [value for value in wanted if isinstance(value, int)]
    colours = [value for value in wanted if not isinstance(value, int)]
    found = np.zeros(image.size[::-1], dtype=np.bool_)
    if colours:
        found |= _nearest(_rgb(image).astype(np.int64), colours, opened.lossy)
    if numbers:
        found |= _nearest(_numbers(opened)[:, :, None], [(number,) for number in numbers], opened.lossy)
    alpha = _alpha(image)
    return found if alpha is None or not alpha.any() else found & (alpha > 0)


def _numbers(opened: Opened) -> NDArray[np.int64]:
    image = opened.image
    if image.mode == "P" or image.mode.startswith("I"):
        return np.asarray(image).astype(np.int64)
    if image.mode == "F":
        return np.asarray(np.rint(np.asarray(image)).astype(np.int64))
    rgb = _rgb(image).astype(np.int64)
    if opened.lossy:
        return np.asarray(np.rint(rgb.mean(axis=2)).astype(np.int64))
    if not (rgb == rgb[:, :, :1]).all():
        raise _unknown(opened.path, "is in colour; state its colours, for example [data] mask_values = ['#ff0000']")
    return rgb[:, :, 0]


def _nearest(pixels: NDArray[np.int64], wanted: Collection[tuple[int, ...]], lossy: bool) -> Bools:
    """Compares pixels (H,W,K) with stated values; in a lossy file, the nearest of these, 0 and 255 counts."""
    if not lossy:
        return np.asarray(np.any([(pixels == np.asarray(value)).all(axis=2) for value in wanted], axis=0))
    width = pixels.shape[2]
    known = np.array(list(dict.fromkeys((*wanted, (0,) * width, (255,) * width))))
    distances = np.abs(pixels[:, :, None, :] - known).sum(axis=3)
    return np.asarray(distances.argmin(axis=2) < len(set(wanted)))


def _some(values: NDArray[np.generic]) -> str:
    texts = [f"{value:g}" for value in values[:6]]
    return ", ".join(texts) + (", …" if len(values) > 6 else "")


def _several_colours(path: Path, colours: Collection[Rgb]) -> BadFile:
    names = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in colours][:6]
    likely = next((name for name in names if name not in ("#000000", "#ffffff")), "#ff0000")
    reason = f"holds the colours {', '.join(names)}, which are not black and one other"
    return _unknown(path, f"{reason}; {_STATE}['{likely}']")


def _unknown(path: Path, reason: str) -> BadFile:
    return BadFile(path, reason, Kind.MASK_CODE)
