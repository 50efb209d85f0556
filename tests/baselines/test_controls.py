"""The controls: what each of them knows, and that it knows nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bench.data
import bench.models.backbones  # noqa: F401
from baselines.controls import CenterGaussian, Edges, GridOracle, MaskOracle, Random
from bench.contracts import Batch, Classifier, Geometry
from bench.maps import upsample
from bench.metrics import (
    activation_precision,
    iou_at_area,
    patch_at,
    pixel_auprc,
    pixel_auroc,
    stride_at,
    topk_patch_hits,
    topk_precision,
)
from bench.registry import BACKBONES, DATASETS, EXPLAINERS, HEADS
from tests.oracles import cells
from tests.support.tiny import tiny_classifiers

CLASSIFIER = tiny_classifiers()["black box"]


def test_random_is_uniform_on_the_feature_grid() -> None:
    count = 200
    batch = Batch(torch.zeros(count, 3, 32, 32), torch.zeros(count, dtype=torch.long), None, tuple(range(count)))
    maps = Random().explain_batch(CLASSIFIER, batch)
    assert maps.shape == (count, 7, 7)
    assert 0 <= maps.min() < 0.01 < 0.99 < maps.max() < 1
    assert maps.mean().item() == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / maps.numel()))
    again = Batch(torch.ones(1, 3, 32, 32), torch.tensor([2]), None, (17,))
    assert torch.equal(Random().explain_batch(CLASSIFIER, again)[0], maps[17])


def test_center_gaussian() -> None:
    maps = CenterGaussian(sigma=0.25).explain(CLASSIFIER, torch.randn(2, 3, 40, 32), torch.zeros(2, dtype=torch.long))
    for y, x in ((0, 0), (20, 16), (39, 5)):
        distance = (((y + 0.5) / 40 - 0.5) ** 2 + ((x + 0.5) / 32 - 0.5) ** 2) / 0.25**2
        assert maps[1, y, x].item() == pytest.approx(math.exp(-distance / 2), rel=1e-5)
    torch.testing.assert_close(maps, maps.flip(1))
    torch.testing.assert_close(maps, maps.flip(2))


def test_edges_of_a_step_and_of_a_ramp() -> None:
    step = torch.zeros(1, 3, 8, 8)
    step[..., 4:] = 1.0
    maps = Edges().explain(CLASSIFIER, step, torch.tensor([0]))
    expected = torch.zeros(8, 8)
    expected[:, 3:5] = 4.0  # (1 + 2 + 1) times the step
    torch.testing.assert_close(maps[0], expected)
    rows = torch.arange(8.0)[:, None].expand(8, 8)
    ramp = (3 * rows + 4 * rows.T).expand(1, 3, 8, 8)
    inner = Edges().explain(CLASSIFIER, ramp, torch.tensor([0]))[0, 1:-1, 1:-1]
    torch.testing.assert_close(inner, torch.full((6, 6), 8 * 5.0))  # 8 times the slope


def test_mask_oracle_is_the_mask() -> None:
    masks = torch.rand(2, 32, 32) > 0.5
    maps = MaskOracle().explain_batch(CLASSIFIER, Batch(torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]), masks, (0, 1)))
    assert torch.equal(maps, masks.float())


def test_three_controls_state_their_role() -> None:
    """The report finds floor and ceiling by it, not by name."""
    roles = {EXPLAINERS[name].role: name for name in EXPLAINERS if EXPLAINERS[name].role}
    assert roles == {"floor": "random", "ceiling": "mask_oracle", "grid ceiling": "grid_oracle"}


# --- The grid oracle -------------------------------------------------------------------------------------------------


def test_grid_oracle_is_the_share_of_each_cell_that_is_lesion() -> None:
    """TinyNet: 3×3 with stride 2 and padding 1, then 3×3 with stride 2: cell i is centred at pixel 4i + 2."""
    masks = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(0)) > 0.7
    maps = GridOracle().explain_batch(CLASSIFIER, Batch(torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]), masks, (0, 1)))
    for mask, ours in zip(masks, maps, strict=True):
        np.testing.assert_allclose(ours, cells.average(mask.numpy(), (7, 7), (2.5, 2.5), (4, 4)), atol=1e-6)


def test_grid_oracle_divides_the_image_evenly_where_the_geometry_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classifier, "geometry", lambda self, size: None)
    masks = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0)) > 0.7
    classifier = Classifier(nn.Conv2d(3, 2, 3, stride=4, padding=1), nn.Flatten(), 2)
    maps = GridOracle().explain_batch(classifier, Batch(torch.zeros(1, 3, 28, 28), torch.tensor([0]), masks, (0,)))
    torch.testing.assert_close(maps[0], masks[0].float().reshape(7, 4, 7, 4).mean(dim=(1, 3)))


def localisation(maps: Tensor, masks: Tensor, geometry: Geometry | None) -> dict[str, float]:
    """Mean scores of maps (N,h,w) drawn by a geometry."""
    drawn = upsample(maps, 96, geometry)
    hits = topk_patch_hits(drawn, masks, k=30, patch=patch_at(96), stride=stride_at(96))
    scores = {one.__name__: one(drawn, masks) for one in (activation_precision, pixel_auroc, pixel_auprc, iou_at_area)}
    return {name: float(values.nanmean()) for name, values in (scores | {"topk": topk_precision(hits)}).items()}


@pytest.mark.parametrize("name", ["cxr-phantom", "fundus-phantom", "oct-phantom"])
def test_grid_oracle_is_above_the_maps_of_its_grid(name: str) -> None:
    """In the mean over images: above chance, above itself with noise, smoothed, moved by a cell or drawn elsewhere.

    A sharper map of the same truth, such as its square, has more precision at the cost of the ranking of pixels: the
    control is what an honest average reaches, not the optimum of every metric.
    """
    samples = DATASETS[name].builder(Path("nowhere"), "test", size=96, count=32)
    known = [mask for index in range(32) if (mask := samples[index].mask) is not None and mask.any()]
    masks, count = torch.stack(known), len(known)
    classifier = HEADS["blackbox"]().build(BACKBONES["compact"].build(False)[0], 2).eval()
    batch = Batch(torch.zeros(count, 3, 96, 96), torch.ones(count, dtype=torch.long), masks, tuple(range(count)))
    geometry, oracle = classifier.geometry((96, 96)), GridOracle().explain_batch(classifier, batch)
    best = localisation(oracle, masks, geometry)
    noise = torch.rand(oracle.shape, generator=torch.Generator().manual_seed(1))
    worse = {
        "random": Random().explain_batch(classifier, batch),
        "noisy": oracle + 0.3 * noise,
        "smoothed": F.avg_pool2d(oracle[:, None], 3, 1, 1)[:, 0],
        "right": oracle.roll(1, 2),
        "up": oracle.roll(-1, 1),
    }
    for kind, maps in worse.items():
        scores = localisation(maps, masks, geometry)
        assert all(best[metric] > scores[metric] for metric in best), (kind, best, scores)
    elsewhere = localisation(oracle, masks, None)
    assert all(best[metric] > elsewhere[metric] for metric in best), elsewhere
    sharper = localisation(oracle.square(), masks, geometry)
    assert sharper["activation_precision"] > best["activation_precision"]
    assert sharper["pixel_auprc"] < best["pixel_auprc"]
