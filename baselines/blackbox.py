"""The classifier as it is, against which the inherently interpretable one is measured."""

from __future__ import annotations

import copy

from torch import nn

from bench.contracts import Classifier, Head
from bench.models.feature_extraction import split_classifier
from bench.registry import register_head


@register_head
class BlackBox(Head):
    """The backbone's own head with a fresh last linear layer; the rest of the head keeps its weights."""

    name, family, paper = "blackbox", "black box", ""

    def build(self, model: nn.Module, num_classes: int) -> Classifier:
        """Plain image classifier -> ``Classifier`` of ``num_classes`` on a copy of it; ``model`` stays as it is.

        Raises:
            ValueError: the model cannot be cut into features (N,D,h,w) and a head.
        """
        anatomy = split_classifier(copy.deepcopy(model))
        old = anatomy.classifying
        place = next(name for name, part in anatomy.head.named_modules() if part is old)
        anatomy.head.set_submodule(place, _fresh(old, num_classes))
        return anatomy.classifier(num_classes).train(model.training)


def _fresh(old: nn.Linear | nn.Conv2d, num_classes: int) -> nn.Linear | nn.Conv2d:
    """A freshly initialised layer like ``old`` with ``num_classes`` outputs."""
    weight, bias = old.weight, old.bias is not None
    if isinstance(old, nn.Conv2d):
        return nn.Conv2d(old.in_channels, num_classes, 1, bias=bias, device=weight.device, dtype=weight.dtype)
    return nn.Linear(old.in_features, num_classes, bias, device=weight.device, dtype=weight.dtype)
