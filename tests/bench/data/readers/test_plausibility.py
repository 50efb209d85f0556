"""Data sets whose masks are wrong in all images, and images that are masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.config import parse_config
from bench.data.checks import BadFiles
from bench.data.loading import Request, load_splits
from bench.data.prepare import facts, prepare
from bench.data.readers.plausibility import has_two_values, judge
from bench.data.sources.folder import folder_dataset
from bench.errors import UserError
from tests.support.datasets.folder import SIDE, box, make_folder, write

NAN = float("nan")
SAME = "the lesion has the same area, 2.78% of the image in all 10 masks"
LOOSE = "loose.png is not in the folder of a class and is not used"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "own")


def load(folder: Path, **options: object) -> list[str]:
    """Loads a folder and returns the doubts."""
    doubts: list[str] = []
    request = Request(folder, SIDE, 0, **options)  # type: ignore[arg-type]
    load_splits(folder_dataset(folder), request, folder.parent / "cache", doubt=doubts.append)
    return doubts


def thumb(*values: int) -> np.ndarray:
    """(48,48) in stripes of equal width."""
    return np.repeat(np.array(values, dtype=np.uint8), 48 * 48 // len(values)).reshape(48, 48)


def test_masks_have_two_distant_values_and_photographs_more() -> None:
    assert has_two_values(thumb(0, 255))
    assert has_two_values(thumb(*[0] * 45, 40, 250, 252))
    assert not has_two_values(thumb(0, 0))
    assert not has_two_values(thumb(100, 130))
    assert not has_two_values(thumb(0, 80, 160, 240))
    assert not has_two_values(np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8))


@pytest.mark.parametrize(
    ("shares", "stated", "faults", "doubts"),
    [
        ([0.1, 0.2, 0.3, 0.4], False, 0, 0),
        ([0.6, 0.7, 0.8, 0.9], False, 1, 0),
        ([0.6, 0.7, 0.8, 0.9], True, 0, 0),
        ([0.6, 0.7, 0.1, 0.2], False, 0, 0),
        ([0.6, 0.7, 0.8], False, 0, 0),
        ([0.1, 0.1, 0.1, 0.1], False, 0, 1),
        ([0.0, 0.0, NAN, NAN], False, 1, 0),
        ([NAN, NAN], False, 0, 0),
    ],
)
def test_shares_of_lesions(folder: Path, shares: list[float], stated: bool, faults: int, doubts: int) -> None:
    info = replace(folder_dataset(folder), healthy=None)
    ids = [str(number) for number in range(len(shares))]
    verdict = judge(info, ids, [False] * len(ids), shares, stated)
    assert (len(verdict.faults), len(verdict.doubts)) == (faults, doubts)
    boxes = judge(replace(info, masks="boxes"), ids, [False] * len(ids), shares, stated)
    assert (boxes.faults, boxes.doubts) == ([], [])


def test_large_lesions_in_all_images_are_refused_unless_stated(folder: Path) -> None:
    for index in range(10):
        mask = np.full((SIDE, SIDE), 255, dtype=np.uint8)
        mask[0], mask[:, 0] = 0, 0
        mask[5, 5 : 5 + index] = 0
        write(folder / f"masks/s{index}.png", mask)
    with pytest.raises(UserError, match=r"masks cover more than half of 100% of their images.*mask_values"):
        load(folder)
    assert load(folder, mask_values=(255,)) == []


def test_equal_areas_are_stated_and_reach_the_record(folder: Path) -> None:
    assert [line.split(";")[0] for line in load(folder)] == [SAME]
    write(folder / "images/loose.png", box(0, 0))
    config = parse_config({"data": {"size": 2 * SIDE}, "explain": {"diseased": 2, "healthy": 1}}, "test")
    record = facts(prepare(folder_dataset(folder), config, folder, folder.parent / "cache"), 2 * SIDE)
    assert [line.split(";")[0] for line in record.doubts] == [SAME, LOOSE]


@pytest.mark.parametrize("name", ["x{}", "s{}b", "Maske{}"])
def test_masks_among_the_images_are_refused(folder: Path, name: str) -> None:
    for mask in sorted((folder / "masks").iterdir())[:8]:
        mask.rename(folder / f"images/sick/{name.format(mask.stem)}.png")
    with pytest.raises(UserError, match="has two grey values only, as a mask has"):
        load(folder)


@pytest.mark.parametrize("name", ["{}_overlay", "{}-heatmap", "cam_{}", "{} Kopie", "{}.annotated"])
def test_images_named_after_another_image_are_refused(folder: Path, name: str) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    write(folder / f"images/sick/{name.format('s3')}.png", picture)
    with pytest.raises(BadFiles, match="has the name of the image 's3' with a word added"):
        load(folder)


@pytest.mark.parametrize("name", ["{}_2", "{}-0001", "{}_left", "s33"])
def test_further_images_of_a_patient_are_images(folder: Path, name: str) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    write(folder / f"images/sick/{name.format('s3')}.png", picture)
    assert len(load(folder)) == 1


def test_a_table_decides_which_images_are_used(folder: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    write(folder / "images/sick/s3_overlay.png", picture)
    rows = [f"{c}/{c[0]}{i}.png,{('train', 'val', 'test')[i % 3]}" for c in ("healthy", "sick") for i in range(9)]
    (folder / "splits.csv").write_text("\n".join(["file,split", *rows]))
    samples = folder_dataset(folder).builder(folder, "train")
    assert samples.left_out == {"not listed in splits.csv": 2}
    assert samples.excluded == []
    (folder / "splits.csv").write_text("\n".join(["file,split", *rows, "sick/s3_overlay.png,train"]))
    with pytest.raises(BadFiles, match=r"s3_overlay\.png"):
        load(folder)


def test_a_healthy_class_with_lesions_is_named(folder: Path) -> None:
    for index in range(10):
        Image.open(folder / f"masks/s{index}.png").save(folder / f"masks/h{index}.png")
    info = folder_dataset(folder)
    assert info.healthy is None
    found = info.builder(folder, "train").unused_faults
    assert [fault.file for fault in found] == ["class 'healthy'"]
    assert "lesions on at least half of its images" in found[0].reason


def test_stated_values_that_no_mask_has_are_refused(folder: Path) -> None:
    (folder / "images/healthy").rename(folder / "images/other")
    for index in range(10):
        write(folder / f"masks/h{index}.png", box(index, 4))
    with pytest.raises(UserError, match="no mask holds a pixel with the stated mask_values"):
        load(folder, mask_values=(7,))
