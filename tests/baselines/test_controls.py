"""The controls: what each of them knows, and that it knows nothing else."""

from __future__ import annotations

import math

import pytest
import torch

from baselines.controls import CenterGaussian, Edges, MaskOracle, Random
from bench.contracts import Batch
from bench.registry import EXPLAINERS
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
