"""Healthy images used to fill occluded patches: a patch of one looks real, which a constant colour does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.contracts import Channels
from bench.data.split import Split, normalise
from bench.seeds import seed_of


def donor_source(
    split: Split, healthy: int | None, images: Sequence[str], mean: Channels, std: Channels
) -> Callable[[], Tensor] | None:
    """Returns a function that builds the donors of these images when it is called.

    Args:
        split: the images, which are also the candidates for donors.
        healthy: index of the class without lesions; None if the data set has no such class.
        images: N ids.
        mean: channel means of the normalisation.
        std: channel standard deviations of the normalisation.

    Returns:
        Function without arguments -> normalised donors (N,3,H,W), 0 (the training mean) outside the field of view. None
        if the data set has no healthy class, or the split has fewer than two healthy images.
    """
    if healthy is None or np.count_nonzero(split.labels == healthy) < 2:
        return None

    def make() -> Tensor:
        chosen = choose_donors(split, healthy, images)
        pixels = normalise(split.batch(chosen), mean, std)
        return pixels if split.fov is None else pixels * torch.from_numpy(split.fov[chosen]).unsqueeze(1)

    return make


def choose_donors(split: Split, healthy: int, images: Sequence[str]) -> NDArray[np.int64]:
    """Draws a healthy image of the split for each of these N ids, never the image itself -> (N,) positions.

    Each draw depends on the names of both images: a new image in the split becomes the donor of a few images and leaves
    the others unchanged.
    """
    candidates = np.flatnonzero(split.labels == healthy)

    def drawn(image: str) -> int:
        others = (at for at in candidates if split.ids[at] != image)
        return int(min(others, key=lambda at: seed_of("donor", image, split.ids[at])))

    return np.array([drawn(image) for image in images], dtype=np.int64)
