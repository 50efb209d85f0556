"""B-cos network: a product of input-dependent matrices that explains its prediction down to the pixels.

It is the inherently interpretable alternative whose maps have the resolution of the image.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import Classifier, Explainer, Head, NotApplicable
from bench.models.eval_mode import evaluating
from bench.registry import backbone, register_explainer, register_head

PAPER = "arXiv:2205.10268"


class BcosConv2d(nn.Module):
    """Convolution with weights ŵ of unit norm, times ``|cos(x, ŵ)|`` of the patch x (B = 2); no bias.

    Attributes:
        frozen: the factor counts as a constant in a gradient, so that the gradient is that of the effective linear
            layer.

    Source: arXiv:2205.10268, eq. 3.
    Deviation: without MaxOut, as in the successor arXiv:2306.10898.
    """

    def __init__(self, channels_in: int, channels: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.linear = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False)
        self.frozen = False

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N,D,h,w) to (N,D',h/stride,w/stride)."""
        weight = self.linear.weight
        unit = weight / torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)
        projection = F.conv2d(images, unit, stride=self.linear.stride, padding=self.linear.padding)
        cosine = (projection.detach() if self.frozen else projection) / self._norms(images)
        return projection * cosine.abs()

    def _norms(self, images: Tensor) -> Tensor:
        """Computes the Euclidean norms (N,1,h,w) of the patches in float32, as half precision is too coarse."""
        kernel, stride = self.linear.kernel_size[0], self.linear.stride
        device = "cpu" if images.is_meta else images.device.type  # there is no autocast for the device meta
        with torch.autocast(device, enabled=False):
            images = images.to(torch.promote_types(images.dtype, torch.float32))
            squares = (images.detach() if self.frozen else images).square().sum(dim=1, keepdim=True)
            return (F.avg_pool2d(squares, kernel, stride, kernel // 2) * kernel**2 + 1e-6).sqrt()


class LinearNorm2d(nn.BatchNorm2d):
    """Subtracts each channel's mean over the image and divides by its standard deviation over the batch; no bias.

    It is linear in eval mode, so contributions still add up to the logit.

    Source: arXiv:2306.10898 (norms without bias, centred and not).
    Deviation: centred per image and scaled per batch. The paper's final CNNs are only scaled per batch; the compact
        network then did not learn a phantom in 12 epochs, because structures common to all images outweigh a small
        lesion.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_parameter("bias", None)

    def forward(self, images: Tensor) -> Tensor:
        """Normalises (N,D,h,w)."""
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        images = images - images.mean(dim=(2, 3), keepdim=True)
        variance = self.running_var
        if self.training:
            variance = images.square().mean(dim=(0, 2, 3))
            self.num_batches_tracked += 1
            # As in torch's batch norm: without a momentum, the mean over all batches so far.
            share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
            self.running_var.lerp_(variance.detach(), share)
        scale: Tensor = self.weight * (variance + self.eps).rsqrt()
        return images * scale[:, None, None]


class BcosBlock(nn.Module):
    """Two 3×3 B-cos convolutions with batch norm, and a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            BcosConv2d(channels_in, channels, 3, stride),
            LinearNorm2d(channels),
            BcosConv2d(channels, channels, 3),
            LinearNorm2d(channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(BcosConv2d(channels_in, channels, 1, stride), LinearNorm2d(channels))

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N,D,h,w) to (N,D',h/stride,w/stride)."""
        features: Tensor = self.inner(images) + self.shortcut(images)
        return features


class SixChannels(nn.Module):
    """Images x in [0, 1] as [x, 1 − x], so that a pixel's direction encodes its colour and no pixel is zero."""

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N,3,H,W) to (N,6,H,W)."""
        return torch.cat([images, 1 - images], dim=1)


class CompactBcos(nn.Module):
    """The ``compact`` residual network with B-cos layers: total stride 8, no bias, no ReLU.

    Its classifier is an ordinary linear layer, which every head replaces.
    """

    def __init__(self, num_classes: int = 2, widths: tuple[int, int, int] = (16, 32, 64)) -> None:
        super().__init__()
        first, second, third = widths
        self.stages = nn.Sequential(
            SixChannels(),
            BcosConv2d(6, first, 3, 2),
            LinearNorm2d(first),
            BcosBlock(first, second, 2),
            BcosBlock(second, third, 2),
            BcosBlock(third, third, 1),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(third, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) in [0, 1] to logits (N,C)."""
        logits: Tensor = self.fc(self.flatten(self.pool(self.stages(images))))
        return logits


@backbone("bcos_compact", "the compact network of B-cos layers, for the head bcos", (0, 0, 0), (1, 1, 1), always=True)
def bcos_compact(pretrained: bool) -> tuple[nn.Module, str]:
    """Builds a compact B-cos network; it has no pretrained weights."""
    return CompactBcos(), "random initialisation"


class BcosClassifier(Classifier):
    """B-cos layers from the pixels to the logits, which are sums of contributions of the pixels."""

    features: nn.Sequential

    def contributions(self, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the contributions (N,H,W) of the pixels of images (N,3,H,W), whose sum is the logit of targets (N,).

        They are ``[W(x) x̃]``, summed over the six channels x̃ of a pixel; W(x) is the gradient at constant factors.

        Source: arXiv:2205.10268, sec. 3.2.
        """
        with _frozen_factors(self), torch.enable_grad():
            channels = self.features[0](images.detach()).requires_grad_()
            logits = self.forward_head(self.features[1:](channels)).gather(1, targets[:, None])
            (weights,) = torch.autograd.grad(logits.sum(), channels)
            contributions: Tensor = (channels * weights).sum(dim=1)
        return contributions.detach()


@contextmanager
def _frozen_factors(model: nn.Module) -> Iterator[None]:
    layers = [part for part in model.modules() if isinstance(part, BcosConv2d)]
    try:
        for layer in layers:
            layer.frozen = True
        yield
    finally:
        for layer in layers:
            layer.frozen = False


class _Temperature(nn.Module):
    """Division of the logits by a constant, because cosines make them small."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, logits: Tensor) -> Tensor:
        """Scales logits (N,C)."""
        return logits / self.temperature


@register_head
class Bcos(Head):
    """B-cos layer with one output per class at every cell of a B-cos backbone, averaged over space.

    Args:
        temperature: divisor of the averages, above 0.

    Source: arXiv:2205.10268; arXiv:2306.10898 (classifier before the pooling).
    Deviation: trained with cross-entropy like every head here, not with one binary loss per class; there is no fixed
        bias, which a softmax would cancel.
    """

    name, paper = "bcos", PAPER
    family: ClassVar[Literal["inherent", "black box"]] = "inherent"

    def __init__(self, temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise ValueError(f"the temperature must be above 0, not {temperature}")
        self.temperature = temperature

    def build(self, model: nn.Module, num_classes: int) -> BcosClassifier:
        """Builds a ``BcosClassifier`` of ``num_classes`` on a copy of a B-cos network, with a fresh last layer.

        Raises:
            NotApplicable: the model is not a B-cos network.
        """
        stages = getattr(model, "stages", None)
        if not isinstance(stages, nn.Sequential) or not isinstance(stages[0], SixChannels):
            raise NotApplicable(f"head 'bcos' needs a B-cos network (bcos_compact), not {type(model).__name__}")
        features = copy.deepcopy(stages)
        channels = [part for part in features.modules() if isinstance(part, BcosConv2d)][-1].linear.out_channels
        last = BcosConv2d(channels, num_classes).to(next(features.parameters()))
        head = nn.Sequential(last, nn.AdaptiveAvgPool2d(1), nn.Flatten(), _Temperature(self.temperature))
        return BcosClassifier(features, head, num_classes).train(model.training)


@register_explainer
class BcosContributions(Explainer):
    """Contributions of the pixels to the target logit, times the number of pixels, so that their mean is the logit.

    Source: arXiv:2205.10268, sec. 3.2.
    """

    name, family, signed, paper = "bcos", "inherent", True, PAPER
    networks: ClassVar[str] = "B-cos networks"

    def applies_to(self, classifier: Classifier) -> str:
        """Returns "" for a network of B-cos layers, otherwise the reason."""
        return "" if isinstance(classifier, BcosClassifier) else "the classifier is not a B-cos network (see head bcos)"

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the signed maps (N,H,W), whose mean is the target logit, of images (N,3,H,W) for targets (N,)."""
        if not isinstance(classifier, BcosClassifier):
            raise TypeError(self.applies_to(classifier))
        with evaluating(classifier):
            maps = classifier.contributions(images, targets)
        return maps * maps[0].numel()
