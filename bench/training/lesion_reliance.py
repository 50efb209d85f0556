"""Reliance on the lesions: a model that uses them calls the same scene without them healthy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bench.contracts import Classifier
from bench.data.split import normalise
from bench.models.eval_mode import evaluating

if TYPE_CHECKING:
    from bench.data.prepare import Prepared, TrainingData


def lesion_reliance(
    prepared: Prepared, classifier: Classifier, data: TrainingData, device: torch.device
) -> dict[str, float] | None:
    """Counts true positives, and the share of them that is called healthy once the lesions are removed.

    Returns:
        ``true_positives`` and ``called_healthy``; None where the data set has no counterfactual images.
    """
    if prepared.counterfactuals is None:
        return None
    true_positives, fooled = 0, 0
    with evaluating(classifier), torch.inference_mode():
        for indices, images in zip(*(part.split(16) for part in prepared.counterfactuals), strict=True):
            both = torch.cat([prepared.explain.batch(indices), images])
            intact, removed = classifier(normalise(both.to(device), data.mean, data.std)).argmax(dim=1).chunk(2)
            hits = intact == torch.as_tensor(prepared.explain.labels[indices.numpy()]).to(device)
            true_positives += int(hits.sum())
            fooled += int((removed[hits] == prepared.info.healthy).sum())
    return {
        "true_positives": true_positives,
        "called_healthy": fooled / true_positives if true_positives else float("nan"),
    }
