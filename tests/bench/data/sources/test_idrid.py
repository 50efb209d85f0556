"""IDRiD: its two parts, their overlap, and their faults."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.contracts import MissingData, UserError
from bench.data.checks import BadFiles
from bench.registry import DATASETS
from tests.support.datasets.fundus import TESTING, TRAINING, load, make_idrid, mask_idrid


@pytest.fixture
def idrid(tmp_path: Path) -> Path:
    make_idrid(tmp_path / "idrid")
    return tmp_path


def test_idrid_keeps_what_is_outlined_out_of_training(idrid: Path) -> None:
    splits = load(idrid, "fundus-idrid", size=50)
    assert len(splits["val"]) in (2, 3)  # 15 % of 19
    assert len(splits["test"]) == 8 + 4
    trained = {id_ for name in ("train", "val") for id_ in splits[name].ids}
    assert trained == {f"grading-train/IDRiD_{number:03}" for number in range(1, 21) if number != 3}
    for split in splits.values():
        for id_, label in zip(split.ids, split.labels, strict=True):
            assert label == (1 if id_.startswith("segmentation") else int(id_[-3:]) % 2)
    test = splits["test"]
    assert [id_ for id_, has in zip(test.ids, test.has_mask, strict=True) if has] == [
        f"segmentation/IDRiD_{number}" for number in ("01", "02", "55", "56")
    ]


def test_idrid_unites_the_lesions_in_the_frame_of_the_cropped_image(idrid: Path) -> None:
    test = load(idrid, "fundus-idrid", size=50)["test"]
    truth = np.zeros((50, 50), dtype=bool)  # the disc of radius 25 around (20, 28): five rows above, three columns left
    truth[9:13, 23:27] = truth[19:23, 23:27] = True  # no optic disc
    for mask, has in zip(test.masks, test.has_mask, strict=True):
        assert np.array_equal(mask, truth & has)


def test_idrid_faults(idrid: Path) -> None:
    grading = idrid / "idrid/B. Disease Grading/1. Original Images"
    (grading / TRAINING / "IDRiD_007.jpg").unlink()
    (grading / TESTING / "IDRiD_002.jpg").unlink()
    mask_idrid(idrid / "idrid", "IDRiD_02", TRAINING, "EX", np.ones((40, 61)))
    mask_idrid(idrid / "idrid", "IDRiD_80", TESTING, "EX", np.ones((40, 60)))
    with pytest.raises(BadFiles) as caught:
        load(idrid, "fundus-idrid")
    for part in (
        "4 bad files",
        "idrid_007 (is in a. IDRiD_Disease Grading_Training Labels.csv, but its image is missing)",
        "idrid_002 (is in b. IDRiD_Disease Grading_Testing Labels.csv, but its image is missing)",
        "IDRiD_02_EX.tif (is 61×40, its image 60×40 pixels",
        "IDRiD_80_EX.tif (belongs to no image",
    ):
        assert part in str(caught.value)


def test_idrid_needs_both_parts(idrid: Path) -> None:
    assert DATASETS["fundus-idrid"].missing(idrid) == ""
    shutil.rmtree(idrid / "idrid/B. Disease Grading")
    with pytest.raises(MissingData, match=r"no folder 'B. Disease Grading/1. Original Images' in .*idrid; unpack"):
        load(idrid, "fundus-idrid")


def test_idrid_parts_in_folders_of_their_own_names(idrid: Path) -> None:
    before = load(idrid, "fundus-idrid", size=50)
    for part in ("A. Segmentation", "B. Disease Grading"):  # what "Extract all" makes of the publisher's zip files
        shutil.move(idrid / "idrid" / part, idrid / "aside")
        shutil.move(idrid / "aside", idrid / "idrid" / part / part)
    assert DATASETS["fundus-idrid"].missing(idrid) == ""
    after = load(idrid, "fundus-idrid", size=50)
    assert {name: split.ids for name, split in after.items()} == {name: split.ids for name, split in before.items()}
    assert np.array_equal(after["test"].masks, before["test"].masks)


@pytest.mark.parametrize("absent", ["1. Original Images/*/*", "2. All Segmentation Groundtruths/*/*/*"])
def test_idrid_without_outlines_is_refused(idrid: Path, absent: str) -> None:
    for file in (idrid / "idrid/A. Segmentation").glob(absent):
        file.unlink()
    with pytest.raises(MissingData, match=r"A. Segmentation: [04] photographs in .*, none with a mask of its name"):
        load(idrid, "fundus-idrid", skip_bad=True)


def test_idrid_grade_out_of_range_is_named_with_its_line(idrid: Path) -> None:
    (labels,) = (idrid / "idrid/B. Disease Grading/2. Groundtruths").glob("*Testing Labels.csv")
    labels.write_text(labels.read_text().replace("IDRiD_003,3", "IDRiD_003,7"))
    with pytest.raises(UserError, match=r"Testing Labels.csv, line 4: Retinopathy grade of IDRiD_003 is 7, 0 to 4 is"):
        load(idrid, "fundus-idrid")


def test_idrid_says_what_it_leaves_out(idrid: Path) -> None:
    grading = idrid / "idrid/B. Disease Grading/1. Original Images"
    shutil.copy(grading / TESTING / "IDRiD_002.jpg", grading / TESTING / "IDRiD_999.jpg")
    train, test = (DATASETS["fundus-idrid"].builder(idrid, split).left_out for split in ("train", "test"))
    assert list(train.values()) == [1, 0]  # the twin; without a grade
    assert list(test.values()) == [0, 1]
