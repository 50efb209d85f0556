"""The classifier as it is, against which the inherently interpretable one is measured."""

from __future__ import annotations

import copy

from torch import nn

from bench.anatomy import dissect
from bench.contracts import Classifier, Head
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
        anatomy = dissect(copy.deepcopy(model))
        old = anatomy.classifying
        fresh = nn.Linear(
            old.in_features, num_classes, old.bias is not None, device=old.weight.device, dtype=old.weight.dtype
        )
        place = next(name for name, part in anatomy.head.named_modules() if part is old)
        anatomy.head.set_submodule(place, fresh)
        return Classifier(anatomy.features, anatomy.head, num_classes).train(model.training)
