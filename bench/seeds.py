"""Random numbers seeded by names.

Names are used instead of counters so that adding a method, an image or a data set never changes the draws of others.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def seed_of(*names: object) -> int:
    """Returns a 63-bit seed from a hash of names, the same on every machine and in every run."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*names: object) -> torch.Generator:
    """Returns a CPU generator seeded by names."""
    import torch  # not at the top: the report draws its samples without it, and starts in half the time

    return torch.Generator().manual_seed(seed_of(*names))
