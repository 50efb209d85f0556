"""Exactness: difference between the prediction and the sum of its explanation.

It separates inherent methods whose map *is* the prediction from those whose map only contributes to it.
"""

from __future__ import annotations

from torch import Tensor

from bench.maps import exact
from bench.registry import metric


@metric(
    "evidence_gap",
    "exactness",
    ("explained_logits", "targets", "pooled_map"),
    False,
    (0, float("inf")),
    "arXiv:2505.17748",
    images="all",
)
def evidence_gap(logits: Tensor, targets: Tensor, pooled_map: Tensor) -> Tensor:
    """Computes the relative gap between prediction and map: ``|logit − pooled map| / (|logit| + 1e-6)``.

    It is 0 up to rounding if the map *is* the prediction, and undefined for post-hoc explanations. If the map explains
    the contrast of the target with the other classes, the logits are these contrasts.

    Source: arXiv:2505.17748 (the logit is the mean of the class evidence).

    Args:
        logits: (N,C) what the map explains: logits, or their contrasts.
        targets: (N,) long.
        pooled_map: (N,) sum of the target's map: the mean of the evidence under average pooling.

    Returns:
        (N,) in [0, ∞).

    Example:
        >>> import torch
        >>> evidence_gap(torch.tensor([[0.0, 2.0]]), targets=torch.tensor([1]), pooled_map=torch.tensor([1.0]))
        tensor([0.5000])
    """
    logits, pooled_map = exact(logits), exact(pooled_map)
    logit = logits.gather(1, targets.unsqueeze(1)).squeeze(1)
    return (logit - pooled_map).abs() / (logit.abs() + 1e-6)
