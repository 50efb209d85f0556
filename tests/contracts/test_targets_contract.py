"""Explained contrasts do not change when the same evidence is added to all classes, whatever the explainer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import Classifier
from bench.evaluation.predictor import explained_as
from bench.registry import EXPLAINERS
from tests.contracts.test_explainers_contract import CASES, batch_of
from tests.support.tiny import tiny_classifiers


class Added(nn.Module):
    """A head that gives every class the same further evidence: a weighted sum of the features and a constant."""

    def __init__(self, head: nn.Module, weights: Tensor, constant: float) -> None:
        super().__init__()
        self.head, self.weights, self.constant = head, nn.Parameter(weights), constant

    def further(self, features: Tensor) -> Tensor:
        """(N,1,h,w)"""
        return (features * self.weights[:, None, None]).sum(dim=1, keepdim=True) + self.constant

    def evidence(self, features: Tensor) -> Tensor:
        evidence: Tensor = self.head.evidence(features)
        return evidence + self.further(features)

    def forward(self, features: Tensor) -> Tensor:
        further = self.further(features).mean(dim=(2, 3))
        logits: Tensor = self.head(features)
        return logits + further


def with_added(kind: str) -> tuple[Classifier, Classifier]:
    """A classifier, and one with the same predictions."""
    plain, other = tiny_classifiers()[kind], tiny_classifiers()[kind]
    channels = plain.forward_features(batch_of().images).shape[1]
    weights = torch.randn(channels, generator=torch.Generator().manual_seed(7))
    other._modules["head"] = Added(other.head, weights, constant=1.0).eval()
    return plain, other


@pytest.mark.parametrize("kind", ["black box", "softcam", "bcos"])
def test_evidence_for_all_classes_changes_logits_but_no_prediction(kind: str) -> None:
    plain, other = with_added(kind)
    before, after = plain(batch_of().images), other(batch_of().images)
    assert (before - after).abs().min() > 1e-3
    torch.testing.assert_close(before.softmax(dim=1), after.softmax(dim=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_maps_of_contrasts_do_not_change(name: str, kind: str) -> None:
    kind = name if name == "bcos" else kind if kind in ("softcam", "transformer") else "black box"
    batch, explainer = batch_of(), EXPLAINERS[name]()
    plain, other = (explained_as("contrast", one) for one in with_added(kind))
    before, after = (explainer.explain_batch(one, batch).double() for one in (plain, other))
    scale = before.abs().max().item()
    assert (before - after).abs().max().item() < 1e-4 * max(scale, 1)


@pytest.mark.parametrize("name", ["softcam", "hirescam"])
def test_maps_of_logits_do(name: str) -> None:
    batch, explainer = batch_of(), EXPLAINERS[name]()
    plain, other = with_added("softcam")
    before, after = (explainer.explain_batch(one, batch).double() for one in (plain, other))
    assert (before - after).abs().max().item() > 1e-2 * before.abs().max().item()
