"""Small networks for the tests, whose feature map and logits depend on the image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VGG, ConvNeXt
from torchvision.models.convnext import CNBlockConfig

import softcam
from baselines.bcos import Bcos, CompactBcos
from bench.contracts import Classifier
from bench.registry import BACKBONES


class TinyNet(nn.Module):
    """Two convolutions, batch norm, one reused in-place ReLU; 32×32 pixels -> 7×7 cells of 6 channels -> 3 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.conv2 = nn.Conv2d(5, 6, 3, stride=2)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.conv1(x)))
        x = self.relu(self.conv2(x))
        return self.fc(self.dropout(x.mean((2, 3))))


def tiny_net() -> TinyNet:
    """The same ``TinyNet`` at every call, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TinyNet()
        excite(model, torch.randn(8, 3, 32, 32))
    return model.eval()


def excite(model: nn.Module, images: Tensor) -> None:
    """Give untrained batch norms the statistics of ``images``, and something of their own to say."""
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
    with torch.no_grad():
        model.train()(images)


def tiny_classifiers() -> dict[str, Classifier]:
    """``TinyNet`` as a black box, the ``SoftCAM`` with the same function, a B-cos network and a transformer."""
    net = tiny_net()
    features = nn.Sequential(net.conv1, net.norm, net.relu, net.conv2, net.relu)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.dropout, net.fc)
    return {
        "black box": Classifier(features, head, 3).eval(),
        "softcam": softcam.convert(net),
        "bcos": tiny_bcos(),
        "transformer": tiny_transformer(),
    }


class TinyTokens(nn.Module):
    """Patches of 8×8 pixels and two encoder layers; 32×32 pixels -> map of 4×4 tokens of 12 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 8, 8)
        self.layers = nn.Sequential(*(nn.TransformerEncoderLayer(12, 2, 24, batch_first=True) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x)
        return self.layers(patches.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, patches.shape[2:])


def tiny_transformer() -> Classifier:
    """The same transformer at every call, which averages its tokens: 32×32 pixels -> 4×4 cells -> 3 logits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3))
        classifier = Classifier(TinyTokens(), head, 3)
        for weight in classifier.parameters():
            nn.init.normal_(weight, std=0.5)
    return classifier.eval()


def tiny_bcos() -> Classifier:
    """A B-cos network with norms that have seen images; 32×32 pixels -> 4×4 cells -> 3 logits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = Bcos(temperature=0.1).build(CompactBcos(widths=(4, 6, 8)), 3).train()
        with torch.no_grad():
            for _ in range(5):
                classifier(torch.rand(8, 3, 32, 32))
    return classifier.eval()


def small_vgg() -> VGG:
    """torchvision's VGG at a hundredth of its size: 8 channels, 7×7 flattened, 16 and 12 hidden units, 10 classes."""
    features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    with torch.device("meta"):  # 4096 hidden units that are replaced at once
        model = VGG(features, num_classes=10, init_weights=False)
    layers = model.classifier
    layers[0], layers[3], layers[6] = nn.Linear(8 * 49, 16), nn.Linear(16, 12), nn.Linear(12, 10)
    return model


def small_convnext() -> ConvNeXt:
    """torchvision's ConvNeXt with two blocks; 16 channels on an eighth of the input."""
    return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=10)


class Net(nn.Module):
    """Convolutions whose cut is known, a way to the pooled features, and what follows."""

    def __init__(self, pool: nn.Module | None = None, fc: nn.Module | None = None, channels: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 8, 3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())
        self.pool = pool or nn.AdaptiveAvgPool2d(1)
        self.fc = fc or nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.body(x)).flatten(1))


def assert_exact(model: nn.Module, images: Tensor, converted: softcam.SoftCAM | None = None) -> None:
    converted = converted or softcam.convert(model)
    with torch.no_grad():
        expected = model.eval()(images)
        assert expected.std() > 1e-4, "a constant model would prove nothing"
        torch.testing.assert_close(converted.eval()(images), expected, rtol=1e-4, atol=1e-5)
        evidence = converted.forward_evidence(images)
        assert min(evidence.shape[2:]) >= 4
        torch.testing.assert_close(evidence.mean((2, 3)), expected, rtol=1e-4, atol=1e-5)


def timm_model(name: str, **options: Any) -> nn.Module:
    """A network of timm without pretrained weights; the test is skipped where timm is absent."""
    return pytest.importorskip("timm").create_model(name, **options)


def unpretrained(name: str) -> nn.Module:
    """A registered backbone; the test is skipped where its package is absent."""
    if name == "efficientnet_lite0":
        pytest.importorskip("efficientnet_lite_pytorch")
    return BACKBONES[name].build(False)[0]
