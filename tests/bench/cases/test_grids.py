"""Map grids: what 8 bits and 32×32 cells leave of a map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.cases.grids import LEVELS, MOST_CELLS, Grids, joined, read_grids, read_ids, to_grids, write_grids

RANDOM = np.random.default_rng(0)


def raw(grids: Grids) -> np.ndarray:
    return grids.values / LEVELS * grids.scales[:, None, None]


def test_small_maps_lose_half_a_level_at_most() -> None:
    maps = [RANDOM.normal(size=(7, 5)) * 10.0**power for power in (-20, 0, 20)]
    grids = to_grids(["a", "b", "c"], maps)
    assert grids.cells == (7, 5)
    for one, found, scale in zip(maps, raw(grids), grids.scales, strict=True):
        np.testing.assert_allclose(found, one, atol=float(scale) * 0.51 / LEVELS)
        assert scale == np.float32(np.abs(one).max())


def test_large_maps_are_averaged_with_their_sign() -> None:
    image = RANDOM.normal(size=(96, 64))
    grids = to_grids(["a"], [image])
    assert grids.cells == (96, 64)
    assert grids.values.shape == (1, MOST_CELLS, MOST_CELLS)
    expected = image.reshape(MOST_CELLS, 3, MOST_CELLS, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(raw(grids)[0], expected, atol=grids.scales[0] * 0.51 / LEVELS)
    checkers = np.indices((64, 64)).sum(axis=0) % 2 * 2.0 - 1
    assert to_grids(["a"], [checkers]).scales[0] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_marked_and_spoils_no_other(bad: float) -> None:
    maps = [np.ones((4, 4)), np.ones((4, 4))]
    maps[0][1, 2] = bad
    grids = to_grids(["a", "b"], maps)
    assert np.isnan(grids.scales).tolist() == [True, False]
    assert raw(grids)[1].tolist() == maps[1].tolist()


def test_a_map_of_zeros_stays_zero() -> None:
    grids = to_grids(["a"], [np.zeros((3, 3))])
    assert not grids.values.any()
    assert grids.scales.tolist() == [0]


def test_maps_of_another_shape_are_left_out() -> None:
    grids = to_grids(["a", "b", "c"], [np.ones((3, 3)), np.ones((4, 4)), np.ones((3, 3))])
    assert grids.ids.tolist() == ["a", "c"]
    assert joined([grids, to_grids(["d"], [np.ones((5, 5))])]).ids.tolist() == ["a", "c"]


def test_files_hold_what_was_written(tmp_path: Path) -> None:
    names = ["a b", "ünï/код", "<script>"]
    grids = to_grids(names, list(RANDOM.normal(size=(3, 40, 6))))
    parts = joined([to_grids([], []), to_grids(names[:1], []), grids])
    write_grids(tmp_path / "maps.npz", parts)
    found = read_grids(tmp_path / "maps.npz")
    assert found.ids.tolist() == names
    assert (found.values == grids.values).all()
    assert (found.scales == grids.scales).all()
    assert found.cells == (40, 6)
    assert read_ids(tmp_path / "maps.npz") == set(names)
