"""The explanation that a SoftCAM carries within itself."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.anatomy import evaluating
from bench.contracts import Classifier, EvidenceClassifier, Explainer
from bench.registry import register_explainer


@register_explainer
class ClassEvidence(Explainer):
    """The evidence for the target class: its spatial pooling *is* the logit (arXiv:2505.17748)."""

    name, family, signed, paper = "softcam", "inherent", True, "arXiv:2505.17748"

    def applies_to(self, classifier: Classifier) -> str:
        """Empty for a classifier that predicts from class evidence, else the reason."""
        if isinstance(classifier, EvidenceClassifier):
            return ""
        return "the classifier does not predict from class evidence (see softcam.convert and SoftCAM.from_classifier)"

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Images (N,3,H,W), targets (N,) -> signed evidence (N,h,w)."""
        if not isinstance(classifier, EvidenceClassifier):
            raise TypeError(self.applies_to(classifier))
        with evaluating(classifier), torch.no_grad():
            evidence = classifier.forward_evidence(images)
        return evidence[torch.arange(len(images), device=targets.device), targets]
