"""Explained quantity: contrasts against a loop, and a classifier whose logits, gradients and evidence they are."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import softcam
from baselines.cams import GradCAMMap, HiResCAMMap
from bench.configs.sections import ExplainSection
from bench.contracts import Batch, Classifier, EvidenceClassifier
from bench.evaluation.batch import EvaluationBatch
from bench.evaluation.context import EvaluationContext
from bench.evaluation.predictor import contrasts, explained_as
from bench.evaluation.requests import resolve_metrics
from bench.evaluation.scoring import score
from bench.models.shared_features import SharedFeatures
from bench.studies.cascade import cascade
from softcam.explainer import ClassEvidence
from tests.oracles.contrast import contrast
from tests.support.scenes import SIDE, subject_of
from tests.support.tiny import tiny_classifiers, tiny_net


def images_of(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("shape", [(3, 2), (2, 5), (2, 2, 3, 4), (2, 4, 3, 3)])
def test_contrasts_agree_with_a_loop(shape: tuple[int, ...]) -> None:
    logits = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = contrasts(logits)
    for image in range(shape[0]):
        for target in range(shape[1]):
            expected = torch.as_tensor(contrast(list(logits[image].numpy()), target))
            torch.testing.assert_close(found[image, target], expected, rtol=1e-12, atol=1e-12)


def test_a_single_class_has_no_contrast() -> None:
    logits = torch.tensor([[2.0], [-1.0]])
    assert torch.equal(contrasts(logits), logits)


@pytest.mark.parametrize("kind", ["black box", "softcam", "bcos"])
def test_logits_of_the_explained_model_are_contrasts(kind: str) -> None:
    plain, images = tiny_classifiers()[kind], images_of()
    assert explained_as("logit", plain) is plain
    explained = explained_as("contrast", plain)
    assert isinstance(explained, type(plain))
    assert isinstance(explained, EvidenceClassifier) >= isinstance(plain, EvidenceClassifier)
    features = plain.forward_features(images)
    for index, logits in enumerate(plain(images).detach()):
        expected = torch.stack([torch.as_tensor(contrast(list(logits.numpy()), target)) for target in range(3)])
        for found in (explained(images)[index], explained.forward_head(features)[index]):
            torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(plain(images), tiny_classifiers()[kind](images))


def test_a_black_box_does_not_become_a_classifier_with_evidence() -> None:
    explained = explained_as("contrast", tiny_classifiers()["black box"])
    assert ClassEvidence().applies_to(explained)
    assert not ClassEvidence().applies_to(explained_as("contrast", tiny_classifiers()["softcam"]))


def test_evidence_and_gradients_are_contrasts_of_those_of_the_classes() -> None:
    plain, images = tiny_classifiers()["softcam"], images_of()
    assert isinstance(plain, EvidenceClassifier)
    shared = SharedFeatures(explained_as("contrast", plain), images)
    of_class = [SharedFeatures(plain, images).gradients(torch.full((4,), one)) for one in range(3)]
    for image in range(4):
        for target in range(3):
            evidence = contrast(list(plain.forward_evidence(images)[image].detach().numpy()), target)
            gradient = contrast([one[image].numpy() for one in of_class], target)
            found = shared.evidence[image, target], shared.gradients(torch.full((4,), target))[image]
            for one, expected in zip(found, (evidence, gradient), strict=True):
                torch.testing.assert_close(one.double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_shared_features_serve_explainers_of_the_explained_model() -> None:
    explained = explained_as("contrast", tiny_classifiers()["softcam"])
    images = images_of()
    batch = Batch(images, torch.tensor([0, 1, 2, 0]), None, (0, 1, 2, 3), SharedFeatures(explained, images))
    assert SharedFeatures.of(explained, batch) is batch.shared
    for explainer in (ClassEvidence(), GradCAMMap(), HiResCAMMap()):
        alone = explainer.explain(explained, images, batch.targets)
        torch.testing.assert_close(explainer.explain_batch(explained, batch), alone)


def test_hooks_on_the_explained_model_do_not_reach_the_classifier() -> None:
    plain = tiny_classifiers()["black box"]
    explained, calls = explained_as("contrast", plain), []
    handle = explained.register_forward_hook(lambda *call: calls.append(call))
    explained(images_of(1))
    assert len(calls) == 1
    assert not plain._forward_hooks
    handle.remove()


def test_a_deep_copy_with_random_weights_explains_its_own_weights() -> None:
    plain, images = tiny_classifiers()["softcam"], images_of()
    explained = explained_as("contrast", plain)
    before = explained(images).detach()
    stages = [(name, copy.deepcopy(fresh)) for name, fresh in cascade(explained, images, 2, "test")]
    for _, fresh in stages:
        again = Classifier(fresh.features, fresh.head, 3).eval()
        torch.testing.assert_close(fresh(images), contrasts(again(images)))
        assert not torch.allclose(fresh(images), before, atol=1e-3)
    assert torch.equal(explained(images), before)


def converted(bias: Tensor) -> tuple[Classifier, Classifier, int]:
    """A GAP + linear black box and its exact conversion, with this bias, as they are explained by contrast."""
    net = tiny_net()
    with torch.no_grad():
        net.fc.bias.copy_(bias)
    features = nn.Sequential(net.conv1, net.norm, net.relu, net.conv2, net.relu)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.fc)
    box, tte = Classifier(features, head, 3).eval(), softcam.convert(net)
    return explained_as("contrast", box), explained_as("contrast", tte), 7 * 7


@pytest.mark.parametrize("bias", [[0.7, 0.7, 0.7], [0.5, -1.0, 0.2]])
def test_converted_evidence_is_hirescam_up_to_the_contrast_of_the_biases(bias: list[float]) -> None:
    box, tte, cells = converted(torch.tensor(bias))
    images, targets = images_of(), torch.tensor([0, 1, 2, 0])
    evidence = ClassEvidence().explain(tte, images, targets)
    hirescam = HiResCAMMap().explain(box, images, targets) * cells
    apart = torch.tensor([float(contrast(bias, int(target))) for target in targets])
    torch.testing.assert_close(evidence, hirescam + apart[:, None, None], rtol=1e-4, atol=1e-5)
    if len(set(bias)) == 1:  # the only case in which the two maps are the same
        torch.testing.assert_close(evidence, hirescam, rtol=1e-4, atol=1e-5)


def context_of(target: str) -> EvaluationContext:
    """A converted classifier of scenes, explained by this target."""
    context = subject_of(torch.ones(SIDE, SIDE), 6).context
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    classifier = softcam.convert(net.eval())
    images = context.split.batch(context.explained.indices) / 255
    section = ExplainSection.model_validate({"batch_size": 3, "steps": 4, "target": target})
    return replace(context, classifier=classifier, section=section, logits=classifier(images).detach().numpy())


@pytest.mark.parametrize("target", ["logit", "contrast"])
def test_evidence_remains_exact(target: str) -> None:
    rows = score(context_of(target), "softcam", ClassEvidence(), resolve_metrics(["evidence_gap"])).rows
    gaps = rows.loc[rows["metric"] == "evidence_gap", "value"]
    assert len(gaps) == 6
    assert gaps.max() < 1e-4


def test_curves_keep_the_probability_of_the_target_and_maps_are_contrasts() -> None:
    contexts = {target: context_of(target) for target in ("logit", "contrast")}
    probabilities = {}
    for target, context in contexts.items():
        rows = score(context, "softcam", ClassEvidence(), resolve_metrics(["audc"])).rows
        curve = rows[(rows["metric"] == "deletion_curve") & (rows["step"] == 0)]
        probabilities[target] = curve.set_index("image")["value"]
        expected = torch.from_numpy(context.logits).softmax(dim=1)[:, 1].numpy()
        assert curve["value"].to_numpy() == pytest.approx(expected, abs=1e-5)
    assert probabilities["logit"].to_numpy() == pytest.approx(probabilities["contrast"].to_numpy(), abs=1e-6)
    maps = {}
    for target, context in contexts.items():
        batch = EvaluationBatch(context, context.explained.indices.argsort())
        maps[target] = torch.stack([batch.maps("softcam", ClassEvidence())])
    batch = EvaluationBatch(contexts["logit"], contexts["logit"].explained.indices.argsort())
    both = contexts["logit"].classifier.forward_evidence(batch.images)
    assert not torch.allclose(maps["logit"], maps["contrast"])
    torch.testing.assert_close(maps["contrast"][0], both[:, 1] - both[:, 0])
