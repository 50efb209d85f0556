"""The shared pass: what it holds against the whole network differentiated, what it runs, and whom it charges."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import Batch, Classifier
from bench.evaluation.result import CostMeter
from bench.memory import PeakMemory
from bench.models import shared_features
from bench.models.shared_features import SharedFeatures
from bench.registry import EXPLAINERS, HEADS
from softcam import SoftCAM
from tests.support.tiny import small_vgg, tiny_classifiers, tiny_net

CAMS = ("gradcam", "gradcam++", "layercam", "hirescam", "xgradcam", "eigencam")
TARGETS = torch.tensor([0, 2, 1])


def batch_of(classifier: Classifier | None = None) -> Batch:
    """Three images, with a pass of their own where there is a classifier."""
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    shared = SharedFeatures(classifier, images) if classifier else None
    return Batch(images, TARGETS, None, (0, 0, 0), shared)


def classifier_of(kind: str) -> Classifier:
    torch.manual_seed(2)
    if kind == "vgg":
        return HEADS["blackbox"]().build(small_vgg().eval(), 3)
    return SoftCAM.from_classifier(tiny_net(), 3, kind) if kind in {"lse", "attention"} else tiny_classifiers()[kind]


@pytest.mark.parametrize("kind", ["vgg", "black box", "softcam", "lse", "attention"])
def test_gradients_are_those_of_the_whole_network(kind: str) -> None:
    classifier, batch = classifier_of(kind).double(), batch_of()
    shared = SharedFeatures(classifier, batch.images.double())
    seen: list[Tensor] = []
    hook = classifier.features.register_forward_hook(lambda module, inputs, output: seen.append(output))
    logits = classifier(batch.images.double())
    hook.remove()
    torch.testing.assert_close(shared.features, seen[0].detach())
    for targets in (TARGETS, *(torch.full((3,), one) for one in range(3))):
        score = sum(logits[image, target] for image, target in enumerate(targets.tolist()))
        (expected,) = torch.autograd.grad(score, seen[0], retain_graph=True)
        torch.testing.assert_close(shared.gradients(targets), expected)
    assert not shared.features.requires_grad


def test_evidence_is_the_classifier_s() -> None:
    softcam_, black_box = tiny_classifiers()["softcam"], tiny_classifiers()["black box"]
    batch = batch_of()
    with torch.no_grad():
        expected = softcam_.forward_evidence(batch.images)
    assert torch.equal(SharedFeatures(softcam_, batch.images).evidence, expected)
    with pytest.raises(TypeError, match="Classifier does not predict from class evidence"):
        _ = SharedFeatures(black_box, batch.images).evidence


def test_all_explainers_and_classes_cost_one_pass_together() -> None:
    classifier = tiny_classifiers()["softcam"]
    batch = batch_of(classifier)
    heads: list[int] = []
    hook = classifier.head.register_forward_hook(lambda module, inputs, output: heads.append(len(output)))
    meter = CostMeter(classifier, torch.device("cpu"))
    with meter:
        for name in (*CAMS, "softcam"):
            EXPLAINERS[name]().explain_classes(classifier, batch)
            EXPLAINERS[name]().explain_batch(classifier, batch)
    hook.remove()
    assert meter.cost.forwards == 3
    assert meter.cost.backwards == 0
    assert heads == [3]


def test_scorecam_pays_for_all_classes_once() -> None:
    classifier = tiny_classifiers()["black box"]
    batch, meter = batch_of(classifier), CostMeter(classifier, torch.device("cpu"))
    with meter:
        for targets in (TARGETS, TARGETS.flip(0)):
            EXPLAINERS["scorecam"]().explain_batch(classifier, replace(batch, targets=targets))
        EXPLAINERS["scorecam"](batch_size=2).explain_classes(classifier, batch)
    assert meter.cost.forwards == 3 + 3 * 6


def test_each_reader_is_charged_what_it_would_have_paid_alone() -> None:
    """What an explainer is seen to run and what it is charged add up to what it runs on a batch of its own."""
    classifier = tiny_classifiers()["black box"]
    batch = batch_of(classifier)
    assert batch.shared is not None
    for name in ("eigencam", "gradcam", "gradcam", "scorecam", "layercam", "scorecam", "eigencam"):
        alone, beside = CostMeter(classifier, torch.device("cpu")), CostMeter(classifier, torch.device("cpu"))
        with alone:
            EXPLAINERS[name]().explain_batch(classifier, replace(batch, shared=None))
        batch.shared.charge_anew()
        assert (batch.shared.charged_forwards, batch.shared.charged_seconds) == (0, 0)
        with beside:
            EXPLAINERS[name]().explain_batch(classifier, batch)
        assert beside.cost.forwards + batch.shared.charged_forwards == alone.cost.forwards
        assert (batch.shared.charged_seconds > 0) == (batch.shared.charged_forwards > 0)


def test_seconds_are_charged_once_for_each_part() -> None:
    classifier = tiny_classifiers()["black box"]
    shared = SharedFeatures(classifier, batch_of().images)
    shared.gradients(TARGETS)
    assert shared.charged_seconds == 0
    shared.charge_anew()
    assert shared.features is shared.features
    features = shared.charged_seconds
    shared.gradients(TARGETS)
    everything = shared.charged_seconds
    assert 0 < features < everything
    shared.gradients(TARGETS)
    assert shared.charged_seconds == everything
    shared.gradients(TARGETS.flip(0))
    assert shared.charged_seconds == everything


def test_memory_is_that_of_the_greediest_part(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([128.0, 1.0])  # the real use depends on what other tests free meanwhile

    class Listed(PeakMemory):
        def __exit__(self, *exception: object) -> None:
            self.mebibytes = next(measured)

    monkeypatch.setattr(shared_features, "PeakMemory", Listed)
    shared = SharedFeatures(tiny_classifiers()["black box"], batch_of().images)
    shared.keep("large", lambda: torch.ones(1))
    assert shared.charged_memory_mib == 128
    shared.charge_anew()
    shared.keep("small", lambda: torch.ones(1))
    assert shared.charged_memory_mib == 1
    shared.keep("large", lambda: torch.ones(1))
    assert shared.charged_memory_mib == 128


@pytest.mark.parametrize("name", [*CAMS, "scorecam"])
def test_a_pass_of_another_model_or_of_other_images_is_not_read(name: str) -> None:
    classifier, other = classifier_of("black box"), classifier_of("black box")
    with torch.no_grad():
        other.features[0].weight.neg_()
    batch = batch_of(classifier)
    expected = EXPLAINERS[name]().explain(other, batch.images, TARGETS)
    assert torch.equal(EXPLAINERS[name]().explain_batch(other, batch), expected)
    flipped = batch.images.flip(0)
    expected = EXPLAINERS[name]().explain(classifier, flipped, TARGETS)
    assert torch.equal(EXPLAINERS[name]().explain_batch(classifier, replace(batch, images=flipped)), expected)


@pytest.mark.parametrize("name", [*CAMS, "scorecam", "softcam"])
def test_inference_mode_around_it_changes_nothing(name: str) -> None:
    classifier = tiny_classifiers()["softcam"]
    with torch.inference_mode():
        inside = EXPLAINERS[name]().explain_batch(classifier, batch_of(classifier))
    assert torch.equal(inside, EXPLAINERS[name]().explain_batch(classifier, batch_of()))


@pytest.mark.parametrize("name", [*CAMS, "scorecam", "softcam"])
def test_half_precision_gives_the_same_map_roughly(name: str) -> None:
    classifier, batch = tiny_classifiers()["softcam"], batch_of()
    expected = EXPLAINERS[name]().explain(classifier, batch.images, TARGETS)
    found = EXPLAINERS[name]().explain(classifier.bfloat16(), batch.images.bfloat16(), TARGETS).float()
    for one, other in zip(found, expected, strict=True):
        assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1] > 0.99


def test_a_head_that_works_in_place_leaves_the_features_alone() -> None:
    plain = tiny_classifiers()["black box"]
    head = nn.Sequential(nn.Hardtanh(0, 0.5, inplace=True), *plain.head)
    shared = SharedFeatures(Classifier(plain.features, head, 3).eval(), batch_of().images)
    before = shared.features.clone()
    gradients = shared.gradients(TARGETS)
    assert torch.equal(shared.features, before)
    inside = (before > 0) & (before < 0.5)
    assert inside.any()
    assert torch.equal(gradients != 0, inside)
