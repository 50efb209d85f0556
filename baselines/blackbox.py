"""Head that keeps a classifier a black box.

The price of an inherently interpretable classifier is measured against it.
"""

from __future__ import annotations

from torch import nn

from bench.contracts import Classifier, Head
from bench.models.cutting.trial import own_copy
from bench.models.feature_extraction import split_classifier
from bench.registry import register_head


@register_head
class BlackBox(Head):
    """The backbone's own head with a fresh last linear layer; its other layers keep their weights."""

    name, family, paper = "blackbox", "black box", ""

    def build(self, model: nn.Module, num_classes: int) -> Classifier:
        """Builds a ``Classifier`` of ``num_classes`` on a copy of a plain image classifier, which is not changed.

        Raises:
            ValueError: the model cannot be cut into features (N,D,h,w) and a head, or its last layer is not a plain
                linear layer whose output is the logits.
        """
        parts = split_classifier(own_copy(model))
        if parts.fixed_last:
            raise ValueError(f"the last layer of {type(model).__name__} cannot be replaced: {parts.fixed_last}")
        old = parts.classifying
        place = next(name for name, part in parts.head.named_modules() if part is old)
        parts.head.set_submodule(place, _fresh(old, num_classes))
        return parts.classifier(num_classes).train(model.training)


def _fresh(old: nn.Linear | nn.Conv2d, num_classes: int) -> nn.Linear | nn.Conv2d:
    """Returns a freshly initialised layer like ``old`` with ``num_classes`` outputs."""
    weight, bias = old.weight, old.bias is not None
    if isinstance(old, nn.Conv2d):
        return nn.Conv2d(old.in_channels, num_classes, 1, bias=bias, device=weight.device, dtype=weight.dtype)
    return nn.Linear(old.in_features, num_classes, bias, device=weight.device, dtype=weight.dtype)
