"""Exact conversion of a trained classifier into a SoftCAM.

It needs no training because averaging over space and a linear layer commute.
"""

from __future__ import annotations

import torch
from torch import nn

from bench.contracts import EvidenceClassifier
from bench.models.cutting.checks import compare
from bench.models.cutting.trial import ImageSize, own_copy, undisturbed, unwrap
from bench.models.feature_extraction import ClassifierParts, split_classifier
from bench.models.feature_layout import FixedGrid
from softcam.evidence import SMALLEST_GRID, EvidenceHead, SoftCAM, dropout_of


@torch.inference_mode(False)
@torch.enable_grad()
def convert(model: nn.Module, image_size: ImageSize | None = None, smallest_grid: int = SMALLEST_GRID) -> SoftCAM:
    """Converts a classifier into a ``SoftCAM`` that computes the same function and exposes its class evidence.

    Everything is copied, so training the result does not change ``model``; each module keeps its train or eval mode,
    device, type and ``requires_grad``. Dropout before the linear layer becomes channel dropout, which has the same
    distribution in training and is the identity in eval mode. Functional dropout in the model's own ``forward`` is
    removed.

    The logits of the result are compared with those of ``model`` on random images, one and two at a time. The largest
    accepted difference, relative to the largest logit, is 1e-4 in float32, 1e-9 in float64, 0.01 in float16 and 0.05
    in bfloat16. If the model pools by a window of fixed size, the result reads images of ``image_size`` only.

    Args:
        model: images (N,3,H,W) -> logits (N,C), with a head that is global average pooling and one linear layer; any
            number of input channels. Wrappers (``DataParallel``, ``torch.compile``) are removed.
        image_size: side or (height, width) of the images that it will read; None = what the model states, otherwise
            128 pixels or another common size that it can read.
        smallest_grid: fewest cells of a side of the evidence for these images.

    Returns:
        A ``SoftCAM`` with the logits of ``model`` (up to rounding), which are the spatial means of its evidence.

    Raises:
        ValueError: the head is a different one, the logits differ, or the evidence has fewer cells than
            ``smallest_grid``; the message names the module and an alternative.

    Source: arXiv:2505.17748 (class evidence layer), arXiv:2603.26885 (TTE-CAM).

    Example:
        >>> import torch
        >>> from torchvision.models import resnet18
        >>> model, images = resnet18(num_classes=2).eval(), torch.ones(1, 3, 64, 64)
        >>> evidence = convert(model).forward_evidence(images)
        >>> evidence.shape, torch.allclose(evidence.mean(dim=(2, 3)), model(images), atol=1e-4)
        (torch.Size([1, 2, 2, 2]), True)
    """
    name, training = type(unwrap(model)).__name__, model.training
    if isinstance(unwrap(model), EvidenceClassifier):
        raise ValueError(f"{name} predicts from class evidence already; there is nothing to convert")
    copied = own_copy(model)
    parts = split_classifier(copied, image_size)
    reason = parts.not_linear or parts.fixed_last
    if reason:
        raise ValueError(
            f"{name} cannot be converted exactly: {reason}, but its head must be global average pooling and "
            "one linear layer; build SoftCAM.from_classifier(model, num_classes) and train it instead"
        )
    parts.require_grid(smallest_grid, name)
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn and replaced
        layer = _as_convolution(parts.classifying)
        head = EvidenceHead(layer.in_channels, layer.out_channels, dropout=dropout_of(parts)).train(training)
    head.layers[-1] = layer
    features = parts.features if parts.any_grid else FixedGrid(parts.features, parts.shape[2:])
    converted = SoftCAM(features, head, layer.out_channels)
    converted.training, converted.kept, converted.in_channels = training, parts.kept, parts.in_channels
    _compare(converted, copied, parts, name)
    return converted


def _compare(converted: SoftCAM, model: nn.Module, parts: ClassifierParts, name: str) -> None:
    """Compares the logits with those of the model; both may be sums of far larger terms, which round."""
    with undisturbed(converted):
        terms = converted.forward_evidence(parts.trial.images).abs().mean().item()
        compare(converted, model, parts.trial, name, terms)


def _as_convolution(linear: nn.Linear | nn.Conv2d) -> nn.Conv2d:
    """Returns the 1×1 convolution that applies ``linear`` at every cell, with its parameters."""
    if isinstance(linear, nn.Conv2d):
        return linear
    convolution = nn.Conv2d(linear.in_features, linear.out_features, kernel_size=1, bias=linear.bias is not None)
    weight = linear.weight.detach()[:, :, None, None].clone()
    convolution.weight = nn.Parameter(weight, requires_grad=linear.weight.requires_grad)
    convolution.bias = linear.bias
    return convolution.train(linear.training)
