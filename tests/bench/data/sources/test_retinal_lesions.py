"""Photographs that Retinal-Lesions annotated: lesions, ignored pixels, and what can be wrong with the release."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.contracts import MissingData
from bench.data.checks import BadFiles
from tests.support.datasets.fundus import by_id, disc, load, photograph, save

pytestmark = pytest.mark.usefixtures("one_drawing")

RL = "retinal-lesions/retinal-lesions-v20191227"


def annotate(eyepacs: Path, key: str, colour: Sequence[int] = (180, 90, 40), **masks: np.ndarray) -> None:
    """Add an image to Retinal-Lesions, 48 px, with its masks by lesion type."""
    save(eyepacs / RL / f"images_896x896/{key}.jpg", photograph(disc(48, 48, 24, 24, 24), colour))
    (eyepacs / RL / "lesion_segs_896x896").mkdir(exist_ok=True)
    for lesion, mask in masks.items():
        save(eyepacs / RL / f"lesion_segs_896x896/{key}/{lesion}.png", mask)


def blot(row: int, column: int, value: int = 255) -> np.ndarray:
    mask = np.zeros((48, 48), dtype=np.uint8)
    mask[row : row + 6, column : column + 6] = value
    return mask


def test_annotated_photographs_are_read_with_their_lesions(eyepacs: Path) -> None:
    annotate(eyepacs, "11_left", (40, 90, 180), microaneurysm=blot(10, 20), hard_exudate=blot(30, 20))
    annotate(eyepacs, "12_left", neovascularization=blot(20, 20, 127), retinal_hemorrhage=blot(22, 20))
    splits = load(eyepacs, size=48)
    split, index = by_id(splits, "11_left")
    assert split.has_mask[index]
    assert np.array_equal(split.masks[index], (blot(10, 20) | blot(30, 20)) > 0)
    assert split.images[index][2].max() > split.images[index][0].max() + 80  # blue: Kaggle's own is red
    split, index = by_id(splits, "12_left")
    assert np.array_equal(split.masks[index], blot(22, 20) > 0)
    only_excluded = np.zeros((48, 48), dtype=bool)
    only_excluded[20:22, 20:26] = True  # and no lesion of another type
    assert np.array_equal(split.ignored[index], only_excluded)
    assert split.fov[index][20:28, 20:26].all()
    assert sum(part.has_mask.sum() for part in splits.values()) == 2
    assert sum(part.ignored.sum() for part in splits.values() if part.ignored is not None) == 12


def test_annotators_who_found_nothing(eyepacs: Path) -> None:
    annotate(eyepacs, "10_left")  # grade 0
    annotate(eyepacs, "11_left", microaneurysm=blot(20, 20, 127))  # grade 1, only an excluded lesion
    annotate(eyepacs, "12_left")  # grade 2
    splits = load(eyepacs, size=48)
    split, index = by_id(splits, "10_left")
    assert split.has_mask[index]
    assert not split.masks[index].any()
    for key in ("11_left", "12_left"):
        split, index = by_id(splits, key)
        assert not split.has_mask[index]
    split, index = by_id(splits, "11_left")
    assert split.fov[index][20:26, 20:26].all()
    assert np.array_equal(split.ignored[index], blot(20, 20) > 0)


def test_masks_without_the_images_they_were_drawn_on(eyepacs: Path) -> None:
    annotate(eyepacs, "11_left", microaneurysm=blot(20, 20))
    shutil.rmtree(eyepacs / RL / "images_896x896")
    with pytest.raises(MissingData, match=r"no folder images_896x896 in .*retinal-lesions or up to two levels below"):
        load(eyepacs)
    (eyepacs / RL / "images_896x896").write_text("")
    with pytest.raises(MissingData, match=r"no folder images_896x896 in"):
        load(eyepacs)


@pytest.mark.parametrize("home", ["retinal-lesions", "retinal_lesions", "."])
def test_lesions_in_the_folders_that_unpacking_makes(eyepacs: Path, home: str) -> None:
    annotate(eyepacs, "11_left", microaneurysm=blot(20, 20))
    shutil.move(eyepacs / RL, eyepacs / "aside")
    shutil.rmtree(eyepacs / "retinal-lesions")
    inner = "" if home == "." else "retinal-lesions-v20191227"
    shutil.move(eyepacs / "aside", eyepacs / home / "retinal-lesions-v20191227" / inner)
    split, index = by_id(load(eyepacs), "11_left")
    assert split.has_mask[index]


def test_a_folder_for_the_lesions_that_holds_none(eyepacs: Path) -> None:
    (eyepacs / "retinal-lesions").mkdir()
    with pytest.raises(MissingData, match=r"no folder images_896x896 nor lesion_segs_896x896 in .*retinal-lesions"):
        load(eyepacs)


def test_faults_of_masks_and_images_are_named_at_once(eyepacs: Path) -> None:
    annotate(eyepacs, "11_left", microaneurysm=blot(20, 20)[:40])
    annotate(eyepacs, "12_left", microaneurysm=blot(20, 20, 60))
    save(eyepacs / RL / "lesion_segs_896x896/777_left/microaneurysm.png", blot(0, 0))
    broken = eyepacs / "eyepacs/train/3_right.jpeg"
    broken.write_bytes(broken.read_bytes()[:300])
    (eyepacs / "eyepacs/train/4_left.jpeg").unlink()
    with pytest.raises(BadFiles) as caught:
        load(eyepacs)
    for part in (
        "5 bad files",
        "microaneurysm.png (is 48×40, its image 48×48 pixels",
        "microaneurysm.png (contains the grey value 60; masks have 0, 127 and 255 only)",
        "777_left (contains masks, but no image in",
        "3_right.jpeg (cannot be read as an image",
        "4_left (is in trainLabels.csv, but its image is missing)",
    ):
        assert part in str(caught.value)
    splits = load(eyepacs, skip_bad=True)
    assert sum(map(len, splits.values())) == 56
    assert sum(len(split.excluded) for split in splits.values()) == 5
