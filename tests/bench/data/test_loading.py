"""Builders to decoded splits: arrays, requests, and what a plugin can do wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tvf

from bench.contracts import MissingData, Sample, UserError
from bench.data.checks import BadFiles
from bench.data.loading import Request, load_split
from bench.data.readers.faults import Fault
from bench.data.readers.images import BadFile
from bench.data.split import Split
from tests.bench.data.generated import SIDE, Generated, info_of, load, sample


def test_arrays_are_the_samples(tmp_path: Path) -> None:
    split = load(lambda root, split: [sample(i) for i in range(6)], tmp_path)
    assert split.images.dtype == np.uint8
    assert isinstance(split.images, np.memmap)
    assert not split.images.flags.writeable
    for index in range(6):
        expected = sample(index)
        assert torch.equal(split.batch(torch.tensor([index]))[0], expected.image)
        assert torch.equal(torch.from_numpy(split.masks[[index]])[0], expected.mask)
        assert (split.labels[index], split.ids[index], split.groups[index]) == (
            expected.label, expected.id, expected.group,
        )  # fmt: skip
    assert split.has_mask.all()
    assert split.fov is None


def test_grey_and_float_images_become_rgb_bytes(tmp_path: Path) -> None:
    grey = torch.linspace(0, 1, SIDE * SIDE).view(1, SIDE, SIDE)
    split = load(lambda root, split: [sample(0, image=grey), sample(1, image=grey.double())], tmp_path)
    assert torch.equal(split.batch([0])[0], (grey * 255).round().to(torch.uint8).expand(3, -1, -1))
    assert torch.equal(split.batch([0]), split.batch([1]))


def test_regions_that_only_some_images_have(tmp_path: Path) -> None:
    fov = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    fov[4:12] = True
    samples = [sample(0, mask=None), sample(1, mask=None), sample(3, fov=fov), sample(4, mask=None)]
    split = load(lambda root, split: samples, tmp_path)
    assert split.has_mask.tolist() == [False, False, True, False]
    assert [bool(mask.any()) for mask in split.masks] == [False, False, True, False]
    assert torch.equal(torch.from_numpy(split.masks[2].copy()), samples[2].mask)
    assert [int(region.sum()) for region in split.fov] == [SIDE * SIDE, SIDE * SIDE, 8 * SIDE, SIDE * SIDE]


def test_ignored_pixels_are_kept_and_only_they_change_the_digest(tmp_path: Path) -> None:
    ignored = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    ignored[:, 9:] = True
    one, other = sample(2), sample(1)
    plain, blank, with_ignored = (
        load(lambda root, split, s=s: s, tmp_path)
        for s in ([one, other], [one, replace(other, ignored=ignored & False)], [one, replace(other, ignored=ignored)])
    )
    assert plain.ignored is blank.ignored is None
    assert plain.digest == blank.digest != with_ignored.digest
    assert not with_ignored.ignored[0].any()
    assert np.array_equal(with_ignored.ignored[1], ignored)
    assert np.array_equal(with_ignored.masks, plain.masks)


def test_digest_of_a_split_without_ignored_pixels_is_what_it_was(tmp_path: Path) -> None:
    """Scores that were computed before there were ignored pixels are still found by it."""
    fov = torch.arange(SIDE * SIDE).view(SIDE, SIDE) % 3 > 0
    content = hashlib.sha256()
    for index in range(3):
        content.update(sample(index).image.numpy().tobytes())
        content.update(b"masks" + sample(index).mask.numpy().tobytes() + b"fov" + fov.numpy().tobytes())
    ids, groups = [f"train{index}" for index in range(3)], ["train-g0", "train-g0", "train-g1"]
    facts = {"classes": ["healthy", "sick"], "side": SIDE, "labels": [0, 1, 0], "has_mask": [True] * 3}
    content.update(json.dumps(facts | {"ids": ids, "groups": groups}).encode())
    split = load(lambda root, split: [sample(index, fov=fov) for index in range(3)], tmp_path)
    assert split.digest == content.hexdigest()


def test_a_pixel_with_any_ignored_share_is_ignored_unless_it_is_lesion(tmp_path: Path) -> None:
    mask, ignored = torch.zeros(2, 2 * SIDE, 2 * SIDE, dtype=torch.bool)
    mask[10, 10] = True  # a quarter of its cell, which is lesion nevertheless
    ignored[10:14, 10:16] = ~mask[10:14, 10:16]
    ignored[30, 30] = True  # a quarter of its cell
    image = torch.zeros(3, 2 * SIDE, 2 * SIDE, dtype=torch.uint8)
    split = load(lambda root, split: [sample(1, image=image, mask=mask, ignored=ignored)], tmp_path)
    assert np.argwhere(split.masks[0]).tolist() == [[5, 5]]
    touched = tvf.resize(ignored[None].float(), [SIDE, SIDE], antialias=True)[0] > 0
    assert touched[5, 5]
    touched[5, 5] = False
    assert np.array_equal(split.ignored[0], touched)
    assert split.ignored[0][15, 15]
    assert split.ignored[0][5:7, 5:8].sum() == 5


def test_second_load_decodes_nothing(tmp_path: Path) -> None:
    made = Generated("train", 8)
    first = load(lambda root, split: made, tmp_path)
    second = load(lambda root, split: made, tmp_path)
    assert made.made == 8
    assert first.digest == second.digest
    assert np.array_equal(first.images, second.images)


@pytest.mark.parametrize("change", [{"seed": 1}, {"count": 4}, {"size": 8}])
def test_another_request_is_another_entry(tmp_path: Path, change: dict[str, Any]) -> None:
    made = Generated("train", 8)

    def builder(root: Path, split: str, seed: int) -> Generated:
        return made

    load(builder, tmp_path)
    before = made.made
    load(builder, tmp_path, **change)
    assert made.made > before


def test_builder_is_given_the_splits_folder_that_it_asks_for(tmp_path: Path) -> None:
    given = []

    def builder(root: Path, split: str, splits: Path | None = None) -> Generated:
        given.append(splits)
        return Generated(split, 2)

    load(builder, tmp_path)
    load(builder, tmp_path, splits=tmp_path / "released")
    assert given == [None, tmp_path / "released"]


def test_samples_without_files_are_never_taken_from_an_old_run(tmp_path: Path) -> None:
    samples = [sample(0), sample(1)]
    first = load(lambda root, split: samples, tmp_path)
    samples[1] = sample(3)
    second = load(lambda root, split: samples, tmp_path)
    assert second.ids == ("train0", "train3")
    assert first.digest != second.digest


def test_two_runs_at_once(tmp_path: Path) -> None:
    """While one run decodes, another finishes the same split: both get it."""
    inner: list[Split] = []

    class Slow(Generated):
        def __getitem__(self, index: int) -> Sample:
            if index == 4:
                inner.append(load(lambda root, split: Generated("train", 8), tmp_path))
            return super().__getitem__(index)

    outer = load(lambda root, split: Slow("train", 8), tmp_path)
    assert outer.digest == inner[0].digest
    assert np.array_equal(outer.images, inner[0].images)


def test_unwritable_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(UserError, match="cannot write the cache of decoded images"):
        load(lambda root, split: [sample(0), sample(1)], tmp_path)


def test_exceptions_of_a_plugin_become_one_line(tmp_path: Path) -> None:
    def failing(root: Path, split: str) -> list[Sample]:
        raise KeyError("patient")

    with pytest.raises(UserError, match="data set made, split train: KeyError: 'patient'"):
        load(failing, tmp_path)
    with pytest.raises(UserError, match=r"sample 0: a tuple is not a bench\.contracts\.Sample"):
        load(lambda root, split: [(1, 2)], tmp_path)
    with pytest.raises(UserError, match="split train: no usable image"):
        load(lambda root, split: [], tmp_path)


def test_missing_files_of_a_data_set(tmp_path: Path) -> None:
    info = info_of(lambda root, split: [], missing=lambda root: f"{root}/labels.csv not found")
    with pytest.raises(MissingData, match=r"data set made: .*labels.csv not found"):
        load_split(info, Request(tmp_path, SIDE, 0), "train", tmp_path)


def test_builder_that_is_asked_for_a_size_must_keep_it(tmp_path: Path) -> None:
    def of_side(*sides: int) -> Callable[..., list[Sample]]:
        def build(root: Path, split: str, size: int) -> list[Sample]:
            return [sample(i, image=torch.zeros(3, s, s, dtype=torch.uint8), mask=None) for i, s in enumerate(sides)]

        return build

    assert load(of_side(32, 32), tmp_path).images.shape == (2, 3, 32, 32)
    with pytest.raises(UserError, match="size 16 was requested, the image is 20×20"):
        load(of_side(20), tmp_path)
    with pytest.raises(UserError, match="the image is 32×32 after images of 16×16"):
        load(of_side(16, 32), tmp_path)


def test_count_is_balanced_and_stable(tmp_path: Path) -> None:
    samples = [sample(i, label=int(i >= 30), mask=None) for i in range(40)]
    few = load(lambda root, split: samples, tmp_path, count=8)
    more = load(lambda root, split: samples, tmp_path, count=14)
    assert np.bincount(few.labels).tolist() == [4, 4]
    assert set(few.ids) < set(more.ids)
    assert list(more.ids) == [s.id for s in samples if s.id in more.ids]


def test_bad_files_outlive_a_subsample(tmp_path: Path) -> None:
    class Damaged(Generated):
        def __getitem__(self, index: int) -> Sample:
            if index == 3:
                raise BadFile("third.png", "is damaged")
            return super().__getitem__(index)

    with pytest.raises(BadFiles, match=r"1 bad file: third.png \(is damaged\)"):
        load(lambda root, split: Damaged("train", 20), tmp_path, count=4)
    split = load(lambda root, split: Damaged("train", 20), tmp_path, count=4, skip_bad=True)
    assert (len(split), split.excluded) == (4, (Fault("third.png", "is damaged"),))
