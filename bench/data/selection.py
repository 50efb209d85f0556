"""Selection of the explained images and their target classes, so that every method explains the same ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from bench.contracts import NO_FINDING, DatasetInfo
from bench.data.split import Split
from bench.seeds import seed_of

if TYPE_CHECKING:
    from bench.configs.sections import ExplainSection


@dataclass(frozen=True)
class Selection:
    """The explained images of a split: the diseased ones first, each part in an order drawn from the image names.

    Attributes:
        indices: (N,) positions in the split.
        diseased: (N,) bool.
        faithful: number of images, counted from the first, for which occlusion curves are computed.
        in_gallery: whether the figures show some of them.
    """

    indices: NDArray[np.int64]
    diseased: NDArray[np.bool_]
    faithful: int
    in_gallery: bool = True


def choose_explained(info: DatasetInfo, split: Split, section: ExplainSection) -> Selection:
    """Draws the explained images, annotated ones first; a larger number keeps every image of a smaller one."""
    order = sorted(range(len(split)), key=lambda index: seed_of(info.name, "explained", split.ids[index]))
    if info.multilabel:
        order = _in_turns(order, split.labels)
    order.sort(key=lambda index: not split.has_mask[index])
    is_diseased = np.asarray(split.labels) != (-1 if info.lesion_free is None else info.lesion_free)
    diseased = [index for index in order if is_diseased[index]][: section.diseased]
    healthy = [index for index in order if not is_diseased[index]][: section.healthy]
    faithful = len(diseased) if section.faithful is None else min(section.faithful, len(diseased))
    indices = np.array(diseased + healthy, dtype=np.int64)
    return Selection(indices, np.arange(len(indices)) < len(diseased), faithful)


def _in_turns(order: list[int], labels: NDArray[np.int64]) -> list[int]:
    """Sorts images so that the first of each label comes before the second of any: a rare finding is not left out."""
    seen: Counter[int] = Counter()
    turns = []
    for index in order:
        turns.append(seen[int(labels[index])])
        seen[int(labels[index])] += 1
    return [index for _, index in sorted(zip(turns, order, strict=True), key=lambda pair: pair[0])]


def gallery_positions(explained: Selection, split: Split, count: int) -> list[int]:
    """Returns the positions, among the explained images, of ``count`` images for the figures.

    They are diseased images and, if there is one, a healthy image. With more than two classes, the first image of each
    class comes before the second image of any; otherwise images are taken in order.
    """
    if not explained.in_gallery:
        return []
    diseased = int(explained.diseased.sum())
    healthy = len(explained.indices) - diseased
    shown = min(count - (healthy > 0), diseased) if count else 0
    order = list(range(diseased))
    if len(split.classes) > 2:
        labels = split.labels[explained.indices]
        order.sort(key=lambda at: np.count_nonzero(labels[:at] == labels[at]))
    return sorted(order[:shown]) + ([diseased] if count and healthy else [])


def target_class(logits: NDArray[np.floating], labels: NDArray[np.int64], healthy: int | None) -> NDArray[np.int64]:
    """Chooses the class that each map explains: logits (N,C), labels (N,) -> classes (N,).

    A diseased image is explained for its label. A healthy one is explained for the disease class with the highest
    logit (with two classes: the disease), because a false alarm would consist of evidence for a disease; one without
    any of several findings, for the finding with the highest logit.
    """
    if healthy is None:
        return labels
    diseases = logits.copy()
    if healthy != NO_FINDING:
        diseases[:, healthy] = -np.inf
    return np.where(labels == healthy, diseases.argmax(axis=1), labels)


def lesion_facts(split: Split, explained: Selection) -> pd.DataFrame:
    """Measures the lesions of the explained images, one row per image.

    Returns:
        Columns ``image``, ``group``, ``lesion_area`` as share of the image in [0, 1] and ``lesion_count``, the number
        of 8-connected parts. The last two are nan if the image was not annotated.
    """
    indices = explained.indices
    area, count = np.full((2, len(indices)), np.nan)
    for place, index in enumerate(indices):
        if split.masks is not None and split.has_mask[index]:
            mask = np.asarray(split.masks[index])
            area[place], count[place] = mask.mean(), ndimage.label(mask, structure=np.ones((3, 3)))[1]
    names = {"image": np.asarray(split.ids)[indices], "group": np.asarray(split.groups)[indices]}
    return pd.DataFrame(names | {"lesion_area": area, "lesion_count": count})
