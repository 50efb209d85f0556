"""Augmentation: one draw for each image, seeded, and only what the modality bears."""

from __future__ import annotations

import pytest
import torch

from bench.configs.modalities import MODALITIES
from bench.contracts import UserError
from bench.training.augmentation import augmentation


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("strength", ["paper", "light"])
@pytest.mark.parametrize("modality", MODALITIES)
def test_shape_type_range_seed_and_one_draw_an_image(modality: str, strength: str, dtype: torch.dtype) -> None:
    image = torch.randint(0, 256, (1, 3, 20, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = (image if dtype == torch.uint8 else image / 255).expand(16, -1, -1, -1)
    augment = augmentation(modality, strength)
    torch.manual_seed(3)
    first = augment(images)
    torch.manual_seed(3)
    assert torch.equal(first, augment(images))
    assert not torch.equal(first, augment(images))
    assert (first.shape, first.dtype) == (images.shape, dtype)
    assert first.min() >= 0
    assert first.max() <= (255 if dtype == torch.uint8 else 1)
    assert len({tuple(one.flatten().tolist()) for one in first}) > 6


@pytest.mark.parametrize("modality", MODALITIES)
def test_light_moves_and_flips_pixels_only(modality: str) -> None:
    torch.manual_seed(0)
    rows = torch.arange(40, dtype=torch.uint8).view(1, 1, 40, 1).expand(64, 3, 40, 40)
    downwards = augmentation(modality, "light")(rows)[:, 0, 20, 0].int() - 20
    slopes = augmentation(modality, "light")(rows)[:, 0].int().diff(dim=1)[:, 10]
    assert downwards.abs().max() <= 3
    assert {int(slope) for slope in slopes[:, 0]} == ({1, -1} if MODALITIES[modality].upturned else {1})
    columns = augmentation(modality, "light")(rows.transpose(2, 3))[:, 0].int().diff(dim=2)[:, 0, 10]
    assert {int(step) for step in columns} == ({1, -1} if MODALITIES[modality].mirrored else {1})


@pytest.mark.parametrize("modality", ["fundus", "cxr"])
def test_light_takes_each_pixel_from_where_the_draw_says(modality: str) -> None:
    images = torch.randint(0, 256, (6, 3, 20, 44), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    torch.manual_seed(5)
    moved = augmentation(modality, "light")(images)
    torch.manual_seed(5)
    draws = [(torch.rand(6, 1), torch.randint(-reach, reach + 1, (6, 1))) for reach in (1, 2)]
    for number in range(6):
        for row in range(20):
            for column in range(44):
                source = []
                for (chance, shift), place, side in zip(draws, (row, column), (20, 44), strict=True):
                    flipped = chance[number] < 0.5 and not (side == 20 and modality == "cxr")
                    source.append(min(max((side - 1 - place if flipped else place) + int(shift[number]), 0), side - 1))
                assert torch.equal(moved[number, :, row, column], images[number, :, source[0], source[1]])


def test_light_shift_repeats_the_border() -> None:
    torch.manual_seed(1)
    images = torch.full((32, 3, 40, 40), 9, dtype=torch.uint8)
    assert (augmentation("fundus", "light")(images) == 9).all()


def test_unknown_modality() -> None:
    with pytest.raises(UserError, match="unknown modality 'fundis'; did you mean fundus"):
        augmentation("fundis")


UPRIGHT = ("oct", "cxr", "ultrasound", "mammography", "mri", "ct", "other")


def test_body_and_beam_have_an_up_and_a_down() -> None:
    assert {name for name, allowed in MODALITIES.items() if not allowed.upturned} == set(UPRIGHT)
    assert {name for name, allowed in MODALITIES.items() if not allowed.mirrored} == {"other"}


@pytest.mark.parametrize("modality", [name for name in MODALITIES if name not in ("fundus", "oct", "cxr")])
def test_images_beyond_the_papers_modalities_are_never_upturned_or_mirrored_unless_allowed(modality: str) -> None:
    ramp = torch.linspace(0.2, 0.8, 40)
    for axis, is_allowed in ((1, MODALITIES[modality].upturned), (2, MODALITIES[modality].mirrored)):
        images = (ramp[:, None] if axis == 1 else ramp[None, :]).expand(48, 3, 40, 40)
        torch.manual_seed(1)
        augmented = augmentation(modality)(images)[:, 0, 10:30, 10:30].mean(dim=3 - axis)
        falls = (augmented[:, -1] < augmented[:, 0]).tolist()
        assert any(falls) == (is_allowed or MODALITIES[modality].turned > 90)
        assert not all(falls)


def test_an_unknown_modality_is_answered_with_the_closest_one() -> None:
    with pytest.raises(UserError, match=r"unknown modality 'ultrasond'; did you mean ultrasound\?"):
        augmentation("ultrasond")
