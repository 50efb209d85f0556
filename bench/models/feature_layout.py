"""The layouts in which models give their last features, and the one that the benchmark reads: (N,D,h,w)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import Classifier, UserError


@dataclass(frozen=True)
class Layout:
    """How a model lays out its features.

    Attributes:
        kind: "NCHW"; "NHWC", as Swin does; "NLC" for tokens in the order of rows of patches, as ViT does.
        prefix: class and register tokens in front of the patch tokens; they are no part of the map.
    """

    kind: Literal["NCHW", "NHWC", "NLC"]
    prefix: int = 0

    def to_map(self, native: Tensor, height: int, width: int) -> Tensor:
        """Features of images of ``height``×``width`` pixels, in this layout -> feature map (N,D,h,w).

        Raises:
            ValueError: the patch tokens are no grid with the proportions of the image.
        """
        if self.kind == "NCHW":
            return native
        if self.kind == "NHWC":
            return native.permute(0, 3, 1, 2)
        tokens = native[:, self.prefix :].transpose(1, 2)
        rows = round((tokens.shape[2] * height / width) ** 0.5)
        columns = tokens.shape[2] // rows
        if rows * columns != tokens.shape[2]:
            raise ValueError(f"{tokens.shape[2]} tokens are no grid of patches of an image of {height}×{width} pixels")
        return tokens.unflatten(2, (rows, columns))

    def to_native(self, features: Tensor) -> Tensor:
        """Feature map (N,D,h,w) -> this layout; nan stands for the prefix tokens, so that nothing reads them unseen."""
        if self.kind == "NCHW":
            return features
        if self.kind == "NHWC":
            return features.permute(0, 2, 3, 1)
        return F.pad(features.flatten(2).transpose(1, 2), (0, 0, self.prefix, 0), value=float("nan"))


class NativeFeatures(nn.Module):
    """Images (N,3,H,W) -> what the ``forward_features`` of ``model`` gives, in its own layout."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        """Raises UserError where the model is made for another size of image."""
        try:
            return self.model.forward_features(images)
        except AssertionError as error:  # how timm refuses a size
            size = f"{images.shape[2]}×{images.shape[3]}"
            raise UserError(f"{type(self.model).__name__} cannot read images of {size} pixels: {error}") from error


class FeatureMap(nn.Module):
    """Images (N,3,H,W) -> feature map (N,D,h,w), whatever the layout of ``native``.

    Attributes:
        image_size: (H, W) that the model certainly reads.
    """

    def __init__(self, native: NativeFeatures, layout: Layout, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.native, self.layout, self.image_size = native, layout, image_size
        self.training = native.training

    def forward(self, images: Tensor) -> Tensor:
        """Images (N,3,H,W) -> feature map (N,D,h,w)."""
        return self.layout.to_map(self.native(images), images.shape[2], images.shape[3])


class TokenClassifier(Classifier):
    """A transformer that classifies by a token beside its patches: the function of the model, with a map to look at.

    Its ``features`` are all tokens (N,L,D), which its ``head`` reads; ``forward_features`` gives those of the patches.
    """

    def __init__(self, features: FeatureMap, head: nn.Module, num_classes: int, beside_map: str) -> None:
        super().__init__(features.native, head, num_classes)
        self.layout, self.beside_map = features.layout, beside_map

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (N,3,H,W) -> map of the patch tokens (N,D,h,w)."""
        return self.layout.to_map(self.features(images), images.shape[2], images.shape[3])

    def forward_head(self, features: Tensor) -> Tensor:
        """Raises ValueError: the map does not decide."""
        raise ValueError(f"no logits from the feature map alone: {self.beside_map}")

    def forward(self, images: Tensor) -> Tensor:
        """Images (N,3,H,W) -> logits (N,C)."""
        return self.head(self.features(images))
