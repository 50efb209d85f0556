"""Bootstrap samples in blocks: the same draws as in one piece, whatever the size of a block and wherever it waits."""

from __future__ import annotations

import numpy as np
import pytest

from bench.seeds import seed_of
from bench.statistics.bootstrap import resampling
from bench.statistics.bootstrap.resampling import clusters_of, image_replicates, resampled_means, resampled_ratios

GROUPS = np.array([f"g{index % 7}" for index in range(20)], dtype=object)
VALUES = np.random.default_rng(0).normal(size=(20, 3))
VALUES[3, 1] = VALUES[5, 2] = np.nan


def whole_draw(groups: np.ndarray, resamples: int) -> np.ndarray:
    """Counts of images (B,N), drawn for all samples at once."""
    names, member = np.unique(groups.astype(str), return_inverse=True)
    generator = np.random.default_rng(seed_of("bootstrap", *names))
    return generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)[:, member]


@pytest.mark.parametrize(("block", "kept", "images"), [(2_000_000, 2**25, 2**19), (10, 2**25, 1), (50, 0, 45)])
def test_blocks_continue_one_stream(monkeypatch: pytest.MonkeyPatch, block: int, kept: int, images: int) -> None:
    monkeypatch.setattr(resampling, "BLOCK", block)
    monkeypatch.setattr(resampling, "_IMAGES", images)
    monkeypatch.setattr(resampling, "KEPT", kept)
    monkeypatch.setattr(resampling, "_KNOWN", {})
    for _ in range(2):  # a file of draws is read again
        np.testing.assert_array_equal(np.concatenate([*image_replicates(GROUPS, 31)]), whole_draw(GROUPS, 31))


@pytest.mark.parametrize("at_once", [1, 3, 7])
def test_names_that_are_read_by_parts_have_the_same_seed(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(resampling, "_AT_ONCE", at_once)
    assert clusters_of(GROUPS)[0].seed == seed_of("bootstrap", *sorted(set(GROUPS)))


@pytest.mark.parametrize(("kept", "on_disk", "known"), [(2**25, 0, 4), (0, 2**31, 4), (0, 0, 2), (70, 2**31, 2)])
def test_draws_are_kept_while_there_is_space(
    monkeypatch: pytest.MonkeyPatch, kept: int, on_disk: int, known: int
) -> None:
    monkeypatch.setattr(resampling, "KEPT", kept)
    monkeypatch.setattr(resampling, "_ON_DISK", on_disk)
    monkeypatch.setattr(resampling, "_KNOWN", {})
    groups = [np.array([f"{name}{at}" for at in range(3)]) for name in "abcd"]
    for one in groups:
        np.testing.assert_array_equal(np.concatenate([*image_replicates(one, 20)]), whole_draw(one, 20))
    assert [key[0] for key in resampling._KNOWN] == [clusters_of(one)[0] for one in groups[-known:]]


def test_means_of_groups_are_those_of_images() -> None:
    weights = whole_draw(GROUPS, 40)
    expected = np.empty((40, 3))
    for sample, counts in enumerate(weights):
        for column, values in enumerate(VALUES.T):
            there = np.isfinite(values)
            expected[sample, column] = np.average(values[there], weights=counts[there])
    np.testing.assert_allclose(resampled_means(VALUES, GROUPS, 40), expected, atol=1e-14)


def test_ratio_without_weight_is_undefined() -> None:
    names = np.array(["a", "b"], dtype=object)
    found = resampled_ratios(np.array([[1.0], [0.0]]), np.array([[1.0], [0.0]]), clusters_of(names)[0], 60)
    only_second = whole_draw(names, 60)[:, 0] == 0
    assert only_second.any()
    np.testing.assert_array_equal(np.isnan(found[:, 0]), only_second)
