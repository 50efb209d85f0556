"""Decoding: every supported format gives the pixels that were written; damaged files are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.data.readers.images import BadFile, read_image, resize_image, resize_mask, resize_region
from bench.data.readers.masks import read_mask

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]


def channels(array: np.ndarray) -> torch.Tensor:
    array = np.repeat(array[:, :, None], 3, axis=2) if array.ndim == 2 else array
    return torch.from_numpy(array).permute(2, 0, 1)


@pytest.mark.parametrize("suffix", ["png", "tif", "tiff", "bmp"])
@pytest.mark.parametrize("pixels", [RGB, GREY], ids=["colour", "grey"])
def test_lossless_formats_are_read_exactly(tmp_path: Path, suffix: str, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    assert torch.equal(read_image(tmp_path / f"a.{suffix}"), channels(pixels))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_is_scaled_by_its_full_range(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 257 * 100, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}")[0].tolist() == [[0, 1, 100, 255]]


def test_alpha_is_laid_on_black(tmp_path: Path) -> None:
    alpha = np.where(np.arange(30) < 15, 255, 0).astype(np.uint8) * np.ones((20, 1), dtype=np.uint8)
    Image.fromarray(np.dstack([RGB, alpha])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([GREY, alpha])).save(tmp_path / "la.png")
    assert torch.equal(read_image(tmp_path / "rgba.png"), channels(np.where(alpha[:, :, None] > 0, RGB, 0)))
    assert torch.equal(read_image(tmp_path / "la.png"), channels(np.where(alpha > 0, GREY, 0)))


def test_palette_gives_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8), mode="P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[:, 0].T.tolist() == [[10, 20, 30], [200, 100, 50]]


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = read_image(tmp_path / "a.jpg")[:, 8, 8].tolist()
    assert red > 250
    assert max(green, blue) < 5


def test_float_tiff_in_unit_range_only(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)).save(tmp_path / "a.tif")
    Image.fromarray(np.array([[0.0, 90.0]], dtype=np.float32)).save(tmp_path / "b.tif")
    assert read_image(tmp_path / "a.tif")[0].tolist() == [[0, 128, 255]]
    with pytest.raises(BadFile, match=r"b\.tif: holds floating-point values outside"):
        read_image(tmp_path / "b.tif")


def test_exif_orientation_turns_image_and_mask(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    marked = np.zeros((20, 30), dtype=np.uint8)
    marked[0, 0] = 255
    Image.fromarray(marked).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png").shape == (3, 30, 20)
    assert read_mask(tmp_path / "a.png").nonzero().tolist() == [[0, 19]]


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_truncated_and_foreign_files_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.tile(RGB, (4, 4, 1))).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / f"b.{suffix}").write_text("no image")
    (tmp_path / f"c.{suffix}").touch()
    for name in "abc":
        with pytest.raises(BadFile, match=rf"{name}\.{suffix}: cannot be read as an image") as caught:
            read_image(tmp_path / f"{name}.{suffix}")
        assert "\n" not in str(caught.value)


def test_tiff_of_several_frames_is_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.tif", save_all=True, append_images=[Image.fromarray(GREY)])
    with pytest.raises(BadFile, match="2 frames"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("lesion", [1, 200])
def test_any_value_above_zero_is_mask(tmp_path: Path, dtype: type, lesion: int) -> None:
    mask = np.zeros((10, 12), dtype=dtype)
    mask[2:5, 3:7] = lesion
    Image.fromarray(mask).save(tmp_path / "a.png")
    assert torch.equal(read_mask(tmp_path / "a.png"), torch.from_numpy(mask > 0))


def test_ringing_of_a_jpeg_mask_is_not_mask(tmp_path: Path) -> None:
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[16:40, 16:40] = 255
    Image.fromarray(mask).save(tmp_path / "a.jpg", quality=60)
    assert torch.equal(read_mask(tmp_path / "a.jpg"), torch.from_numpy(mask > 0))


def test_resizing_keeps_image_and_mask_aligned() -> None:
    mask = torch.zeros(90, 120, dtype=torch.bool)
    mask[30:60, 40:80] = True
    image = (mask * 255).to(torch.uint8).expand(3, -1, -1)
    for size in (30, 45, 200):
        assert torch.equal(resize_mask(mask, size), resize_image(image, size)[0] >= 128)


def test_no_lesion_vanishes_and_large_ones_do_not_grow() -> None:
    mask = torch.zeros(300, 400, dtype=torch.bool)
    mask[100:200, 100:200] = True
    mask[10, 10] = mask[250, 300] = mask[299, 399] = True
    small = resize_mask(mask, 32)
    lost = small & ~resize_region(mask, 32)
    assert lost.nonzero().tolist() == [[1, 0], [26, 24], [31, 31]]
    assert resize_mask(mask[:, :90], 32).sum() == 1
    assert not resize_mask(torch.zeros(50, 50, dtype=torch.bool), 8).any()


@pytest.mark.parametrize("size", [7, 50, 100, 200])
def test_one_pixel_stays_one_lesion_at_any_scale(size: int) -> None:
    mask = torch.zeros(100, 100, dtype=torch.bool)
    mask[50, 50] = True
    assert resize_mask(mask, size).sum() == max(1, size // 100) ** 2
