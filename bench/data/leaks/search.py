"""Search for copies among many images: hashes propose pairs, and thumbnails confirm or reject them.

Images of one modality look alike, so that hashes alone would call two chests copies of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from bench.data.leaks.looks import ORIENTATIONS, Looks, Thumbs, turned

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

#: Bits of 64 in which the hashes of copies may differ.
_BITS = 8
#: Correlation of fine detail from which two images are copies.
LIKENESS = 0.7
_ROWS = 256  # of the hash comparison at a time: 256 × 100,000 distances are 26 MB
_PAIRS = 4096
#: An image is plain if fine detail of more than 3 grey levels covers less than a fifth of it.
_VISIBLE, _PLAIN = 3, 0.2
#: Mean change in grey levels of a plain image that was stored anew.
_ROUNDING = 0.5
#: Patterns that are removed before images are compared, and images from which they are found.
_PATTERNS, _SAMPLE = 48, 2000
#: Width of the neighbourhood whose mean is subtracted: coarser structure is common to all images of an organ.
_COARSE = 5
#: Detail is cut off at this multiple of its root mean square: otherwise a few sharp edges, such as a lens rim, decide.
_CUT = 0.5


@dataclass(frozen=True)
class Pairs:
    """P pairs of copies: indices of both images, first < second, and their likeness up to 1."""

    first: Integers
    second: Integers
    likeness: Floats


def find_copies(looks: Looks, likeness: float = LIKENESS) -> Pairs:
    """Finds all pairs of images that show the same picture, stored anew, resized, mirrored or turned by 90 degrees.

    Args:
        looks: of N images.
        likeness: correlation of fine detail from which two images are copies.

    Returns:
        The pairs, in the order of their indices.
    """
    facts = None
    best: dict[tuple[int, int], float] = {}
    for start in range(0, len(looks), _ROWS):
        rows, columns, orientations = _candidates(looks, start)
        for part in range(0, len(rows), _PAIRS):
            if facts is None:  # images that differ widely need none
                detail, plain = _details(looks.thumbs)
                facts = detail, _shares_of_common(detail), plain
            cut = slice(part, part + _PAIRS)
            alike = _likeness(looks, facts, rows[cut], columns[cut], orientations[cut])
            for place in np.flatnonzero(alike >= likeness).tolist():
                pair = int(rows[cut][place]), int(columns[cut][place])
                best[pair] = max(float(alike[place]), best.get(pair, 0.0))
    ordered = sorted(best)
    places = np.array(ordered, dtype=np.int64).reshape(-1, 2)
    return Pairs(places[:, 0], places[:, 1], np.array([best[pair] for pair in ordered], dtype=np.float32))


def equal_images(parts: Sequence[Any]) -> Pairs:
    """Finds the pairs of equal images in splits (N,3,H,W), numbered through all splits.

    This is for generated images, among which nothing is stored anew. An image of one colour shows nothing and is not a
    copy.
    """
    known: dict[bytes, int] = {}
    pairs = []
    for index, image in enumerate(chain.from_iterable(parts)):
        first = known.setdefault(blake2b(np.ascontiguousarray(image).data, digest_size=16).digest(), index)
        if first != index and np.ptp(image):
            pairs.append((first, index))
    places = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Pairs(places[:, 0], places[:, 1], np.ones(len(pairs), dtype=np.float32))


def _candidates(looks: Looks, start: int) -> tuple[Integers, Integers, Integers]:
    """Finds pairs (row, later column, orientation of the row) with near hashes, for rows from ``start`` on."""
    found = []
    upright = looks.hashes[start:, 0]
    for orientation in range(ORIENTATIONS):
        rows = looks.hashes[start : start + _ROWS, orientation]
        near = np.bitwise_count(rows[:, None] ^ upright[None]) <= _BITS
        row, column = np.nonzero(near)
        later = column > row
        found.append(np.stack([row[later] + start, column[later] + start, np.full(later.sum(), orientation)]))
    where: Integers = np.concatenate(found, axis=1).astype(np.int64)
    return where[0], where[1], where[2]


def _details(thumbs: Thumbs) -> tuple[Floats, NDArray[np.bool_]]:
    """Computes fine detail (N,48,48) of unit length, all zero for an image without any; and which images are plain."""
    details, plain = np.zeros(thumbs.shape, dtype=np.float32), np.zeros(len(thumbs), dtype=np.bool_)
    for start in range(0, len(thumbs), _ROWS):
        part = slice(start, start + _ROWS)
        values = thumbs[part].astype(np.float32)
        fine = values - uniform_filter(values, (1, _COARSE, _COARSE), mode="nearest")
        plain[part] = (np.abs(fine) > _VISIBLE).mean(axis=(1, 2)) < _PLAIN
        limit = _CUT * np.sqrt((fine**2).mean(axis=(1, 2), keepdims=True))
        fine = np.clip(fine, -limit, limit)
        length = np.sqrt((fine**2).sum(axis=(1, 2), keepdims=True))
        details[part] = np.divide(fine, length, out=np.zeros_like(fine), where=length > 0)
    return details, plain


def _shares_of_common(detail: Floats) -> Floats:
    """Computes the coordinates (8,N,K) of turned details on the K patterns that most images share.

    The conductors of solar cells, or the rim of a lens, are alike in images that are not copies. Fewer than one pattern
    per 20 images is removed, so that a pattern is never that of a single pair of copies.
    """
    count = min(_PATTERNS, len(detail) // 20)
    flat = detail.reshape(len(detail), -1)
    some = flat[:: max(1, len(flat) // _SAMPLE)]
    patterns = np.zeros((flat.shape[1], 0), np.float32)
    if count:
        from sklearn.utils.extmath import randomized_svd  # not at the top: a finished run does not need it

        patterns = randomized_svd(some, count, n_iter=3, random_state=0)[2].T
    return np.stack([turned(detail, k).reshape(flat.shape) @ patterns for k in range(ORIENTATIONS)])


def _likeness(
    looks: Looks,
    facts: tuple[Floats, Floats, NDArray[np.bool_]],
    rows: Integers,
    columns: Integers,
    orientations: Integers,
) -> Floats:
    """Correlates the detail of pairs (P,) without common patterns.

    A plain image, such as a drawn outline, has too little detail for that: it counts as copied (1) if the thumbnails
    are equal up to rounding, otherwise as not copied (0). An image of one colour shows nothing and is no copy.
    """
    detail, shared, plain = facts
    left = np.sqrt(np.clip(1 - (shared**2).sum(axis=2), 1e-3, None))
    alike = np.zeros(len(rows), dtype=np.float32)
    for orientation in range(ORIENTATIONS):
        chosen = orientations == orientation
        first, second = rows[chosen], columns[chosen]
        product = np.einsum("nij,nij->n", turned(detail[first], orientation), detail[second])
        product -= (shared[orientation, first] * shared[0, second]).sum(axis=1)
        product /= left[orientation, first] * left[0, second]
        thumbs = looks.thumbs[second].astype(np.float32)
        change = np.abs(turned(looks.thumbs[first], orientation) - thumbs).mean(axis=(1, 2))
        same = (change <= _ROUNDING) & (np.ptp(thumbs, axis=(1, 2)) > 0)
        alike[chosen] = np.where(plain[first] | plain[second], same, np.where(change == 0, 1, product))
    return alike
