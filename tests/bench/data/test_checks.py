"""Samples that break the contract, bad files, and images or groups in two splits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.contracts import Sample, UserError
from bench.data.checks import BadFiles, check_splits
from bench.data.loading import Request, load_splits
from bench.data.split import Split
from tests.bench.data.generated import SIDE, Generated, info_of, load, sample


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": torch.zeros(SIDE, SIDE, dtype=torch.uint8)}, r"the image is \(16, 16\)"),
        ({"image": torch.zeros(4, SIDE, SIDE, dtype=torch.uint8)}, r"the image is \(4, 16, 16\)"),
        ({"image": np.zeros((3, SIDE, SIDE))}, r"a tensor \(3,H,W\) or \(1,H,W\) is expected"),
        ({"image": torch.zeros(3, SIDE, SIDE, dtype=torch.int32)}, "the image is torch.int32"),
        ({"image": torch.full((3, SIDE, SIDE), float("nan"))}, "must lie in"),
        ({"image": torch.full((3, SIDE, SIDE), 255.0)}, "must lie in"),
        ({"mask": torch.ones(SIDE, SIDE)}, "the mask is torch.float32, not torch.bool"),
        ({"mask": torch.ones(8, 8, dtype=torch.bool)}, r"the mask is \(8, 8\), its image \(16, 16\)"),
        ({"fov": torch.ones(8, 8, dtype=torch.bool)}, r"the field of view is \(8, 8\)"),
        ({"ignored": torch.ones(8, 8, dtype=torch.bool)}, r"the ignored region is \(8, 8\)"),
        ({"ignored": torch.ones(SIDE, SIDE, dtype=torch.bool)}, "the ignored region overlaps the mask"),
        ({"label": 2}, r"the label 2 is outside 0…1"),
        ({"label": "sick"}, "the label 'sick' is not an integer"),
        ({"id": "train0"}, "the id 'train0' is taken"),
    ],
)
def test_sample_that_breaks_the_contract(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"data set made, split train, sample 1\b.*{message}"):
        load(lambda root, split: [sample(0), sample(1, **changes)], tmp_path)


def test_bad_files_of_all_splits_are_in_one_error(tmp_path: Path) -> None:
    def builder(root: Path, split: str) -> list[Sample]:
        return [sample(0, split), sample(1, split, mask=torch.zeros(SIDE, SIDE, dtype=torch.bool))]

    with pytest.raises(BadFiles, match=r"3 bad files: train1 .*, val1 .*, test1 "):
        load_splits(info_of(builder), Request(tmp_path, SIDE, 0), tmp_path / "cache")


def test_leaks_between_splits(tmp_path: Path) -> None:
    def splits_of(**samples: list[Sample]) -> dict[str, Split]:
        return {name: load(lambda root, split, s=s: s, tmp_path, name) for name, s in samples.items()}

    info = info_of(lambda root, split: [], explain_split="mosaic")
    train, val = [sample(0), sample(1)], [sample(2, "val"), sample(3, "val")]
    test, mosaic = [sample(4, "test"), sample(5, "test")], [sample(4, "test", id="a"), sample(5, "test", id="b")]
    check_splits(info, splits_of(train=train, val=val, test=test, mosaic=mosaic))
    with pytest.raises(UserError, match="train0 is in both 'train' and 'val'"):
        check_splits(info, splits_of(train=train, val=[*val, replace(train[0], group="other")]))
    with pytest.raises(UserError, match=r"group train-g0 is in both 'train' and 'mosaic' \(train0, train1, a\)"):
        check_splits(info, splits_of(train=train, mosaic=[replace(mosaic[0], group="train-g0"), mosaic[1]]))


def test_leaks_are_found_in_what_is_listed_before_anything_is_decoded(tmp_path: Path) -> None:
    made: list[Generated] = []

    def builder(root: Path, split: str, count: int | None = None) -> Generated:
        made.append(Generated(split, 2))
        made[-1].groups = {f"{split}0": f"{split}-g0", f"{split}-unused": "patient 7" if split != "val" else "8"}
        return made[-1]

    with pytest.raises(UserError, match=r"group patient 7 is in both 'train' and 'test' \(train-unused, test-unused\)"):
        load_splits(info_of(builder), Request(tmp_path, SIDE, 0), tmp_path / "cache")
    assert sum(one.made for one in made) == 0


def test_leaks_are_found_among_images_that_a_subsample_leaves_out(tmp_path: Path) -> None:
    def builder(root: Path, split: str) -> list[Sample]:
        return [sample(index, split, group=f"{split}{index}" if index else "everywhere") for index in range(20)]

    request = Request(tmp_path, SIDE, 0, {"train": 2, "val": 2, "test": 2})
    with pytest.raises(UserError, match=r"group everywhere is in both 'train' and 'val' \(train0, val0\)"):
        load_splits(info_of(builder), request, tmp_path / "cache")
