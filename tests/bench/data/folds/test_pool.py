"""Pool of all images of a data set, and its folds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.config import parse_config
from bench.contracts import DatasetInfo, Sample
from bench.data.folds.pool import Pool, joined_groups, load_pool, require_folds
from bench.data.folds.rows import Rows
from bench.data.leaks.search import Pairs
from bench.data.loading import Request, build_samples, load_splits
from bench.data.prepare import Prepared, facts, prepare, write_gallery_images
from bench.data.sources.folder import folder_dataset
from bench.errors import UserError
from bench.files import replacing
from bench.registry import DATASETS
from tests.bench.data.leaks.test_copies import CHANGES, folder, picture
from tests.support.made import COUNTS, SIZE, squares

pytestmark = pytest.mark.usefixtures("squares")
ALL = sum(COUNTS.values())


def pool_of(root: Path, folds: int = 4, **changes: object) -> Pool:
    info: DatasetInfo = replace(DATASETS["squares"], **changes)  # type: ignore[arg-type]
    return load_pool(info, Request(root, SIZE, 0), folds, root / "cache")


def prepared(root: Path, folds: int = 4, **explain: int | None) -> Prepared:
    values = {"data": {"size": SIZE, "folds": folds}, "explain": explain}
    return prepare(DATASETS["squares"], parse_config(values, "test"), root, root / "cache")


def test_every_image_is_tested_once_and_no_group_is_in_two_parts_of_a_fold(tmp_path: Path) -> None:
    pool = pool_of(tmp_path)
    tested = list[str]()
    for fold in range(1, 5):
        parts = pool.splits(fold)
        assert sorted(id_ for part in parts.values() for id_ in part.ids) == sorted(pool.split.ids)
        groups = [set(part.groups) for part in parts.values()]
        assert sum(map(len, groups)) == len(set.union(*groups))
        assert {name: set(part.labels.tolist()) for name, part in parts.items()} == {name: {0, 1} for name in parts}
        tested += parts["test"].ids
    assert sorted(tested) == sorted(f"{split}-{index}" for split, count in COUNTS.items() for index in range(count))


def test_images_and_regions_of_a_fold_are_those_of_the_data_set(tmp_path: Path) -> None:
    pool = pool_of(tmp_path)
    samples = {sample.id: sample for split in COUNTS for sample in squares(tmp_path, split)}
    for part in pool.splits(2).values():
        assert part.masks is not None
        for at, id_ in enumerate(part.ids):
            expected = (samples[id_].image * 255).round().to(torch.uint8)
            assert (part.batch([at])[0].int() - expected.int()).abs().max() <= 1
            assert np.array_equal(part.masks[at], samples[id_].mask)
        assert np.array_equal(part.images[:3], np.stack([part.images[at] for at in range(3)]))


def test_folds_are_the_same_in_every_run_and_part_of_the_digest(tmp_path: Path) -> None:
    first, again, other = pool_of(tmp_path / "a"), pool_of(tmp_path / "b"), pool_of(tmp_path / "a", folds=3)
    digests = [[split.digest for split in pool.splits(1).values()] for pool in (first, again, other)]
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])
    assert len({pool.split.digest for pool in (first, again, other)}) == 1


@pytest.mark.parametrize("change", ["same", "jpeg", "mirror"])
def test_copies_in_two_splits_become_one_group(change: str, tmp_path: Path) -> None:
    info = folder_dataset(folder(tmp_path / "mine", CHANGES[change](picture(0)), "test", "a"))
    with pytest.raises(UserError, match="--allow-duplicates"):
        load_splits(info, Request(tmp_path, 64, 0), tmp_path / "cache")
    pool = load_pool(info, Request(tmp_path, 64, 0), 3, tmp_path / "cache")
    places = [pool.split.ids.index(name) for name in ("a/0.png", "a/copy.png")]
    assert len({pool.split.groups[at] for at in places}) == 1
    assert len({int(pool.fold[at]) for at in places}) == 1


def test_groups_are_joined_through_copies_of_copies() -> None:
    groups = ["a", "b", "c", "d", "b", "e"]
    pairs = Pairs(np.array([0, 2]), np.array([1, 4]), np.ones(2, np.float32))  # a = b, c = b
    joined = joined_groups(groups, pairs)
    assert [joined[at] == joined[0] for at in range(6)] == [True, True, True, False, True, False]
    assert joined[3] != joined[5]


def test_rows_are_read_like_those_of_one_array() -> None:
    draw = np.random.default_rng(0)
    parts = [draw.integers(0, 255, (count, 2, 3)) for count in (4, 0, 5)]
    whole, at = np.concatenate(parts), np.array([8, 0, 3, 4, 4, 7])
    rows = Rows.all_of(parts)
    assert rows.shape == whole.shape
    assert rows.size == whole.size
    for chosen, expected in (
        (rows, whole),
        (rows.take(at), whole[at]),
        (rows.take(at).take(at[1:4]), whole[at][at[1:4]]),
    ):
        assert np.array_equal(np.stack(list(chosen)), expected)
        assert np.array_equal(chosen[1:], expected[1:])
        assert np.array_equal(chosen[np.array([2, 0])], expected[[2, 0]])
        assert np.array_equal(chosen[:0], expected[:0])
        assert np.array_equal(chosen[-1], expected[-1])


def test_a_phantom_renders_its_counterfactuals_in_the_pool(tmp_path: Path) -> None:
    info, request = DATASETS["cxr-phantom"], Request(tmp_path, 64, 0, {"train": 8, "val": 4, "test": 4})
    pool = load_pool(info, request, 2, tmp_path / "cache")
    native = {name: build_samples(info, request, name) for name in info.splits}
    names = [(name, index) for name, samples in native.items() for index in range(len(samples))]
    samples = pool.samples.take(np.array([13, 2]))
    for at, place in enumerate([13, 2]):
        name, index = names[place]
        assert samples[at].id == pool.split.ids[place]
        assert torch.equal(samples.counterfactual(at), native[name].counterfactual(index))  # type: ignore[union-attr]
    assert not hasattr(pool.samples, "no_such_method")


def test_explained_images_of_the_folds_add_up(tmp_path: Path) -> None:
    whole = prepared(tmp_path, diseased=10, healthy=5, faithful=7, gallery=3)
    assert [int(one.explained.diseased.sum()) for one in whole.folds] == [3, 3, 2, 2]
    assert [int((~one.explained.diseased).sum()) for one in whole.folds] == [2, 1, 1, 1]
    assert [one.explained.faithful for one in whole.folds] == [2, 2, 2, 1]
    assert whole.explained.faithful == 7
    assert whole.explained.diseased.tolist() == [True] * 10 + [False] * 5
    ids = np.asarray(whole.explain.ids)[whole.explained.indices]
    occluded = set[str]()
    for one in whole.folds:
        own = np.asarray(one.explain.ids)[one.explained.indices].tolist()
        assert one.chosen is not None
        assert own == ids[list(one.chosen)].tolist()
        assert set(own) <= set(one.test.ids)
        occluded.update(own[: one.explained.faithful])
    assert set(ids[:7]) == occluded
    kept = {0, 3, 11}
    assert sorted(at for one in whole.folds for at in np.array(one.chosen)[one.positions(kept)].tolist()) == sorted(
        kept
    )
    assert whole.positions([4, 2]) == [4, 2]


def test_facts_count_all_images_as_tested(tmp_path: Path) -> None:
    whole = prepared(tmp_path)
    stated = facts(whole, SIZE)
    assert stated.folds == 4
    assert stated.images["test"] == [ALL // 2, ALL // 2]
    assert sum(stated.images["train"]) + sum(stated.images["val"]) == ALL - len(whole.folds[0].test)
    assert stated.brightness_auc is not None
    assert stated.brightness_auc > 0.9  # the lesion is bright, which an honest fold shows too
    write_gallery_images(replacing(tmp_path / "images.npz"), whole, 3)
    shown = np.load(tmp_path / "images.npz")["ids"].tolist()
    assert len(shown) == 3
    assert set(shown) <= set(whole.folds[0].test.ids)


def test_too_few_groups_or_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"class 'plain' has 16 groups of images, too few for 17 folds; .*= 16 or less"):
        pool_of(tmp_path, folds=17)
    config = parse_config({"data": {"folds": 5}, "explain": {"faithful": 4}}, "test")
    with pytest.raises(UserError, match=r"explain.faithful = 4 is less than data.folds = 5"):
        require_folds("squares", DATASETS["squares"], config)
    mosaic = parse_config({"data": {"folds": 5}}, "test")
    with pytest.raises(UserError, match=r"'elpv': data.folds does not apply, .* split of their own \('mosaic'\)"):
        require_folds("elpv", DATASETS["elpv"], mosaic)
    tagged = parse_config({"data": {"folds": 5, "shortcut": "tag:0.9"}}, "test")
    with pytest.raises(UserError, match="a planted shortcut needs test images of its own"):
        require_folds("cxr-phantom", DATASETS["cxr-phantom"], tagged)


def test_an_image_in_two_splits_is_refused(tmp_path: Path) -> None:
    def repeated(root: Path, split: str) -> list[Sample]:
        return [replace(sample, id=f"{index}") for index, sample in enumerate(squares(root, split))]

    with pytest.raises(UserError, match="0 is in both 'train' and 'val'; keep it in one"):
        pool_of(tmp_path, builder=repeated)
