"""Training augmentation per modality.

Every image of a batch gets random numbers of its own from torch's global generator, which the training loop seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from bench.configs.modalities import MODALITIES, Modality, require_modality

Augmentation = Callable[[Tensor], Tensor]

_FULL_TURN, _TILT = 180.0, 30.0
_LIGHT_SHIFT = 0.05


def augmentation(modality: str, strength: Literal["paper", "light"] = "paper") -> Augmentation:
    """Returns a function from images (N,3,H,W), uint8 or float in [0, 1], to augmented images of the same kind.

    Args:
        modality: see ``bench.configs.modalities``.
        strength: "paper" is the recipe of the SoftCAM paper for its three modalities, otherwise mild changes that the
            modality allows, one image at a time; "light" is allowed flips and small shifts of the whole batch at once,
            at negligible cost.

    Raises:
        UserError: There is no such modality.

    Source:
        arXiv:2505.17748, training paragraph.
    """
    allowed = MODALITIES[require_modality(modality)]
    if strength == "light":
        return _Light(allowed)
    recipe = _RECIPES.get(modality)
    return _EachImage(recipe() if recipe else _mild(allowed))


class _EachImage:
    """Applies a v2 transform image by image, because it draws only once per call."""

    def __init__(self, transform: nn.Module) -> None:
        self.transform = transform

    def __call__(self, images: Tensor) -> Tensor:
        return torch.stack([self.transform(image) for image in images])


class _Light:
    """Flips (p = 0.5) and shifts by up to 5 % of the side in either direction, repeating the border pixels."""

    def __init__(self, allowed: Modality) -> None:
        self.allowed = allowed

    def __call__(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        rows = _moves(len(images), height, self.allowed.upturned)
        columns = _moves(len(images), width, self.allowed.mirrored)
        framed = _framed(_framed(images, 2), 3)
        moved = []
        for image, (top, upturned), (left, mirrored) in zip(framed, rows, columns, strict=True):
            flips = [axis for axis, flipped in ((1, upturned), (2, mirrored)) if flipped]
            moved.append(image[:, top : top + height, left : left + width].flip(flips))
        return torch.stack(moved)


def _reach(side: int) -> int:
    return round(_LIGHT_SHIFT * side)


def _moves(count: int, side: int, flip: bool) -> list[tuple[int, bool]]:
    """Draws, for each of ``count`` images along one axis, the start of its crop from the framed image and a flip."""
    flipped = (torch.rand(count, 1) < 0.5) & flip
    starts = torch.randint(-_reach(side), _reach(side) + 1, (count, 1)) + _reach(side)
    return list(zip(starts.flatten().tolist(), flipped.flatten().tolist(), strict=True))


def _framed(images: Tensor, axis: int) -> Tensor:
    """Pads images along an axis by repeating their border pixels."""
    side = images.shape[axis]
    frame = [-1] * images.ndim
    frame[axis] = _reach(side)
    first, last = images.narrow(axis, 0, 1), images.narrow(axis, side - 1, 1)
    return torch.cat([first.expand(frame), images, last.expand(frame)], dim=axis)


class _Crop(nn.Module):
    """Random crop, scaled back to the size of the image.

    The paper's range of areas ends at 1.15 of the image. torchvision draws a crop larger than the image again (after
    ten draws it takes the largest centred crop), so images are magnified and never shrunk.
    """

    def forward(self, image: Tensor) -> Tensor:
        crop = v2.RandomResizedCrop(image.shape[-2:], scale=(0.87, 1.15), ratio=(0.7, 1.3), antialias=True)
        cropped: Tensor = crop(image)
        return cropped


def _half_the_time(*transforms: nn.Module) -> list[nn.Module]:
    """Applies each transform independently with p = 0.5."""
    return [v2.RandomApply([transform], p=0.5) for transform in transforms]


def _rotation(degrees: float) -> nn.Module:
    rotation: nn.Module = v2.RandomRotation(degrees, interpolation=v2.InterpolationMode.BILINEAR)
    return rotation


def _in_turn(*transforms: nn.Module) -> nn.Module:
    recipe: nn.Module = v2.Compose(list(transforms))
    return recipe


def _flips() -> list[nn.Module]:
    return [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]


def _paper() -> nn.Module:
    jitter = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
    shift = v2.RandomAffine(0, translate=(0.2, 0.2))
    return _in_turn(*_half_the_time(_Crop()), *_flips(), *_half_the_time(jitter, _rotation(_FULL_TURN), shift))


def _chest() -> nn.Module:
    contrast, brightness = v2.ColorJitter(contrast=(0.8, 1.4)), v2.ColorJitter(brightness=(0.8, 1.1))
    return _in_turn(*_flips(), *_half_the_time(_rotation(_TILT), contrast, brightness))


def _mild(allowed: Modality) -> nn.Module:
    flips = [v2.RandomHorizontalFlip()] * allowed.mirrored + [v2.RandomVerticalFlip()] * allowed.upturned
    turns = [_rotation(allowed.turned)] * (allowed.turned > 0)
    jitter, shift = v2.ColorJitter(brightness=0.1, contrast=0.1), v2.RandomAffine(0, translate=(0.05, 0.05))
    return _in_turn(*flips, *_half_the_time(*turns, jitter, shift))


#: The paper's recipes; they turn OCT scans and radiographs upside down, too.
_RECIPES: dict[str, Callable[[], nn.Module]] = {"fundus": _paper, "oct": _paper, "cxr": _chest}
