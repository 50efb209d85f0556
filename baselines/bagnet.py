"""BagNets: networks in which each cell of the feature map sees only a small square of the image.

With a SoftCAM head the class evidence of a cell is then evidence of that square alone: ``softcam-dense`` on a BagNet
is the BagNet of arXiv:1904.00760 (linear classifier of local features, averaged), ``softcam-sparse`` the sparse BagNet
of Djoumessi et al. (Sparse activations for interpretable disease grading, MIDL 2023).
"""

from __future__ import annotations

import math
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from bench.registry import backbone

RANDOM = "random initialisation"
#: Receptive field in pixels -> kernel size in the first block of each of the four stages.
KERNELS: dict[int, tuple[int, int, int, int]] = {9: (3, 3, 1, 1), 17: (3, 3, 3, 1), 33: (3, 3, 3, 3)}
_STRIDES = (2, 2, 2, 1)


class CompactBlock(nn.Module):
    """A k×k and a 1×1 convolution with batch norm, and a shortcut."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N,D,h,w) to (N,D',h/stride,w/stride)."""
        features: Tensor = self.relu(self.inner(images) + self.shortcut(images))
        return features


class CompactBagNet(nn.Module):
    """BagNet for CPUs: total stride 8 and widths of the ``compact`` backbone, receptive field of 9, 17 or 33 pixels.

    Source: arXiv:1904.00760.
    Deviation: convolutions are padded, so that cells stay on the grid of the image; the paper's are not.
    """

    widths: ClassVar[tuple[int, ...]] = (16, 32, 64, 64, 64)

    def __init__(self, receptive_field: int = 33, num_classes: int = 2) -> None:
        super().__init__()
        first, *later = self.widths
        self.stem = nn.Sequential(nn.Conv2d(3, first, 3, 1, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        stages = zip(self.widths, later, KERNELS[receptive_field], _STRIDES, strict=False)
        self.stages = nn.Sequential(*(CompactBlock(*stage) for stage in stages))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(later[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to logits (N,C)."""
        logits: Tensor = self.fc(self.flatten(self.pool(self.stages(self.stem(images)))))
        return logits


class Bottleneck(nn.Module):
    """ResNet-50's block with an unpadded k×k convolution; the shortcut is cropped like the convolution."""

    def __init__(self, channels_in: int, width: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        channels = 4 * width
        self.inner = nn.Sequential(
            nn.Conv2d(channels_in, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, kernel, stride, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N,D,h,w) to (N,4·width,h',w')."""
        inner = self.inner(images)
        features: Tensor = self.relu(inner + self.shortcut(images)[:, :, : inner.shape[2], : inner.shape[3]])
        return features


class BagNet(nn.Module):
    """BagNet with ResNet-50's layout: the 3×3 convolutions are 1×1, except the stem's and the first of a stage.

    Source: arXiv:1904.00760, sec. 3 and the authors' code.
    """

    def __init__(self, receptive_field: int = 33, num_classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 1, bias=False),
            nn.Conv2d(64, 64, 3, bias=False),
            nn.BatchNorm2d(64, momentum=0.001),
            nn.ReLU(inplace=True),
        )
        blocks: list[nn.Module] = []
        channels = 64
        for width, count, kernel, stride in zip(
            (64, 128, 256, 512), (3, 4, 6, 3), KERNELS[receptive_field], _STRIDES, strict=True
        ):
            blocks.append(Bottleneck(channels, width, kernel, stride))
            channels = 4 * width
            blocks += [Bottleneck(channels, width) for _ in range(1, count)]
        self.stages = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, num_classes)
        self._initialise()

    def _initialise(self) -> None:
        """Applies He initialisation by the outgoing connections, as in the authors' code."""
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, std=math.sqrt(2 / (math.prod(part.kernel_size) * part.out_channels)))

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to logits (N,C)."""
        logits: Tensor = self.fc(self.flatten(self.pool(self.stages(self.stem(images)))))
        return logits


def _build(network: type[nn.Module], receptive_field: int, pretrained: bool) -> tuple[nn.Module, str]:
    """Builds a network with random weights; no pretrained ones are shipped."""
    return network(receptive_field), f"{RANDOM} (no pretrained BagNet is shipped)" if pretrained else RANDOM


_COMPACT = "small BagNet with total stride 8, trained from scratch in a minute; a cell sees {} pixels"
for _name, _size in (("bagnet_compact", 33), ("bagnet_compact_17", 17), ("bagnet_compact_9", 9)):
    backbone(_name, _COMPACT.format(_size))(partial(_build, CompactBagNet, _size))
backbone("bagnet33", "BagNet-33 with ResNet-50's layout, random weights; a cell sees 33 pixels")(
    partial(_build, BagNet, 33)
)
