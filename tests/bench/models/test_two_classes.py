"""One output behind a sigmoid: probabilities, maps and curves are those of the sigmoid."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import softcam
from bench import as_two_classes
from bench.contracts import Batch, Classifier, EvidenceClassifier
from bench.evaluation.predictor import explained_as, fold_for_inference
from bench.metrics import audc, deletion_curve, insertion_curve, occlusion_logits, patch_order, still_target
from bench.registry import EXPLAINERS, HEADS
from bench.statistics.classification import softmax
from tests.support.tiny import TinyNet, excite


def one_output() -> nn.Module:
    torch.manual_seed(0)
    model = TinyNet()
    model.fc = nn.Linear(6, 1)
    excite(model, torch.randn(8, 3, 32, 32))
    return model.eval()


def bright(images: Tensor) -> Tensor:
    return 10 * images.mean((1, 2, 3))[:, None]


class Bright(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return bright(images)


def classifiers() -> dict[str, Classifier]:
    net = one_output()
    return {
        "black box": HEADS["blackbox"]().build(net, 1).eval(),
        "converted": softcam.convert(net),
        "maximum": softcam.SoftCAM.from_classifier(net, 1, pooling="max").eval(),
        "attention": softcam.SoftCAM.from_classifier(net, 1, pooling="attention").eval(),
    }


@pytest.mark.parametrize("name", ["black box", "converted", "maximum", "attention"])
def test_softmax_is_the_sigmoid(name: str) -> None:
    plain = classifiers()[name]
    two, images = as_two_classes(plain), torch.randn(4, 3, 64, 64)
    assert isinstance(two, Classifier)
    assert two.num_classes == 2
    with torch.no_grad():
        logit, logits = plain(images), two(images)
        torch.testing.assert_close(logits.softmax(1), torch.cat([(-logit).sigmoid(), logit.sigmoid()], 1))
        torch.testing.assert_close(two.forward_head(two.forward_features(images)), logits)
        torch.testing.assert_close(two.head(two.features(images)), logits)
        torch.testing.assert_close(copy.deepcopy(two)(images), logits)
        torch.testing.assert_close(fold_for_inference(two, images[:1])(images), logits, rtol=1e-3, atol=1e-4)
        contrast = explained_as("contrast", two)(images)
    torch.testing.assert_close(contrast, torch.cat([-logit, logit], 1))
    assert isinstance(two, EvidenceClassifier) == isinstance(plain, EvidenceClassifier)
    if isinstance(two, EvidenceClassifier):
        torch.testing.assert_close(two.pool(two.forward_evidence(images)), logits)
        torch.testing.assert_close(two.forward_training(images)[0], logits)


def test_conversion_keeps_the_one_output() -> None:
    net, images = one_output(), torch.randn(3, 3, 64, 64)
    converted = softcam.convert(net)
    torch.testing.assert_close(converted(images), net(images), rtol=1e-4, atol=1e-5)
    assert converted(images).shape == (3, 1)


@pytest.mark.parametrize("name", ["softcam", "gradcam", "hirescam", "integrated_gradients"])
def test_maps_of_class_1_explain_the_logit_and_of_class_0_its_negative(name: str) -> None:
    net, images = one_output(), torch.randn(2, 3, 64, 64)
    two = as_two_classes(softcam.convert(net) if name == "softcam" else HEADS["blackbox"]().build(net, 1).eval())
    explained, explainer = explained_as("contrast", two), EXPLAINERS[name]()
    maps = [
        explainer.explain_batch(explained, Batch(images, torch.full((2,), target), None, (0, 1))) for target in (0, 1)
    ]
    assert maps[1].abs().max() > 0 or maps[0].abs().max() > 0
    if explainer.signed:
        torch.testing.assert_close(maps[0], -maps[1])
    if name == "softcam":
        torch.testing.assert_close(maps[1].mean((1, 2)), softcam.convert(net)(images)[:, 0], rtol=1e-4, atol=1e-5)


def test_curves_are_those_of_the_sigmoid() -> None:
    """The mean of an image with four bright patches of 64 in 1024 pixels, times 10."""
    image = torch.zeros(1, 3, 32, 32)
    image[..., :16, :16] = 1
    good = torch.zeros(1, 32, 32)
    good[:, :16, :16] = 1
    two = as_two_classes(Bright())
    expected = torch.tensor([[2.5, 1.875, 1.25, 0.625, 0.0]]).sigmoid()
    for target, values in ((1, expected), (0, 1 - expected)):
        curve = deletion_curve(two, image, good, torch.tensor([target]), steps=4, patch=8)
        torch.testing.assert_close(curve, values)
    assert audc(deletion_curve(two, image, good, torch.tensor([1]), steps=4, patch=8)).item() == pytest.approx(
        0.8137, abs=1e-4
    )
    dark = as_two_classes(nn.Sequential(Bright(), nn.Linear(1, 1)))
    nn.init.ones_(dark.model[1].weight)
    nn.init.constant_(dark.model[1].bias, -1.0)
    logits = occlusion_logits(dark, image, patch_order(good, 8), 4, 8, torch.zeros(1))
    assert still_target(logits, torch.tensor([1])).tolist() == [[1, 1, 1, 0, 0]]


def test_softmax_over_one_logit_is_refused() -> None:
    image, maps, target = torch.rand(1, 3, 32, 32), torch.rand(1, 32, 32), torch.tensor([0])
    for curve in (deletion_curve, insertion_curve):
        with pytest.raises(ValueError, match=r"one logit per image.*as_two_classes"):
            curve(bright, image, maps, target, steps=4, patch=8)
    with pytest.raises(ValueError, match="one logit per image"):
        still_target(torch.zeros(1, 3, 1), target)
    with pytest.raises(ValueError, match="at least two classes"):
        softmax(torch.zeros(3, 1).numpy())


def test_several_outputs_are_refused() -> None:
    with pytest.raises(ValueError, match="SoftCAM has 3 classes"):
        as_two_classes(softcam.convert(TinyNet().eval()))
    with pytest.raises(ValueError, match=r"\(N,1\), not shape \(2, 3\)"):
        as_two_classes(TinyNet().eval())(torch.randn(2, 3, 32, 32))
