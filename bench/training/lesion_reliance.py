"""Reliance of a classifier on the lesions.

A classifier that uses the lesions calls the same scene without them healthy, which only phantoms can show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bench.contracts import Classifier
from bench.training.loop import predict_batches, predict_split

if TYPE_CHECKING:
    from bench.data.prepare import Prepared, TrainingData


_BATCH = 16


def lesion_reliance(
    prepared: Prepared, classifier: Classifier, data: TrainingData, device: torch.device
) -> dict[str, float] | None:
    """Counts true positives, and the fraction of them that is called healthy once the lesions are removed.

    Args:
        prepared: the data set, with counterfactual images of its diseased explained images.
        classifier: the trained classifier.
        data: mean and standard deviation that images are normalised by.
        device: the device of the classifier.

    Returns:
        ``true_positives`` (a count) and ``called_healthy`` in [0, 1], nan without true positives; None if the data set
        has no counterfactual images.
    """
    if prepared.counterfactuals is None:
        return None
    positions, images = prepared.counterfactuals
    indices = positions.numpy()
    intact = predict_split(classifier, prepared.explain, indices, data.mean, data.std, device, _BATCH)
    removed = predict_batches(classifier, torch.split(images, _BATCH), data.mean, data.std, device)
    labels, predicted = prepared.explain.labels[indices], data.outputs.predicted
    hits = predicted(intact, labels) == labels
    true_positives = int(hits.sum())
    called_healthy = int((predicted(removed, labels)[hits] == prepared.info.lesion_free).sum())
    return {
        "true_positives": true_positives,
        "called_healthy": called_healthy / true_positives if true_positives else float("nan"),
    }
