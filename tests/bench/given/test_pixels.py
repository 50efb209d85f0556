"""Whatever form images are given in, the model reads the numbers that it was meant to read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bench.data.split import normalise
from bench.given.pixels import IDENTITY, read_pixels

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
PIXELS = torch.randint(0, 256, (3, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
READ = (PIXELS / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.mark.parametrize(
    "images",
    [
        PIXELS,
        PIXELS / 255,
        PIXELS.movedim(1, 3).numpy(),
        [Image.fromarray(one.movedim(0, 2).numpy()) for one in PIXELS],
        READ,
        READ.double().numpy(),
        PIXELS.float(),
    ],
    ids=["uint8", "float", "channels last", "PIL", "normalised", "normalised array", "float up to 255"],
)
def test_the_same_pixels_come_from_every_form(images) -> None:
    found = read_pixels(images, (MEAN, STD), None)
    assert torch.equal(torch.stack(found.images), PIXELS)
    assert found.normalisation == (MEAN, STD)


@pytest.mark.parametrize("images", [READ, 4 * READ + 100, PIXELS.float() * 8 - 1024])
def test_without_mean_and_std_the_model_reads_the_images_as_they_are(images: Tensor) -> None:
    found = read_pixels(images, None, None)
    read = normalise(torch.stack(found.images), *found.normalisation)
    step = float(images.max() - images.min()) / 255
    torch.testing.assert_close(read, images, rtol=0, atol=0.51 * step)
    assert "as what the model reads" in found.said


def test_a_stated_normalisation_gives_way_to_images_that_do_not_fit_it() -> None:
    assert read_pixels(READ, None, (MEAN, STD)).normalisation == (MEAN, STD)
    assert read_pixels(READ * 9, None, (MEAN, STD)).normalisation != (MEAN, STD)


def test_grey_images_without_a_known_normalisation_are_read_in_the_unit_range() -> None:
    found = read_pixels(np.zeros((2, 8, 8), np.uint8), None, None)
    assert [tuple(one.shape) for one in found.images] == [(1, 8, 8)] * 2
    assert found.normalisation == IDENTITY
    assert "reads values in [0, 1]" in found.said
