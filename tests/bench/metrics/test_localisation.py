"""Localisation metrics against loops, scikit-learn and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from bench import metrics
from bench.metrics import patch_at, stride_at
from bench.registry import METRICS
from tests.oracles import localisation as oracle

PIXELWISE = (
    "activation_precision",
    "activation_sensitivity",
    "pointing_game",
    "pixel_auroc",
    "pixel_auprc",
    "iou_at_area",
)


def random_maps(n=6, height=9, width=11, levels=0, seed=0):
    """Signed maps; with ``levels``, of so few values that most pixels tie."""
    maps = torch.randn(n, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (maps * levels).round() / levels if levels else maps


def random_masks(n=6, height=9, width=11, share=0.3, seed=1):
    return torch.rand(n, height, width, generator=torch.Generator().manual_seed(seed)) < share


def disc(size=64, row=40, column=20, radius=9):
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return ((y - row) ** 2 + (x - column) ** 2 <= radius**2).unsqueeze(0)


@pytest.mark.parametrize("name", PIXELWISE)
@pytest.mark.parametrize("levels", [0, 1, 3])
def test_pixelwise_metrics_are_the_oracle(name, levels):
    maps, masks = random_maps(levels=levels), random_masks()
    masks[4] = False
    expected = [getattr(oracle, name)(m.numpy(), t.numpy()) for m, t in zip(maps, masks, strict=True)]
    np.testing.assert_allclose(getattr(metrics, name)(maps, masks), expected, atol=1e-6)


@pytest.mark.parametrize("levels", [0, 2])
def test_pixel_ranking_is_scikit_learn(levels):
    maps, masks = random_maps(4, 40, 50, levels), random_masks(4, 40, 50, 0.05)
    for name, theirs in (("pixel_auroc", roc_auc_score), ("pixel_auprc", average_precision_score)):
        expected = [theirs(t.flatten(), m.flatten()) for m, t in zip(maps, masks, strict=True)]
        np.testing.assert_allclose(getattr(metrics, name)(maps.float(), masks), expected, atol=1e-6)


def test_by_hand():
    maps = torch.tensor([[[4.0, 2.0], [-8.0, 0.0]]])
    masks = torch.tensor([[[True, False], [True, False]]])
    assert metrics.activation_precision(maps, masks).item() == pytest.approx(4 / 6)
    assert metrics.activation_sensitivity(maps, masks).item() == pytest.approx(0.5)  # (1 + 0) / 2
    assert metrics.pointing_game(maps, masks).item() == 1.0
    assert metrics.pixel_auroc(maps, masks).item() == pytest.approx(0.5)  # 4 wins twice, -8 never
    assert metrics.pixel_auprc(maps, masks).item() == pytest.approx((1 + 2 / 4) / 2)
    assert metrics.iou_at_area(maps, masks).item() == pytest.approx(1 / 3)  # top 2 pixels, one inside


def test_negative_evidence_on_the_lesion_is_no_hit():
    """Trap 2: a map that speaks against the class, most of all inside the lesion."""
    maps, masks = -disc().double() - 1, disc()
    assert metrics.activation_precision(maps, masks).item() == 0
    assert metrics.activation_sensitivity(maps, masks).item() == 0
    assert metrics.pixel_auroc(maps, masks).item() == 0
    assert metrics.pointing_game(maps, masks).item() == 0
    assert metrics.iou_at_area(maps, masks).item() == 0
    assert metrics.topk_patch_hits(maps, masks, 5, 8, 4).isnan().all()


def test_rows_and_columns_are_not_exchanged():
    """Trap 10: one of the authors' helpers reads the mask with x and y exchanged."""
    masks = disc(64, row=50, column=10, radius=5)
    maps = masks.double()
    for name in PIXELWISE:
        metric = getattr(metrics, name)
        assert metric(maps, masks).item() == pytest.approx(1)
        assert metric(maps, masks.transpose(1, 2)).item() < 0.5
    assert metrics.topk_patch_hits(maps, masks, 1, 4, 1).tolist() == [[1.0]]
    assert metrics.topk_patch_hits(maps, masks.transpose(1, 2), 1, 4, 1).tolist() == [[0.0]]


def test_a_constant_map_scores_chance_or_zero():
    """Trap 3."""
    masks = random_masks(2, share=0.2)
    prevalence = masks.double().mean(dim=(1, 2))
    for value in (0.0, 3.0, -3.0):
        maps = torch.full(masks.shape, value, dtype=torch.float64)
        for name in ("pointing_game", "pixel_auprc"):
            np.testing.assert_allclose(getattr(metrics, name)(maps, masks), prevalence, atol=1e-6)
        assert metrics.pixel_auroc(maps, masks).tolist() == [0.5, 0.5]
        np.testing.assert_allclose(metrics.iou_at_area(maps, masks), prevalence / (2 - prevalence), atol=1e-6)
        assert metrics.activation_precision(maps, masks).tolist() == [0, 0]
        assert metrics.activation_sensitivity(maps, masks).tolist() == [0, 0]


def test_a_map_that_is_not_finite_is_nan_alone():
    """Trap 3: on its own row only, and never a hit."""
    maps, masks = random_maps(3, 24, 24), random_masks(3, 24, 24)
    expected = {name: getattr(metrics, name)(maps, masks) for name in PIXELWISE}
    hits = metrics.topk_patch_hits(maps, masks, 4, 6, 3)
    for bad in (torch.nan, torch.inf, -torch.inf):
        maps[1, 0, 0] = bad
        for name in PIXELWISE:
            values = getattr(metrics, name)(maps, masks)
            assert values.isnan().tolist() == [False, True, False]
            assert torch.equal(values[[0, 2]], expected[name][[0, 2]])
        spoiled = metrics.topk_patch_hits(maps, masks, 4, 6, 3)
        assert spoiled[1].isnan().all()
        assert torch.equal(spoiled[[0, 2]], hits[[0, 2]])
        assert metrics.topk_precision(spoiled).isnan().tolist() == [False, True, False]


def test_a_mask_of_the_whole_image():
    maps, masks = random_maps(1), torch.ones(1, 9, 11, dtype=torch.bool)
    assert metrics.pixel_auroc(maps, masks).isnan().all()
    for name in ("activation_precision", "pointing_game", "pixel_auprc", "iou_at_area"):
        assert getattr(metrics, name)(maps, masks).item() == 1


def test_random_maps_score_chance():
    masks = disc().expand(300, -1, -1)
    maps = torch.randn(300, 64, 64, generator=torch.Generator().manual_seed(4))
    prevalence = disc().float().mean().item()
    assert metrics.pixel_auroc(maps, masks).mean().item() == pytest.approx(0.5, abs=0.01)
    for name in ("activation_precision", "pixel_auprc"):
        assert getattr(metrics, name)(maps, masks).mean().item() == pytest.approx(prevalence, abs=0.01)
    assert metrics.pointing_game(maps, masks).mean().item() == pytest.approx(prevalence, abs=0.05)
    first = metrics.topk_patch_hits(maps, masks, k=1, patch=8, stride=4)
    chance = metrics.random_patch_hit_rate(disc(), patch=8, stride=4).item()
    assert first.mean().item() == pytest.approx(chance, abs=0.08)


def test_the_mask_as_a_map_is_perfect():
    masks = torch.cat([disc(), disc(row=12, column=50, radius=5)])
    for name in PIXELWISE:
        assert getattr(metrics, name)(masks.float(), masks).tolist() == pytest.approx([1, 1])
    hits = metrics.topk_patch_hits(masks.float(), masks, k=3, patch=patch_at(64), stride=stride_at(64))
    assert metrics.topk_precision(hits).tolist() == [1, 1]


@pytest.mark.parametrize("name", [name for name in METRICS if METRICS[name].family == "localisation"])
def test_the_planted_perfect_map_beats_the_worst(name):
    """The worst one rises with the distance from the lesion."""
    info = METRICS[name]
    masks = disc()
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    distance = ((y - 40) ** 2 + (x - 20) ** 2).sqrt().unsqueeze(0)

    def score(maps):
        hits = metrics.topk_patch_hits(maps, masks, 3, 4, 1)
        inputs = {"maps": maps, "masks": masks, "ignored": None, "topk_hits": hits}
        return info.function(*(inputs[need] for need in info.needs)).item()

    best, worst = score(masks.float()), score(distance)
    assert best > worst if info.higher_is_better else best < worst


@pytest.mark.parametrize(
    ("maps", "masks", "words"),
    [
        (torch.rand(2, 8, 8), torch.ones(2, 8, 8), "must be bool"),
        (torch.rand(2, 8, 8), torch.ones(8, 8, dtype=torch.bool), r"\(N,H,W\)"),
        (torch.rand(2, 4, 4), torch.ones(2, 8, 8, dtype=torch.bool), r"\(N,H,W\)"),
    ],
)
def test_inputs_that_would_broadcast_are_refused(maps, masks, words):
    with pytest.raises(ValueError, match=words):
        metrics.activation_precision(maps, masks)
