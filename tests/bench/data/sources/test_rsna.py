"""RSNA's radiographs: boxes to masks by hand-checked numbers and an oracle, and layouts."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.contracts import MissingData
from bench.data.checks import BadFiles
from bench.data.readers.dicom import read_dicom
from bench.data.readers.faults import Kind
from bench.data.readers.images import resize_image
from bench.data.sources.rsna import cxr, draw_boxes, read_annotations
from bench.registry import DATASETS
from tests.support.datasets.rsna import (
    OPACITY,
    boxes_of,
    class_of,
    halved,
    load,
    painted,
    patient,
    pixels_of,
    release_splits,
    write_dicom,
)
from tests.support.files import REAL

pytest.importorskip("pydicom")
COUNT, LABELS, CLASSES = 18, "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
PARTS = {"train": (0, 1, 3, 4), "val": (6, 7), "test": (9, 10, 15, 16)}


# --- Boxes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [1, 4, 7])
def test_masks_are_the_union_of_all_boxes(rsna: Path, index: int) -> None:
    annotation = read_annotations(rsna / LABELS)[patient(index)]
    assert annotation.boxes == boxes_of(index)
    assert annotation.fault is None
    assert np.array_equal(draw_boxes(annotation.boxes).numpy(), painted(boxes_of(index)))


def test_area_of_overlapping_boxes_counts_once() -> None:
    first, second, both = 300 * 400, 333 * 222, (310 - 200) * (420 - 301)
    assert int(draw_boxes(boxes_of(4)).sum()) == first + second - both


def test_fractional_boxes_hold_the_pixels_whose_centre_they_hold() -> None:
    mask = draw_boxes([(2.5, 3.6, 2.0, 1.0)]).numpy()
    assert [tuple(place) for place in np.argwhere(mask)] == [(4, 2), (4, 3)]


@pytest.mark.parametrize("size", [512, 1024])
def test_images_and_masks_of_every_sample(rsna: Path, size: int) -> None:
    samples = cxr(rsna, "test", size)
    assert {samples[index].label for index in range(len(samples))} == {0, 1}
    for index in range(len(samples)):
        sample = samples[index]
        number = int(sample.id[:8], 16)
        assert (sample.label, sample.group) == (int(class_of(number) == OPACITY), sample.id)
        image = read_dicom(rsna / f"stage_2_train_images/{sample.id}.dcm")
        assert torch.equal(sample.image, resize_image(image, size))
        painting = painted(boxes_of(number))
        assert sample.mask is not None
        assert np.array_equal(sample.mask.numpy(), painting if size == 1024 else halved(painting))


# --- Real samples: union of both boxes of each of six images, in pixels at 1024 and at 512 ---------------------------


UNIONS = {
    "4b048bdc-0a0a-43ed-aa0d-5971e433874b": (123847, 31236),
    "719bb18b-a428-4fd8-9338-46f1187ffa5c": (137274, 34576),
    "bc45556d-61f2-43c6-b886-21bdc59542e7": (109383, 27519),
    "bce1a9aa-127b-4535-9e96-d1ca41d72e0c": (295066, 73917),
    "d7545025-6654-4cc3-83d1-99a34476c72a": (238515, 59939),
    "f8767c5d-9024-43d9-9044-843f2cec00c7": (204706, 51686),
}


@pytest.fixture
def samples_folder() -> Path:
    if not (REAL / "samples/rsna").is_dir():
        pytest.skip("the real samples are not here")
    return REAL / "samples/rsna"


@pytest.mark.parametrize("size", [512, 1024])
@pytest.mark.parametrize("splits", ["splits", "splits/RSNA"])
def test_real_samples_have_the_right_boxes(samples_folder: Path, size: int, splits: str) -> None:
    samples = cxr(samples_folder, "test", size, splits=REAL / splits)
    annotations = read_annotations(samples_folder / LABELS)
    found = {}
    for index in range(len(samples)):
        sample = samples[index]
        assert sample.mask is not None
        assert sample.label == 1
        painting = painted(annotations[sample.id].boxes)
        assert np.array_equal(sample.mask.numpy(), painting if size == 1024 else halved(painting))
        found[sample.id] = int(sample.mask.sum())
    assert found == {id_: pixels[size == 512] for id_, pixels in UNIONS.items()}


def test_real_unions_by_hand(samples_folder: Path) -> None:
    """No two boxes of an image overlap, so the union is the sum of width × height."""
    areas: dict[str, Fraction] = {}
    for line in (samples_folder / LABELS).read_text().splitlines()[1:]:
        id_, _, _, width, height, _ = line.split(",")
        areas[id_] = areas.get(id_, Fraction(0)) + Fraction(width) * Fraction(height)
    assert areas == {id_: at_1024 for id_, (at_1024, _) in UNIONS.items()}


def test_real_samples_are_those_of_the_released_test_split(samples_folder: Path) -> None:
    samples = cxr(samples_folder, "test", splits=REAL / "splits")
    assert len(samples) + len(samples.excluded) == 2230
    assert {fault.kind for fault in samples.excluded} == {Kind.ABSENT}
    file = next(file for file in samples.files if file.stem == samples.keys[0])
    with Image.open(file) as image:
        expected = torch.from_numpy(np.array(image)).expand(3, -1, -1)
    assert torch.equal(cxr(samples_folder, "test", 1024, splits=REAL / "splits")[0].image, expected)


# --- Layouts ---------------------------------------------------------------------------------------------------------


def exported(rsna_copy: Path, suffix: str, side: int, deep: bool) -> None:
    """Put PNG exports of another size in place of the DICOM files."""
    for file in (rsna_copy / "stage_2_train_images").glob("*.dcm"):
        pixels = Image.fromarray(read_dicom(file)[0].numpy()).resize((side, side), Image.Resampling.NEAREST)
        values = np.array(pixels)
        Image.fromarray(values.astype(np.uint16) * 257 if deep else values).save(file.with_suffix(suffix))
        file.unlink()


@pytest.mark.parametrize(("suffix", "side", "deep"), [(".png", 64, False), (".PNG", 64, True), (".png", 256, True)])
def test_png_exports_of_any_size_give_what_dicom_gives(rsna_copy: Path, suffix: str, side: int, deep: bool) -> None:
    before = load(rsna_copy)
    exported(rsna_copy, suffix, side, deep)
    after = load(rsna_copy)
    for name, split in before.items():
        assert split.ids == after[name].ids
        assert split.masks is not None
        assert np.array_equal(split.masks, after[name].masks)
        difference = np.abs(split.images.astype(int) - after[name].images)
        assert difference.max() == 0 if side == 64 else difference.mean() < 1


@pytest.mark.parametrize(("factor", "brightest"), [(1, 1), (16, 16)])  # 8-bit values, 12-bit values
def test_sixteen_bits_without_stretching_are_refused(rsna_copy: Path, factor: int, brightest: int) -> None:
    file = rsna_copy / f"stage_2_train_images/{patient(0)}.dcm"
    file.unlink()
    Image.fromarray(pixels_of(0).astype(np.uint16) * factor).save(file.with_suffix(".png"))
    with pytest.raises(BadFiles, match=f"is nearly black: its brightest value is {brightest} of 255; stretch 16-bit"):
        load(rsna_copy)


def test_images_that_are_not_square_are_refused(rsna_copy: Path) -> None:
    write_dicom(rsna_copy / f"stage_2_train_images/{patient(0)}.dcm", pixels_of(0)[:48])
    with pytest.raises(BadFiles, match="is 64×48 pixels; the challenge's images are square"):
        load(rsna_copy)


@pytest.mark.parametrize(
    ("images", "tables"),
    [
        ("rsna/stage_2_train_images", "rsna"),
        ("stage_2_train_images", ""),
        ("rsna/stage_2_train_images/stage_2_train_images", "rsna"),
        ("rsna/rsna-pneumonia/stage_2_train_images", "rsna/rsna-pneumonia"),
        ("rsna", "rsna"),
        ("rsna/images", "rsna"),
        ("rsna/stage_2_train_images_png", "rsna"),
    ],
)
def test_layouts_that_people_have(rsna: Path, tmp_path: Path, images: str, tables: str) -> None:
    shutil.copytree(rsna / "stage_2_train_images", tmp_path / images, dirs_exist_ok=True)
    for table in (LABELS, CLASSES):
        shutil.copy(rsna / table, tmp_path / tables / table)
    assert DATASETS["cxr"].missing(tmp_path) == ""
    assert cxr(tmp_path, "train").keys == cxr(rsna, "train").keys
    assert len(cxr(tmp_path, "train")) == 8


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        (LABELS, f"no {LABELS} in "),
        ("stage_2_train_images", "no <patientId>.dcm or <patientId>.png in "),
    ],
)
def test_missing_files_are_named_with_where_to_get_them(rsna_copy: Path, absent: str, said: str) -> None:
    path = rsna_copy / absent
    path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(MissingData, match=r"kaggle\.com/c/rsna-pneumonia-detection-challenge") as error:
        load(rsna_copy)
    assert said in str(error.value)
    assert str(rsna_copy) in str(error.value)


def test_without_pydicom_only_png_can_be_read(rsna_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install pydicom" in DATASETS["cxr"].missing(rsna_copy.parent)
    monkeypatch.undo()
    exported(rsna_copy, ".png", 64, False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert DATASETS["cxr"].missing(rsna_copy.parent) == ""


def test_without_the_class_file_the_released_splits_do(rsna_copy: Path, tmp_path: Path) -> None:
    (rsna_copy / CLASSES).unlink()
    with pytest.raises(MissingData, match=f"{CLASSES} not found"):
        load(rsna_copy)
    splits = load(rsna_copy, splits=release_splits(tmp_path / "splits/RSNA", PARTS).parent)
    assert {name: len(split) for name, split in splits.items()} == {"train": 4, "val": 2, "test": 4}
