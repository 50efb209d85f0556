"""Generated samples that count how often they are made, and how a split of them is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.contracts import DatasetInfo, Sample
from bench.data.loading import Request, load_split
from bench.data.split import Split

SIDE = 16


def sample(index: int, split: str = "train", **changes: Any) -> Sample:
    noise = torch.randint(0, 256, (3, SIDE, SIDE), generator=torch.Generator().manual_seed(index), dtype=torch.uint8)
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[index % 4 :, :5] = index % 2 == 1
    return replace(Sample(noise, index % 2, mask, f"{split}{index}", f"{split}-g{index // 2}"), **changes)


class Generated:
    """Samples that count how often they are made."""

    files: tuple[Path, ...] = ()

    def __init__(self, split: str, count: int, fail_at: int = -1) -> None:
        self.split, self.count, self.fail_at, self.made = split, count, fail_at, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if index == self.fail_at:
            raise KeyboardInterrupt
        self.made += 1
        return sample(index, self.split)


def info_of(builder: Callable[..., Any], **facts: Any) -> DatasetInfo:
    return DatasetInfo("made", builder, "other", ("healthy", "sick"), "pixel", "", "", "", **facts)


def load(
    builder: Callable[..., Any], tmp_path: Path, split: str = "train", count: int | None = None, **options: Any
) -> Split:
    request = Request(**{"root": tmp_path, "size": SIDE, "seed": 0, "counts": {split: count}} | options)
    return load_split(info_of(builder), request, split, tmp_path / "cache")


def assert_same(one: Split, other: Split) -> None:
    assert (one.digest, one.ids, one.groups, one.excluded) == (other.digest, other.ids, other.groups, other.excluded)
    for name in ("images", "masks", "fov", "ignored", "labels", "has_mask"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
