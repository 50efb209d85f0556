"""Reader of image and mask files, and their resizing: every source decodes and resizes in the same way.

Files are PNG, JPEG, TIFF or BMP, with 8 or 16 bit, grey, colour, palette or alpha.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from bench.contracts import Sample
from bench.data.readers.faults import Kind
from bench.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_SIXTEEN_BIT = re.compile(r"I;16")
#: A mask saved as JPEG has ringing around its lesions; half of the range separates the two values.
_JPEG_MASK_LEVEL = 128


class BadFile(UserError):
    """Error of a file that cannot be used, which ``--skip-bad`` leaves out.

    Args:
        file: name of the file for the user.
        reason: what is wrong with the file.
        kind: heading under which ``check-data`` lists it.
    """

    def __init__(self, file: str | Path, reason: str, kind: Kind = Kind.UNUSABLE) -> None:
        super().__init__(f"{file}: {reason}")
        self.file, self.reason, self.kind = str(file), reason, kind


def read_image(path: Path) -> Tensor:
    """Reads an image file -> (3,H,W) uint8, upright (EXIF), with transparent parts on black.

    16-bit values are divided by 257, that is, scaled by their full range and never by the image's own maximum, which
    would make the brightness of two images incomparable.

    Raises:
        BadFile: truncated, not an image, several frames, 32-bit integers, or floats outside [0, 1].
    """
    return torch.from_numpy(_decode(path)).permute(2, 0, 1).contiguous()


def read_mask(path: Path) -> Tensor:
    """Reads a mask file -> (H,W) bool: True where any colour is above 0 (JPEG: at least 128), False where transparent.

    Raises:
        BadFile: as ``read_image``.
    """
    level = _JPEG_MASK_LEVEL if path.suffix.lower() in (".jpg", ".jpeg") else 1
    return torch.from_numpy(_decode(path, binary=True).max(axis=2) >= level)


def read_mask_of(image: Tensor, path: Path) -> Tensor:
    """Reads the mask file of an image (3,H,W) -> (H,W) bool, as ``read_mask``.

    Raises:
        BadFile: as ``read_mask``, or the mask and the image have different sizes.
    """
    mask = read_mask(path)
    require_size_of(image, mask, path)
    return mask


def require_size_of(image: Tensor, mask: Tensor, path: Path) -> None:
    """Raises BadFile if the mask (H,W) read from ``path`` and its image (3,H,W) have different sizes."""
    if mask.shape != image.shape[1:]:
        sizes = [f"{width}×{height}" for height, width in (mask.shape, image.shape[1:])]
        raise BadFile(path, f"is {sizes[0]}, its image {sizes[1]} pixels; they must be equal", Kind.MASK_SIZE)


def _decode(path: Path, binary: bool = False) -> NDArray[np.uint8]:
    """Decodes a file -> (H,W,3) uint8. ``binary``: deep values above 0 stay above 0, as a mask may be stored as 0/1."""
    try:
        with Image.open(path) as file:
            if file.format == "TIFF" and getattr(file, "n_frames", 1) > 1:
                raise BadFile(path, f"holds {getattr(file, 'n_frames', 1)} frames, one image per file is expected")
            pixels = _to_rgb(ImageOps.exif_transpose(file), path, binary)
    except (BadFile, FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # damaged files make Pillow's decoders raise almost anything
        raise BadFile(path, f"cannot be read as an image ({text_of(error)})") from error
    return pixels


def _to_rgb(image: Image.Image, path: Path, binary: bool) -> NDArray[np.uint8]:
    if _SIXTEEN_BIT.match(image.mode) or image.mode in ("I", "F"):
        return np.repeat(_deep_grey(image, path, binary)[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return np.array(image.convert("RGB"))


def _deep_grey(image: Image.Image, path: Path, binary: bool) -> NDArray[np.uint8]:
    """Converts a grey image of more than 8 bits -> (H,W) uint8."""
    values = np.asarray(image).astype(np.float64)
    if binary:
        return np.where(values > 0, 255, 0).astype(np.uint8)
    if image.mode == "I":
        raise BadFile(path, "holds 32-bit integers, whose range is unknown; save it with 8 or 16 bit")
    if image.mode != "F":
        return np.rint(values / 257).astype(np.uint8)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise BadFile(path, "holds floating-point values outside [0, 1]; save it with 8 or 16 bit")
    return np.rint(values * 255).astype(np.uint8)


def text_of(error: BaseException) -> str:
    """Returns the text of an exception without line breaks, or its type if it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


def resize_image(image: Tensor, size: int) -> Tensor:
    """Resizes (3,H,W) uint8 -> (3,size,size) uint8, bilinear with antialias; the aspect ratio is not kept."""
    small: Tensor = tvf.resize(image, [size, size], antialias=True)
    return small


def resize_region(region: Tensor, size: int) -> Tensor:
    """Resizes (H,W) bool -> (size,size) bool: cells that are at least half covered, on the grid of ``resize_image``."""
    return _coverage(region, size) >= 0.5


def resize_ignored(region: Tensor, size: int) -> Tensor:
    """Resizes (H,W) bool -> (size,size) bool: all cells that it touches, because their pixels mix with it."""
    return _coverage(region, size) > 0


def resize_mask(mask: Tensor, size: int) -> Tensor:
    """Resizes (H,W) bool -> (size,size) bool as ``resize_region`` does, but no lesion vanishes.

    A connected lesion too small to cover half of any cell keeps the one cell that it covers most. (Counting every
    touched cell would instead enlarge all lesions by half a cell around their edge.)
    """
    coverage = _coverage(mask, size).numpy()
    small = coverage >= 0.5
    lesions, count = ndimage.label(mask.numpy(), structure=np.ones((3, 3)))
    if count == 0:
        return torch.from_numpy(small)
    rows, columns = ((2 * np.arange(side) + 1) * size // (2 * side) for side in mask.shape)  # by pixel centre
    cells = np.ix_(rows, columns)
    kept = np.bincount(lesions[small[cells]], minlength=count + 1)
    lost = np.flatnonzero(kept[1:] == 0) + 1
    if lost.size:
        for row, column in ndimage.maximum_position(coverage[cells], lesions, lost):
            small[rows[row], columns[column]] = True
    return torch.from_numpy(small)


def _coverage(region: Tensor, size: int) -> Tensor:
    values = region[None, None].float()
    return F.interpolate(values, (size, size), mode="bilinear", antialias=True, align_corners=False)[0, 0]


def resized(sample: Sample, size: int) -> Sample:
    """Resizes a sample and its regions to ``size``×``size`` pixels; lesion takes precedence over ignored."""
    mask = None if sample.mask is None else resize_mask(sample.mask, size)
    ignored = None if sample.ignored is None else resize_ignored(sample.ignored, size)
    return replace(
        sample,
        image=resize_image(sample.image, size),
        mask=mask,
        fov=None if sample.fov is None else resize_region(sample.fov, size),
        ignored=ignored if mask is None or ignored is None else ignored & ~mask,
    )
