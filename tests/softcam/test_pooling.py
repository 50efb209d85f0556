"""Spatial poolings against literal loops, and what of "the map is the prediction" each of them leaves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import softcam
from bench.evaluation.metric_inputs import MetricInputs
from bench.metrics import Occluder, evidence_gap
from bench.registry import EXPLAINERS, HEADS
from softcam.pooling import POOLINGS, SpatialAttention, average, log_mean_exp, maximum, top_mean
from tests.support.tiny import tiny_net

EXACT = {"avg", "attention"}


def loop(evidence: Tensor, name: str) -> Tensor:
    """One image and class at a time, in float64."""
    pooled = torch.empty(evidence.shape[:2], dtype=torch.float64)
    for image in range(evidence.shape[0]):
        for c in range(evidence.shape[1]):
            cells = sorted((float(value) for value in evidence[image, c].flatten()), reverse=True)
            best = cells[: max(1, round(0.1 * len(cells)))]
            pooled[image, c] = {
                "avg": math.fsum(cells) / len(cells),
                "max": cells[0],
                "lse": math.log(math.fsum(math.exp(5 * cell) for cell in cells) / len(cells)) / 5,
                "topk": math.fsum(best) / len(best),
                "attention": math.fsum(cells) / len(cells),
            }[name]
    return pooled


@pytest.mark.parametrize("name", POOLINGS)
def test_pooling_is_its_closed_form(name: str) -> None:
    for side in (1, 2, 5):
        evidence = torch.randn(2, 3, side, side + 1, dtype=torch.float64)
        torch.testing.assert_close(POOLINGS[name](evidence), loop(evidence, name))


@pytest.mark.parametrize("name", POOLINGS)
def test_gradients(name: str) -> None:
    evidence = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(POOLINGS[name], evidence)
    (gradient,) = torch.autograd.grad(POOLINGS[name](evidence).sum(), evidence)
    torch.testing.assert_close(gradient.sum(dim=(2, 3)), torch.ones(2, 2, dtype=torch.float64))  # shifts pass through
    flat = torch.zeros(1, 1, 3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(POOLINGS[name](flat).sum(), flat)
    assert gradient.isfinite().all()


def test_limits() -> None:
    evidence = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(log_mean_exp(evidence, 1e-6), average(evidence), rtol=0, atol=1e-5)
    torch.testing.assert_close(log_mean_exp(evidence, 1e6), maximum(evidence), rtol=0, atol=1e-5)
    torch.testing.assert_close(top_mean(evidence, 1.0), average(evidence))
    torch.testing.assert_close(top_mean(evidence, 0.0), maximum(evidence))


@pytest.mark.parametrize("value", [1e3, -1e3, 1e37])
def test_log_mean_exp_is_stable(value: float) -> None:
    evidence = torch.full((1, 1, 4, 4), value, requires_grad=True)
    pooled = log_mean_exp(evidence)
    assert pooled.item() == pytest.approx(value, rel=1e-5)
    (gradient,) = torch.autograd.grad(pooled, evidence)
    torch.testing.assert_close(gradient, torch.full_like(gradient, 1 / 16))


def attend(head: softcam.EvidenceHead) -> None:
    """Give the attention of an untrained head something to say."""
    if head.attention is not None:
        torch.nn.init.normal_(head.attention.score.weight, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("hidden", [(), (7,)])
def test_attention_is_an_attention_weighted_sum(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    head = softcam.EvidenceHead(4, 2, hidden, pooling="attention").double().eval()
    attend(head)
    features = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    plain, score = head.layers(features).detach(), head.attention.score.weight[0, :, 0, 0].detach()
    for image in range(2):
        cells = [(row, column) for row in range(3) for column in range(5)]
        exponents = [math.exp(float(features[image, :, row, column] @ score)) for row, column in cells]
        for c in range(2):
            weighted = [weight * float(plain[image, c, *cell]) for weight, cell in zip(exponents, cells, strict=True)]
            assert head(features)[image, c].item() == pytest.approx(math.fsum(weighted) / math.fsum(exponents))
    weights = head.attention(features)
    assert weights.std() > 0.1
    torch.testing.assert_close(weights.mean(dim=(2, 3)), torch.ones(2, 1, dtype=torch.float64))


def test_attention_starts_as_the_average_and_learns() -> None:
    twins = []
    for pooling in ("avg", "attention"):
        torch.manual_seed(3)
        twins.append(softcam.SoftCAM.from_classifier(tiny_net(), 2, pooling).eval())
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(twins[0](images), twins[1](images))
    twins[1](images)[:, 0].sum().backward()
    attention = twins[1].head.attention
    assert isinstance(attention, SpatialAttention)
    assert attention.score.weight.grad.abs().max() > 0


def gap_of(classifier: softcam.SoftCAM, images: Tensor) -> Tensor:
    """The metric as the benchmark computes it: from the explainer's maps and the classifier's logits."""
    logits, targets = classifier(images).detach(), torch.tensor([0, 1, 1, 0])
    maps = EXPLAINERS["softcam"]().explain(classifier, images, targets)
    inputs = MetricInputs(maps, Occluder(classifier, images, 4), targets, logits, None, None, 2, True, True)
    return evidence_gap(logits, targets, inputs.get("pooled_map"))


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("head", ["softcam-dense", "softcam-sparse", "softcam-ridge", "softcam-elastic"])
def test_only_averages_leave_the_map_the_prediction(name: str, head: str) -> None:
    torch.manual_seed(0)
    classifier = HEADS[head](pooling=name).build(tiny_net(), 2).eval()
    assert isinstance(classifier, softcam.SoftCAM)
    attend(classifier.head)
    gap = gap_of(classifier, torch.randn(4, 3, 32, 32))
    assert gap.isfinite().all()
    assert gap.max() < 1e-4 if name in EXACT else gap.min() > 1e-3


@pytest.mark.parametrize("name", POOLINGS)
def test_every_pooling_trains(name: str) -> None:
    """A few steps on a bright against a dark cell: the loss falls, and every weight of the head takes part."""
    torch.manual_seed(0)
    head = softcam.EvidenceHead(3, 2, pooling=name)
    features, labels = torch.randn(16, 3, 4, 4), torch.arange(16) % 2
    features[labels == 1, :, 1, 2] += 8
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(features), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in head.parameters())
