"""How tests call ``check-data``, and data sets that are small enough to check."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console

import bench.data  # noqa: F401 (registers the data sets)
from bench.commands.check_data.command import SAMPLES, check_dataset
from bench.commands.check_data.reading import Reading, read_dataset
from bench.contracts import DatasetInfo, Sample
from bench.data.loading import Request

SIDE = 24


def lesion(side: int = SIDE) -> np.ndarray:
    mask = np.zeros((side, side), dtype=np.uint8)
    mask[4:10, 4:10] = 255
    return mask


def check(info: DatasetInfo, root: Path, splits: Path | None = None) -> tuple[bool, str, list[list[str]]]:
    """Whether the data set is clean, what was said, and the rows of the CSV file."""
    screen, folder = io.StringIO(), root / "out"
    request = Request(root, SIDE, 0, skip_bad=True, splits=splits)
    clean = check_dataset(info, request, folder, Console(file=screen, width=150))
    if f"samples with their masks: {folder / SAMPLES}" in screen.getvalue():
        with Image.open(folder / SAMPLES) as picture:
            assert min(picture.size) > 500
    with (root / "out/faults.csv").open(newline="") as file:
        return clean, screen.getvalue(), list(csv.reader(file))[1:]


def read(info: DatasetInfo, root: Path, **options: Any) -> Reading:
    return read_dataset(info, Request(root, SIDE, 0, skip_bad=True, **options), Console(file=io.StringIO()))


def rewrite(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:300])


def generated(split: str, **changes: Any) -> list[Sample]:
    """Eight images; the sick ones have a lesion of a quarter of the image, but for the last one, not annotated."""
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[:12, :12] = True
    image = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
    masks = [None if index == 7 else mask & bool(index % 2) for index in range(8)]
    samples = [Sample(image, i % 2, masks[i], f"{split}{i}", f"{split}{i // 2}") for i in range(8)]
    return [*samples[:-1], replace(samples[-1], **changes)]


def info_of(builder: Callable[..., Any], **facts: Any) -> DatasetInfo:
    return DatasetInfo("made", builder, "other", ("healthy", "sick"), "pixel", "", "", "", **facts)
