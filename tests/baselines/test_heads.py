"""The registered heads: twins that differ in nothing but head and penalty."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

import softcam
from bench.contracts import Classifier, EvidenceClassifier
from bench.registry import HEADS
from tests.support.tiny import tiny_net

SOFTCAM_HEADS = {
    "softcam-dense": softcam.ElasticNet(),
    "softcam-sparse": softcam.ElasticNet(l1=5e-5),
    "softcam-ridge": softcam.ElasticNet(l2=7e-5),
    "softcam-elastic": softcam.ElasticNet(5e-5, 7e-5),
}


@pytest.mark.parametrize("name", SOFTCAM_HEADS)
def test_softcam_heads(name: str) -> None:
    head = HEADS[name]()
    classifier = head.build(tiny_net(), 4)
    assert isinstance(classifier, EvidenceClassifier)
    assert head.family == "inherent"
    logits, evidence = classifier.forward_training(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 4)
    assert head.penalty(evidence) == SOFTCAM_HEADS[name](evidence)
    with pytest.raises(ValueError, match=name):
        head.penalty(None)


def test_parameters_reach_the_penalty() -> None:
    evidence = torch.randn(2, 3, 4, 4)
    for name, parameters in (
        ("softcam-sparse", {"l1": 0.1}),
        ("softcam-ridge", {"l2": 0.2, "ridge": "squared"}),
        ("softcam-elastic", {"l1": 0.1, "l2": 0.2, "ridge": "squared"}),
    ):
        assert HEADS[name](**parameters).penalty(evidence) == softcam.ElasticNet(**parameters)(evidence)


def test_black_box_replaces_only_the_last_layer() -> None:
    model = torchvision.models.mobilenet_v3_small(weights=None).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    classifier = HEADS["blackbox"]().build(model, 2)
    images = torch.randn(2, 3, 64, 64)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert HEADS["blackbox"]().penalty(None) == 0
    fresh = [part for part in classifier.modules() if isinstance(part, nn.Linear)][-1]
    assert (fresh.in_features, fresh.out_features) == (1024, 2)
    model.classifier[-1] = fresh
    assert torch.equal(classifier(images), model(images))


def test_twins_start_from_the_same_function() -> None:
    """One seed draws the same numbers for a linear layer and for a 1×1 convolution: training starts level."""
    images = torch.randn(2, 3, 32, 32)
    twins: list[Classifier] = []
    for name in ("blackbox", "softcam-dense"):
        torch.manual_seed(7)
        twins.append(HEADS[name]().build(tiny_net(), 2))
    torch.testing.assert_close(twins[0](images), twins[1](images))


def test_weights_survive_their_state_dict() -> None:
    for name in ("blackbox", "softcam-elastic"):
        one, other = HEADS[name]().build(tiny_net(), 2), HEADS[name]().build(tiny_net(), 2)
        other.load_state_dict(one.state_dict())
        images = torch.randn(1, 3, 32, 32)
        assert torch.equal(one(images), other(images))
