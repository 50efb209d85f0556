"""Numbers measured on a split: channel statistics and what brightness alone tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.contracts import Sample
from bench.data.split import brightness_auc, channel_statistics, normalise
from tests.bench.data.generated import load, sample


def test_channel_statistics_and_normalise(tmp_path: Path) -> None:
    flat = sample(1)
    flat.image[2] = 51
    samples = [replace(sample(i), image=torch.cat([sample(i).image[:2], flat.image[2:]])) for i in range(130)]
    split = load(lambda root, split: samples, tmp_path)
    mean, std = channel_statistics(split)
    pixels = split.images.astype(np.float64) / 255
    assert mean == pytest.approx(pixels.mean(axis=(0, 2, 3)))
    assert std[:2] == pytest.approx(pixels.std(axis=(0, 2, 3))[:2])
    assert std[2] == 1.0
    images = normalise(split.batch(range(130)), mean, std)
    assert images.dtype == torch.float32
    assert images.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    assert images.std(dim=(0, 2, 3), correction=0)[:2].tolist() == pytest.approx([1, 1], abs=1e-5)


def test_brightness_auc_sees_brightness_and_nothing_else(tmp_path: Path) -> None:
    def builder(root: Path, split: str, seed: int) -> list[Sample]:
        images = [sample(i + 1000 * (split == "test"), split) for i in range(80)]
        return [replace(s, image=s.image // 2 + 20 * s.label * seed) for s in images]

    bright, alike = ([load(builder, tmp_path, name, seed=seed) for name in ("train", "test")] for seed in (1, 0))
    assert brightness_auc(*bright) == 1.0
    assert 0.3 < brightness_auc(*alike) < 0.7
