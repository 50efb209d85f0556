"""Seeded subsamples and splits."""

from __future__ import annotations

import pytest

from bench.data.splitting import grouped_split, subsample


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
