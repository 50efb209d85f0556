"""A synthetic folder of images as users bring their own: a folder per class, and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 24


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def box(top: int, left: int, side: int = SIDE) -> np.ndarray:
    mask = np.zeros((side, side), dtype=np.uint8)
    mask[top : top + 4, left : left + 4] = 255
    return mask


def make_folder(folder: Path) -> Path:
    """Twenty images, ten "healthy" and ten "sick" ones with a mask each."""
    pixels = np.random.default_rng(0)
    for index in range(10):
        write(folder / f"images/healthy/h{index}.png", pixels.integers(0, 256, (SIDE, SIDE), dtype=np.uint8))
        write(folder / f"images/sick/s{index}.png", pixels.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
        write(folder / f"masks/s{index}.png", box(index, 4))
    return folder
