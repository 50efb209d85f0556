"""Reader of image files, and the resizing of images and masks: every source decodes and resizes in the same way.

Files are PNG, JPEG, TIFF or BMP, with 8 or 16 bit, grey, colour, palette or alpha.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps
from scipy import ndimage
from torch import Tensor

from bench.contracts import Sample
from bench.data.readers.faults import Kind
from bench.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_SIXTEEN_BIT = re.compile(r"I;16")
_LOSSY = ("JPEG", "MPO", "WEBP", "JPEG2000")
_PHOTOMETRIC, _BITS = 262, 258  # tags of TIFF
_FULL_16, _DARK = 65535, 8192
_GIVE_WINDOW = "state the values of black and white as [data] window = [LOW, HIGH]"

#: Stored values that become black and white.
Window = tuple[float, float]


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


@dataclass(frozen=True)
class Opened:
    """An image file that is open, upright (EXIF), with the facts that are lost when it is decoded.

    Attributes:
        image: the picture in the mode of its file.
        path: the file.
        lossy: compressed with loss, such as JPEG, whatever its suffix.
        full: largest value that its bits can hold, for 9 to 16 bits.
        inverted: 0 is white, and the decoder has not taken care of it (TIFF of 16 bits).
    """

    image: Image.Image
    path: Path
    lossy: bool
    full: int
    inverted: bool


def read_image(path: Path, window: Window | None = None, dark: bool = False) -> Tensor:
    """Reads an image file -> (3,H,W) uint8, upright (EXIF), with transparent parts on black.

    Values of more than 8 bits are scaled by the window, otherwise by the full range of their bits, and never by the
    image's own maximum, which would make the brightness of two images incomparable. A file that says that 0 is white
    is inverted.

    Args:
        path: the file.
        window: stored values that become black and white, for grey files of more than 8 bits; None = their full range.
        dark: accept 16-bit files that are nearly black without a window; the caller checks the brightness.

    Raises:
        BadFile: truncated, not an image, several frames; without a window: 32-bit or signed integers, floats outside
            [0, 1], or 16-bit values that fill less than an eighth of the range.
    """
    return torch.from_numpy(decode(path, lambda opened: _to_rgb(opened, window, dark))).permute(2, 0, 1).contiguous()


def require_size_of(image: Tensor, mask: Tensor, path: Path, name: str = "") -> None:
    """Raises BadFile if the mask (H,W) read from ``path`` and its image (3,H,W), called ``name``, differ in size."""
    if mask.shape != image.shape[1:]:
        sizes = [f"{width}×{height}" for height, width in (mask.shape, image.shape[1:])]
        named = name and f"{name} "
        raise BadFile(path, f"is {sizes[0]}, its image {named}{sizes[1]} pixels; they must be equal", Kind.MASK_SIZE)


def decode(path: Path, convert: Callable[[Opened], NDArray[Any]]) -> NDArray[Any]:
    """Opens a file and converts it -> what ``convert`` returns; used by ``read_image`` and the reader of masks.

    Raises:
        BadFile: truncated, not an image, several frames, or raised by ``convert``.
    """
    try:
        with Image.open(path) as file:
            frames = getattr(file, "n_frames", 1)
            if frames > 1 and file.format != "MPO":  # a photograph with a preview of itself
                raise BadFile(path, f"holds {frames} frames, one image per file is expected")
            pixels = convert(_opened(file, path))
    except (BadFile, FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # damaged files make Pillow's decoders raise almost anything
        raise BadFile(path, f"cannot be read as an image ({text_of(error)})") from error
    return pixels


def _opened(file: ImageFile.ImageFile, path: Path) -> Opened:
    lossy = file.format in _LOSSY or file.info.get("compression") in ("jpeg", "webp")
    tags: Mapping[int, Any] = getattr(file, "tag_v2", {})
    deep = _SIXTEEN_BIT.match(file.mode) is not None
    bits = np.ravel(tags.get(_BITS, 16))[0] if deep else 16
    inverted = deep and tags.get(_PHOTOMETRIC, 1) == 0
    return Opened(ImageOps.exif_transpose(file), path, lossy, 2 ** int(bits) - 1, inverted)


def _to_rgb(opened: Opened, window: Window | None, dark: bool) -> NDArray[np.uint8]:
    image = opened.image
    if _SIXTEEN_BIT.match(image.mode) or image.mode in ("I", "F"):
        return np.repeat(_deep_grey(opened, window, dark)[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return np.array(image.convert("RGB"))


def _deep_grey(opened: Opened, window: Window | None, dark: bool) -> NDArray[np.uint8]:
    """Converts a grey image of more than 8 bits -> (H,W) uint8."""
    values = np.asarray(opened.image).astype(np.float64)
    low, high = window or _range_of(values, opened, dark)
    if not np.isfinite(values).all():
        raise BadFile(opened.path, "holds values that are not finite; save it with 8 or 16 bit")
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.rint((1 - share if opened.inverted else share) * 255).astype(np.uint8)


def _range_of(values: NDArray[np.float64], opened: Opened, dark: bool) -> Window:
    """Returns the values that are black and white according to the type of a file without window."""
    path, mode = opened.path, opened.image.mode
    top = values.max()
    if mode == "I":
        found = f"(here {values.min():g} to {top:g})"
        raise BadFile(path, f"holds signed or 32-bit integers {found}, whose range is unknown; {_GIVE_WINDOW}")
    if mode == "F":
        if not np.isfinite(values).all() or values.min() < 0 or top > 1:
            raise BadFile(
                path, f"holds floating-point values outside [0, 1]; save it with 8 or 16 bit, or {_GIVE_WINDOW}"
            )
        return 0.0, 1.0
    if not dark and opened.full == _FULL_16 and not opened.inverted and 0 < top < _DARK:
        reason = f"is nearly black: its 16-bit values end at {top:g} of {_FULL_16}, as 8- to 13-bit data do"
        bits = int(top).bit_length()
        raise BadFile(path, f"{reason}; {_GIVE_WINDOW}, for example [0, {2 ** max(bits, 8) - 1}]")
    return 0.0, float(opened.full)


def text_of(error: BaseException) -> str:
    """Returns the text of an exception without line breaks, or its type if it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


def resize_image(image: Tensor, size: int) -> Tensor:
    """Resizes (3,H,W) uint8 -> (3,size,size) uint8, bilinear with antialias; the aspect ratio is not kept."""
    from torchvision.transforms.v2 import functional as tvf  # not at the top: a finished run does not need it

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
