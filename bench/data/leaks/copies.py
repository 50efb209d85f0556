"""Faults by copies: one picture in two splits is a leak, and one picture under two labels is wrong in any case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from bench.contracts import DatasetInfo
from bench.data.leaks.looks import Looks, joined, looks_of
from bench.data.leaks.search import Pairs, find_copies
from bench.data.readers.faults import Fault, Kind
from bench.files import replacing


class Named(Protocol):
    """The facts about the images of a split that are needed to name copies."""

    @property
    def ids(self) -> Sequence[str]:
        """N names of images."""

    @property
    def labels(self) -> Any:
        """(N,) class indices."""


def copy_faults(
    info: DatasetInfo, splits: Mapping[str, Named], looks: Mapping[str, Looks], allowed: bool = False
) -> tuple[list[Fault], list[tuple[str, str]]]:
    """Finds copies -> faults, and the rows (file, group) of all images that have a copy.

    The explained split may consist of test images, so copies between these two are no leak.

    Args:
        info: the data set; states from which likeness on two images are copies.
        splits: split by name.
        looks: looks of its images, by split.
        allowed: copies in two splits are no fault. Copies under two labels always are.
    """
    places = [(name, index) for name, split in splits.items() for index in range(len(split.ids))]
    pairs = find_copies(joined([looks[name] for name in splits]), info.copy_likeness)
    faults = []
    for first, second in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        (one, here), (other, there) = places[first], places[second]
        if one != other and {one, other} == {"test", info.explain_split}:
            continue
        copy, original = splits[one].ids[here], splits[other].ids[there]
        if copy == original:
            continue  # one file in two splits, which is reported as such
        if splits[one].labels[here] != splits[other].labels[there]:
            reason = f"shows the same picture as {original}, which has another class; remove one, or correct its class"
            faults.append(Fault(copy, reason, Kind.COPY))
        elif one != other and not allowed:
            reason = f"(in {one!r}) shows the same picture as {original} (in {other!r}); keep both in one split"
            faults.append(Fault(copy, f"{reason}, or state --allow-duplicates", Kind.COPY))
    return faults, _groups(pairs, [splits[name].ids[index] for name, index in places])


def _groups(pairs: Pairs, ids: list[str]) -> list[tuple[str, str]]:
    """Joins copies of copies -> (file, group) of each image with a copy; the group is named by its first image."""
    edges = coo_matrix((np.ones(len(pairs.first)), (pairs.first, pairs.second)), shape=(len(ids), len(ids)))
    part = connected_components(edges, directed=False)[1]
    firsts: dict[int, str] = {}
    for index, one in enumerate(part.tolist()):
        firsts.setdefault(one, ids[index])
    members = sorted({*pairs.first.tolist(), *pairs.second.tolist()})
    return [(ids[index], firsts[int(part[index])]) for index in members]


def stored_looks(images: Any, digest: str, folder: Path) -> Looks:
    """Returns the looks of the images of a split, which are computed once and kept in ``folder`` under its digest."""
    file = folder / f"looks-1-{digest[:16]}.npz"
    if file.exists():
        with np.load(file) as kept:
            return Looks(kept["hashes"], kept["thumbs"])
    looks = looks_of(images)
    with replacing(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, hashes=looks.hashes, thumbs=looks.thumbs)
    return looks
