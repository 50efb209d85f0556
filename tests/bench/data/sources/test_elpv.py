"""The solar cells: what is in them, the split by blocks of file number, and the mosaics."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.contracts import MissingData
from bench.data.readers.images import read_image, resize_image
from bench.data.sources import elpv
from bench.registry import DATASETS

ROOT = Path("unused")


def test_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elpv, "_PACKAGE", "elpv_dataset_that_is_not_there")
    assert "pip install elpv-dataset==1.0.0.post1" in DATASETS["elpv"].missing(ROOT)
    with pytest.raises(MissingData, match=r"\[real\]"):
        elpv.elpv(ROOT, "train")


@pytest.fixture(scope="module")
def cells() -> tuple[elpv.Cell, ...]:
    pytest.importorskip("elpv_dataset")
    folder = elpv._data_folder()
    assert folder is not None
    return elpv.read_cells(folder)


def test_certain_cells_only(cells: tuple[elpv.Cell, ...]) -> None:
    assert DATASETS["elpv"].missing(ROOT) == ""
    assert sum(cell.defective for cell in cells) == 715
    assert sum(not cell.defective for cell in cells) == 1508
    assert {cell.kind for cell in cells} == {"mono", "poly"}


@pytest.mark.parametrize("seed", range(10))
def test_blocks_are_disjoint_and_every_split_has_every_sort(cells: tuple[elpv.Cell, ...], seed: int) -> None:
    splits = elpv.split_blocks(cells, seed)
    assert set(splits) == {cell.block for cell in cells}
    for split in ("train", "val", "test"):
        chosen = [cell for cell in cells if splits[cell.block] == split]
        assert {(cell.kind, cell.defective) for cell in chosen} == {
            (kind, defective) for kind in ("mono", "poly") for defective in (True, False)
        }
        assert len(chosen) / len(cells) == pytest.approx(0.6 if split == "train" else 0.2, abs=0.06)


def test_mosaics_have_one_defective_cell_or_none(cells: tuple[elpv.Cell, ...]) -> None:
    splits = elpv.split_blocks(cells, 0)
    held_out = [cell for cell in cells if splits[cell.block] == "test"]
    mosaics = elpv.make_mosaics(held_out, 0)
    assert len(mosaics) == 2 * sum(cell.defective for cell in held_out)
    for mosaic in mosaics:
        assert len(set(mosaic.cells)) == 4
        assert set(mosaic.cells) <= set(held_out)
        assert len({cell.kind for cell in mosaic.cells}) == 1
        assert [i for i, cell in enumerate(mosaic.cells) if cell.defective] == (
            [] if mosaic.defect is None else [mosaic.defect]
        )
        assert mosaic.block in {cell.block for cell in mosaic.cells}
    places = [mosaic.defect for mosaic in mosaics if mosaic.defect is not None]
    assert min(places.count(place) for place in range(4)) > len(places) / 8


def test_mask_is_the_quadrant_of_the_defective_cell(cells: tuple[elpv.Cell, ...]) -> None:
    samples = elpv.elpv(ROOT, "mosaic", size=24, count=6)
    assert isinstance(samples, elpv.Mosaics)
    for index in range(len(samples)):
        sample, mosaic = samples[index], samples.mosaics[index]
        assert sample.image.shape == (3, 48, 48)
        assert sample.mask is not None
        assert int(sample.mask.sum()) == 24 * 24 * sample.label
        if mosaic.defect is not None:
            cell = resize_image(read_image(mosaic.cells[mosaic.defect].file), 24)
            assert torch.equal(sample.image[:, sample.mask].view(3, 24, 24), cell)


def test_counts_grow_without_changing_the_earlier_ones(cells: tuple[elpv.Cell, ...]) -> None:
    for split in ("train", "mosaic"):
        few, more = (elpv.elpv(ROOT, split, 16, count) for count in (6, 10))
        ids = [[samples[index].id for index in range(len(samples))] for samples in (few, more)]
        assert set(ids[0]) < set(ids[1])
        assert sum(few[index].label for index in range(6)) == 3
