"""Networks with one output behind a sigmoid, presented as classifiers of two classes.

Softmax over one logit is always 1, so that nothing that reads probabilities would notice what an image loses. The pair
of logits (−z/2, z/2) has the softmax (1 − sigmoid(z), sigmoid(z)), and its contrast is the logit itself.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from bench.contracts import Classifier, EvidenceClassifier


def pair(logits: Tensor) -> Tensor:
    """Returns (−z/2, z/2) of one logit or its evidence: (N,1,...) -> (N,2,...).

    Raises:
        ValueError: there is not exactly one class.

    Example:
        >>> pair(torch.tensor([[3.0]]))
        tensor([[-1.5000,  1.5000]])
    """
    if logits.ndim < 2 or logits.shape[1] != 1:
        raise ValueError(f"one logit per image was expected, (N,1), not shape {tuple(logits.shape)}")
    return torch.cat([-logits / 2, logits / 2], dim=1)


class TwoClasses(nn.Module):
    """A network with one output as one with two: images -> logits (N,2)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to logits (N,2)."""
        return pair(self.model(images))


class _PairedHead(nn.Module):
    """A head with one output as one with two: feature map (N,D,h,w) -> logits (N,2)."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.training = head.training

    def forward(self, features: Tensor) -> Tensor:
        """Maps the feature map (N,D,h,w) to logits (N,2)."""
        return pair(self.head(features))


class _Paired(Classifier):
    """Mixin that is put before the class of a classifier with one output, whose methods it calls and pairs.

    Attributes:
        plain: the classifier itself; not a submodule, because its parts are submodules already.
    """

    plain: Classifier

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to logits (N,2)."""
        return pair(self.plain(images))

    def forward_head(self, features: Tensor) -> Tensor:
        """Maps the feature map (N,D,h,w) to logits (N,2)."""
        return pair(self.plain.forward_head(features))


class _PairedEvidence(_Paired, EvidenceClassifier):
    """Mixin for classifiers whose evidence is paired too."""

    plain: EvidenceClassifier

    def evidence_of(self, features: Tensor) -> Tensor:
        """Maps the feature map (N,D,h,w) to evidence (N,2,h,w)."""
        return pair(self.plain.evidence_of(features))

    def pool(self, evidence: Tensor) -> Tensor:
        """Pools evidence (N,2,h,w) to logits (N,2), by the pooling of the one logit."""
        return pair(self.plain.pool(2 * evidence[:, 1:]))


def as_two_classes(model: nn.Module) -> nn.Module:
    """Presents a network with one output z (the logit of a sigmoid) as one with the logits (−z/2, z/2).

    Class 1 is what the output stands for, class 0 its absence: softmax gives sigmoid(z) and sigmoid(−z). Maps of the
    target's contrast (the default) explain z for class 1 and −z for class 0; maps of the logit are half of that. All
    layers are shared with ``model``; a ``Classifier`` remains one, with evidence if it has evidence.

    Args:
        model: images (N,3,H,W) -> (N,1).

    Raises:
        ValueError: the classifier has another number of classes; of another module, this is seen when it is called.

    Example:
        >>> model = as_two_classes(nn.Sequential(nn.Flatten(), nn.Linear(12, 1)))
        >>> logits = model(torch.ones(1, 3, 2, 2))
        >>> logits.shape, bool((logits.sum() == 0).all())
        (torch.Size([1, 2]), True)
    """
    if not isinstance(model, Classifier):
        return TwoClasses(model)
    if model.num_classes != 1:
        raise ValueError(f"{type(model).__name__} has {model.num_classes} classes; only one output can be made two")
    mixin = _PairedEvidence if isinstance(model, EvidenceClassifier) else _Paired
    shared = copy.copy(model)
    # Hooks on the copy must not act on the classifier, which the copy calls.
    vars(shared).update({name: copy.copy(one) for name, one in vars(model).items() if isinstance(one, dict)})
    shared.__class__ = type(f"TwoClass{type(model).__name__}", (mixin, type(model)), {})
    shared.num_classes = 2
    shared.head = _PairedHead(model.head)
    vars(shared)["plain"] = model
    return shared
