"""Choice of the cases that a page shows: equal numbers of each kind of image, by nothing that depends on a map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: Number of cases, or "all".
Count = int | Literal["all"]
#: Cases that a run keeps per case that the page shows: the predictions, which the page chooses by, come later.
_KEPT_PER_SHOWN = 5
NO_LESION, SMALL, MEDIUM, LARGE = -1, 0, 1, 2


def lesion_sizes(areas: NDArray[np.float64]) -> NDArray[np.int64]:
    """Sorts lesion areas (N,) into thirds: ``SMALL``, ``MEDIUM`` or ``LARGE``; ``NO_LESION`` for 0 and nan."""
    sizes = np.full(len(areas), NO_LESION, dtype=np.int64)
    there = np.isfinite(areas) & (areas > 0)
    if there.any():
        sizes[there] = np.searchsorted(np.quantile(areas[there], [1 / 3, 2 / 3]), areas[there])
    return sizes


def chosen(kinds: Sequence[Hashable], count: Count) -> list[int]:
    """Returns the places of ``count`` of N images, ascending: the first of each kind comes before the second of any.

    Images of one kind are taken in their order, so that a larger number keeps every image of a smaller one.
    """
    if count == "all" or count >= len(kinds):
        return list(range(len(kinds)))
    seen: Counter[Hashable] = Counter()
    turns = []
    for kind in kinds:
        turns.append(seen[kind])
        seen[kind] += 1
    order = sorted(range(len(kinds)), key=lambda place: (turns[place], place))
    return sorted(order[:count])


def kept(labels: NDArray[np.int64], areas: NDArray[np.float64], shown: Count) -> list[int]:
    """Returns the places of the explained images (N,) that a run keeps for a page that shows ``shown`` of them.

    Args:
        labels: (N,) classes.
        areas: (N,) of the lesions, as share of the image; nan without annotation.
        shown: number of cases of the page.
    """
    count: Count = "all" if shown == "all" else shown * _KEPT_PER_SHOWN
    return chosen(list(zip(labels.tolist(), lesion_sizes(areas).tolist(), strict=True)), count)
