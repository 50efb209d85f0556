"""Field of view of a fundus photograph: the bright disc on black, and the square around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

#: Longest side on which the disc is looked for. One of these pixels is half a pixel of a 512-px image.
_WORKING_SIDE = 1024
#: The disc is brighter than the border by this share of the difference between a bright pixel and the border ...
_SHARE = 0.1
#: ... and by at least this many grey values, which JPEG noise on the black border does not reach.
_NOISE = 8


@dataclass(frozen=True)
class Square:
    """A square of ``side`` pixels whose upper left pixel is (``top``, ``left``); it may reach beyond the image."""

    top: int
    left: int
    side: int

    def crop(self, pixels: Tensor) -> Tensor:
        """(…,H,W) -> (…,side,side); what lies beyond the image is 0 or False."""
        height, width = pixels.shape[-2:]
        bottom, right = self.top + self.side - height, self.left + self.side - width
        return F.pad(pixels, (-self.left, right, -self.top, bottom))  # what is negative is cut off


def field_of_view(image: Tensor) -> Tensor:
    """Fundus photograph (3,H,W) uint8 -> (H,W) bool, True on the disc.

    The largest connected region that is brighter than the four corners, with its holes filled. The whole image where
    the corners are not dark (the disc fills the image) or nothing stands out.
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
    """Values of four corner blocks, whose side is 2 % of the image's shorter one: no inscribed disc reaches them."""
    side = max(1, min(grey.shape) // 50)
    ends = (slice(None, side), slice(-side, None))
    return np.concatenate([grey[rows, columns].ravel() for rows in ends for columns in ends])


def square_around(fov: Tensor) -> Square:
    """Field of view (H,W) bool -> the smallest square that holds it, with its centre or as near as the image allows.

    A disc that the camera cut off at the top and bottom is wider than high. Where the image is lower than the square,
    the square reaches beyond it; where somebody has padded or cropped the image before, it stays inside.
    """
    rows, columns = (fov.any(dim=axis).nonzero().flatten() for axis in (1, 0))
    top, bottom, left, right = (int(end) for end in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    side = max(bottom - top, right - left)
    height, width = fov.shape
    return Square(_start(top + bottom, side, height), _start(left + right, side, width), side)


def _start(ends: int, side: int, length: int) -> int:
    """First of ``side`` pixels centred between two ends, which are given by their sum, on an axis of ``length``."""
    start = (ends - side) // 2
    return min(max(start, 0), length - side) if side <= length else start
