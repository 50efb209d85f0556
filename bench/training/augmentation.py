"""Training augmentation by modality. Every image of a batch gets its own draw, from torch's global generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from bench.contracts import UserError
from bench.registry import closest

Augmentation = Callable[[Tensor], Tensor]

_FULL_TURN, _TILT = 180.0, 30.0
_LIGHT_SHIFT = 0.05
#: Modalities whose images have an up and a down: the light augmentation leaves it.
_UPRIGHT = ("oct", "cxr")


def augmentation(modality: str, strength: Literal["paper", "light"] = "paper") -> Augmentation:
    """Function from images (N,3,H,W) uint8, or float in [0, 1], to augmented images of the same shape and type.

    Args:
        modality: fundus, oct, cxr or other (flips and mild changes only).
        strength: "paper" is the recipe of the SoftCAM paper, one image at a time; "light" is flips and small shifts of
            the whole batch at once, whose cost is negligible.

    Raises:
        UserError: unknown modality.

    Source: arXiv:2505.17748, training paragraph.
    """
    if modality not in _RECIPES:
        raise UserError(f"unknown modality {modality!r}; {closest(modality, list(_RECIPES))}")
    if strength == "light":
        return _Light(vertical=modality not in _UPRIGHT)
    return _EachImage(_RECIPES[modality]())


class _EachImage:
    """A v2 transform draws once for all it is given; here it is given one image at a time."""

    def __init__(self, transform: nn.Module) -> None:
        self.transform = transform

    def __call__(self, images: Tensor) -> Tensor:
        return torch.stack([self.transform(image) for image in images])


class _Light:
    """Flips (p = 0.5) and a shift of up to 5 % of the side in either direction, the border pixels repeated."""

    def __init__(self, vertical: bool) -> None:
        self.vertical = vertical

    def __call__(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        rows, columns = _moves(len(images), height, self.vertical), _moves(len(images), width, True)
        framed = _framed(_framed(images, 2), 3)
        moved = []
        for image, (top, upturned), (left, mirrored) in zip(framed, rows, columns, strict=True):
            flips = [axis for axis, flipped in ((1, upturned), (2, mirrored)) if flipped]
            moved.append(image[:, top : top + height, left : left + width].flip(flips))
        return torch.stack(moved)


def _reach(side: int) -> int:
    return round(_LIGHT_SHIFT * side)


def _moves(count: int, side: int, flip: bool) -> list[tuple[int, bool]]:
    """For each of ``count`` images, along one axis: where its crop from the framed image begins, whether to flip it."""
    flipped = (torch.rand(count, 1) < 0.5) & flip
    starts = torch.randint(-_reach(side), _reach(side) + 1, (count, 1)) + _reach(side)
    return list(zip(starts.flatten().tolist(), flipped.flatten().tolist(), strict=True))


def _framed(images: Tensor, axis: int) -> Tensor:
    """Images with their border pixels repeated before and after them along an axis."""
    side = images.shape[axis]
    frame = [-1] * images.ndim
    frame[axis] = _reach(side)
    first, last = images.narrow(axis, 0, 1), images.narrow(axis, side - 1, 1)
    return torch.cat([first.expand(frame), images, last.expand(frame)], dim=axis)


class _Crop(nn.Module):
    """Random crop, scaled back to the image's own size.

    The paper's area range goes up to 1.15 of the image; a crop larger than the image is drawn again by torchvision (ten
    times, then the largest centred crop is taken), so images are magnified and never shrunk.
    """

    def forward(self, image: Tensor) -> Tensor:
        return v2.RandomResizedCrop(image.shape[-2:], scale=(0.87, 1.15), ratio=(0.7, 1.3), antialias=True)(image)


def _half_the_time(*transforms: nn.Module) -> list[nn.Module]:
    """Each with p = 0.5 of its own."""
    return [v2.RandomApply([transform], p=0.5) for transform in transforms]


def _rotation(degrees: float) -> nn.Module:
    return v2.RandomRotation(degrees, interpolation=v2.InterpolationMode.BILINEAR)


def _flips() -> list[nn.Module]:
    return [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]


def _paper() -> nn.Module:
    jitter = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
    shift = v2.RandomAffine(0, translate=(0.2, 0.2))
    return v2.Compose([*_half_the_time(_Crop()), *_flips(), *_half_the_time(jitter, _rotation(_FULL_TURN), shift)])


def _chest() -> nn.Module:
    contrast, brightness = v2.ColorJitter(contrast=(0.8, 1.4)), v2.ColorJitter(brightness=(0.8, 1.1))
    return v2.Compose([*_flips(), *_half_the_time(_rotation(_TILT), contrast, brightness)])


def _mild() -> nn.Module:
    jitter, shift = v2.ColorJitter(brightness=0.1, contrast=0.1), v2.RandomAffine(0, translate=(0.05, 0.05))
    return v2.Compose([*_flips(), *_half_the_time(jitter, shift)])


_RECIPES: dict[str, Callable[[], nn.Module]] = {"fundus": _paper, "oct": _paper, "cxr": _chest, "other": _mild}
