"""CAMs against closed forms, literal float64 oracles and pytorch-grad-cam itself."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from baselines.scorecam import ScoreCAM
from bench.contracts import Batch, Classifier, UserError
from bench.models.shared_features import SharedFeatures
from bench.registry import EXPLAINERS, HEADS
from softcam import SoftCAM
from tests.oracles import cams as oracles
from tests.support.tiny import small_convnext, small_vgg, tiny_classifiers, tiny_net

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
KINDS = ("vgg", "black box", "softcam", "softcam-lse", "convnext")


def images() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(4))


def vgg_classifier() -> Classifier:
    """A head that is not linear in its features, so that no two methods coincide."""
    torch.manual_seed(2)
    return HEADS["blackbox"]().build(small_vgg().eval(), 3)


def classifier_of(kind: str) -> Classifier:
    """Heads that are linear in the mean feature, ones that are not, and features of both signs (ConvNeXt's)."""
    if kind in {"black box", "softcam"}:
        return tiny_classifiers()[kind]
    if kind == "vgg":
        return vgg_classifier()
    torch.manual_seed(2)
    if kind == "convnext":
        return HEADS["blackbox"]().build(small_convnext().eval(), 3)
    return SoftCAM.from_classifier(tiny_net(), 3, pooling="lse")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in LIBRARY if name != "scorecam"])
def test_equals_the_library_before_its_scaling(name: str, kind: str) -> None:
    """Of the features and gradients that the library sees, which differentiates the whole network."""
    classifier = classifier_of(kind)
    ours = EXPLAINERS[name]().explain(classifier, images(), TARGETS)
    with pytorch_grad_cam.GradCAM(classifier, [classifier.feature_layer]) as hooked:
        hooked(images(), [ClassifierOutputTarget(int(target)) for target in TARGETS])
        seen = hooked.activations_and_grads
        arrays = (seen.activations[0].numpy(), seen.gradients[0].numpy())
    expected = LIBRARY[name](classifier, []).get_cam_image(images(), None, None, *arrays, False)
    if not EXPLAINERS[name].signed:
        expected = np.maximum(expected, 0)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
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
    double = SharedFeatures(classifier.double(), images().double())
    for one, f, g in zip(ours, double.features.numpy(), double.gradients(TARGETS).numpy(), strict=True):
        expected = oracle(f, g)
        assert expected.max() > 0
        np.testing.assert_allclose(one, expected, rtol=1e-3, atol=1e-5 * expected.max())


@pytest.mark.parametrize("kind", ["vgg", "black box", "softcam"])
def test_gradcam_plus_plus_is_the_paper_s_up_to_a_factor_where_gradients_are_large(kind: str) -> None:
    classifier = classifier_of(kind)
    with torch.no_grad():
        for weight in list(classifier.parameters())[-2:]:
            weight *= 3000
    ours = EXPLAINERS["gradcam++"]().explain(classifier, images(), TARGETS).numpy()
    double = SharedFeatures(classifier.double(), images().double())
    scores = classifier(images().double()).gather(1, TARGETS[:, None])[:, 0].tolist()
    arrays = (double.features.numpy(), double.gradients(TARGETS).numpy())
    for one, f, g, score in zip(ours, *arrays, scores, strict=True):
        expected = oracles.grad_cam_plus_plus_of_the_paper(f, g, score / 3000)
        np.testing.assert_allclose(one / one.max(), expected / expected.max(), rtol=0, atol=1e-4)


def with_constant_channels() -> Classifier:
    """Of its 6 channels 1 and 4 are dead in every image, 2 is constant above 0."""
    classifier = tiny_classifiers()["black box"]
    with torch.no_grad():
        last = classifier.features[3]
        last.bias[[1, 4]] = -100
        last.weight[2], last.bias[2] = 0, 0.7
    return classifier


@pytest.mark.parametrize("kind", ["vgg", "softcam", "constant channels"])
def test_scorecam_equals_the_oracle(kind: str) -> None:
    classifier, x = with_constant_channels() if kind == "constant channels" else classifier_of(kind), images()
    batch = Batch(x, TARGETS, None, (0, 0, 0))
    ours = ScoreCAM(batch_size=4).explain_classes(classifier, batch).numpy()
    double = classifier.double()
    with torch.no_grad():
        features = double.forward_features(x.double()).numpy()
        for index, target in product(range(3), range(3)):

            def logit(image: np.ndarray, target: int = target) -> float:
                return double(torch.from_numpy(image)[None])[0, target].item()

            expected = oracles.score_cam(x[index].double().numpy(), features[index], logit)
            np.testing.assert_allclose(ours[index, target], expected, rtol=1e-4, atol=1e-6)


def test_scorecam_in_bf16_is_about_the_same_map() -> None:
    classifier = tiny_classifiers()["black box"]
    full, half = (ScoreCAM(precision=one).explain(classifier, images(), TARGETS) for one in ("float32", "bf16"))
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.01 * full.max().item())
    with pytest.raises(UserError, match="float32 or bf16, not 'fp8'"):
        ScoreCAM(precision="fp8")


@pytest.mark.parametrize(("classifier", "passes"), [("black box", 3 * 6), ("constant channels", 3 * 3 + 1)])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_scorecam_takes_one_pass_per_live_channel_in_full_batches(
    batch_size: int, classifier: str, passes: int
) -> None:
    explained = tiny_classifiers()["black box"] if classifier == "black box" else with_constant_channels()
    sizes: list[int] = []
    hook = explained.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    maps = ScoreCAM(batch_size).explain_classes(explained, Batch(images(), TARGETS, None, (0, 0, 0)))
    hook.remove()
    assert sum(sizes) == passes
    assert all(size == batch_size for size in sizes[:-1])
    assert max(sizes) <= batch_size
    torch.testing.assert_close(maps[torch.arange(3), TARGETS], ScoreCAM().explain(explained, images(), TARGETS))
