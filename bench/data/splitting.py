"""Seeded subsamples and splits of images: they depend on names only, so that the order of files changes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from bench.contracts import SPLITS
from bench.errors import UserError
from bench.seeds import seed_of

FRACTIONS = {"train": 0.70, "val": 0.15, "test": 0.15}
#: Order in which the splits get their first group: with few groups, a test image matters more than a validation one.
_ORDER = ("train", "test", "val")


def require_split(dataset: str, split: str, known: Sequence[str] = SPLITS) -> None:
    """Raises UserError unless the split is one that the data set has."""
    if split not in known:
        raise UserError(f"data set {dataset} has no split {split!r}; it has {', '.join(known)}")


def subsample(labels: Sequence[Any], ids: Sequence[str], count: int | None, seed: int) -> list[int]:
    """Draws ``count`` images, balanced between classes as far as possible -> their indices, in the original order.

    A larger count keeps every image of a smaller one. None, or more images than there are, takes all. Labels are class
    indices, or tuples of labels: combinations are then balanced.
    """
    if count is None or count >= len(ids):
        return list(range(len(ids)))
    queues: dict[Any, list[int]] = defaultdict(list)
    for index in sorted(range(len(ids)), key=lambda index: seed_of("subsample", seed, ids[index])):
        queues[labels[index]].append(index)
    turns = zip_longest(*(queues[label] for label in sorted(queues)))
    return sorted([index for turn in turns for index in turn if index is not None][:count])


def grouped_split(labels: Sequence[int], groups: Sequence[str], seed: int) -> list[str]:
    """Assigns each image to "train", "val" or "test" (70/15/15), stratified by class, with no group in two splits.

    A group counts for its most frequent class. Each class with at least three groups is in every split.
    """
    sizes, strata = Counter(groups), _strata(labels, groups, "split", seed)
    chosen: dict[str, str] = {}
    for stratum in strata.values():
        chosen.update(_deal(stratum, {group: sizes[group] for group in stratum}))
    return [chosen[group] for group in groups]


def fold_split(labels: Sequence[int], groups: Sequence[str], folds: int, seed: int) -> list[int]:
    """Assigns each image to a fold from 1 to ``folds``, stratified by class, with no group in two folds.

    A group counts for its most frequent class. Large groups are dealt first, each to the fold that has the fewest
    images of its class, and among those to the one that has the fewest images.
    """
    sizes, strata = Counter(groups), _strata(labels, groups, "fold", seed)
    chosen: dict[str, int] = {}
    filled = dict.fromkeys(range(1, folds + 1), 0)
    for stratum in strata.values():
        here = dict.fromkeys(filled, 0)
        for group in sorted(stratum, key=lambda group: -sizes[group]):
            fold = min(filled, key=lambda fold: (here[fold], filled[fold]))
            here[fold] += sizes[group]
            filled[fold] += sizes[group]
            chosen[group] = fold
    return [chosen[group] for group in groups]


def split_off_validation(labels: Sequence[int], groups: Sequence[str], seed: int) -> list[str]:
    """Assigns each image to "train" or "val" (85/15) as ``grouped_split`` does, if there is a test set already."""
    return ["val" if split == "val" else "train" for split in grouped_split(labels, groups, seed)]


def _strata(labels: Sequence[int], groups: Sequence[str], purpose: str, seed: int) -> dict[int, list[str]]:
    """Returns class -> the groups that count for it, in an order drawn from their names."""
    members: dict[str, list[int]] = defaultdict(list)
    for label, group in zip(labels, groups, strict=True):
        members[group].append(label)
    strata: dict[int, list[str]] = defaultdict(list)
    for group in sorted(members, key=lambda group: seed_of(purpose, seed, group)):
        strata[Counter(sorted(members[group])).most_common(1)[0][0]].append(group)
    return strata


def _deal(groups: Sequence[str], sizes: dict[str, int]) -> dict[str, str]:
    """Deals one group to each split first, then each group to the split that is furthest from its share."""
    total = sum(sizes.values())
    lacking = {split: fraction * total for split, fraction in FRACTIONS.items()}
    chosen = {}
    for turn, group in enumerate(groups):
        split = _ORDER[turn] if turn < len(_ORDER) else max(_ORDER, key=lambda split: lacking[split])
        lacking[split] -= sizes[group]
        chosen[group] = split
    return chosen
