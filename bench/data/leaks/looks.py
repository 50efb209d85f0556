"""Looks of images: a perceptual hash in eight orientations and a thumbnail, by which copies are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import imagehash
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


def hashes_of(thumb: Thumbs) -> Hashes:
    """Computes the perceptual hash of a thumbnail in each orientation -> (8,).

    Source: imagehash.phash, the signs of the low frequencies of a cosine transform.
    """
    found = [imagehash.phash(Image.fromarray(np.ascontiguousarray(turned(thumb, k)))) for k in range(ORIENTATIONS)]
    bits = np.stack([one.hash.reshape(-1) for one in found])
    packed: Hashes = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return packed


def looks_of_thumbs(thumbs: Sequence[Thumbs] | Thumbs) -> Looks:
    """Hashes N thumbnails, in several threads."""
    stacked = np.asarray(thumbs, dtype=np.uint8).reshape(-1, SIDE, SIDE)
    results = in_order(lambda index: hashes_of(stacked[index]), range(len(stacked)), usable_threads())
    hashes = np.array([result() for result in results], dtype=np.uint64).reshape(-1, ORIENTATIONS)
    return Looks(hashes, stacked)


def looks_of(images: Any) -> Looks:
    """Computes the looks of N images (N,3,H,W) uint8, such as the memory map of a split."""
    results = in_order(lambda index: thumbnail(np.asarray(images[index])), range(len(images)), usable_threads())
    return looks_of_thumbs([result() for result in results])


def joined(parts: Sequence[Looks]) -> Looks:
    """Joins the looks of several splits in this order."""
    return Looks(np.concatenate([one.hashes for one in parts]), np.concatenate([one.thumbs for one in parts]))
