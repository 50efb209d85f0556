"""Top-k localisation against loops and closed forms, by every rule that reads a patch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench import metrics
from bench.registry import METRICS
from tests.bench.metrics.test_localisation import random_maps, random_masks
from tests.oracles import localisation as oracle


@pytest.mark.parametrize("rule", metrics.READINGS)
@pytest.mark.parametrize("levels", [0, 1])
@pytest.mark.parametrize(("patch", "stride", "threshold"), [(5, 2, 0.0), (4, 1, 0.3), (7, 3, 0.05), (6, 6, -10.0)])
def test_topk_hits_are_the_oracle(patch, stride, threshold, levels, rule):
    maps, masks = random_maps(4, 30, 23, levels), random_masks(4, 30, 23, 0.01)
    masks[2] = False
    ours = metrics.topk_patch_hits(maps, masks, 12, patch, stride, threshold, rule=rule)
    for image, mask, hits in zip(maps, masks, ours, strict=True):
        expected = oracle.topk_patch_hits(image.numpy(), mask.numpy(), 12, patch, stride, threshold, rule=rule)
        np.testing.assert_array_equal(hits, expected)


def test_only_resizing_takes_a_native_map():
    maps, masks = random_maps(2, 7, 7), random_masks(2, 64, 64, 0.002)
    ours = metrics.topk_patch_hits(maps, masks, 8, 8, 2, rule="resize")
    for image, mask, hits in zip(maps, masks, ours, strict=True):
        expected = oracle.topk_patch_hits(image.numpy(), mask.numpy(), 8, 8, 2, rule="resize")
        np.testing.assert_array_equal(hits, expected)
    with pytest.raises(ValueError, match=r"must both be \(N,H,W\)"):
        metrics.topk_patch_hits(maps, masks, 8, 8, 2)


@pytest.mark.parametrize("value", [0.1, 3.0])
def test_a_constant_map_takes_patches_in_raster_order(value):
    """Patch 4, stride 2: the next patch that overlaps by no more than half is one step on."""
    maps, masks = torch.full((1, 9, 13), value), torch.zeros(1, 9, 13, dtype=torch.bool)
    masks[0, 0, 5] = True
    hits = metrics.topk_patch_hits(maps, masks, k=4, patch=4, stride=2)
    assert hits.tolist() == [[0, 1, 1, 0]]  # columns 0-3, 2-5, 4-7, 6-9
    for none in (0.0, -value):
        assert metrics.topk_patch_hits(torch.full_like(maps, none), masks, k=4, patch=4, stride=2).isnan().all()


@pytest.mark.parametrize("patch", [5, 8])
def test_a_single_positive_pixel_makes_just_the_patches_around_it(patch):
    """However small it is beside the rest, and however far the point of the patch is from it."""
    maps, masks = torch.full((1, 41, 37), -1e3), torch.zeros(1, 41, 37, dtype=torch.bool)
    maps[0, 20, 11] = 1e-12
    masks[0, 20, 11] = True
    hits = metrics.topk_patch_hits(maps, masks, k=60, patch=patch, stride=1)
    assert hits[0, 0] == 1
    exists = ~hits[0].isnan()
    assert (hits[0, exists] == 1).all()
    for rule in ("sum", "point"):
        assert metrics.topk_patch_hits(maps, masks, 60, patch, 1, rule=rule).nansum() <= (rule == "point")


def test_speckle_is_found_as_an_area():
    """Every other pixel of the lesion: by area it is the best patch, by one point it may not exist at all."""
    maps, masks = torch.zeros(1, 64, 64), torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[0, 16:24, 32:40] = True
    maps[0, 16:24:2, 33:40:2] = 1.0
    maps[0, 46, 10] = 2.0  # noise of one pixel, at the centre of a patch of 5
    found = {rule: metrics.topk_patch_hits(maps, masks, 1, 5, 2, rule=rule).item() for rule in metrics.RULES}
    assert found == {"mean": 1, "sum": 1, "max": 0, "point": 0}


def test_a_random_map_scores_the_chance_that_is_shown_beside_it():
    """Over all positions of a small lesion, so that no preference for a place, such as the border, matters."""
    side, patch, stride = 32, 5, 3
    rows, columns = torch.meshgrid(torch.arange(0, 26, 5), torch.arange(0, 26, 5), indexing="ij")
    masks = torch.zeros(rows.numel(), side, side, dtype=torch.bool)
    for mask, row, column in zip(masks, rows.flatten(), columns.flatten(), strict=True):
        mask[row : row + 6, column : column + 6] = True
    masks = masks.repeat(40, 1, 1)
    maps = torch.randn(masks.shape, generator=torch.Generator().manual_seed(4))
    chance = metrics.random_patch_hit_rate(masks, patch, stride).mean().item()
    for rule in metrics.READINGS:
        hits = metrics.topk_patch_hits(maps, masks, 10, patch, stride, rule=rule)
        assert hits.nanmean().item() == pytest.approx(chance, abs=0.01), rule


def test_the_variants_of_the_metric_are_the_rules():
    assert ("mean", *METRICS["topk_precision"].variants[1:]) == metrics.READINGS
    assert METRICS["topk_precision"].variants[0] == ""
    with pytest.raises(ValueError, match="no patch rule 'median'; known: mean, max, point, sum"):
        metrics.topk_patch_hits(torch.rand(1, 8, 8), torch.ones(1, 8, 8, dtype=torch.bool), 1, 2, 1, rule="median")


def test_topk_grid_at_512_pixels():
    """60 cells a side; the last patch ends at pixel 505, so a lesion beyond it is out of every patch's reach."""
    masks = torch.zeros(2, 512, 512, dtype=torch.bool)
    masks[0, 504, 504] = masks[1, 505, 505] = True
    rate = metrics.random_patch_hit_rate(masks)
    assert rate[0].item() == pytest.approx(1 / 3600)
    assert rate[1].item() == 0
    maps = torch.zeros(2, 60, 60)
    maps[:, 59, 59] = 1
    hits = metrics.topk_patch_hits(maps, masks, k=2, rule="resize")
    assert hits[:, 0].tolist() == [1, 0]
    assert hits[:, 1].isnan().all()


@pytest.mark.parametrize(
    ("second", "exists"), [((30, 32), False), ((32, 32), False), ((30, 33), True), ((33, 30), True)]
)
def test_topk_suppresses_more_than_half_an_overlap(second, exists):
    """Patch 33, stride 8: patches 16 pixels apart share more than half a side, patches 24 pixels apart do not."""
    maps = torch.zeros(1, 60, 60)
    maps[0, 30, 30], maps[0, *second] = 2, 1
    masks = torch.ones(1, 512, 512, dtype=torch.bool)
    hits = metrics.topk_patch_hits(maps, masks, k=3, rule="resize")
    assert (~hits.isnan()).tolist() == [[True, exists, False]]


def test_topk_suppression_is_strict():
    """Patch 4, stride 2: one cell on, exactly half overlaps, which is not more than half."""
    maps = torch.zeros(1, 5, 5)
    maps[0, 2, 2], maps[0, 2, 3] = 2, 1
    masks = torch.ones(1, 12, 12, dtype=torch.bool)
    hits = metrics.topk_patch_hits(maps, masks, k=3, patch=4, stride=2, rule="resize")
    assert hits.nan_to_num(-1).tolist() == [[1, 1, -1]]


def test_topk_precision_is_the_mean_over_patches_that_exist():
    hits = torch.tensor([[1, 0, 1, torch.nan], [torch.nan] * 4, [0, 0, 0, 1]])
    np.testing.assert_allclose(metrics.topk_precision(hits), [2 / 3, np.nan, 0.25])
    np.testing.assert_allclose(metrics.topk_precision(hits, k=2), [0.5, np.nan, 0])


def test_random_patch_hit_rate_is_the_oracle():
    masks = random_masks(4, 20, 26, 0.01, seed=3)
    masks[1] = False
    expected = [oracle.random_patch_hit_rate(mask.numpy(), 5, 3) for mask in masks]
    np.testing.assert_allclose(metrics.random_patch_hit_rate(masks, 5, 3), expected, rtol=1e-6)


def test_a_patch_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="patch_at"):
        metrics.topk_patch_hits(torch.rand(1, 20, 20), torch.ones(1, 20, 20, dtype=torch.bool))
