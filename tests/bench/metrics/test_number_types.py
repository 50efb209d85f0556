"""Metrics of maps and curves in every number type, and near the limits of float32, agree with float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench import metrics
from bench.maps import exact

LESION = torch.zeros(2, 24, 24, dtype=torch.bool)
LESION[:, 6:14, 8:16] = True
TARGETS = torch.tensor([0, 1])


def whole(images: Tensor) -> Tensor:
    """Logits of a network that sees the two halves of an image."""
    return torch.stack([images[..., :12].mean(dim=(1, 2, 3)), images[..., 12:].mean(dim=(1, 2, 3))], dim=1)


def curve(maps: Tensor, of: Callable[..., Tensor]) -> Tensor:
    images = torch.linspace(0, 1, 2 * 3 * 24 * 24).reshape(2, 3, 24, 24)
    return of(whole, images, maps, TARGETS, steps=5, patch=5)


def probabilities(maps: Tensor) -> Tensor:
    """(N,4) values of the map that serve as a curve."""
    return maps[:, 3, 9:13]


#: Metric of maps (N,H,W); those of curves read theirs from the map.
METRICS: dict[str, Callable[[Tensor], Tensor]] = {
    "activation_precision": lambda maps: metrics.activation_precision(maps, LESION),
    "activation_sensitivity": lambda maps: metrics.activation_sensitivity(maps, LESION),
    "pointing_game": lambda maps: metrics.pointing_game(maps, LESION),
    "pixel_auroc": lambda maps: metrics.pixel_auroc(maps, LESION),
    "pixel_auprc": lambda maps: metrics.pixel_auprc(maps, LESION),
    "iou_at_area": lambda maps: metrics.iou_at_area(maps, LESION),
    "topk_patch_hits": lambda maps: metrics.topk_patch_hits(maps, LESION, k=5, patch=4, stride=2),
    "topk_precision": lambda maps: metrics.topk_precision((maps > 0).to(maps.dtype)[:, 0]),
    "patch_order": lambda maps: metrics.patch_order(maps, 5),
    "deletion_curve": lambda maps: curve(maps, metrics.deletion_curve),
    "insertion_curve": lambda maps: curve(maps, metrics.insertion_curve),
    "positive_ratio": metrics.positive_ratio,
    "negative_ratio": metrics.negative_ratio,
    "false_alarm_area": metrics.false_alarm_area,
    "gini": metrics.gini,
    "entropy": metrics.entropy,
    "audc": lambda maps: metrics.audc(probabilities(maps)),
    "srg": lambda maps: metrics.srg(probabilities(maps), probabilities(maps.flip(2))),
    "audc_accuracy": lambda maps: metrics.audc_accuracy((probabilities(maps) > 0).to(maps.dtype)),
    "evidence_gap": lambda maps: metrics.evidence_gap(maps[:, 0], TARGETS, maps[:, 1, 1]),
    "target_probability": lambda maps: metrics.target_probability(maps[:, :3] / 16, TARGETS),
    "still_target": lambda maps: metrics.still_target(maps[:, :3], TARGETS),
}
#: Metrics whose value has the unit of the map.
WITH_UNIT = {
    "largest_evidence": metrics.largest_evidence,
    "patch_scores": lambda maps: metrics.patch_scores(maps, 5),
    "patch_sums": lambda maps: metrics.patch_scores(maps, 5, rule="sum"),
    "auic": lambda maps: metrics.auic(probabilities(maps)),
}


def whole_numbers() -> Tensor:
    """(2,24,24) whole numbers from -8 to 100 with ties, which every signed type here holds exactly."""
    draw = torch.Generator().manual_seed(0)
    maps = torch.randint(-8, 60, (2, 24, 24), generator=draw)
    maps[:, 6:12, 8:18] += 40
    maps[:, 3, 9] = 50
    return maps.double()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.int8, torch.int32, torch.int64])
@pytest.mark.parametrize("name", METRICS | WITH_UNIT)
def test_every_type_gives_the_number_of_float64(name: str, kind: torch.dtype) -> None:
    measure, maps = (METRICS | WITH_UNIT)[name], whole_numbers()
    if name == "target_probability" and not kind.is_floating_point:
        maps = (maps / 16).trunc() * 16
    expected = measure(maps)
    assert torch.allclose(measure(maps.to(kind)).double(), expected.double(), rtol=3e-6, atol=1e-7, equal_nan=True)


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8])
@pytest.mark.parametrize("name", sorted(METRICS.keys() - {"target_probability"}))
def test_maps_of_zeros_and_ones_are_taken(name: str, kind: torch.dtype) -> None:
    maps = (whole_numbers() > 40).double()
    found = METRICS[name](maps.to(kind)).double()
    assert torch.allclose(found, METRICS[name](maps).double(), rtol=3e-6, equal_nan=True)


@pytest.mark.parametrize("scale", [3e36, 3e-38])
@pytest.mark.parametrize("name", sorted(METRICS.keys() - {"target_probability", "evidence_gap"}))
def test_the_unit_of_a_map_changes_nothing(name: str, scale: float) -> None:
    maps = whole_numbers()
    found = METRICS[name]((maps * scale).float()).double()
    assert torch.allclose(found, METRICS[name](maps).double(), rtol=1e-4, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("name", WITH_UNIT)
def test_values_near_the_end_of_float32_do_not_overflow(name: str) -> None:
    maps = whole_numbers() * 3e36
    assert torch.allclose(WITH_UNIT[name](maps.float()).double(), WITH_UNIT[name](maps), rtol=1e-5)


def test_values_that_no_sum_can_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="the largest that metrics take"):
        metrics.gini(torch.full((1, 2, 2), 1e300, dtype=torch.float64))
    with pytest.raises(ValueError, match="real numbers are expected"):
        metrics.gini(torch.ones(1, 2, 2, dtype=torch.complex64))


def test_infinities_and_nans_stay() -> None:
    values = torch.tensor([torch.inf, -torch.inf, torch.nan, 1.0])
    assert torch.equal(exact(values).isfinite(), torch.tensor([False, False, False, True]))
    assert exact(torch.zeros(0)).dtype == torch.float32
