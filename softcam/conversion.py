"""Exact conversion of a trained classifier into a SoftCAM, without training."""

from __future__ import annotations

import copy

from torch import nn

from bench.contracts import EvidenceClassifier
from bench.models.feature_extraction import split_classifier
from softcam.evidence import EvidenceHead, SoftCAM, dropout_of


def convert(model: nn.Module) -> SoftCAM:
    """The same function with its class evidence exposed: averaging and a linear layer commute.

    Everything is copied, so training the result leaves ``model`` as it is; each module keeps its train or eval mode,
    device, type and ``requires_grad``. Dropout before the linear layer becomes channel dropout: the same distribution
    in training, the identity in eval mode. Functional dropout in the model's own ``forward`` is dropped.

    Args:
        model: images (N,3,H,W) -> logits (N,C), with a head that is global average pooling and one linear layer.

    Returns:
        A ``SoftCAM`` with the logits of ``model`` (up to rounding), which are the spatial means of its evidence.

    Raises:
        ValueError: the head is anything else, with what it is and what to do instead.

    Source: arXiv:2505.17748 (class evidence layer), arXiv:2603.26885 (TTE-CAM).
    """
    name = type(model).__name__
    if isinstance(model, EvidenceClassifier):
        raise ValueError(f"{name} predicts from class evidence already; there is nothing to convert")
    anatomy = split_classifier(copy.deepcopy(model))
    if anatomy.not_linear:
        raise ValueError(
            f"{name} cannot be converted exactly: {anatomy.not_linear}, where global average pooling and one linear "
            "layer are needed; build SoftCAM.from_classifier(model, num_classes) and train it instead"
        )
    layer = _as_convolution(anatomy.classifying)
    head = EvidenceHead(layer.in_channels, layer.out_channels, dropout=dropout_of(anatomy)).train(model.training)
    head.layers[-1] = layer
    converted = SoftCAM(anatomy.features, head, layer.out_channels)
    converted.training = model.training
    return converted


def _as_convolution(linear: nn.Linear | nn.Conv2d) -> nn.Conv2d:
    """The 1×1 convolution that applies ``linear`` at every cell; it takes over its parameters."""
    if isinstance(linear, nn.Conv2d):
        return linear
    convolution = nn.Conv2d(linear.in_features, linear.out_features, kernel_size=1, bias=linear.bias is not None)
    weight = linear.weight.detach()[:, :, None, None].clone()
    convolution.weight = nn.Parameter(weight, requires_grad=linear.weight.requires_grad)
    convolution.bias = linear.bias
    return convolution.train(linear.training)
