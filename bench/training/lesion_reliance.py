"""Does the model use the lesions? Phantoms can show the same scene without them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.contracts import Classifier, Sample, Samples
from bench.data.split import Split, normalise
from bench.models.eval_mode import evaluating

if TYPE_CHECKING:
    from bench.data.prepare import Prepared, TrainingData


#: Number of diseased images whose twins are rendered.
_TWINS = 100


def render_twins(
    samples: Sequence[Sample] | Samples, split: Split, healthy: int | None
) -> tuple[Tensor, Tensor] | None:
    """Renders the first diseased images of a split, 100 at most, without their lesions.

    Args:
        samples: what the builder of the data set returned for this split.
        split: the images.
        healthy: index of the class without lesions.

    Returns:
        Positions (n,) in the split, and the same scenes (n,3,H,W) without lesions. None where the data set cannot
        render twins, or has no healthy class or no diseased image.
    """
    twin, diseased = getattr(samples, "twin", None), np.flatnonzero(split.labels != healthy)[:_TWINS]
    if twin is None or healthy is None or not len(diseased):
        return None
    return torch.from_numpy(diseased), torch.stack([twin(index) for index in diseased.tolist()])


def lesion_reliance(
    prepared: Prepared, classifier: Classifier, data: TrainingData, device: torch.device
) -> dict[str, float] | None:
    """How many true positives there are, and the share of them whose healthy twin is called healthy.

    Reads ``prepared.twins``. None where there are none.
    """
    if prepared.twins is None:
        return None
    true_positives, fooled = 0, 0
    with evaluating(classifier), torch.inference_mode():
        for indices, twins in zip(*(part.split(16) for part in prepared.twins), strict=True):
            both = torch.cat([prepared.explain.batch(indices), twins])
            intact, removed = classifier(normalise(both.to(device), data.mean, data.std)).argmax(dim=1).chunk(2)
            hits = intact == torch.as_tensor(prepared.explain.labels[indices.numpy()]).to(device)
            true_positives += int(hits.sum())
            fooled += int((removed[hits] == prepared.info.healthy).sum())
    return {
        "true_positives": true_positives,
        "called_healthy": fooled / true_positives if true_positives else float("nan"),
    }
