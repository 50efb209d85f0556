"""Copies found among the splits of a run, kept in the cache so that later runs with the same images do not search."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.leaks.looks import joined, looks_of
from bench.data.leaks.search import Pairs, equal_images, find_copies
from bench.data.split import Split
from bench.files import replacing
from bench.store.code_digest import code_digest, digest


def stored_copies(splits: Mapping[str, Split], likeness: float, generated: bool, folder: Path) -> Pairs:
    """Finds the copies among the images of all splits, numbered through the splits in their order.

    Args:
        splits: split by name.
        likeness: as in ``find_copies``.
        generated: the images are drawn by a program, so that only equal ones can be copies.
        folder: folder of earlier results; a damaged file counts as absent.
    """
    images = [split.images for split in splits.values()]
    content = [split.digest for split in splits.values()]
    file = folder / f"copies-{digest(content, likeness, generated, code_digest(find_copies, looks_of))[:16]}.npz"
    try:
        with np.load(file) as kept:
            return Pairs(kept["first"], kept["second"], kept["likeness"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pairs = equal_images(images) if generated else find_copies(joined([looks_of(one) for one in images]), likeness)
    with replacing(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, first=pairs.first, second=pairs.second, likeness=pairs.likeness)
    return pairs


def is_generated(samples: Any) -> bool:
    """Tells whether a builder states that it reads no files."""
    return hasattr(samples, "files") and not len(samples.files)
