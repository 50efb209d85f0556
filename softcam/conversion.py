"""Exact conversion of a trained classifier into a SoftCAM.

It needs no training because averaging over space and a linear layer commute.
"""

from __future__ import annotations

import copy

from torch import nn

from bench.contracts import EvidenceClassifier
from bench.models.feature_extraction import split_classifier
from softcam.evidence import EvidenceHead, SoftCAM, dropout_of


def convert(model: nn.Module) -> SoftCAM:
    """Converts a classifier into a ``SoftCAM`` that computes the same function and exposes its class evidence.

    Everything is copied, so training the result does not change ``model``; each module keeps its train or eval mode,
    device, type and ``requires_grad``. Dropout before the linear layer becomes channel dropout, which has the same
    distribution in training and is the identity in eval mode. Functional dropout in the model's own ``forward`` is
    removed.

    Args:
        model: images (N,3,H,W) -> logits (N,C), with a head that is global average pooling and one linear layer.

    Returns:
        A ``SoftCAM`` with the logits of ``model`` (up to rounding), which are the spatial means of its evidence.

    Raises:
        ValueError: the head is a different one; the message names it and an alternative.

    Source: arXiv:2505.17748 (class evidence layer), arXiv:2603.26885 (TTE-CAM).

    Example:
        >>> import torch
        >>> from torchvision.models import resnet18
        >>> model, images = resnet18(num_classes=2).eval(), torch.ones(1, 3, 64, 64)
        >>> evidence = convert(model).forward_evidence(images)
        >>> evidence.shape, torch.allclose(evidence.mean(dim=(2, 3)), model(images), atol=1e-4)
        (torch.Size([1, 2, 2, 2]), True)
    """
    name = type(model).__name__
    if isinstance(model, EvidenceClassifier):
        raise ValueError(f"{name} predicts from class evidence already; there is nothing to convert")
    parts = split_classifier(copy.deepcopy(model))
    if parts.not_linear:
        raise ValueError(
            f"{name} cannot be converted exactly: {parts.not_linear}, but its head must be global average pooling and "
            "one linear layer; build SoftCAM.from_classifier(model, num_classes) and train it instead"
        )
    layer = _as_convolution(parts.classifying)
    head = EvidenceHead(layer.in_channels, layer.out_channels, dropout=dropout_of(parts)).train(model.training)
    head.layers[-1] = layer
    converted = SoftCAM(parts.features, head, layer.out_channels)
    converted.training = model.training
    return converted


def _as_convolution(linear: nn.Linear | nn.Conv2d) -> nn.Conv2d:
    """Returns the 1×1 convolution that applies ``linear`` at every cell, with its parameters."""
    if isinstance(linear, nn.Conv2d):
        return linear
    convolution = nn.Conv2d(linear.in_features, linear.out_features, kernel_size=1, bias=linear.bias is not None)
    weight = linear.weight.detach()[:, :, None, None].clone()
    convolution.weight = nn.Parameter(weight, requires_grad=linear.weight.requires_grad)
    convolution.bias = linear.bias
    return convolution.train(linear.training)
