"""Spatial poolings of class evidence to logits.

The pooling decides whether the map *is* the prediction: under ``avg`` and ``attention`` the logit is the mean of the
evidence; under ``max``, ``lse`` and ``topk`` it depends on the evidence alone but is not its mean. The metric
``evidence_gap`` measures the difference.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def average(evidence: Tensor) -> Tensor:
    """Pools evidence (N,C,h,w) to its spatial mean (N,C).

    Example:
        >>> average(torch.tensor([[[[0.0, 4.0]]]]))
        tensor([[2.]])
    """
    return evidence.mean(dim=(2, 3))


def maximum(evidence: Tensor) -> Tensor:
    """Pools evidence (N,C,h,w) to its highest cell (N,C).

    Example:
        >>> maximum(torch.tensor([[[[0.0, 4.0]]]]))
        tensor([[4.]])
    """
    return evidence.amax(dim=(2, 3))


def log_mean_exp(evidence: Tensor, sharpness: float = 5.0) -> Tensor:
    """Pools evidence to ``log(mean(exp(r·evidence))) / r``, between the mean (r → 0) and the maximum (r → ∞).

    Args:
        evidence: (N,C,h,w).
        sharpness: r > 0.

    Returns:
        (N,C), in the unit of the evidence.

    Source: arXiv:1411.6228 (log-sum-exp aggregation).
    Deviation: divided by the number of cells inside the logarithm, so that the size of the grid does not matter.

    Example:
        >>> log_mean_exp(torch.tensor([[[[0.0, 4.0]]]]), sharpness=100.0)
        tensor([[3.9931]])
    """
    # Half precision is too coarse for sharp exponents; relative to the highest cell, none overflows.
    cells = evidence.to(torch.promote_types(evidence.dtype, torch.float32)).flatten(start_dim=2)
    peak = cells.amax(dim=2, keepdim=True).detach()
    return peak[:, :, 0] + (sharpness * (cells - peak)).exp().mean(dim=2).log() / sharpness


def top_mean(evidence: Tensor, share: float = 0.1) -> Tensor:
    """Pools evidence (N,C,h,w) to the mean (N,C) of its highest cells.

    Args:
        evidence: (N,C,h,w).
        share: share of the cells, in (0, 1]; their number is rounded, and at least one.

    Returns:
        (N,C), in the unit of the evidence.

    Example:
        >>> top_mean(torch.tensor([[[[0.0, 4.0, 2.0, 1.0]]]]), share=0.5)
        tensor([[3.]])
    """
    cells = evidence.flatten(start_dim=2)
    count = max(1, round(share * cells.shape[2]))
    return cells.topk(count, dim=2).values.mean(dim=2)


#: Spatial poolings by name, from evidence (N,C,h,w) to logits (N,C). Attention weights the evidence before the average.
POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "avg": average,
    "max": maximum,
    "lse": log_mean_exp,
    "topk": top_mean,
    "attention": average,
}


class SpatialAttention(nn.Module):
    """Attention weights of the cells, shared by all classes: softmax over the cells of a 1×1 convolution, times h·w.

    The mean weight is 1, so that the mean of the weighted evidence is the attention-weighted sum of the evidence. Every
    weight is 1 initially: training starts from average pooling.

    Args:
        in_channels: D.

    Source: arXiv:1802.04712, eq. 7 and 8 (attention pooling of instances).
    Deviation: one linear layer scores a cell; the paper has two with a tanh between them.

    Example:
        >>> SpatialAttention(in_channels=3)(torch.zeros(1, 3, 1, 2))
        tensor([[[[1., 1.]]]], grad_fn=<MulBackward0>)
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(in_channels, 1, kernel_size=1, bias=False)  # a softmax cancels a bias
        nn.init.zeros_(self.score.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Maps features (N,D,h,w) to weights (N,1,h,w), at least 0, with spatial mean 1."""
        scores: Tensor = self.score(features)
        return scores.flatten(start_dim=2).softmax(dim=2).view_as(scores) * scores[0, 0].numel()
