"""Penalty on class evidence.

SoftCAM adds it to the cross-entropy so that its evidence becomes sparse or smooth.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

RIDGES = ("norm", "squared")


class ElasticNet(nn.Module):
    """Elastic net ``l1·‖A‖₁ + l2·‖A‖₂`` of the evidence A per image (all classes and cells), averaged over the batch.

    Args:
        l1: weight of the sum of absolute values, at least 0.
        l2: weight of the ridge term, at least 0.
        ridge: "norm" for the Euclidean norm, for which the λ are published; "squared" for its square, the textbook
            elastic net.

    Raises:
        ValueError: a negative weight or an unknown ridge.

    Source: arXiv:2505.17748 (training loss).
    Deviation: the authors' code penalises the first image of a batch only; the batch mean has the same expectation
        and less variance, so the published λ keep their meaning.

    Example:
        >>> evidence = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1)
        >>> ElasticNet(l1=1.0, l2=1.0)(evidence).item()  # |3| + |-4| + 5
        12.0
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, ridge: str = "norm") -> None:
        super().__init__()
        if not (l1 >= 0 and l2 >= 0):
            raise ValueError(f"the weights of the penalty must be at least 0, not l1={l1}, l2={l2}")
        if ridge not in RIDGES:
            raise ValueError(f"unknown ridge {ridge!r}; known: {', '.join(RIDGES)}")
        self.l1, self.l2, self.ridge = l1, l2, ridge

    def forward(self, evidence: Tensor) -> Tensor:
        """Returns the penalty, a scalar, of evidence (N,C,h,w); its gradient is finite, and 0 if all evidence is 0."""
        # Thousands of terms are summed, for which half precision is too coarse.
        cells = evidence.to(torch.promote_types(evidence.dtype, torch.float32)).flatten(start_dim=1)
        ridge = torch.linalg.vector_norm(cells, dim=1) if self.ridge == "norm" else cells.square().sum(dim=1)
        return (self.l1 * cells.abs().sum(dim=1) + self.l2 * ridge).mean()
