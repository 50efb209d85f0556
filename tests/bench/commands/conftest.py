"""A folder of images that is sound, to plant faults in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.bench.commands.checking import SIDE, lesion
from tests.support.datasets.fundus import save, table


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """Twelve images of two classes, two images a patient, in three splits; a mask for each sick one."""
    noise = np.random.default_rng(0)
    lines = ["file,split,group"]
    for index in range(12):
        for name in ("healthy", "sick"):
            save(tmp_path / f"own/images/{name}/{index}.png", noise.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
            split = ("train", "val", "test")[index // 2 % 3]
            lines.append(f"{name}/{index}.png,{split},{name}{index // 2}")
        save(tmp_path / f"own/masks/sick/{index}.png", lesion())
    table(tmp_path / "own/splits.csv", *lines)
    return tmp_path / "own"
