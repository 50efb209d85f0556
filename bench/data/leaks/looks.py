"""Looks of images: a perceptual hash in eight orientations and a thumbnail, by which copies are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.threads import in_order, usable_threads

Hashes = NDArray[np.uint64]
Thumbs = NDArray[np.uint8]

#: Side of a thumbnail in pixels: fine enough to tell two chests apart, and 2 KiB per image.
SIDE = 48
#: The eight orientations of a square: four turns, each also mirrored.
ORIENTATIONS = 8
_CHUNK = 1024
_ODD = np.array([1.0, -1.0] * 4)
#: (8,48): the lowest eight waves of the cosine transform (type 2).
_COSINES = 2 * np.cos(np.pi * np.arange(8)[:, None] * (2 * np.arange(SIDE) + 1) / (2 * SIDE))


@dataclass(frozen=True)
class Looks:
    """Looks of N images.

    Attributes:
        hashes: (N,8) perceptual hashes of 64 bits, one per orientation; the first is that of the image as it is.
        thumbs: (N,48,48) grey thumbnails.
    """

    hashes: Hashes
    thumbs: Thumbs

    def __len__(self) -> int:
        return len(self.thumbs)


def thumbnail(image: NDArray[np.uint8]) -> Thumbs:
    """Averages an image (3,H,W) over its channels and over areas -> (48,48); the aspect ratio is not kept."""
    grey = (image.sum(axis=0, dtype=np.uint16) // 3).astype(np.uint8)
    return np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BOX))


def turned(thumb: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turns a thumbnail (...,48,48) by quarter turns and, from the fifth orientation on, mirrors it before."""
    mirrored = thumb[..., ::-1] if orientation >= ORIENTATIONS // 2 else thumb
    return np.rot90(mirrored, orientation % 4, axes=(-2, -1))


def hashes_of(thumbs: Thumbs) -> Hashes:
    """Computes the perceptual hashes of thumbnails (N,48,48) in each orientation -> (N,8).

    A hash compares the 8×8 lowest frequencies of a cosine transform with their median. Mirroring an image changes the
    sign of odd frequencies and turning it exchanges rows and columns, so one transform serves all eight.

    Source: ``imagehash.phash(thumbnail, highfreq_factor=6)``, whose bits these are.
    """
    found = np.empty((len(thumbs), ORIENTATIONS), dtype=np.uint64)
    for start in range(0, len(thumbs), _CHUNK):
        part = slice(start, start + _CHUNK)
        low = _COSINES @ thumbs[part].astype(np.float64) @ _COSINES.T
        for orientation in range(ORIENTATIONS):
            frequencies = _turned_frequencies(low, orientation).reshape(len(low), -1)
            bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
            found[part, orientation] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return found


def _turned_frequencies(low: NDArray[np.float64], orientation: int) -> NDArray[np.float64]:
    """Turns the image of frequencies (N,8,8) as ``turned`` does."""
    if orientation >= ORIENTATIONS // 2:
        low = low * _ODD
    for _ in range(orientation % 4):
        low = low.swapaxes(1, 2) * _ODD[:, None]
    return low


def looks_of_thumbs(thumbs: Sequence[Thumbs] | Thumbs) -> Looks:
    """Hashes N thumbnails."""
    stacked = np.asarray(thumbs, dtype=np.uint8).reshape(-1, SIDE, SIDE)
    return Looks(hashes_of(stacked), stacked)


def looks_of(images: Any) -> Looks:
    """Computes the looks of N images (N,3,H,W) uint8, such as the memory map of a split."""
    results = in_order(lambda index: thumbnail(np.asarray(images[index])), range(len(images)), usable_threads())
    return looks_of_thumbs([result() for result in results])


def joined(parts: Sequence[Looks]) -> Looks:
    """Joins the looks of several splits in this order."""
    return Looks(np.concatenate([one.hashes for one in parts]), np.concatenate([one.thumbs for one in parts]))
