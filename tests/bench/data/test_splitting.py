"""Seeded subsamples and splits."""

from __future__ import annotations

import pytest

from bench.data.splitting import fold_split, grouped_split, subsample


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


def test_folds_are_stratified_and_keep_groups_together() -> None:
    labels = [int(i % 5 == 0) for i in range(203)]
    groups = [f"{labels[i]}-{i // 3 if i % 7 else i // 15}" for i in range(203)]
    folds = fold_split(labels, groups, 5, seed=3)
    assert len(set(zip(groups, folds, strict=True))) == len(set(groups))
    for label in (0, 1):
        counts = [sum(one == label and fold == k for one, fold in zip(labels, folds, strict=True)) for k in range(1, 6)]
        assert sum(counts) == labels.count(label)
        assert max(counts) - min(counts) <= 2
    assert max(map(folds.count, range(1, 6))) - min(map(folds.count, range(1, 6))) <= 2


def test_folds_depend_on_names_and_the_seed_alone() -> None:
    labels, groups = [i % 2 for i in range(40)], [f"g{i}" for i in range(40)]
    folds = fold_split(labels, groups, 4, seed=0)
    assert fold_split(labels[::-1], groups[::-1], 4, seed=0)[::-1] == folds
    assert fold_split(labels, groups, 4, seed=1) != folds
    assert [folds.count(fold) for fold in range(1, 5)] == [10] * 4
