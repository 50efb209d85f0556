"""Comparison of the data of two runs: the images themselves by their digests, otherwise whatever the runs stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from bench.commands.merge.sources import Source
from bench.errors import UserError
from bench.store.folders import CellStore
from bench.store.maps import read_arrays
from bench.store.records import DatasetFacts

#: Facts that decide what an image, a label and a mask mean, and which images are explained.
_FACTS = ("base", "size", "classes", "healthy", "masks", "mask_is", "multilabel", "regression", "ordered", "folds")
_EXPLAINED = ("explain_split", "explained_diseased", "explained_healthy", "explained_faithful")


def compare_data(one: Source, other: Source, dataset: str) -> Iterator[str]:
    """Compares the images, labels, masks and explained images of a data set of two runs.

    Yields:
        A line if the runs do not have the digests to compare the images by.

    Raises:
        UserError: they are not the same.
    """
    ours, theirs = one.record.datasets[dataset], other.record.datasets[dataset]
    if not ours.classes or not theirs.classes:  # one of them could not read it
        return
    where = f"data set {dataset!r} of {one.name} and {other.name}"
    for name in (*_FACTS, *_EXPLAINED):
        if getattr(ours, name) != getattr(theirs, name):
            raise _unequal(where, f"{name.replace('_', ' ')} {getattr(ours, name)!r} / {getattr(theirs, name)!r}")
    for split, digest in ours.digests.items():
        if theirs.digests.get(split, digest) != digest:
            raise _unequal(where, f"images, labels or masks of {_shown(split)} differ")
    for what, read in _READERS.items():
        before, after = read(one, dataset), read(other, dataset)
        for fold in before.keys() & after.keys():
            if not _are_equal(before[fold], after[fold]):
                raise _unequal(where, f"{what} differ")
    if lacking := _without_digests(one, other, ours, theirs):
        yield (
            f"{one.name} and {other.name}: names, labels, groups and the images of the figures are the same, but other "
            f"pixels were not compared, because {lacking} has no digests of its images (it is of an earlier version)"
        )


def _unequal(where: str, why: str) -> UserError:
    return UserError(f"{where} is not the same: {why}; repeat one of the runs with the files and [data] of the other")


def _shown(split: str) -> str:
    return "the explained split" if split == "explain" else f"split {split}"


def _without_digests(one: Source, other: Source, ours: DatasetFacts, theirs: DatasetFacts) -> str:
    """Returns the first run without digests; empty if both have them."""
    return next((source.name for source, facts in ((one, ours), (other, theirs)) if not facts.digests), "")


_Content = pd.DataFrame | dict[str, np.ndarray]
#: Fold -> content; without cross-validation, or for all folds together, the fold is None.
_Contents = dict[int | None, _Content]


def _explained(source: Source, dataset: str) -> _Contents:
    """Reads id and label of the explained images, in their order."""
    found = _first(source, dataset, lambda cell: cell.explained)
    return {fold: rows[["image", "label"]] for fold, rows in found.items()}


def _tested(source: Source, dataset: str) -> _Contents:
    """Reads id, group and labels of the test images."""
    found = _first(source, dataset, lambda cell: cell.predictions)
    return {fold: rows[[name for name in rows if not str(name).startswith("logit_")]] for fold, rows in found.items()}


def _first(source: Source, dataset: str, file: Callable[[CellStore], Path]) -> dict[int | None, pd.DataFrame]:
    """Reads a file of the first finished cell of each fold that has it undamaged."""
    found: dict[int | None, pd.DataFrame] = {}
    for key in source.finished(dataset):
        cell = source.store.cell(key)
        if key.fold not in found and (rows := cell.files.read(file(cell), pd.read_parquet)) is not None:
            found[key.fold] = rows
    return found


def _lesions(source: Source, dataset: str) -> _Contents:
    rows = source.store.files.read(source.store.lesions_file(dataset), pd.read_parquet)
    return {} if rows is None else {None: rows}


def _images(source: Source, dataset: str) -> _Contents:
    arrays = source.store.files.read(source.store.images_file(dataset), read_arrays)
    return {} if arrays is None else {None: arrays}


_READERS: dict[str, Callable[[Source, str], _Contents]] = {
    "test images, their labels or groups": _tested,
    "explained images or their labels": _explained,
    "lesions of the explained images": _lesions,
    "images or masks of the figures": _images,
}


def _are_equal(one: _Content, other: _Content) -> bool:
    if isinstance(one, pd.DataFrame) and isinstance(other, pd.DataFrame):
        return one.equals(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
    return False
