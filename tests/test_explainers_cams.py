"""CAMs against closed forms, literal float64 oracles and pytorch-grad-cam itself."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

import baselines
from baselines.cams import features_and_gradients
from baselines.scorecam import ScoreCAM
from bench.contracts import Classifier
from bench.registry import EXPLAINERS, HEADS
from tests.oracles import cams as oracles
from tests.tiny import small_vgg, tiny_classifiers

assert baselines
LIBRARY = {
    "gradcam": pytorch_grad_cam.GradCAM,
    "gradcam++": pytorch_grad_cam.GradCAMPlusPlus,
    "layercam": pytorch_grad_cam.LayerCAM,
    "scorecam": pytorch_grad_cam.ScoreCAM,
    "hirescam": pytorch_grad_cam.HiResCAM,
    "xgradcam": pytorch_grad_cam.XGradCAM,
    "eigencam": pytorch_grad_cam.EigenCAM,
}
TARGETS = torch.tensor([0, 2, 1])


def images() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(4))


def vgg_classifier() -> Classifier:
    """A head that is not linear in its features, so that no two methods coincide."""
    torch.manual_seed(2)
    return HEADS["blackbox"]().build(small_vgg().eval(), 3)


def classifier_of(kind: str) -> Classifier:
    return vgg_classifier() if kind == "vgg" else tiny_classifiers()[kind]


@pytest.mark.parametrize("kind", ["vgg", "black box", "softcam"])
@pytest.mark.parametrize("name", LIBRARY)
def test_equals_the_library_after_its_scaling(name: str, kind: str) -> None:
    classifier = classifier_of(kind)
    ours = EXPLAINERS[name]().explain(classifier, images(), TARGETS)
    targets = [ClassifierOutputTarget(int(target)) for target in TARGETS]
    with LIBRARY[name](classifier, [classifier.feature_layer]) as cam:
        theirs = cam(images(), targets)
    scaled = scale_cam_image(scale_cam_image(np.maximum(ours.numpy(), 0), (32, 32)))
    np.testing.assert_allclose(scaled, theirs, atol=1e-4)


def test_closed_forms_of_a_linear_head() -> None:
    """With F the features and w the weights of the target: CAM = Σ w·F, and every gradient is w/(h·w)."""
    classifier, x = tiny_classifiers()["black box"], images()
    with torch.no_grad():
        features, linear = classifier.forward_features(x), classifier.head[-1]
        cam = torch.einsum("nd,ndhw->nhw", linear.weight[TARGETS], features) / features[0, 0].numel()
        logits = classifier(x)[torch.arange(3), TARGETS]
    maps = {name: EXPLAINERS[name]().explain(classifier, x, TARGETS) for name in LIBRARY}
    torch.testing.assert_close(maps["gradcam"], cam.relu(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(maps["hirescam"], cam, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(maps["xgradcam"], cam, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(maps["hirescam"].sum(dim=(1, 2)), logits - linear.bias[TARGETS], rtol=1e-4, atol=1e-5)


def test_evidence_is_the_cam_plus_bias() -> None:
    classifiers, x = tiny_classifiers(), images()
    evidence = EXPLAINERS["softcam"]().explain(classifiers["softcam"], x, TARGETS)
    cam = EXPLAINERS["hirescam"]().explain(classifiers["black box"], x, TARGETS) * evidence[0].numel()
    bias = classifiers["black box"].head[-1].bias[TARGETS, None, None]
    torch.testing.assert_close(evidence, cam + bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["vgg", "softcam"])
@pytest.mark.parametrize(
    ("name", "oracle"),
    [("gradcam", oracles.grad_cam), ("gradcam++", oracles.grad_cam_plus_plus), ("layercam", oracles.layer_cam)],
)
def test_equals_the_oracle(name: str, oracle: oracles.GradientCAM, kind: str) -> None:
    classifier = classifier_of(kind)
    ours = EXPLAINERS[name]().explain(classifier, images(), TARGETS).numpy()
    features, gradients = features_and_gradients(classifier.double(), images().double(), TARGETS)
    for one, f, g in zip(ours, features.numpy(), gradients.numpy(), strict=True):
        expected = oracle(f, g)
        assert expected.max() > 0
        np.testing.assert_allclose(one, expected, rtol=1e-3, atol=1e-5 * expected.max())


@pytest.mark.parametrize("kind", ["vgg", "softcam"])
def test_scorecam_equals_the_oracle(kind: str) -> None:
    classifier, x = classifier_of(kind), images()
    ours = ScoreCAM().explain(classifier, x, TARGETS).numpy()
    double = classifier.double()
    with torch.no_grad():
        features = double.forward_features(x.double()).numpy()
        for index, target in enumerate(TARGETS.tolist()):

            def logit(image: np.ndarray, target: int = target) -> float:
                return double(torch.from_numpy(image)[None])[0, target].item()

            expected = oracles.score_cam(x[index].double().numpy(), features[index], logit)
            np.testing.assert_allclose(ours[index], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_scorecam_takes_one_pass_per_channel(batch_size: int) -> None:
    classifier, x = tiny_classifiers()["black box"], images()
    sizes: list[int] = []
    hook = classifier.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    maps = ScoreCAM(batch_size).explain(classifier, x, TARGETS)
    hook.remove()
    assert sum(sizes) == 3 * 6
    assert max(sizes) == min(batch_size, 6)
    torch.testing.assert_close(maps, ScoreCAM().explain(classifier, x, TARGETS))
