"""Which images are explained, and for which class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import ndimage

from bench.contracts import DatasetInfo
from bench.data.split import Split
from bench.seeds import seed_of

if TYPE_CHECKING:
    from bench.config import ExplainSection


@dataclass(frozen=True)
class Selection:
    """The explained images of a split: the diseased ones first, each part in an order drawn from the image names.

    Attributes:
        indices: (N,) positions in the split.
        diseased: (N,) bool.
        faithful: how many of the first ones go through the occlusion curves.
    """

    indices: np.ndarray
    diseased: np.ndarray
    faithful: int


def choose_explained(info: DatasetInfo, split: Split, section: ExplainSection) -> Selection:
    """Draw the explained images; asking for more keeps the ones there were. Annotated images come before others."""
    order = sorted(range(len(split)), key=lambda index: seed_of(info.name, "explained", split.ids[index]))
    order.sort(key=lambda index: not split.has_mask[index])
    is_diseased = np.asarray(split.labels) != (-1 if info.healthy is None else info.healthy)
    diseased = [index for index in order if is_diseased[index]][: section.diseased]
    healthy = [index for index in order if not is_diseased[index]][: section.healthy]
    faithful = len(diseased) if section.faithful is None else min(section.faithful, len(diseased))
    indices = np.array(diseased + healthy, dtype=np.int64)
    return Selection(indices, np.arange(len(indices)) < len(diseased), faithful)


def gallery_positions(explained: Selection, split: Split, count: int) -> list[int]:
    """Positions among the explained images that the figures show: diseased ones, and a healthy one where there is.

    With more than two classes the first image of each comes before the second of any; one after the other else.
    """
    diseased = int(explained.diseased.sum())
    healthy = len(explained.indices) - diseased
    shown = min(count - (healthy > 0), diseased) if count else 0
    order = list(range(diseased))
    if len(split.classes) > 2:
        labels = split.labels[explained.indices]
        order.sort(key=lambda at: np.count_nonzero(labels[:at] == labels[at]))
    return sorted(order[:shown]) + ([diseased] if count and healthy else [])


def target_class(logits: np.ndarray, labels: np.ndarray, healthy: int | None) -> np.ndarray:
    """Logits (N,C), labels (N,) -> the class (N,) each map is made for.

    The label itself on diseased images; on healthy ones the disease class with the highest logit (with two classes:
    the disease), because evidence for a disease is what a false alarm would show.
    """
    if healthy is None:
        return labels
    diseases = logits.copy()
    diseases[:, healthy] = -np.inf
    return np.where(labels == healthy, diseases.argmax(axis=1), labels)


def lesion_facts(split: Split, explained: Selection) -> pd.DataFrame:
    """One row an explained image: ``lesion_area`` as share of the image, ``lesion_count`` of 8-connected parts.

    Both are nan where nobody annotated the image.
    """
    indices = explained.indices
    area, count = np.full((2, len(indices)), np.nan)
    for place, index in enumerate(indices):
        if split.masks is not None and split.has_mask[index]:
            mask = np.asarray(split.masks[index])
            area[place], count[place] = mask.mean(), ndimage.label(mask, structure=np.ones((3, 3)))[1]
    names = {"image": np.asarray(split.ids)[indices], "group": np.asarray(split.groups)[indices]}
    return pd.DataFrame(names | {"lesion_area": area, "lesion_count": count})
