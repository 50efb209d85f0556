"""The rule by which the common codings of masks are read; other codings are refused, because a guess could be wrong."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from bench.data.readers.faults import Kind
from bench.data.readers.images import BadFile, Opened

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
_NEAR, FAR = 3, 8
#: Distance within which compression disturbs any value: blocks of 8 pixels, of 16 where colours are stored coarsely.
_BLOCK = 16
#: Side in pixels of an area that compression next to an outline does not leave constant.
_AREA = 5


class UnclearMask(BadFile):
    """Error of a mask whose coding is not a common one.

    Args:
        path: the mask file.
        reason: what it holds.
        value: a value that may be the lesion's, in the syntax of ``bench.specs.parse_mask_values``; empty = unknown.
    """

    def __init__(self, path: Path, reason: str, value: str = "") -> None:
        super().__init__(path, f"{reason}; save it as PNG with 0 outside the lesion and 255 inside", Kind.MASK_CODE)
        self.plain, self.value = reason, value


def lesion_of(opened: Opened) -> Bools:
    """Applies the rule of ``read_mask`` -> (H,W), True inside the lesion.

    Raises:
        UnclearMask: the coding is not a common one.
    """
    image = opened.image
    alpha = alpha_of(image)
    if alpha is not None and np.ptp(alpha):
        return _with_alpha(opened, alpha)
    if alpha is not None and not alpha.any() and not np.ptp(rgb_of(image).reshape(-1, 3), axis=0).any():
        return np.zeros(alpha.shape, dtype=np.bool_)
    if image.mode == "P":
        return _by_palette(opened)
    if image.mode.startswith("I") or image.mode == "F":
        return _by_value(np.asarray(image), opened)
    return _by_colour(rgb_of(image), opened)


def alpha_of(image: Image.Image) -> NDArray[np.uint8] | None:
    """Returns the opacity (H,W) of an image; None if it has none."""
    if not image.has_transparency_data or image.mode.startswith("I"):
        return None
    return np.array(image.convert("RGBA"))[:, :, 3]


def rgb_of(image: Image.Image) -> NDArray[np.uint8]:
    """Returns the colours (H,W,3), whatever is transparent."""
    return np.array(image.convert("RGBA").convert("RGB") if image.has_transparency_data else image.convert("RGB"))


def _with_alpha(opened: Opened, alpha: NDArray[np.uint8]) -> Bools:
    """The shape is in the transparency; black that is opaque next to another opaque colour is background as well."""
    shape = _by_value(alpha, opened)
    colours = np.unique(rgb_of(opened.image)[shape], axis=0)
    if len(colours) == 1:
        return shape
    bright = rgb_of(opened.image).any(axis=2)
    if len(colours) == 2 and not colours[0].any():
        return shape & bright
    raise UnclearMask(opened.path, f"has {len(colours)} colours and transparent pixels", "'#ff0000'")


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
        raise UnclearMask(path, f"has {len(used)} palette entries ({_some(used)})", f"'index:{int(used[1])}'")
    if 0 in colours and (0 in black or not black):
        return index > 0
    if 0 not in colours and len(black) == 1:
        return np.asarray(index != black[0])
    reason = f"has the palette entries {_some(used)}, and background is not black at index 0"
    raise UnclearMask(path, reason, f"'index:{int(used[1])}'")


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
    colours = rgb.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    blurred = strays(between, lesion, ~lesion, _BLOCK)
    if len(clear) != 2 or clear[0] != 0 or blurred or _has_labels(colours, lesion):
        raise _several_colours(opened.path, [(255 * (c >> 2), 255 * (c >> 1 & 1), 255 * (c & 1)) for c in clear])
    return lesion


def _by_value(values: NDArray[np.generic], opened: Opened) -> Bools:
    """One number per pixel (H,W)."""
    found = np.unique(values)
    if not np.isfinite(found.astype(np.float64)).all():
        raise UnclearMask(opened.path, "holds values that are not finite")
    if len(found) == 1:
        if found[0] not in (0, *_FULL) or (opened.lossy and found[0] == 1):
            raise UnclearMask(opened.path, f"is {found[0]:g} everywhere: lesion or background is unknown", "255")
        return np.asarray(values != 0)
    if opened.lossy or len(found) >= _SMOOTH:
        return _by_half(values, opened, FAR if opened.lossy or len(found) >= _NOISY else _NEAR)
    if len(found) > 2:
        raise UnclearMask(opened.path, f"holds the values {_some(found)}, whose meaning is unknown", f"{found[1]:g}")
    if found[0] != 0:
        reason = f"holds the values {_some(found)} and no 0, so that its background is unknown"
        raise UnclearMask(opened.path, reason, f"{found[1]:g}")
    return np.asarray(values != 0)


def _by_half(values: NDArray[np.generic], opened: Opened, distance: int) -> Bools:
    """Half of the range separates lesion and background, and values in between are only allowed along the outline."""
    numbers = values.astype(np.float64)
    tops = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    top = next((top for top in tops if numbers.max() <= top), numbers.max())
    share = numbers / top
    if numbers.min() < 0 or share.max() < 0.5:
        kind = "a lossy file" if opened.lossy else "no clear lesion"
        raise UnclearMask(opened.path, f"holds values from {numbers.min():g} to {numbers.max():g} in {kind}")
    lesion: Bools = share >= 0.5
    between = (share > _LOW) & (share < _HIGH)
    if strays(between, lesion, ~lesion, distance) or _has_labels(numbers, lesion):
        raise UnclearMask(opened.path, "holds several grey levels, whose meaning is unknown", "255")
    return lesion


def strays(between: Bools, inside: Bools, outside: Bools, distance: int) -> bool:
    """Tells whether undecided pixels are also away from the outline of the lesion, as labels are and smoothing is not.

    Beyond the distance of smoothing, one in a hundred may be, because compression also disturbs single pixels.

    Args:
        between: (H,W) undecided pixels.
        inside: (H,W) lesion.
        outside: (H,W) background.
        distance: in pixels, from both.
    """
    if not between.any():
        return False
    near = [ndimage.maximum_filter(region, 2 * distance + 1) for region in (inside, outside)]
    allowed = 0.01 * between.sum() if distance > _NEAR else 0
    return bool((between & ~(near[0] & near[1])).sum() > allowed)


def _has_labels(values: NDArray[Any], lesion: Bools) -> bool:
    """Tells whether lesion or background has further values, such as labels 1 and 2 in an image of 0 and 255.

    A label fills an area, or it is away from the outline of the lesion. Compression disturbs neither: it keeps a
    constant value constant, except next to an outline, where values vary and may be cut off at both ends of the range.
    """
    further = np.zeros_like(lesion)
    for region in (lesion, ~lesion):
        found, counts = np.unique(values[region], return_counts=True)
        if len(found):
            further |= region & (values != found[counts.argmax()])
    if strays(further, lesion, ~lesion, _BLOCK):
        return True
    lowest, highest = (extreme(values, _AREA) for extreme in (ndimage.minimum_filter, ndimage.maximum_filter))
    return bool((further & (lowest == highest) & (values != 0) & (values != values.max())).any())


def _some(values: NDArray[np.generic]) -> str:
    texts = [f"{value:g}" for value in values[:6]]
    return ", ".join(texts) + (", …" if len(values) > 6 else "")


def _several_colours(path: Path, colours: Collection[Rgb]) -> UnclearMask:
    names = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in colours][:6]
    likely = next((name for name in names if name not in ("#000000", "#ffffff")), "#ff0000")
    return UnclearMask(path, f"holds the colours {', '.join(names)}, which are not black and one other", f"'{likely}'")
