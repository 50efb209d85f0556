"""Field of view of a fundus photograph: cameras leave different black borders around the disc, which are cropped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

#: Longest side of the image in which the disc is searched. One of its pixels is half a pixel of a 512-px image.
_WORKING_SIDE = 1024
#: The disc is brighter than the border by this share of the difference between a bright pixel and the border ...
_SHARE = 0.1
#: ... and by at least this many grey values, which JPEG noise on the black border does not reach.
_NOISE = 8


@dataclass(frozen=True)
class Square:
    """Square of ``side`` pixels whose upper left pixel is (``top``, ``left``); it may extend beyond the image."""

    top: int
    left: int
    side: int

    def crop(self, pixels: Tensor) -> Tensor:
        """Crops (…,H,W) -> (…,side,side); pixels beyond the image are 0 or False."""
        height, width = pixels.shape[-2:]
        bottom, right = self.top + self.side - height, self.left + self.side - width
        return F.pad(pixels, (-self.left, right, -self.top, bottom))  # negative widths crop


def field_of_view(image: Tensor) -> Tensor:
    """Finds the disc of a fundus photograph (3,H,W) uint8 -> (H,W) bool, True on the disc.

    It is the largest connected region that is brighter than the four corners, with its holes filled. It is the whole
    image if the corners are not dark (the disc fills the image) or nothing is brighter.
    """
    height, width = image.shape[1:]
    grey = image.amax(dim=0)[None, None].float()
    scale = _WORKING_SIDE / max(height, width)
    if scale < 1:
        grey = F.interpolate(grey, (max(1, round(height * scale)), max(1, round(width * scale))), mode="nearest-exact")
    disc = torch.from_numpy(_disc(grey[0, 0].numpy()))
    if scale < 1:
        disc = F.interpolate(disc[None, None].float(), (height, width), mode="nearest-exact")[0, 0] > 0
    return disc


def _disc(grey: np.ndarray) -> np.ndarray:
    border, bright = float(np.median(_corners(grey))), float(np.percentile(grey, 95))
    bright_enough = grey > border + max(_NOISE, _SHARE * (bright - border))
    regions, count = ndimage.label(bright_enough)
    if border > bright / 2 or count == 0:
        return np.ones_like(bright_enough)
    largest = 1 + int(np.bincount(regions.ravel())[1:].argmax())
    return ndimage.binary_fill_holes(regions == largest)


def _corners(grey: np.ndarray) -> np.ndarray:
    """Returns the values of four corner blocks, 2 % of the shorter side wide: an inscribed disc misses them."""
    side = max(1, min(grey.shape) // 50)
    ends = (slice(None, side), slice(-side, None))
    return np.concatenate([grey[rows, columns].ravel() for rows in ends for columns in ends])


def square_around(fov: Tensor) -> Square:
    """Returns the smallest square that contains the field of view (H,W) bool, with the same centre if possible.

    A disc that the camera cut off at the top and bottom is wider than high. If the image is lower than the square, the
    square extends beyond it; if the image was padded or cropped before, the square stays inside.
    """
    rows, columns = (fov.any(dim=axis).nonzero().flatten() for axis in (1, 0))
    top, bottom, left, right = (int(end) for end in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    side = max(bottom - top, right - left)
    height, width = fov.shape
    return Square(_start(top + bottom, side, height), _start(left + right, side, width), side)


def _start(ends: int, side: int, length: int) -> int:
    """Returns the first of ``side`` pixels centred between two ends, given by their sum, on an axis of ``length``."""
    start = (ends - side) // 2
    return min(max(start, 0), length - side) if side <= length else start
