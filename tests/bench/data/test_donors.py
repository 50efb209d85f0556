"""Patches of healthy images in the place of removed ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from bench import metrics
from bench.data.donors import choose_donors, donor_source
from bench.data.split import Split
from bench.evaluation.metric_inputs import MetricInputs
from bench.maps import upsample

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def made_split(count: int = 12, fov: bool = False) -> Split:
    draw = np.random.default_rng(0)
    inside = draw.random((count, 16, 16)) < 0.7
    return Split(
        name="test",
        images=draw.integers(0, 256, size=(count, 3, 16, 16), dtype=np.uint8),
        labels=np.arange(count) % 2,
        masks=None,
        has_mask=np.zeros(count, bool),
        fov=inside if fov else None,
        ignored=None,
        ids=tuple(f"i{index}" for index in range(count)),
        groups=tuple(f"g{index}" for index in range(count)),
        classes=("healthy", "ill"),
        excluded=(),
        digest="",
    )


def test_donors_are_healthy_others_drawn_by_name() -> None:
    split = made_split(40)
    chosen = choose_donors(split, 0, split.ids)
    assert (split.labels[chosen] == 0).all()
    assert (chosen != np.arange(40)).all()
    assert len(set(chosen)) > 8  # spread over the 20 healthy ones
    assert choose_donors(split, 0, split.ids[7:9]).tolist() == chosen[7:9].tolist()


def test_another_image_changes_the_donor_only_where_it_is_drawn() -> None:
    few, more = made_split(40), made_split(41)  # the last one is healthy
    before, after = (choose_donors(split, 0, few.ids) for split in (few, more))
    changed = before != after
    assert (after[changed] == 40).all()
    assert changed.sum() < 10


def test_pixels_are_normalised_and_the_mean_outside_the_field_of_view() -> None:
    split = made_split(fov=True)
    make = donor_source(split, 0, ["i1", "i3"], MEAN, STD)
    assert make is not None
    for pixels, at in zip(make().numpy(), choose_donors(split, 0, ["i1", "i3"]), strict=True):
        assert split.fov is not None
        for channel in range(3):
            expected = (split.images[at, channel] / 255 - MEAN[channel]) / STD[channel]
            np.testing.assert_allclose(pixels[channel], np.where(split.fov[at], expected, 0), atol=1e-5)


def test_none_without_healthy_images() -> None:
    split = made_split()
    assert donor_source(split, None, ["i1"], MEAN, STD) is None
    one = replace(split, labels=np.array([0] + [1] * 11))
    assert donor_source(one, 0, ["i1"], MEAN, STD) is None


def test_the_curve_puts_the_donors_in() -> None:
    source = torch.Generator().manual_seed(0)
    images, donors = torch.randn(2, 4, 3, 64, 64, generator=source)
    weights = torch.randn(2, 3 * 64 * 64, generator=source) / 50
    fov = torch.rand(4, 64, 64, generator=source) < 0.8
    native, targets, ids = torch.randn(4, 5, 5, generator=source), torch.tensor([0, 1, 1, 0]), list("abcd")

    def predict(batch: torch.Tensor) -> torch.Tensor:
        return batch.flatten(1) @ weights.T

    patch = metrics.patch_at(64)
    occluder = metrics.Occluder(predict, images, patch, donors=lambda: donors, ids=ids, fov=fov, batch_size=8)
    inputs = MetricInputs(native, occluder, targets, predict(images), None, None, 6, False, True)
    expected = metrics.deletion_curve(
        predict, images, upsample(native, 64), targets, 6, patch, donors, ids=ids, fov=fov
    )
    torch.testing.assert_close(inputs.get("deletion_curve", "donor"), expected)
    assert not torch.allclose(expected, inputs.get("deletion_curve", "zero"))
