"""Cache, contract checks and the numbers measured on a split, with generated samples."""

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

from bench.contracts import DatasetInfo, MissingData, Sample, UserError
from bench.data.checks import BadFiles, check_splits
from bench.data.loading import Request, load_split, load_splits
from bench.data.readers.faults import Fault
from bench.data.readers.images import BadFile
from bench.data.split import Split, brightness_auc, channel_statistics, normalise
from bench.data.splitting import grouped_split, subsample

SIDE = 16


def sample(index: int, split: str = "train", **changes: Any) -> Sample:
    noise = torch.randint(0, 256, (3, SIDE, SIDE), generator=torch.Generator().manual_seed(index), dtype=torch.uint8)
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[index % 4 :, :5] = index % 2 == 1
    return replace(Sample(noise, index % 2, mask, f"{split}{index}", f"{split}-g{index // 2}"), **changes)


class Generated:
    """Samples that count how often they are made."""

    files: tuple[Path, ...] = ()

    def __init__(self, split: str, count: int, fail_at: int = -1) -> None:
        self.split, self.count, self.fail_at, self.made = split, count, fail_at, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if index == self.fail_at:
            raise KeyboardInterrupt
        self.made += 1
        return sample(index, self.split)


def info_of(builder: Callable[..., Any], **facts: Any) -> DatasetInfo:
    return DatasetInfo("made", builder, "other", ("healthy", "sick"), "pixel", "", "", "", **facts)


def load(
    builder: Callable[..., Any], tmp_path: Path, split: str = "train", count: int | None = None, **options: Any
) -> Split:
    request = Request(**{"root": tmp_path, "size": SIDE, "seed": 0, "counts": {split: count}} | options)
    return load_split(info_of(builder), request, split, tmp_path / "cache")


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


def test_channel_statistics_and_normalise(tmp_path: Path) -> None:
    flat = sample(1)
    flat.image[2] = 51
    samples = [replace(sample(i), image=torch.cat([sample(i).image[:2], flat.image[2:]])) for i in range(130)]
    split = load(lambda root, split: samples, tmp_path)
    mean, std = channel_statistics(split)
    pixels = split.images.astype(np.float64) / 255
    assert mean == pytest.approx(pixels.mean(axis=(0, 2, 3)))
    assert std[:2] == pytest.approx(pixels.std(axis=(0, 2, 3))[:2])
    assert std[2] == 1.0
    images = normalise(split.batch(range(130)), mean, std)
    assert images.dtype == torch.float32
    assert images.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    assert images.std(dim=(0, 2, 3), correction=0)[:2].tolist() == pytest.approx([1, 1], abs=1e-5)


def test_brightness_auc_sees_brightness_and_nothing_else(tmp_path: Path) -> None:
    def builder(root: Path, split: str, seed: int) -> list[Sample]:
        images = [sample(i + 1000 * (split == "test"), split) for i in range(80)]
        return [replace(s, image=s.image // 2 + 20 * s.label * seed) for s in images]

    bright, alike = ([load(builder, tmp_path, name, seed=seed) for name in ("train", "test")] for seed in (1, 0))
    assert brightness_auc(*bright) == 1.0
    assert 0.3 < brightness_auc(*alike) < 0.7


def test_subsample_of_everything_and_of_scarce_classes() -> None:
    labels, ids = [0] * 10 + [1] * 2, [str(i) for i in range(12)]
    assert subsample(labels, ids, None, 0) == list(range(12))
    assert subsample(labels, ids, 99, 0) == list(range(12))
    chosen = subsample(labels, ids, 7, 0)
    assert [labels[i] for i in chosen].count(1) == 2
    assert len(chosen) == 7
    assert subsample(labels, ids, 7, 1) != chosen


def test_grouped_split_is_stratified_by_group() -> None:
    labels = [i % 2 for i in range(200)]
    groups = [f"{i % 2}-{i // 8}" for i in range(200)]
    splits = grouped_split(labels, groups, seed=0)
    assert len({(g, s) for g, s in zip(groups, splits, strict=True)}) == len(set(groups))
    for label in (0, 1):
        mine = splits[label::2]
        assert mine.count("train") == pytest.approx(70, abs=4)
        assert mine.count("val") == pytest.approx(15, abs=4)
    assert set(grouped_split([0] * 3, ["a", "b", "c"], seed=5)) == {"train", "val", "test"}
