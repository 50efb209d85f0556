"""Explainer that returns the class evidence of a SoftCAM.

It gives the explanation that a SoftCAM computes anyway the interface of a post-hoc method.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contracts import Classifier, EvidenceClassifier
from bench.models.shared_features import FeatureExplainer, SharedFeatures
from bench.registry import register_explainer


@register_explainer
class ClassEvidence(FeatureExplainer):
    """Evidence for the target class, whose spatial pooling *is* the logit.

    Source: arXiv:2505.17748.
    """

    name, family, signed, paper = "softcam", "inherent", True, "arXiv:2505.17748"
    networks = "class evidence"

    def applies_to(self, classifier: Classifier) -> str:
        """Returns "" for a classifier that predicts from class evidence, otherwise the reason."""
        if isinstance(classifier, EvidenceClassifier):
            return ""
        return "the classifier does not predict from class evidence (see softcam.convert and SoftCAM.from_classifier)"

    def maps(self, shared: SharedFeatures, targets: Tensor) -> Tensor:
        """Returns the signed evidence (N,h,w) for targets (N,), in logits."""
        return shared.evidence[torch.arange(len(targets), device=targets.device), targets]
