"""Layouts of the last features of a model, and their conversion to (N,D,h,w).

Explainers read feature maps only; this module brings the channels-last maps and tokens of transformers into that form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import Classifier
from bench.errors import UserError


@dataclass(frozen=True)
class Layout:
    """Order of the axes of a model's features.

    Attributes:
        kind: "NCHW"; "NHWC" (Swin); "NLC" for tokens in raster order of the patches (ViT).
        prefix: number of class and register tokens before the patch tokens; they are not part of the map.
    """

    kind: Literal["NCHW", "NHWC", "NLC"]
    prefix: int = 0

    def to_map(self, native: Tensor, height: int, width: int) -> Tensor:
        """Converts features in this layout, of images of ``height``×``width`` pixels, to a feature map (N,D,h,w).

        Raises:
            ValueError: the patch tokens do not form a grid with the proportions of the image.
        """
        if self.kind == "NCHW":
            return native
        if self.kind == "NHWC":
            return native.permute(0, 3, 1, 2)
        tokens = native[:, self.prefix :].transpose(1, 2)
        rows = round((tokens.shape[2] * height / width) ** 0.5)
        columns = tokens.shape[2] // rows
        if rows * columns != tokens.shape[2]:
            raise ValueError(f"{tokens.shape[2]} tokens do not form a grid on an image of {height}×{width} pixels")
        return tokens.reshape(*tokens.shape[:2], rows, columns)

    def to_native(self, features: Tensor) -> Tensor:
        """Converts a feature map (N,D,h,w) to this layout; prefix tokens are nan, so that reading them is noticed."""
        if self.kind == "NCHW":
            return features
        if self.kind == "NHWC":
            return features.permute(0, 2, 3, 1)
        return F.pad(features.flatten(2).transpose(1, 2), (0, 0, self.prefix, 0), value=float("nan"))


class NativeFeatures(nn.Module):
    """Feature extractor that returns the ``forward_features`` of a model in the model's layout."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to features.

        Raises:
            UserError: the model does not support this size of image.
        """
        try:
            features: Tensor = self.model.forward_features(images)
        except AssertionError as error:  # timm's error for a wrong size
            size = f"{images.shape[2]}×{images.shape[3]}"
            raise UserError(f"{type(self.model).__name__} cannot read images of {size} pixels: {error}") from error
        return features


class FeatureMap(nn.Module):
    """Feature extractor that returns a map (N,D,h,w) for any layout of ``native``.

    Attributes:
        image_size: (H, W) that the model is known to support.
    """

    def __init__(self, native: NativeFeatures, layout: Layout, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.native, self.layout, self.image_size = native, layout, image_size
        self.training = native.training

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to the feature map (N,D,h,w)."""
        return self.layout.to_map(self.native(images), images.shape[2], images.shape[3])


class FixedGrid(nn.Module):
    """Features of a network that pools by a window of fixed size, which averages maps of ``grid`` cells only."""

    def __init__(self, features: nn.Module, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.features, self.grid = features, grid
        self.training = features.training

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to the feature map (N,D,h,w).

        Raises:
            UserError: the map of images of this size has another grid, which the network would not average.
        """
        features: Tensor = self.features(images)
        if tuple(features.shape[2:]) != self.grid:
            found, known = ("×".join(map(str, one)) for one in (features.shape[2:], self.grid))
            raise UserError(
                f"images of {images.shape[2]}×{images.shape[3]} pixels give {found} cells, but the network averages "
                f"exactly {known}; convert it with image_size={images.shape[2]} if its pooling fits that"
            )
        return features


class TokenClassifier(Classifier):
    """Transformer that classifies by a class or register token, with the map of its patch tokens for display.

    Its ``features`` are all tokens (N,L,D), which its ``head`` reads; ``forward_features`` returns those of the
    patches.
    """

    def __init__(self, features: FeatureMap, head: nn.Module, num_classes: int, beside_map: str) -> None:
        super().__init__(features.native, head, num_classes)
        self.layout, self.beside_map = features.layout, beside_map

    def forward_features(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to the map of the patch tokens (N,D,h,w)."""
        return self.layout.to_map(self.features(images), images.shape[2], images.shape[3])

    def forward_head(self, features: Tensor) -> Tensor:
        """Raises ValueError, because the logits are not a function of the map."""
        raise ValueError(f"no logits from the feature map alone: {self.beside_map}")

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to logits (N,C)."""
        logits: Tensor = self.head(self.features(images))
        return logits
