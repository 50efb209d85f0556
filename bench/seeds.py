"""Random numbers seeded by names.

Names are used instead of counters so that adding a method, an image or a data set never changes the draws of others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_BETWEEN = "\x1f"  # the unit separator


def seed_of(*names: object) -> int:
    """Returns a 63-bit seed from a hash of names, the same on every machine and in every run."""
    return seed_of_parts([names])


def seed_of_parts(parts: Iterable[Sequence[object]]) -> int:
    """Returns ``seed_of`` of names that come part by part, so that few of many are in memory."""
    digest, between = hashlib.sha256(), ""
    for part in parts:
        if part:
            digest.update((between + _BETWEEN.join(map(str, part))).encode())
            between = _BETWEEN
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def generator(*names: object) -> torch.Generator:
    """Returns a CPU generator seeded by names."""
    import torch  # not at the top: the report draws its samples without it, and starts in half the time

    return torch.Generator().manual_seed(seed_of(*names))
