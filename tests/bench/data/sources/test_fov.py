"""The disc of a fundus photograph and the square around it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.data.readers.images import read_image
from bench.data.sources.fov import Square, field_of_view, square_around
from tests.support.datasets.fundus import disc, photograph
from tests.support.files import REAL

FUNDUS = REAL / "samples" / "fundus"


def test_square_is_the_one_around_the_disc() -> None:
    where = disc(200, 300, 95, 140, 80)
    noise = np.random.default_rng(0).integers(0, 6, (200, 300, 3), dtype=np.uint8)
    image = torch.from_numpy(np.maximum(photograph(where), noise)).permute(2, 0, 1)
    image[:, 185:195, 5:40] = 255  # the camera's text
    assert torch.equal(field_of_view(image), torch.from_numpy(where))
    assert square_around(field_of_view(image)) == Square(15, 60, 160)


def test_dark_lesions_are_in_the_field_of_view() -> None:
    where = disc(120, 120, 60, 60, 55)
    pixels = photograph(where)
    pixels[50:70, 50:70] = 0
    assert torch.equal(field_of_view(torch.from_numpy(pixels).permute(2, 0, 1)), torch.from_numpy(where))


def test_disc_cut_off_at_top_and_bottom_is_padded_to_a_square() -> None:
    where = disc(120, 200, 60, 100, 80)
    image = torch.from_numpy(photograph(where)).permute(2, 0, 1)
    square = square_around(field_of_view(image))
    assert square == Square(-20, 20, 160)
    assert torch.equal(square.crop(image)[:, 20:140], image[:, :, 20:180])
    assert not square.crop(image)[:, :20].any()
    assert torch.equal(square.crop(field_of_view(image))[20:140], torch.from_numpy(where[:, 20:180]))
    assert not square.crop(field_of_view(image))[140:].any()


def test_large_photograph_is_cropped_to_half_a_pixel_of_512() -> None:
    where = disc(2000, 3000, 1000, 1400, 930)
    square = square_around(field_of_view(torch.from_numpy(photograph(where)).permute(2, 0, 1)))
    for found, truth in zip((square.top, square.left, square.side), (70, 470, 1860), strict=True):
        assert abs(found - truth) <= 1860 / 512


@pytest.mark.parametrize("value", [0, 90])
def test_image_without_a_disc_is_all_field_of_view(value: int) -> None:
    image = torch.full((3, 40, 60), value, dtype=torch.uint8)
    assert field_of_view(image).all()
    assert square_around(field_of_view(image)) == Square(-10, 0, 60)


@pytest.mark.skipif(not FUNDUS.is_dir(), reason="the sample images are not here")
def test_real_photographs_that_are_cropped_already_stay_as_they_are() -> None:
    files = sorted(FUNDUS.glob("*.png"))
    assert len(files) == 15
    for file in files:
        image = read_image(file)
        fov = field_of_view(image)
        assert square_around(fov) == Square(0, 0, 512)
        assert (fov != (image.amax(dim=0) > 0)).float().mean() < 0.002  # all that is not black, but for a dark rim
