"""Does the model use the lesions? Phantoms can show the same scene without them."""

from __future__ import annotations

import torch

from bench.anatomy import evaluating
from bench.contracts import Classifier
from bench.data.split import normalise
from bench.prepare import Prepared
from bench.training import TrainingData


def twin_facts(
    prepared: Prepared, classifier: Classifier, data: TrainingData, device: torch.device, limit: int = 100
) -> dict[str, float] | None:
    """How many true positives there are, and the share of them whose healthy twin is called healthy.

    Reads at most ``limit`` diseased test images. None where the data set cannot render twins or has no healthy class.
    """
    twin, healthy = getattr(prepared.samples, "twin", None), prepared.info.healthy
    if twin is None or healthy is None:
        return None
    diseased = [index for index, label in enumerate(prepared.explain.labels) if label != healthy][:limit]
    true_positives, fooled = 0, 0
    with evaluating(classifier), torch.inference_mode():
        for start in range(0, len(diseased), 16):
            indices = diseased[start : start + 16]
            images = prepared.explain.batch(torch.tensor(indices))
            twins = torch.stack([twin(index) for index in indices])
            both = normalise(torch.cat([images, twins]).to(device), data.mean, data.std)
            intact, removed = classifier(both).argmax(dim=1).chunk(2)
            labels = torch.as_tensor(prepared.explain.labels[indices]).to(device)
            hits = intact == labels
            true_positives += int(hits.sum())
            fooled += int((removed[hits] == healthy).sum())
    return {
        "true_positives": true_positives,
        "called_healthy": fooled / true_positives if true_positives else float("nan"),
    }
