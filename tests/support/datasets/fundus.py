"""Synthetic fundus photographs in the layouts of EyePACS, Retinal-Lesions and IDRiD, and how they are loaded."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.data.loading import Request, load_splits
from bench.data.split import Split
from bench.registry import DATASETS

LESIONS = {"MA": "1. Microaneurysms", "HE": "2. Haemorrhages", "EX": "3. Hard Exudates", "SE": "4. Soft Exudates"}
TRAINING, TESTING = "a. Training Set", "b. Testing Set"


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


def make_eyepacs(root: Path, patients: int = 40) -> None:
    """Photographs of both eyes, brighter with the grade (the number modulo 5), and masks of the diseased left ones."""
    lines = []
    for patient in range(patients):
        grade = patient % 5
        for side in ("left", "right"):
            name = f"{patient}_{side}"
            pixels = photograph(disc(60, 80, 30, 40, 28), (100 + 30 * grade, 60, 30))
            save(root / f"eyepacs/train/{name}.jpeg", pixels)
            lines.append(f"{name},{grade}")
            if grade and side == "left":
                square = pixels[2:58, 12:68]
                save(root / f"retinal-lesions/images_896x896/{name}.jpg", square)
                mask = np.zeros((56, 56), np.uint8)
                mask[20:30, 25:40] = 255
                mask[:5, 25:30] = 127
                save(root / f"retinal-lesions/lesion_segs_896x896/{name}/hard_exudate.png", mask)
    table(root / "eyepacs/trainLabels.csv", "image,level", *lines)


def mask_idrid(root: Path, image: str, part: str, lesion: str, mask: np.ndarray) -> None:
    folder = LESIONS.get(lesion, "5. Optic Disc")
    outlines = root / "A. Segmentation/2. All Segmentation Groundtruths" / part / folder
    save(outlines / f"{image}_{lesion}.tif", (mask > 0).astype(np.uint8) * 76)


def make_idrid(root: Path) -> None:
    """20 + 8 graded photographs, odd ones diseased; 2 + 2 outlined ones, IDRiD_01 is the graded 003."""
    for part, count, name in ((TRAINING, 20, "a. {}Training"), (TESTING, 8, "b. {}Testing")):
        lines = ["Image name,Retinopathy grade,Risk of macular edema ,,,"]
        for number in range(1, count + 1):
            colour = (100 + 5 * number, 60 if part == TRAINING else 80, 40)
            image = photograph(disc(40, 60, 20, 28, 25), colour)
            save(root / f"B. Disease Grading/1. Original Images/{part}/IDRiD_{number:03}.jpg", image)
            lines.append(f"IDRiD_{number:03},{3 * (number % 2)},0,,,")
        labels = name.format("IDRiD_Disease Grading_") + " Labels.csv"
        table(root / "B. Disease Grading/2. Groundtruths" / labels, *lines, ",,,,,")
    for number, part in ((1, TRAINING), (2, TRAINING), (55, TESTING), (56, TESTING)):
        image = photograph(disc(40, 60, 20, 28, 25), (50, 200 - number, 40))
        save(root / f"A. Segmentation/1. Original Images/{part}/IDRiD_{number:02}.jpg", image)
        for index, lesion in enumerate(("MA", "HE", "OD")):
            mask = np.zeros((40, 60), dtype=np.uint8)
            mask[4 + 10 * index : 8 + 10 * index, 26:30] = 1
            mask_idrid(root, f"IDRiD_{number:02}", part, lesion, mask)
    shutil.copy(
        root / f"B. Disease Grading/1. Original Images/{TRAINING}/IDRiD_003.jpg",
        root / f"A. Segmentation/1. Original Images/{TRAINING}/IDRiD_01.jpg",
    )


def by_id(splits: dict[str, Split], id_: str) -> tuple[Split, int]:
    (found,) = [(split, split.ids.index(id_)) for split in splits.values() if id_ in split.ids]
    return found
