"""Does the model use the lesions? Phantoms can show the same scene without them."""

from __future__ import annotations

import torch

from bench.anatomy import evaluating
from bench.contracts import Classifier
from bench.data.split import normalise
from bench.prepare import Prepared
from bench.training import TrainingData


def twin_facts(
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
