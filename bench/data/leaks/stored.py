"""Facts about the images of a data set that need all of them, kept in the cache: copies, and what may be a mask."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.leaks.looks import joined, looks_of
from bench.data.leaks.search import Pairs, equal_images, find_copies
from bench.data.readers.plausibility import has_two_values
from bench.data.split import Split
from bench.files import replacing
from bench.store.code_digest import code_digest, digest


@dataclass(frozen=True)
class Look:
    """Facts about the N images of all splits, numbered through the splits in their order.

    Attributes:
        pairs: copies.
        two_valued: (N,) results of ``has_two_values``.
        shares: (N,) lesion's share of the image, nan if it is not annotated.
    """

    pairs: Pairs
    two_valued: NDArray[np.bool_]
    shares: NDArray[np.float64]


def stored_look(splits: Mapping[str, Split], likeness: float, generated: bool, folder: Path) -> Look:
    """Looks at the images of all splits, once per content: an earlier result is in ``folder``.

    Args:
        splits: split by name.
        likeness: as in ``find_copies``.
        generated: the images are drawn by a program, so that only equal ones can be copies, and none is a mask.
        folder: folder of earlier results; a damaged file counts as absent.
    """
    content = [split.digest for split in splits.values()]
    code = code_digest(find_copies, looks_of, has_two_values)
    file = folder / f"look-{digest(content, likeness, generated, code)}.npz"
    try:
        with np.load(file) as kept:
            return Look(Pairs(kept["first"], kept["second"], kept["likeness"]), kept["two_valued"], kept["shares"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        found = _look(splits, likeness, generated)
    arrays: dict[str, Any] = {"two_valued": found.two_valued, "shares": found.shares} | vars(found.pairs)
    with replacing(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)
    return found


def _look(splits: Mapping[str, Split], likeness: float, generated: bool) -> Look:
    images = [split.images for split in splits.values()]
    shares = np.concatenate([_shares(split) for split in splits.values()])
    if generated:
        return Look(equal_images(images), np.zeros(len(shares), dtype=np.bool_), shares)
    looks = joined([looks_of(one) for one in images])
    return Look(find_copies(looks, likeness), np.array([has_two_values(thumb) for thumb in looks.thumbs]), shares)


def _shares(split: Split) -> NDArray[np.float64]:
    shares = np.full(len(split), np.nan)
    if split.masks is not None:
        for index in np.flatnonzero(split.has_mask):
            shares[index] = split.masks[index].mean()
    return shares


def is_generated(samples: Any) -> bool:
    """Tells whether a builder states that it reads no files."""
    return hasattr(samples, "files") and not len(samples.files)
