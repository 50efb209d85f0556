"""Synthetic OCT scans and masks in the layout of OCT2017."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("NORMAL", "DRUSEN", "DME", "CNV")
#: Height and width of a scan by its class; the release has 496×512, 496×768, 496×1536 and some more.
SIZES = {"NORMAL": (31, 32), "DRUSEN": (31, 48), "DME": (31, 96), "CNV": (32, 32)}


def scan(root: Path, part: str, name: str, patient: int, number: int, suffix: str = ".jpeg") -> Path:
    """A grey gradient down the scan whose brightest value tells the patient."""
    height, width = SIZES[name]
    file = root / part / name / f"{name}-{patient}-{number}{suffix}"
    file.parent.mkdir(parents=True, exist_ok=True)
    values = np.linspace(0, patient % 250, height)[:, None].repeat(width, axis=1)
    Image.fromarray(values.astype(np.uint8)).save(file, **({"quality": 100} if suffix == ".jpeg" else {}))
    return file


def write_mask(home: Path, name: str, height: int, width: int) -> None:
    """The lower right part of a scan as its mask."""
    file = home / "masks" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[10:20, width // 2 :] = 255
    Image.fromarray(mask).save(file)


def make_oct(home: Path, scans: int = 2) -> None:
    """Scans of each of 12 patients per class to train on, one of 3 to test on; CNV patients have drusen too."""
    for index, name in enumerate(CLASSES):
        for patient in range(100 + 20 * index, 112 + 20 * index):
            for number in range(1, scans + 1):
                scan(home, "train", name, patient, number)
        for patient in range(200 + 20 * index, 203 + 20 * index):
            scan(home, "test", name, patient, 1)
    for patient in range(160, 172):
        scan(home, "train", "DRUSEN", patient, 7)
