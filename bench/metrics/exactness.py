"""Is the map the prediction, or a story about it?"""

from __future__ import annotations

from torch import Tensor

from bench.registry import metric


@metric(
    "evidence_gap",
    "exactness",
    ("logits", "targets", "pooled_map"),
    False,
    (0, float("inf")),
    "arXiv:2505.17748",
    images="all",
)
def evidence_gap(logits: Tensor, targets: Tensor, pooled_map: Tensor) -> Tensor:
    """How far the map is from adding up to the prediction: ``|logit − pooled map| / (|logit| + 1e-6)``.

    0 up to rounding where the map *is* the prediction. Not applicable to post-hoc explanations.

    Source: arXiv:2505.17748 (the logit is the mean of the class evidence).

    Args:
        logits: (N,C). targets: (N,) long.
        pooled_map: (N,) what the target's map adds up to: the mean of the evidence under average pooling.

    Returns:
        (N,) in [0, ∞).
    """
    logit = logits.gather(1, targets.unsqueeze(1)).squeeze(1)
    return (logit - pooled_map).abs() / (logit.abs() + 1e-6)
