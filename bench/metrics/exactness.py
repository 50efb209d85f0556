"""Exactness: difference between the prediction and the sum of its explanation.

It separates inherent methods whose map *is* the prediction from those whose map only contributes to it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.maps import exact
from bench.registry import metric


@metric(
    "evidence_gap",
    "exactness",
    ("logits", "targets", "pooled_map", "explained_logits"),
    False,
    (0, float("inf")),
    "arXiv:2505.17748",
    images="all",
)
def evidence_gap(logits: Tensor, targets: Tensor, pooled_map: Tensor, explained_logits: Tensor | None = None) -> Tensor:
    """Computes the relative gap between prediction and map: ``|e − pooled map| / (max(|logit|, |e|) + 1e-6)``.

    e is what the map explains: the target's logit, or its contrast with the other classes. The gap is 0 up to rounding
    if the map *is* the prediction, and undefined for post-hoc explanations. A contrast near 0 has the rounding of the
    logits that it is a difference of, so it is not a scale on its own.

    Source: arXiv:2505.17748 (the logit is the mean of the class evidence).

    Args:
        logits: (N,C).
        targets: (N,) long.
        pooled_map: (N,) sum of the target's map: the mean of the evidence under average pooling.
        explained_logits: (N,C) contrasts if the map explains these; None if it explains a logit.

    Returns:
        (N,) in [0, ∞).

    Example:
        >>> evidence_gap(torch.tensor([[0.0, 2.0]]), targets=torch.tensor([1]), pooled_map=torch.tensor([1.0]))
        tensor([0.5000])
    """
    explained_logits = logits if explained_logits is None else explained_logits
    logits, explained_logits, pooled_map = exact(logits), exact(explained_logits), exact(pooled_map)
    logit, explained = (one.gather(1, targets.unsqueeze(1)).squeeze(1) for one in (logits, explained_logits))
    return (explained - pooled_map).abs() / (torch.maximum(logit.abs(), explained.abs()) + 1e-6)
