"""Counterfactual images: the same scenes without their lesions.

Only generated data sets can render them, and only with them the effect of a lesion on a prediction is known exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bench.contracts import Sample, Samples
from bench.data.split import Split

#: Number of diseased images that are rendered without their lesions.
_MOST = 100


def render_counterfactuals(
    samples: Sequence[Sample] | Samples, split: Split, healthy: int | None
) -> tuple[Tensor, Tensor] | None:
    """Renders the first diseased images of a split, 100 at most, without their lesions.

    Args:
        samples: the samples that the builder of the data set returned for this split.
        split: the images.
        healthy: index of the class without lesions.

    Returns:
        Positions (n,) in the split, and the same scenes (n,3,H,W) uint8 without lesions. None if the data set cannot
        render them, or has no healthy class or no diseased image.
    """
    counterfactual, diseased = getattr(samples, "counterfactual", None), np.flatnonzero(split.labels != healthy)[:_MOST]
    if counterfactual is None or healthy is None or not len(diseased):
        return None
    return torch.from_numpy(diseased), torch.stack([counterfactual(index) for index in diseased.tolist()])
