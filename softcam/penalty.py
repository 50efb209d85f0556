"""Penalty on class evidence.

SoftCAM adds it to the cross-entropy so that its evidence becomes sparse or smooth.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

RIDGES, SCALES = ("norm", "squared"), ("sum", "mean")


class ElasticNet(nn.Module):
    """Elastic net ``l1·‖A‖₁ + l2·‖A‖₂`` of the evidence A per image (all classes and cells), averaged over the batch.

    Args:
        l1: weight of the sum of absolute values, at least 0.
        l2: weight of the ridge term, at least 0.
        ridge: "norm" for the Euclidean norm, for which the λ are published; "squared" for its square, the textbook
            elastic net.
        scale: "sum" over classes and cells, for which the λ are published; "mean" for the mean of absolute values, the
            root mean square ("norm") and the mean square ("squared"), so that one λ weighs the same on every grid.

    Raises:
        ValueError: a negative weight, an unknown ridge or an unknown scale.

    Source: arXiv:2505.17748 (training loss).
    Deviation: the authors' code penalises the first image of a batch only; the batch mean has the same expectation
        and less variance, so the published λ keep their meaning.

    Example:
        >>> evidence = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1)
        >>> ElasticNet(l1=1.0, l2=1.0)(evidence).item()  # |3| + |-4| + 5
        12.0
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, ridge: str = "norm", scale: str = "sum") -> None:
        super().__init__()
        if not (l1 >= 0 and l2 >= 0):
            raise ValueError(f"the weights of the penalty must be at least 0, not l1={l1}, l2={l2}")
        if ridge not in RIDGES:
            raise ValueError(f"unknown ridge {ridge!r}; known: {', '.join(RIDGES)}")
        if scale not in SCALES:
            raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
        self.l1, self.l2, self.ridge, self.scale = l1, l2, ridge, scale

    def forward(self, evidence: Tensor) -> Tensor:
        """Returns the penalty, a scalar, of evidence (N,C,h,w); its gradient is finite, and 0 if all evidence is 0."""
        # Thousands of terms are summed, for which half precision is too coarse.
        cells = evidence.to(torch.promote_types(evidence.dtype, torch.float32)).flatten(start_dim=1)
        count = cells.shape[1] if self.scale == "mean" else 1
        lasso = cells.abs().sum(dim=1) / count
        if self.ridge == "norm":
            ridge = torch.linalg.vector_norm(cells, dim=1) / count**0.5
        else:
            ridge = cells.square().sum(dim=1) / count
        penalty: Tensor = (self.l1 * lasso + self.l2 * ridge).mean()
        return penalty
