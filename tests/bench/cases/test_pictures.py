"""Pictures: small, with masks that keep the smallest lesion."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.cases.pictures import LARGEST_SIDE, read_origin, read_pictures, small_size, to_pictures, write_pictures


def smooth(height: int, width: int) -> np.ndarray:
    rows, columns = np.linspace(0, 255, height)[:, None], np.linspace(0, 255, width)
    return np.stack([rows + 0 * columns, 0 * rows + columns, (rows + columns) / 2]).astype(np.uint8)


def opened(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)))


@pytest.mark.parametrize(
    ("side", "size"), [((32, 32), (32, 32)), ((512, 512), (160, 160)), ((320, 640), (80, 160)), ((2000, 3), (160, 1))]
)
def test_sides(side: tuple[int, int], size: tuple[int, int]) -> None:
    assert small_size(side) == size
    assert max(size) <= LARGEST_SIDE


def test_pictures_show_the_images(tmp_path: Path) -> None:
    images = np.stack([smooth(320, 640), smooth(320, 640)[:, ::-1]])
    masks = np.zeros((2, 320, 640), dtype=bool)
    masks[0, 40:80, 100:300] = True
    pictures = to_pictures(["a", "b"], np.array([1, 0]), images, masks, "origin")
    write_pictures(tmp_path / "pictures.npz", pictures)
    found = read_pictures(tmp_path / "pictures.npz")
    assert (found.ids, found.labels.tolist(), found.side, found.size) == (["a", "b"], [1, 0], (320, 640), (80, 160))
    assert (found.images, found.masks) == (pictures.images, pictures.masks)
    assert read_origin(tmp_path / "pictures.npz") == "origin"
    for image, file in zip(images, found.images, strict=True):
        expected = image.reshape(3, 80, 4, 160, 4).mean(axis=(2, 4)).transpose(1, 2, 0)
        assert np.abs(opened(file).astype(float) - expected).mean() < 3
    assert opened(found.masks[0]).tolist() == masks[0, ::4, ::4].tolist()
    assert found.masks[1] == b""


def test_a_lesion_of_one_pixel_stays() -> None:
    masks = np.zeros((1, 640, 640), dtype=bool)
    masks[0, 41, 83] = True
    shown = opened(to_pictures(["a"], np.array([1]), smooth(640, 640)[None], masks).masks[0])
    assert np.argwhere(shown).tolist() == [[10, 20]]


def test_data_without_masks() -> None:
    assert to_pictures(["a"], np.array([1]), smooth(40, 40)[None], None).masks == [b""]
