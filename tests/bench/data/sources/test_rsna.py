"""RSNA's radiographs: boxes to masks by hand-checked numbers and an oracle, layouts, splits, and broken files."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.contracts import MissingData, UserError
from bench.data.checks import BadFiles
from bench.data.loading import Request, load_splits
from bench.data.readers.dicom import read_dicom
from bench.data.readers.faults import Kind
from bench.data.readers.images import resize_image
from bench.data.sources.rsna import cxr, draw_boxes, read_annotations, read_classes
from bench.data.split import Split
from bench.registry import DATASETS
from tests.support.made_rsna import (
    OPACITY,
    boxes_of,
    class_of,
    make_rsna,
    patient,
    pixels_of,
    release_splits,
    write_dicom,
    write_table,
)
from tests.support.paths import REAL

pytest.importorskip("pydicom")
COUNT, LABELS, CLASSES = 18, "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
PARTS = {"train": (0, 1, 3, 4), "val": (6, 7), "test": (9, 10, 15, 16)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rsna(tmp_path_factory.mktemp("data") / "rsna", COUNT)


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return shutil.copytree(made, tmp_path / "data/rsna")


def load(folder: Path, size: int = 32, splits: Path | None = None, skip_bad: bool = False) -> dict[str, Split]:
    request = Request(folder.parent, size, 0, {}, skip_bad, splits)
    return load_splits(DATASETS["cxr"], request, folder.parent.parent / "cache")


def painted(boxes: tuple[tuple[float, ...], ...], side: int = 1024) -> np.ndarray:
    """Union of boxes with whole-numbered corners, row by row."""
    mask = np.zeros((side, side), dtype=bool)
    for x, y, width, height in boxes:
        for row in range(int(y), int(y + height)):
            mask[row, int(x) : int(x + width)] = True
    return mask


def halved(mask: np.ndarray) -> np.ndarray:
    """(2n,2n) bool -> (n,n) bool: the triangle filter of antialiased bilinear resizing, in integers, at least half.

    An output pixel sees four input pixels along each axis with weights 1, 3, 3, 1; at the border three, of 7.
    """

    def along_rows(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, ((1, 1), (0, 0)))
        first, second, third, fourth = (padded[step : step + len(values) : 2] for step in range(4))
        return first + 3 * second + 3 * third + fourth

    covered, total = (along_rows(along_rows(values).T).T for values in (mask.astype(int), np.ones(mask.shape, int)))
    return 2 * covered >= total


# --- Boxes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [1, 4, 7])
def test_masks_are_the_union_of_all_boxes(made: Path, index: int) -> None:
    annotation = read_annotations(made / LABELS)[patient(index)]
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
def test_images_and_masks_of_every_sample(made: Path, size: int) -> None:
    samples = cxr(made, "test", size)
    assert {samples[index].label for index in range(len(samples))} == {0, 1}
    for index in range(len(samples)):
        sample = samples[index]
        number = int(sample.id[:8], 16)
        assert (sample.label, sample.group) == (int(class_of(number) == OPACITY), sample.id)
        image = read_dicom(made / f"stage_2_train_images/{sample.id}.dcm")
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


def exported(folder: Path, suffix: str, side: int, deep: bool) -> None:
    """Put PNG exports of another size in place of the DICOM files."""
    for file in (folder / "stage_2_train_images").glob("*.dcm"):
        pixels = Image.fromarray(read_dicom(file)[0].numpy()).resize((side, side), Image.Resampling.NEAREST)
        values = np.array(pixels)
        Image.fromarray(values.astype(np.uint16) * 257 if deep else values).save(file.with_suffix(suffix))
        file.unlink()


@pytest.mark.parametrize(("suffix", "side", "deep"), [(".png", 64, False), (".PNG", 64, True), (".png", 256, True)])
def test_png_exports_of_any_size_give_what_dicom_gives(folder: Path, suffix: str, side: int, deep: bool) -> None:
    before = load(folder)
    exported(folder, suffix, side, deep)
    after = load(folder)
    for name, split in before.items():
        assert split.ids == after[name].ids
        assert split.masks is not None
        assert np.array_equal(split.masks, after[name].masks)
        difference = np.abs(split.images.astype(int) - after[name].images)
        assert difference.max() == 0 if side == 64 else difference.mean() < 1


@pytest.mark.parametrize(("factor", "brightest"), [(1, 1), (16, 16)])  # 8-bit values, 12-bit values
def test_sixteen_bits_without_stretching_are_refused(folder: Path, factor: int, brightest: int) -> None:
    file = folder / f"stage_2_train_images/{patient(0)}.dcm"
    file.unlink()
    Image.fromarray(pixels_of(0).astype(np.uint16) * factor).save(file.with_suffix(".png"))
    with pytest.raises(BadFiles, match=f"is nearly black: its brightest value is {brightest} of 255; stretch 16-bit"):
        load(folder)


def test_images_that_are_not_square_are_refused(folder: Path) -> None:
    write_dicom(folder / f"stage_2_train_images/{patient(0)}.dcm", pixels_of(0)[:48])
    with pytest.raises(BadFiles, match="is 64×48 pixels; the challenge's images are square"):
        load(folder)


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
def test_layouts_that_people_have(made: Path, tmp_path: Path, images: str, tables: str) -> None:
    shutil.copytree(made / "stage_2_train_images", tmp_path / images, dirs_exist_ok=True)
    for table in (LABELS, CLASSES):
        shutil.copy(made / table, tmp_path / tables / table)
    assert DATASETS["cxr"].missing(tmp_path) == ""
    assert cxr(tmp_path, "train").keys == cxr(made, "train").keys
    assert len(cxr(tmp_path, "train")) == 8


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        (LABELS, f"no {LABELS} in "),
        ("stage_2_train_images", "no <patientId>.dcm or <patientId>.png in "),
    ],
)
def test_missing_files_are_named_with_where_to_get_them(folder: Path, absent: str, said: str) -> None:
    path = folder / absent
    path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(MissingData, match=r"kaggle\.com/c/rsna-pneumonia-detection-challenge") as error:
        load(folder)
    assert said in str(error.value)
    assert str(folder) in str(error.value)


def test_without_pydicom_only_png_can_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install pydicom" in DATASETS["cxr"].missing(folder.parent)
    monkeypatch.undo()
    exported(folder, ".png", 64, False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert DATASETS["cxr"].missing(folder.parent) == ""


def test_without_the_class_file_the_released_splits_do(folder: Path, tmp_path: Path) -> None:
    (folder / CLASSES).unlink()
    with pytest.raises(MissingData, match=f"{CLASSES} not found"):
        load(folder)
    splits = load(folder, splits=release_splits(tmp_path / "splits/RSNA", PARTS).parent)
    assert {name: len(split) for name, split in splits.items()} == {"train": 4, "val": 2, "test": 4}


# --- Splits ----------------------------------------------------------------------------------------------------------


def test_seeded_split_leaves_the_third_class_out(made: Path) -> None:
    keys = {split: set(cxr(made, split).keys) for split in ("train", "val", "test")}
    assert sum(map(len, keys.values())) == len(set.union(*keys.values())) == 12
    assert set.union(*keys.values()) == {patient(index) for index in range(COUNT) if index % 3 != 2}
    assert keys != {split: set(cxr(made, split, seed=1).keys) for split in keys}


def test_split_of_an_image_does_not_depend_on_which_files_are_there(folder: Path) -> None:
    before = cxr(folder, "train").keys
    (folder / f"stage_2_train_images/{before[0]}.dcm").unlink()
    samples = cxr(folder, "train")
    assert samples.keys == before[1:]
    reason = f"is in {CLASSES}, but its image is missing"
    assert samples.excluded == [(before[0], reason, Kind.ABSENT)]


@pytest.mark.parametrize("given", ["", "RSNA"])
def test_released_splits_as_they_are(made: Path, tmp_path: Path, given: str) -> None:
    release_splits(tmp_path / "splits/RSNA", PARTS)
    for split, indices in PARTS.items():
        samples = cxr(made, split, splits=tmp_path / "splits" / given)
        assert samples.keys == [patient(index) for index in indices]
        assert samples.excluded == []
        for place, index in enumerate(indices):
            mask = samples[place].mask
            assert mask is not None
            assert np.array_equal(mask.numpy(), halved(painted(boxes_of(index))))  # all boxes, not the released one


def test_released_split_that_names_absent_images(made: Path, tmp_path: Path) -> None:
    splits = release_splits(tmp_path / "splits", PARTS | {"test": (9, 10, 900, 901)})
    with pytest.raises(BadFiles, match=r"2 bad files: 00000384-.*is in test\.csv, but its image is missing"):
        load(made, splits=splits)
    test = load(made, splits=splits, skip_bad=True)["test"]
    assert test.ids == (patient(9), patient(10))
    assert [(fault.file, fault.kind) for fault in test.excluded] == [
        (patient(index), Kind.ABSENT) for index in (900, 901)
    ]


def test_released_splits_that_leak(made: Path, tmp_path: Path) -> None:
    splits = release_splits(tmp_path / "splits", PARTS | {"test": (0, 9, 10)})
    with pytest.raises(UserError, match=f"{patient(0)} is in both 'train' and 'test'"):
        load(made, splits=splits)


@pytest.mark.parametrize(
    ("columns", "row", "said"),
    [
        (["filename", "target"], ["a.png", 1], "no column bin_target; found filename, target"),
        (["filename", "bin_target"], ["a.png", "x"], "line 2: bin_target is 'x', not a whole number"),
    ],
)
def test_released_splits_that_cannot_be_read(
    made: Path, tmp_path: Path, columns: list[str], row: list[str], said: str
) -> None:
    write_table(tmp_path / "train.csv", columns, [row])
    with pytest.raises(UserError, match=said):
        cxr(made, "train", splits=tmp_path)


def test_unknown_split_is_refused(made: Path) -> None:
    with pytest.raises(UserError, match="has no split 'tests'; it has train, val, test"):
        cxr(made, "tests")


def test_counts_grow_without_changing_the_earlier_ones(made: Path) -> None:
    few, more = (cxr(made, "train", count=count) for count in (2, 4))
    assert set(few.keys) < set(more.keys)
    assert [sum(samples[index].label for index in range(len(samples))) for samples in (few, more)] == [1, 2]


# --- Patients --------------------------------------------------------------------------------------------------------


def map_patients(folder: Path, patients: dict[int, int]) -> None:
    """RSNA's file of which image of the NIH's each image is: here of these patients."""
    entries = [
        {"subset_img_id": patient(index), "img_id": f"{person:08}_{index:03}.png", "orig_labels": []}
        for index, person in patients.items()
    ]
    (folder / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(entries))


def test_patients_stay_in_one_split_where_they_are_known(folder: Path) -> None:
    assert all(split.ids == split.groups for split in load(folder).values())
    assert "mappings_2018.json not found" in cxr(folder, "train").unchecked
    people = {index: index // 3 // 2 for index in range(COUNT)}  # a healthy and an ill image each, two times over
    map_patients(folder, people)
    assert cxr(folder, "train").unchecked == ""
    splits = load(folder)
    groups = {name: set(split.groups) for name, split in splits.items()}
    assert groups["train"] | groups["val"] | groups["test"] == {"00000000", "00000001", "00000002"}
    assert sum(map(len, groups.values())) == 3
    for split in splits.values():
        assert list(split.groups) == [f"{people[int(id_[:8], 16)]:08}" for id_ in split.ids]


def test_released_splits_that_share_a_patient_are_refused(folder: Path, tmp_path: Path) -> None:
    splits = release_splits(tmp_path / "splits", PARTS)
    map_patients(folder, {index: index if index != 9 else 1 for index in range(COUNT)})
    for skip_bad in (False, True):
        with pytest.raises(UserError, match="group 00000001 is in both 'train' and 'test'"):
            load(folder, splits=splits, skip_bad=skip_bad)


def test_image_of_nobody_known_is_refused(folder: Path) -> None:
    map_patients(folder, {index: index for index in range(COUNT) if index != 3})
    with pytest.raises(BadFiles, match=r"but not in pneumonia-challenge-dataset-mappings_2018\.json") as error:
        load(folder)
    assert [fault.file for fault in error.value.files] == [patient(3)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "a list of objects with subset_img_id and img_id"),
        ('{"a": 1}', "a list of objects"),
        ('[{"subset_img_id": "a"}]', "a list of objects .*KeyError"),
        ('[{"subset_img_id": "a", "img_id": "1.png"}]', "a list of objects"),
        ('[{"subset_img_id": "a", "img_id": "1_1.png"}, {"subset_img_id": "a", "img_id": "2_1.png"}]', "1 images appear twice"),
    ],
)
def test_file_of_patients_that_cannot_be_used(folder: Path, text: str, said: str) -> None:
    (folder / "pneumonia-challenge-dataset-mappings_2018.json").write_text(text)
    with pytest.raises(UserError, match=f"mappings_2018.json: {said}") as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_images_in_no_split_are_counted(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(pixels_of(0)).save(folder / "stage_2_train_images/unknown.png")
    assert cxr(folder, "val").left_out == {
        "images of the class 'No Lung Opacity / Not Normal'": 6,
        f"images that {CLASSES} does not name": 1,
    }
    released = cxr(folder, "val", splits=release_splits(tmp_path / "splits", PARTS))
    assert released.left_out == {"images that are in none of the released splits": 18 + 1 - 10}


# --- Broken files ----------------------------------------------------------------------------------------------------

HEALTHY, SICK = patient(3), patient(1)  # training images, of which there are others


@pytest.mark.parametrize(
    ("id_", "lines", "said", "kind"),
    [
        (SICK, ["-1,0,10,10,1"], "box x=-1 y=0 width=10 height=10 extends beyond the border", Kind.OUTSIDE),
        (SICK, ["0,0,10,10,1", "900,0,125,10,1"], "x=900 y=0 width=125 height=10 extends beyond", Kind.OUTSIDE),
        (SICK, ["0,1000.0,10,24.5,1"], "y=1000.0 width=10 height=24.5 extends beyond", Kind.OUTSIDE),
        (SICK, ["0,0,0,10,1"], "width=0 height=10: four numbers are expected", Kind.UNUSABLE),
        (SICK, ["0,0,,10,1"], "width= height=10: four numbers are expected", Kind.UNUSABLE),
        (SICK, ["0,nine,5,10,1"], "y=nine width=5 height=10: four numbers", Kind.UNUSABLE),
        (SICK, ["0,0,5,inf,1"], "height=inf: four numbers", Kind.UNUSABLE),
        (SICK, ["0,0,5,5,2"], "Target is 2, 0 or 1 is expected", Kind.UNUSABLE),
        (SICK, ["0,0,5,5,0"], "is given although Target is 0", Kind.UNUSABLE),
        (SICK, ["0,0,5,5,1", ",,,,0"], f"of {LABELS}, in one of them without an opacity", Kind.DUPLICATE),
        (SICK, ["0,0,5,5,1", "7,7,5,5,1", "0.0,0,5,5,1"], f"of {LABELS}, with one box twice", Kind.DUPLICATE),
        (HEALTHY, [",,,,0", ",,,,0"], f"of {LABELS}, in one of them without an opacity", Kind.DUPLICATE),
        (HEALTHY, ["0,0,5,5,1"], f"has class 0 in {CLASSES}, but 1 boxes", Kind.UNUSABLE),
        (SICK, [",,,,0"], f"has class 1 in {CLASSES}, but 0 boxes", Kind.UNUSABLE),
        (SICK, [], f"is in {CLASSES}, but not in {LABELS}", Kind.UNUSABLE),
    ],
)
def test_labels_that_cannot_be_used(folder: Path, id_: str, lines: list[str], said: str, kind: Kind) -> None:
    table = folder / LABELS
    kept = [line for line in table.read_text().splitlines() if not line.startswith(id_)]
    table.write_text("\n".join([*kept, *(f"{id_},{line}" for line in lines)]) + "\n")
    with pytest.raises(BadFiles) as error:
        load(folder)
    assert len(error.value.files) == 1
    assert said in str(error.value)
    assert id_ in str(error.value)
    assert error.value.files[0].kind == kind
    splits = load(folder, skip_bad=True)
    assert sum(map(len, splits.values())) == 11
    assert [fault.file for split in splits.values() for fault in split.excluded] == [id_]


def test_wrong_row_is_named_by_its_line(folder: Path) -> None:
    with (folder / LABELS).open("a") as file:
        file.write(f"{SICK},1000,0,25,10,1\n")
    last = len((folder / LABELS).read_text().splitlines())
    with pytest.raises(BadFiles, match=f"{LABELS}, line {last}: box x=1000"):
        load(folder)


def test_boxes_of_images_left_out_are_not_judged(folder: Path) -> None:
    with (folder / LABELS).open("a") as file:
        file.write(f"{patient(2)},1000,0,25,10,1\n")
    assert sum(map(len, load(folder).values())) == 12


def test_box_that_touches_the_border_is_inside(folder: Path) -> None:
    table = folder / LABELS
    table.write_text(table.read_text() + f"{SICK},1000,1000.0,24,24,1\n")
    assert read_annotations(table)[SICK].fault is None


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["a", "Normal"], ["a", "Lung Opacity"]], "line 3: a has the class 'Lung Opacity', but 'Normal' in"),
        ([["a", "normal"]], "line 2: a has the class 'normal', which is not one of Normal, Lung Opacity"),
    ],
)
def test_classes_that_cannot_be_used(tmp_path: Path, rows: list[list[str]], said: str) -> None:
    write_table(tmp_path / CLASSES, ["patientId", "class"], rows)
    with pytest.raises(UserError, match=said):
        read_classes(tmp_path / CLASSES)


@pytest.mark.parametrize(("table", "column"), [(LABELS, "height"), (LABELS, "patientId"), (CLASSES, "class")])
def test_missing_column_is_named(folder: Path, table: str, column: str) -> None:
    path = folder / table
    path.write_text(path.read_text().replace(column, "other", 1))
    with pytest.raises(UserError, match=f"{table}: no column {column}; found ") as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_two_images_of_one_patient(folder: Path) -> None:
    Image.fromarray(pixels_of(0)).save(folder / f"stage_2_train_images/{patient(0)}.png")
    with pytest.raises(BadFiles, match=f"has two images, {patient(0)}.dcm and {patient(0)}.png; keep one") as error:
        load(folder)
    assert error.value.files[0].kind == Kind.DUPLICATE


def test_truncated_and_undecodable_files(folder: Path) -> None:
    file = folder / f"stage_2_train_images/{HEALTHY}.dcm"
    file.write_bytes(file.read_bytes()[:-500])
    write_dicom(
        folder / f"stage_2_train_images/{SICK}.dcm", pixels_of(1),
        syntax="1.2.840.10008.1.2.4.100", frame=b"\0" * 8,
    )  # fmt: skip
    with pytest.raises(BadFiles) as error:
        load(folder)
    reasons = {Path(fault.file).stem: fault.reason for fault in error.value.files}
    assert set(reasons) == {HEALTHY, SICK}
    assert reasons[HEALTHY].startswith("cannot be read as DICOM")
    assert "MPEG2" in reasons[SICK]
    assert sum(map(len, load(folder, skip_bad=True).values())) == 10


def test_a_changed_label_renews_the_cache(folder: Path) -> None:
    before = load(folder)
    table = folder / LABELS
    table.write_text(table.read_text().replace("100,200,300,401,1", "100,200,300,300,1"))
    after = load(folder)
    changed = [
        id_
        for name, split in before.items()
        for id_, one, other in zip(split.ids, split.masks, after[name].masks, strict=True)
        if not np.array_equal(one, other)
    ]
    assert sorted(changed) == [patient(index) for index in range(COUNT) if boxes_of(index) == boxes_of(1)]
