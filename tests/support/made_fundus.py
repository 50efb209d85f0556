"""Made fundus photographs, and how they are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.data.loading import Request, load_splits
from bench.data.split import Split
from bench.registry import DATASETS


def disc(height: int, width: int, row: float, column: float, radius: float) -> np.ndarray:
    """(H,W) bool, by the distance of pixel centres."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def photograph(where: np.ndarray, colour: Sequence[int] = (180, 90, 40)) -> np.ndarray:
    """A disc of one colour, darker to the right, on black: (H,W,3) uint8."""
    shade = np.linspace(1, 0.6, where.shape[1])[None, :, None]
    return (where[:, :, None] * shade * np.array(colour)).astype(np.uint8)


def save(file: Path, pixels: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 100, "subsampling": 0} if file.suffix in (".jpeg", ".jpg") else {}
    Image.fromarray(pixels).save(file, **options)
    return file


def table(file: Path, *lines: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


def load(root: Path, name: str = "fundus", size: int = 32, seed: int = 0, **options: Any) -> dict[str, Split]:
    """All splits of a data set."""
    return load_splits(DATASETS[name], Request(root, size, seed, **options), root / "cache")
