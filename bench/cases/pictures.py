"""Pictures of cases: small compressed images with masks, which a page holds as they are stored."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.store.maps import write_arrays

#: Longest side in pixels; more is invisible in a tile of a page.
LARGEST_SIDE = 160
_QUALITY = 85


@dataclass(frozen=True)
class Pictures:
    """Cases of a data set.

    Attributes:
        ids: names of the images.
        labels: (n,) classes.
        side: (H,W) of the images themselves, which the maps explain.
        size: (h,w) of the pictures.
        images: WebP files.
        masks: PNG files of one bit per pixel, white inside the lesion; empty without a lesion.
        origin: digest of the images and of the choice among them.
    """

    ids: list[str]
    labels: NDArray[np.int64]
    side: tuple[int, int]
    size: tuple[int, int]
    images: list[bytes]
    masks: list[bytes]
    origin: str = ""


def small_size(side: tuple[int, int]) -> tuple[int, int]:
    """Returns the sides of a picture of an image of (H,W): at most ``LARGEST_SIDE``, in the same proportion."""
    factor = min(1, LARGEST_SIDE / max(side))
    height, width = (max(1, round(pixels * factor)) for pixels in side)
    return height, width


def to_pictures(
    ids: list[str],
    labels: NDArray[np.int64],
    images: NDArray[np.uint8],
    masks: NDArray[np.bool_] | None,
    origin: str = "",
) -> Pictures:
    """Compresses images (n,3,H,W) and their masks (n,H,W); ``origin`` as of ``Pictures``."""
    height, width = images.shape[2:]
    size = small_size((height, width))
    shown = [_image_file(one, size) for one in images]
    outlines = [b""] * len(ids) if masks is None else [_mask_file(one, size) for one in masks]
    return Pictures(ids, labels, (height, width), size, shown, outlines, origin)


def _image_file(image: NDArray[np.uint8], size: tuple[int, int]) -> bytes:
    small = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    if small.size != size[::-1]:
        small = small.resize(size[::-1], Image.Resampling.BOX)
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=_QUALITY)
    return stream.getvalue()


def _mask_file(mask: NDArray[np.bool_], size: tuple[int, int]) -> bytes:
    """Compresses a mask; a lesion that covers half of no pixel of the picture keeps every pixel that it touches."""
    if not mask.any():
        return b""
    small = Image.fromarray(np.asarray(mask, dtype=np.uint8) * 255)
    if small.size != size[::-1]:
        covered = np.asarray(small.resize(size[::-1], Image.Resampling.BOX))
        small = Image.fromarray(np.uint8(255) * (covered >= (128 if (covered >= 128).any() else 1)))
    stream = io.BytesIO()
    small.convert("1", dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def write_pictures(temporary: Path, pictures: Pictures) -> None:
    """Writes pictures to an .npz file."""
    arrays: dict[str, NDArray[Any]] = {
        "ids": np.array(pictures.ids, dtype=np.str_),
        "labels": pictures.labels,
        "sides": np.array([pictures.side, pictures.size]),
        "origin": np.array(pictures.origin),
    }
    for name, files in (("images", pictures.images), ("masks", pictures.masks)):
        arrays[name] = np.frombuffer(b"".join(files), dtype=np.uint8)
        arrays[f"{name}_ends"] = np.cumsum([len(file) for file in files], dtype=np.int64)
    write_arrays(temporary, arrays)


def read_pictures(path: Path) -> Pictures:
    """Reads what ``write_pictures`` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        (height, width), (rows, columns) = stored["sides"].tolist()
        images, masks = (_split(stored[name], stored[f"{name}_ends"]) for name in ("images", "masks"))
        ids, labels, origin = stored["ids"].tolist(), stored["labels"].astype(np.int64), str(stored["origin"])
    return Pictures(ids, labels, (height, width), (rows, columns), images, masks, origin)


def read_origin(path: Path) -> str:
    """Reads the digest of what a file of pictures was made from."""
    with np.load(path, allow_pickle=False) as stored:
        return str(stored["origin"])


def _split(joined: NDArray[np.uint8], ends: Iterable[int]) -> list[bytes]:
    start, found = 0, []
    for end in ends:
        found.append(joined[start:end].tobytes())
        start = end
    return found
