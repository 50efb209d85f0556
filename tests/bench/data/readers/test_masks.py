"""Codings of masks: each gives the drawn lesion, or one line that says what to state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from bench.data.readers.images import BadFile, read_image
from bench.data.readers.masks import read_mask, read_mask_of, read_regions_of, require_plausible
from bench.specs import parse_mask_values

SQUARE = np.zeros((64, 64), dtype=bool)
SQUARE[20:40, 20:40] = True
LESION = torch.from_numpy(SQUARE)
PICTURE = torch.zeros(3, 64, 64, dtype=torch.uint8)


def grey(lesion: int, rest: int = 0, dtype: type = np.uint8) -> Image.Image:
    return Image.fromarray(np.where(SQUARE, lesion, rest).astype(dtype))


def colour(lesion: tuple[int, ...], rest: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.where(SQUARE[:, :, None], lesion, rest).astype(np.uint8))


def palette(colours: list[int], lesion: int = 1, rest: int = 0) -> Image.Image:
    image = Image.new("P", (64, 64))
    image.putdata(np.where(SQUARE, lesion, rest).ravel().tolist())
    image.putpalette(colours + [0] * (768 - len(colours)))
    return image


def labels(*values: int) -> Image.Image:
    """The square with stripes of further values at the top."""
    pixels = np.where(SQUARE, values[0], 0).astype(np.uint8)
    for row, value in enumerate(values[1:]):
        pixels[5 * row : 5 * row + 5] = value
    return Image.fromarray(pixels)


def stained(*colours: tuple[int, ...]) -> Image.Image:
    """The square in the first colour with stripes of the others at the top."""
    pixels = np.where(SQUARE[:, :, None], colours[0], 0).astype(np.uint8)
    for row, one in enumerate(colours[1:]):
        pixels[5 * row : 5 * row + 5] = one
    return Image.fromarray(pixels)


def numbered() -> Image.Image:
    """The square with 20 numbered objects of 6 pixels next to it."""
    pixels = np.where(SQUARE, 255, 0).astype(np.uint8)
    for number in range(20):
        row, column = 6 * (number // 10), 6 * (number % 10)
        pixels[row : row + 6, column : column + 6] = number + 1
    return Image.fromarray(pixels)


def smoothed(width: float) -> Image.Image:
    return Image.fromarray(np.rint(255 * gaussian_filter(SQUARE.astype(float), width, truncate=2)).astype(np.uint8))


@pytest.mark.parametrize(
    "image",
    [
        grey(1), grey(7), grey(300, dtype=np.uint16), Image.fromarray(SQUARE),
        colour((255, 0, 0), (0, 0, 0)), colour((1, 1, 1), (0, 0, 0)),
        palette([255, 255, 255, 255, 0, 0]), palette([0] * 6), palette([0, 0, 0, 9, 9, 9]),
        palette([5, 5, 5, 0, 0, 0, 255, 0, 0], 2, 1),
        colour((0, 0, 0, 255), (0, 0, 0, 0)), colour((9, 8, 7, 100), (1, 1, 1, 0)), colour((255, 255), (0, 255)),
    ],
)  # fmt: skip
def test_common_codings_are_read(tmp_path: Path, image: Image.Image) -> None:
    image.save(tmp_path / "a.png")
    assert torch.equal(read_mask(tmp_path / "a.png"), LESION)


@pytest.mark.parametrize("width", [0.5, 1.0, 1.5])
def test_smoothed_outlines_are_read(tmp_path: Path, width: float) -> None:
    smoothed(width).save(tmp_path / "a.png")
    assert (read_mask(tmp_path / "a.png") ^ LESION).sum() <= 8


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("quality", [40, 75, 95])
@pytest.mark.parametrize("lossless", [True, False])
def test_compression_noise_is_recognised_by_content(
    tmp_path: Path, quality: int, lossless: bool, subsampling: int
) -> None:
    for image in (grey(255), colour((255, 0, 0), (0, 0, 0))):
        image.save(tmp_path / "a.jpg", quality=quality, subsampling=subsampling)
        if lossless:
            Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")
        else:
            (tmp_path / "a.jpg").rename(tmp_path / "a.png")
        assert (read_mask(tmp_path / "a.png") ^ LESION).sum() <= 8 + 24 * subsampling


@pytest.mark.parametrize("quality", [75, 90, 95])
def test_labels_next_to_255_in_a_jpeg_are_refused(tmp_path: Path, quality: int) -> None:
    labels(1, 255).save(tmp_path / "a.jpg", quality=quality)
    with pytest.raises(BadFile, match="several grey levels"):
        read_mask(tmp_path / "a.jpg")


@pytest.mark.parametrize(("values", "reads"), [([255], True), ([200], False), ([2], False), ([0], True)])
def test_stated_values_in_a_jpeg_are_followed_if_they_can_be_told_apart(
    tmp_path: Path, values: list[int | str], reads: bool
) -> None:
    (grey(0, 255) if values == [0] else grey(int(values[0]))).save(tmp_path / "a.jpg")
    if values == [200]:  # a further label in the file
        labels(200, 100).save(tmp_path / "a.jpg")
    if reads:
        lesion, _ = read_regions_of(PICTURE, tmp_path / "a.jpg", parse_mask_values(values))
        assert (lesion ^ LESION).sum() <= 8
    else:
        with pytest.raises(BadFile, match="cannot be told from others"):
            read_regions_of(PICTURE, tmp_path / "a.jpg", parse_mask_values(values))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (grey(2, 1), r"the values 1, 2 and no 0.*mask_values = \[2\]"),
        (grey(255, 128), "no 0"),
        (labels(1, 255), "the values 0, 1, 255, whose meaning"),
        (labels(1, 2, 3), "0, 1, 2, 3, whose meaning"),
        (labels(60, 120, 180, 240, 255), "several grey levels"),
        (labels(255, 1, 2, 3), "several grey levels"),
        (numbered(), "several grey levels"),
        (stained((255, 0, 0), (0, 20, 0), (0, 0, 20), (20, 0, 0)), "which are not black and one other"),
        (colour((255, 0, 0), (255, 255, 255)), r"the colours #ff0000, #ffffff.*\['#ff0000'\]"),
        (palette([255, 255, 255, 0, 0, 0]), "not black at index 0"),
        (grey(9, 9), "is 9 everywhere"),
    ],
)
def test_other_codings_are_refused(tmp_path: Path, image: Image.Image, reason: str) -> None:
    image.save(tmp_path / "a.png")
    with pytest.raises(BadFile, match=reason) as caught:
        read_regions_of(PICTURE, tmp_path / "a.png")
    assert "\n" not in str(caught.value)
    with pytest.raises(BadFile, match="save it as PNG") as published:  # nothing can be stated for published data sets
        read_mask_of(PICTURE, tmp_path / "a.png")
    assert "mask_values" not in str(published.value)


@pytest.mark.parametrize("top", [1, 2, 3])
@pytest.mark.parametrize("quality", [75, 95, 100])
def test_labels_in_a_jpeg_are_refused(tmp_path: Path, top: int, quality: int) -> None:
    grey(top).save(tmp_path / "a.jpg", quality=quality)
    with pytest.raises(BadFile, match="in a lossy file"):
        read_mask(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("image", "values"),
    [
        (grey(2, 1), [2]),
        (grey(0, 255), [0]),
        (labels(1, 255), [1, "ignore:255"]),
        (colour((255, 0, 0), (255, 255, 255)), ["#FF0000"]),
        (palette([255, 255, 255, 0, 0, 0]), ["index:1"]),
    ],
)
def test_stated_values_are_followed(tmp_path: Path, image: Image.Image, values: list[int | str]) -> None:
    image.save(tmp_path / "a.png")
    lesion, ignored = read_regions_of(PICTURE, tmp_path / "a.png", parse_mask_values(values))
    assert torch.equal(lesion, LESION)
    assert (ignored is not None and int(ignored.sum()) == 5 * 64) == ("ignore:255" in values)


@pytest.mark.parametrize("values", [[True], ["red"], [1, 1], ["ignore:3"], ["#ff00"], [-1]])
def test_malformed_values_are_refused(values: list[int | str]) -> None:
    with pytest.raises(ValueError, match="mask_values"):
        parse_mask_values(values)


def test_swapped_masks_are_implausible() -> None:
    require_plausible(LESION, Path("a.png"))
    for mask in (~LESION, torch.ones(64, 64, dtype=torch.bool)):
        with pytest.raises(BadFile, match="as if lesion and background were swapped"):
            require_plausible(mask, Path("a.png"))


def test_depth_is_read_as_the_file_says(tmp_path: Path) -> None:
    values = np.array([[0, 1000, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "white.tif", tiffinfo={262: 0})
    assert read_image(tmp_path / "white.tif")[0].tolist() == [[255, 251, 0]]
    Image.fromarray(values[:, :2]).save(tmp_path / "dark.png")
    with pytest.raises(BadFile, match=r"nearly black.*window = .*\[0, 1023\]"):
        read_image(tmp_path / "dark.png")
    assert read_image(tmp_path / "dark.png", (0, 1000))[0].tolist() == [[0, 255]]
    Image.fromarray(np.array([[-1000, 0, 1000]], dtype=np.int32)).save(tmp_path / "signed.tif")
    with pytest.raises(BadFile, match="signed or 32-bit"):
        read_image(tmp_path / "signed.tif")
    assert read_image(tmp_path / "signed.tif", (-1000, 1000))[0].tolist() == [[0, 128, 255]]
