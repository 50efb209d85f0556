"""The class evidence layer, and the classifier that it makes of any convolutional backbone."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.contracts import EvidenceClassifier
from bench.models.eval_mode import evaluating
from bench.models.feature_extraction import ClassifierParts, split_classifier
from softcam.pooling import POOLINGS, SpatialAttention


class EvidenceHead(nn.Module):
    """Features (N,D,h,w) -> signed class evidence (N,C,h,w) by 1×1 convolutions -> logits (N,C) by spatial pooling.

    Without ``hidden`` the evidence is one linear layer applied at every cell. Dropout then silences whole channels:
    under an average that is the very dropout of pooled features, which it replaces. With ``hidden``, each hidden layer
    is followed by ReLU and elementwise dropout, as VGG's fully connected layers are. With attention pooling the
    evidence is weighted by an attention that all classes share, so that its mean is the logit still.

    Args:
        in_channels: D.
        num_classes: C.
        hidden: widths of the 1×1 convolutions before the evidence; () for none.
        dropout: probability of dropout in front of the evidence, in [0, 1].
        pooling: a name in ``POOLINGS``.

    Raises:
        ValueError: unknown pooling.

    Source: arXiv:2505.17748 (class evidence layer).
    """

    def __init__(
        self, in_channels: int, num_classes: int, hidden: Sequence[int] = (), dropout: float = 0.0, pooling: str = "avg"
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"unknown pooling {pooling!r}; known: {', '.join(POOLINGS)}")
        self.pooling = pooling
        self.deep = bool(hidden)
        layers: list[nn.Module] = []
        if dropout and not hidden:
            layers.append(nn.Dropout2d(dropout))
        channels = in_channels
        for width in hidden:
            layers += [nn.Conv2d(in_channels, width, kernel_size=1), nn.ReLU(), nn.Dropout(dropout)]
            in_channels = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(in_channels, num_classes, kernel_size=1))
        self.attention = SpatialAttention(channels) if pooling == "attention" else None

    def evidence(self, features: Tensor) -> Tensor:
        """Features (N,D,h,w) -> signed class evidence (N,C,h,w)."""
        evidence = self._unweighted(features)
        return evidence if self.attention is None else evidence * self.attention(features)

    def _unweighted(self, features: Tensor) -> Tensor:
        if not self.deep:
            return self.layers(features)
        # In bf16 the gradient of a 4096 → 2 convolution corrupts the heap on CPUs with AMX (torch 2.15, oneDNN).
        with torch.autocast(features.device.type, enabled=False):
            return self.layers(features.to(next(self.layers.parameters()).dtype))

    def pool(self, evidence: Tensor) -> Tensor:
        """Class evidence (N,C,h,w) -> logits (N,C)."""
        return POOLINGS[self.pooling](evidence)

    def forward(self, features: Tensor) -> Tensor:
        """Features (N,D,h,w) -> logits (N,C)."""
        return self.pool(self.evidence(features))


class SoftCAM(EvidenceClassifier):
    """A backbone with an ``EvidenceHead``: images (N,3,H,W) -> evidence (N,C,h,w) -> logits (N,C).

    Made by ``SoftCAM.from_classifier`` (to be trained) or ``softcam.convert`` (exact, no training).
    """

    head: EvidenceHead

    def __init__(self, features: nn.Module, head: EvidenceHead, num_classes: int) -> None:
        super().__init__(features, head, num_classes)

    @classmethod
    def from_classifier(cls, model: nn.Module, num_classes: int, pooling: str = "avg") -> SoftCAM:
        """A copy of the backbone of ``model`` with a fresh evidence head; ``model`` itself stays as it is.

        The head is one 1×1 convolution. Only where ``model`` flattens its feature map into several linear layers (VGG,
        AlexNet) they become 1×1 convolutions of the same widths (VGG: 512 → 4096 → 4096 → C). All of the head starts
        from PyTorch's default initialisation, for 7×7 weights do not fit a 1×1 convolution. What other classifiers have
        between feature map and logits is left out, so train the result: the LayerNorm of ConvNeXt and of a ViT that
        averages its tokens, the hidden layer of MobileNetV3 and of timm's VGG, class and register tokens of a ViT
        (whose patch tokens read them, but which are no cells). The evidence grid of a ViT or Swin is its tokens.

        Raises:
            ValueError: unknown pooling, or a model that cannot be cut into features (N,D,h,w) and a head.

        Source: arXiv:2505.17748 (class evidence layer; VGG with its fully connected layers as 1×1 convolutions).
        """
        anatomy = split_classifier(copy.deepcopy(model))
        channels = _channels(anatomy, type(model).__name__)
        head = EvidenceHead(channels, num_classes, _hidden_widths(anatomy, channels), dropout_of(anatomy), pooling)
        reference = anatomy.classifying.weight
        softcam = cls(anatomy.features, head.to(reference.device, reference.dtype), num_classes)
        return softcam.train(model.training)

    def evidence_of(self, features: Tensor) -> Tensor:
        """Feature map (N,D,h,w) -> signed class evidence (N,C,h,w)."""
        return self.head.evidence(features)

    def pool(self, evidence: Tensor) -> Tensor:
        """Class evidence (N,C,h,w) -> logits (N,C)."""
        return self.head.pool(evidence)


def dropout_of(anatomy: ClassifierParts) -> float:
    """Probability of the first dropout in a head, 0 where it has none."""
    return next((part.p for part in anatomy.head.modules() if isinstance(part, nn.Dropout)), 0.0)


def _hidden_widths(anatomy: ClassifierParts, channels: int) -> tuple[int, ...]:
    """Widths of the hidden linear layers of a head that flattens its feature map; () for any other head."""
    linears = [part for part in anatomy.head.modules() if isinstance(part, nn.Linear)]
    flattens = bool(linears) and linears[0].in_features > channels
    return tuple(linear.out_features for linear in linears[:-1]) if flattens else ()


def _channels(anatomy: ClassifierParts, name: str) -> int:
    """Number of channels of the feature map, measured, as no attribute of foreign models tells it."""
    reference = next(anatomy.features.parameters())
    with evaluating(anatomy.features), torch.no_grad():
        images = torch.zeros(1, 3, *anatomy.image_size, device=reference.device, dtype=reference.dtype)
        shape = anatomy.features(images).shape
    if len(shape) != 4:
        raise ValueError(f"{name} has features of shape {tuple(shape)} where a map (N,D,h,w) was expected")
    return shape[1]
