"""Class evidence layer, and the classifier that it forms with a convolutional backbone.

They are modules of their own so that a SoftCAM can be trained outside the benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.contracts import EvidenceClassifier
from bench.models.cutting.trial import ImageSize, own_copy, unwrap
from bench.models.feature_extraction import ClassifierParts, split_classifier
from softcam.pooling import POOLINGS, SpatialAttention

#: Fewest cells of a side of an evidence grid that is not asked for: coarser maps show no place.
SMALLEST_GRID = 4


class EvidenceHead(nn.Module):
    """Head that computes signed class evidence (N,C,h,w) by 1×1 convolutions and pools it to logits (N,C).

    Without ``hidden`` the evidence is one linear layer applied at every cell. Dropout then removes whole channels,
    which under an average is identical to the dropout of pooled features that it replaces. With ``hidden``, each hidden
    layer is followed by ReLU and elementwise dropout, like VGG's fully connected layers. With attention pooling the
    evidence is weighted by an attention that all classes share, so that its mean remains the logit.

    Args:
        in_channels: D.
        num_classes: C.
        hidden: widths of the 1×1 convolutions before the evidence; () = none.
        dropout: probability of dropout in front of the evidence, in [0, 1].
        pooling: a name in ``POOLINGS``.

    Raises:
        ValueError: unknown pooling.

    Source: arXiv:2505.17748 (class evidence layer).

    Example:
        >>> head, features = EvidenceHead(in_channels=8, num_classes=2), torch.ones(1, 8, 4, 4)
        >>> head.evidence(features).shape, head(features).shape
        (torch.Size([1, 2, 4, 4]), torch.Size([1, 2]))
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
        """Maps features (N,D,h,w) to signed class evidence (N,C,h,w)."""
        evidence = self._unweighted(features)
        return evidence if self.attention is None else evidence * self.attention(features)

    def _unweighted(self, features: Tensor) -> Tensor:
        evidence: Tensor
        if not self.deep:
            evidence = self.layers(features)
            return evidence
        # In bf16 the gradient of a 4096 → 2 convolution corrupts the heap on CPUs with AMX (torch 2.15, oneDNN).
        with torch.autocast(features.device.type, enabled=False):
            evidence = self.layers(features.to(next(self.layers.parameters()).dtype))
        return evidence

    def pool(self, evidence: Tensor) -> Tensor:
        """Pools class evidence (N,C,h,w) to logits (N,C)."""
        return POOLINGS[self.pooling](evidence)

    def forward(self, features: Tensor) -> Tensor:
        """Maps features (N,D,h,w) to logits (N,C)."""
        return self.pool(self.evidence(features))


class SoftCAM(EvidenceClassifier):
    """A backbone with an ``EvidenceHead``: images (N,3,H,W) -> evidence (N,C,h,w) -> logits (N,C).

    Usually built by ``SoftCAM.from_classifier`` (to be trained) or ``softcam.convert`` (exact, no training).

    Args:
        features: images (N,3,H,W) -> feature map (N,D,h,w).
        head: feature map (N,D,h,w) -> logits (N,C).
        num_classes: C.

    Attributes:
        kept: the weights of the source's that ``features`` holds, such as ``11,176,512 of 11,689,512 weights (96 %)``;
            "" if it was not built from another model.

    Example:
        >>> model = SoftCAM(torch.nn.Conv2d(3, 8, 3, stride=2), EvidenceHead(8, 2), num_classes=2)
        >>> model.forward_evidence(torch.zeros(1, 3, 9, 9)).shape
        torch.Size([1, 2, 4, 4])
    """

    head: EvidenceHead
    kept: str = ""

    def __init__(self, features: nn.Module, head: EvidenceHead, num_classes: int) -> None:
        super().__init__(features, head, num_classes)

    @classmethod
    @torch.inference_mode(False)
    @torch.enable_grad()
    def from_classifier(
        cls,
        model: nn.Module,
        num_classes: int,
        pooling: str = "avg",
        image_size: ImageSize | None = None,
        smallest_grid: int = SMALLEST_GRID,
    ) -> SoftCAM:
        """Builds a SoftCAM on a copy of the backbone of ``model`` with a fresh evidence head.

        The head is one 1×1 convolution. If ``model`` flattens its feature map into several linear layers (VGG,
        AlexNet), they become 1×1 convolutions of the same widths (VGG: 512 → 4096 → 4096 → C). The whole head starts
        from PyTorch's default initialisation, because 7×7 weights do not fit a 1×1 convolution. Other layers between
        feature map and logits are left out, so the result must be trained: the LayerNorm of ConvNeXt and of a ViT that
        averages its tokens, the hidden layer of MobileNetV3 and of timm's VGG, class and register tokens of a ViT
        (its patch tokens read them, but they are not cells). The evidence grid of a ViT or Swin is that of its tokens.

        Args:
            model: plain image classifier for any number of input channels; it is not changed. Wrappers
                (``DataParallel``, ``torch.compile``) are removed.
            num_classes: C; 1 for a network with one output, see ``bench.as_two_classes``.
            pooling: a name in ``POOLINGS``.
            image_size: side or (height, width) of the images that it will read; None = what the model states,
                otherwise 128 pixels or another common size that it can read.
            smallest_grid: fewest cells of a side of the evidence for these images.

        Raises:
            ValueError: unknown pooling, a model that cannot be cut into features (N,D,h,w) and a head that together
                give its logits, one that computes further maps behind these features, or an evidence grid with fewer
                cells than ``smallest_grid``.

        Source: arXiv:2505.17748 (class evidence layer; VGG with its fully connected layers as 1×1 convolutions).

        Example:
            >>> from torchvision.models import resnet18
            >>> model = SoftCAM.from_classifier(resnet18(), num_classes=2)
            >>> model.forward_evidence(torch.zeros(2, 3, 64, 64)).shape
            torch.Size([2, 2, 2, 2])
        """
        name = type(unwrap(model)).__name__
        parts = split_classifier(own_copy(model), image_size)
        parts.require_grid(smallest_grid, name)
        channels = parts.shape[1]
        head = EvidenceHead(channels, num_classes, _hidden_widths(parts, channels), dropout_of(parts), pooling)
        reference = parts.classifying.weight
        softcam = cls(parts.features, head.to(reference.device, reference.dtype), num_classes)
        softcam.kept, softcam.in_channels = parts.kept, parts.in_channels
        return softcam.train(model.training)

    def extra_repr(self) -> str:
        """Returns the share of the source's weights that the features keep, for ``print``."""
        return f"features keep {self.kept}" if self.kept else ""

    def evidence_of(self, features: Tensor) -> Tensor:
        """Maps the feature map (N,D,h,w) to signed class evidence (N,C,h,w)."""
        return self.head.evidence(features)

    def pool(self, evidence: Tensor) -> Tensor:
        """Pools class evidence (N,C,h,w) to logits (N,C)."""
        return self.head.pool(evidence)


def dropout_of(parts: ClassifierParts) -> float:
    """Returns the probability of the first dropout in the head of ``parts``, in [0, 1]; 0 if it has none.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2))
        >>> dropout_of(split_classifier(model.append(nn.Linear(8, 2))))
        0.2
    """
    return next((part.p for part in parts.head.modules() if isinstance(part, nn.Dropout)), 0.0)


def _hidden_widths(parts: ClassifierParts, channels: int) -> tuple[int, ...]:
    """Returns the widths of the hidden linear layers of a head that flattens its feature map, otherwise ()."""
    linears = [part for part in parts.head.modules() if isinstance(part, nn.Linear)]
    flattens = bool(linears) and linears[0].in_features > channels
    return tuple(linear.out_features for linear in linears[:-1]) if flattens else ()
