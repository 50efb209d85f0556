"""Synthetic folders of images as users bring their own: a folder per class, or findings in labels.csv; and masks."""

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


# --- Several findings per image ---------------------------------------------------------------------------------------

FINDINGS = ("effusion", "nodule")
COUNT = 40
#: Upper left corner of the lesion of each finding.
CORNERS = ((16, 2), (2, 14))


def labels_of(index: int) -> tuple[int, ...]:
    """Every combination of the findings, patient by patient of two images."""
    code = index // 2 % 4
    return code & 1, code >> 1


def rows_of(count: int = COUNT) -> list[list[str]]:
    return [[f"i{index}.png", f"p{index // 2}", *map(str, labels_of(index))] for index in range(count)]


def write_table(folder: Path, rows: list[list[str]], header: str = "file,patient,effusion,nodule") -> None:
    text = "\n".join([header, *(",".join(row) for row in rows)])
    (folder / "labels.csv").write_text(text + "\n", encoding="utf-8")


def make_findings(folder: Path, masks: bool = True) -> Path:
    """Forty images of twenty patients."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(1)
    for index in range(COUNT):
        picture = pixels.integers(0, 150, (SIDE, SIDE), dtype=np.uint8)
        for finding, is_present in enumerate(labels_of(index)):
            if is_present:
                picture[box(*CORNERS[finding]) > 0] = 255
                if masks:
                    write(folder / f"masks/{FINDINGS[finding]}/i{index}.png", box(*CORNERS[finding]))
        write(folder / f"images/i{index}.png", picture)
    write_table(folder, rows_of())
    return folder
