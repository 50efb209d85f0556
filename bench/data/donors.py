"""Healthy images whose patches stand in the place of removed ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from bench.contracts import Channels
from bench.data.split import Split, normalise
from bench.seeds import seed_of


def donor_source(
    split: Split, healthy: int | None, images: Sequence[str], mean: Channels, std: Channels
) -> Callable[[], Tensor] | None:
    """Makes the donors (N,3,H,W) of these images when called, normalised; the training mean outside a field of view.

    Args:
        healthy: index of the class without lesions.
        images: (N) ids.

    Returns:
        None where the data set has no such class, or the split fewer than two healthy images.
    """
    if healthy is None or np.count_nonzero(split.labels == healthy) < 2:
        return None

    def make() -> Tensor:
        chosen = choose_donors(split, healthy, images)
        pixels = normalise(split.batch(chosen), mean, std)
        return pixels if split.fov is None else pixels * torch.from_numpy(split.fov[chosen]).unsqueeze(1)

    return make


def choose_donors(split: Split, healthy: int, images: Sequence[str]) -> np.ndarray:
    """One healthy image of the split for each of these ids (N), never itself -> (N,) positions in the split.

    Drawn from both names: another image in the split becomes the donor of few and changes nothing for the others.
    """
    candidates = np.flatnonzero(split.labels == healthy)

    def drawn(image: str) -> int:
        others = (at for at in candidates if split.ids[at] != image)
        return int(min(others, key=lambda at: seed_of("donor", image, split.ids[at])))

    return np.array([drawn(image) for image in images], dtype=np.int64)
