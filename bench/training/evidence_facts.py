"""Facts about the evidence of a trained classifier that its record states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bench.contracts import Classifier, EvidenceClassifier
from bench.memory import with_smaller_batches
from bench.training.penalty_search import near_zero_share

if TYPE_CHECKING:  # what is imported here is code that the weights would depend on
    from bench.data.prepare import Prepared, TrainingData


def near_zero(
    classifier: Classifier, prepared: Prepared, data: TrainingData, device: torch.device, batch_size: int
) -> float | None:
    """Returns the share of near-zero evidence of the test images; None for a classifier without evidence.

    Args:
        classifier: the trained classifier.
        prepared: the data set.
        data: the normalisation of the classifier.
        device: device to compute on.
        batch_size: images per forward pass; halved when memory runs out.
    """
    if not isinstance(classifier, EvidenceClassifier):
        return None
    test = prepared.test
    return with_smaller_batches(
        lambda size: near_zero_share(classifier, test, data.mean, data.std, device, size), batch_size
    )[0]
