"""ELPV: electroluminescence photographs of solar cells, real images that a Python package brings without a download."""

from __future__ import annotations

import importlib.util
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from bench.contracts import SPLITS, Sample
from bench.data.readers.images import read_image, resize_image
from bench.data.splitting import require_split, subsample
from bench.errors import MissingData
from bench.registry import dataset
from bench.seeds import seed_of

BLOCK = 64
_PACKAGE = "elpv_dataset"
_HOW_TO_GET = "Python package elpv-dataset not found: pip install elpv-dataset==1.0.0.post1 (or the extra [real])"
#: Splits of five blocks with similar defect rates, in a seeded order: 60 % training, 20 % validation, 20 % test.
_ROLES = ("train", "val", "train", "test", "train")


@dataclass(frozen=True)
class Cell:
    """Photograph of a cell: its number in the data set, its class, and "mono" or "poly" for the kind of crystal."""

    file: Path
    number: int
    defective: bool
    kind: str

    @property
    def id(self) -> str:
        """Stem of the file, for example ``cell0001``."""
        return self.file.stem

    @property
    def block(self) -> int:
        """Block of neighbouring numbers, which is in one split, because its cells may come from the same module."""
        return (self.number - 1) // BLOCK


@dataclass(frozen=True)
class Mosaic:
    """Four cells of one kind, row by row; ``defect`` is the position of the defective one, None if all function."""

    id: str
    cells: tuple[Cell, ...]
    defect: int | None
    block: int


def _data_folder() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)
    return Path(spec.origin).parent / "data" if spec and spec.origin else None


@cache
def read_cells(folder: Path) -> tuple[Cell, ...]:
    """Reads the cells whose probability of a defect is 0 (1,508 functional cells) or 1 (715 defective ones)."""
    cells = []
    for line in (folder / "labels.csv").read_text().splitlines():
        name, probability, kind = line.split()
        if float(probability) in (0.0, 1.0):
            number = int(Path(name).stem.removeprefix("cell"))
            cells.append(Cell(folder / name, number, float(probability) == 1.0, kind))
    return tuple(cells)


def split_blocks(cells: Sequence[Cell], seed: int) -> dict[int, str]:
    """Assigns blocks to splits; of five blocks of one kind with similar defect rates, 3 : 1 : 1, drawn by the seed."""
    blocks: dict[int, list[Cell]] = defaultdict(list)
    for cell in cells:
        blocks[cell.block].append(cell)
    kinds: dict[str, list[int]] = defaultdict(list)
    for block, members in blocks.items():
        kinds[Counter(cell.kind for cell in members).most_common(1)[0][0]].append(block)
    splits: dict[int, str] = {}
    for alike in kinds.values():
        alike.sort(key=lambda block: sum(cell.defective for cell in blocks[block]) / len(blocks[block]))
        for start in range(0, len(alike), len(_ROLES)):
            five = sorted(alike[start : start + len(_ROLES)], key=lambda block: seed_of("elpv-split", seed, block))
            splits.update(zip(five, _ROLES, strict=False))
    return splits


def make_mosaics(cells: Sequence[Cell], seed: int) -> list[Mosaic]:
    """Builds two mosaics per defective cell: one with the cell, and one of functional cells of the same kind.

    The pairs are in a seeded order, so that the first ones are a balanced subsample.
    """
    mosaics = []
    for cell in sorted((c for c in cells if c.defective), key=lambda c: seed_of("elpv-mosaic", seed, c.id)):
        sound = [other for other in cells if other.kind == cell.kind and not other.defective]
        sound.sort(key=lambda other: seed_of("elpv-neighbour", seed, cell.id, other.id))
        place = seed_of("elpv-place", seed, cell.id) % 4
        around = sound[:3]
        mosaics.append(Mosaic(f"mosaic-{cell.id}", (*around[:place], cell, *around[place:]), place, cell.block))
        mosaics.append(Mosaic(f"mosaic-{cell.id}-functional", tuple(sound[3:7]), None, sound[3].block))
    return mosaics


class Cells:
    """Sequence of single cells (3,size,size)."""

    def __init__(self, cells: Sequence[Cell], size: int) -> None:
        self.cells, self.size = cells, size
        self.files = [cell.file for cell in cells]

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, index: int) -> Sample:
        cell = self.cells[index]
        image = resize_image(read_image(cell.file), self.size)
        return Sample(image, int(cell.defective), None, cell.id, f"block{cell.block}")


class Mosaics:
    """Sequence of 2×2 mosaics (3,2·size,2·size), whose cells have the scale that the classifier was trained on."""

    def __init__(self, mosaics: Sequence[Mosaic], size: int) -> None:
        self.mosaics, self.size = mosaics, size
        self.files = sorted({cell.file for mosaic in mosaics for cell in mosaic.cells})

    def __len__(self) -> int:
        return len(self.mosaics)

    def __getitem__(self, index: int) -> Sample:
        mosaic, size = self.mosaics[index], self.size
        image = torch.zeros(3, 2 * size, 2 * size, dtype=torch.uint8)
        mask = torch.zeros(2 * size, 2 * size, dtype=torch.bool)
        for place, cell in enumerate(mosaic.cells):
            top, left = place // 2 * size, place % 2 * size
            image[:, top : top + size, left : left + size] = resize_image(read_image(cell.file), size)
            mask[top : top + size, left : left + size] = place == mosaic.defect
        return Sample(image, int(mosaic.defect is not None), mask, mosaic.id, f"block{mosaic.block}")


@dataset(
    "elpv",
    modality="electroluminescence",
    classes=("functional", "defective"),
    masks="pixel",
    source="PyPI elpv-dataset 1.0.0.post1, https://github.com/zae-bayern/elpv-dataset",
    licence="CC BY-NC-SA 4.0",
    citation="Buerhop-Lutz et al., EU PVSEC 2018, doi:10.4229/35thEUPVSEC20182018-5CV.3.15; "
    "Deitsch et al., Machine Vision and Applications 32(4), 2021, doi:10.1007/s00138-021-01191-9; "
    "Deitsch et al., Solar Energy 185, 455-468, 2019, doi:10.1016/j.solener.2019.02.067",
    explain_split="mosaic",
    copy_likeness=0.999,  # cells of neighbouring wafers look alike
    mask_is="the quadrant of the defective cell in a mosaic of four cells, not the defect in it",
    missing=lambda root: "" if _data_folder() else _HOW_TO_GET,
)
def elpv(root: Path, split: str, size: int = 128, count: int | None = None, seed: int = 0) -> Cells | Mosaics:
    """Returns single cells without masks ("train", "val", "test"), or mosaics of test cells with masks ("mosaic").

    Raises:
        MissingData: the package is not installed.
        UserError: unknown split.
    """
    require_split("elpv", split, (*SPLITS, "mosaic"))
    folder = _data_folder()
    if folder is None:
        raise MissingData(_HOW_TO_GET)
    cells = read_cells(folder)
    blocks = split_blocks(cells, seed)
    if split == "mosaic":
        held_out = [cell for cell in cells if blocks[cell.block] == "test"]
        return Mosaics(make_mosaics(held_out, seed)[:count], size)
    chosen = [cell for cell in cells if blocks[cell.block] == split]
    kept = subsample([int(cell.defective) for cell in chosen], [cell.id for cell in chosen], count, seed)
    return Cells([chosen[index] for index in kept], size)
