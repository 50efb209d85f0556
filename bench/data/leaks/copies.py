"""Faults by copies: one picture in two splits is a leak, and one picture under two labels is wrong in any case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from bench.contracts import DatasetInfo
from bench.data.leaks.search import Pairs
from bench.data.readers.faults import Fault, Kind


class Named(Protocol):
    """The facts about the images of a split that are needed to name copies."""

    @property
    def ids(self) -> Sequence[str]:
        """N names of images."""

    @property
    def labels(self) -> Any:
        """(N,) class indices, or (N,C) with several labels per image."""


def copy_faults(info: DatasetInfo, splits: Mapping[str, Named], pairs: Pairs, allowed: bool = False) -> list[Fault]:
    """Tells which copies are faults.

    The explained split may consist of test images, so copies between these two are no leak.

    Args:
        info: the data set.
        splits: split by name.
        pairs: copies among the images of all splits, numbered through the splits in their order.
        allowed: copies in two splits are no fault. Copies under two labels always are.
    """
    places = [(name, index) for name, split in splits.items() for index in range(len(split.ids))]
    faults = []
    for first, second in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        (one, here), (other, there) = places[first], places[second]
        if _is_expected(info, one, other):
            continue
        copy, original = splits[one].ids[here], splits[other].ids[there]
        if copy == original:
            continue  # one file in two splits, which is reported as such
        if _contradict(splits[one].labels[here], splits[other].labels[there]):
            reason = f"shows the same picture as {original}, which has another class; remove one, or correct its class"
            faults.append(Fault(copy, reason, Kind.COPY))
        elif one != other and not allowed:
            reason = f"(in {one!r}) shows the same picture as {original} (in {other!r}); keep both in one split"
            faults.append(Fault(copy, f"{reason}, or state --allow-duplicates", Kind.COPY))
    return faults


def _is_expected(info: DatasetInfo, one: str, other: str) -> bool:
    """Tells whether copies in these two splits are no fault: the explained split may consist of test images.

    With several labels per image it always does, once per finding.
    """
    if info.multilabel:
        return info.explain_split in (one, other)
    return one != other and {one, other} == {"test", info.explain_split}


def _contradict(one: Any, other: Any) -> bool:
    """Tells whether labels of one picture differ; with several labels, where both are known."""
    first, second = np.asarray(one), np.asarray(other)
    known = (first >= 0) & (second >= 0)
    return bool(np.any((first != second) & known))


def copy_groups(pairs: Pairs, ids: Sequence[str]) -> list[tuple[str, str]]:
    """Joins copies of copies -> (file, group) of each image with a copy; the group is named by its first image."""
    edges = coo_matrix((np.ones(len(pairs.first)), (pairs.first, pairs.second)), shape=(len(ids), len(ids)))
    part = connected_components(edges, directed=False)[1]
    firsts: dict[int, str] = {}
    for index, one in enumerate(part.tolist()):
        firsts.setdefault(one, ids[index])
    members = sorted({*pairs.first.tolist(), *pairs.second.tolist()})
    return [(ids[index], firsts[int(part[index])]) for index in members]
