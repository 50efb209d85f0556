"""Facts about a data set that consists of the user's own images in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.contracts import DatasetInfo

NAME = "images"


def dataset_in_memory(
    builder: Callable[[Path, str], Any], classes: tuple[str, ...], masks: Iterable[Tensor | None], **facts: Any
) -> DatasetInfo:
    """Returns the facts about images in memory, which are all test images.

    Args:
        builder: returns the samples of a split.
        classes: one name per output of the model.
        masks: masks (H,W) of all images, to see whether there are any.
        facts: other facts than these.
    """
    has_masks = any(mask is not None and mask.any() for mask in masks)
    return DatasetInfo(
        name=NAME,
        builder=builder,
        modality="other",
        classes=classes,
        masks="pixel" if has_masks else "none",
        source="given in memory",
        licence="the user's own",
        citation="",
        in_all=False,
        splits=("test",),
        **facts,
    )
