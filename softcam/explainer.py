"""The explanation that a SoftCAM carries within itself."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contracts import Classifier, EvidenceClassifier
from bench.models.shared_features import FeatureExplainer, SharedFeatures
from bench.registry import register_explainer


@register_explainer
class ClassEvidence(FeatureExplainer):
    """The evidence for the target class: its spatial pooling *is* the logit (arXiv:2505.17748)."""

    name, family, signed, paper = "softcam", "inherent", True, "arXiv:2505.17748"

    def applies_to(self, classifier: Classifier) -> str:
        """Empty for a classifier that predicts from class evidence, else the reason."""
        if isinstance(classifier, EvidenceClassifier):
            return ""
        return "the classifier does not predict from class evidence (see softcam.convert and SoftCAM.from_classifier)"

    def maps(self, shared: SharedFeatures, targets: Tensor) -> Tensor:
        """Pass of N images, targets (N,) -> signed evidence (N,h,w)."""
        return shared.evidence[torch.arange(len(targets), device=targets.device), targets]
