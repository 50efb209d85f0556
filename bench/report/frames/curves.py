"""Numbers behind the curves: hits of the first k patches, and effects of deleting or inserting patches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd

from bench.report.frames.compared import compared_curves
from bench.report.frames.load import Frames
from bench.statistics.bootstrap.names import AnyNames, Names
from bench.statistics.bootstrap.resampling import Clusters, clusters_of, group_sums, resampled_ratios
from bench.statistics.intervals import Floats, limits, mean_over

#: Most sums of groups at steps that are kept until their intervals are computed together.
_WAITING = 2**22


@dataclass(frozen=True)
class Curve:
    """Mean over images at each step, with its 95 % interval (``limits``).

    Attributes:
        mean, low, high: (K,).
        n: images that have a value; ``undefined`` more have none at any step.
    """

    mean: Floats
    low: Floats
    high: Floats
    n: int
    undefined: int


def hit_share(hits: Floats) -> Floats:
    """Computes from patch hits (N,K) of {1, 0, nan} the share of hits among the first k patches, in column k-1.

    Column K-1 is ``bench.metrics.topk_precision``; nan where an image has no patch.
    """
    exists = np.isfinite(hits)
    with np.errstate(invalid="ignore"):
        share: Floats = np.where(exists, hits, 0).cumsum(axis=1) / exists.cumsum(axis=1)
    return share


def relative_to_intact(curves: Floats) -> Floats:
    """Divides target probabilities (N,K+1) by the intact one, column 0; nan if that is 0, as in the AUDC."""
    intact = curves[:, :1]
    return curves / np.where(intact > 0, intact, np.nan)


def image_curves(rows: pd.DataFrame, transform: Callable[[Floats], Floats]) -> tuple[Floats, Names]:
    """Returns curves (N,K) of one method, averaged over seeds, and the group (N,) of each image."""
    (image, images), (seed, seeds) = (pd.factorize(rows[name], sort=True) for name in ("image", "seed"))
    step = rows["step"].to_numpy(dtype=int)
    values = np.full((len(images), len(seeds), step.max() + 1), np.nan)
    values[image, seed, step] = rows["value"].to_numpy(dtype=float)
    is_there = np.zeros(values.shape[:2], dtype=bool)
    is_there[image, seed] = True
    curves = np.full(values.shape, np.nan)
    curves[is_there] = transform(values[is_there])
    first = np.unique(image, return_index=True)[1]
    return mean_over(curves, axis=1), Names.of(rows["group"].iloc[first])


@lru_cache(maxsize=8)
def compared_means(
    frames: Frames, metric: str, variant: str, transform: Callable[[Floats], Floats], highest: float
) -> dict[tuple[str, ...], Curve]:
    """Averages the curves of the methods that the main tables compare.

    Args:
        frames: the run.
        metric: that holds the curves.
        variant: of it.
        transform: curves (N,K) -> what is averaged over images, at least 0.
        highest: possible value.

    Returns:
        Data set, backbone, explainer and head -> curve.
    """
    names = list[tuple[str, ...]]()

    def arrays() -> Iterator[tuple[Floats, Names]]:
        for (dataset, backbone, head, explainer, _), rows in compared_curves(frames, metric, variant):
            names.append((dataset, backbone, explainer, head))
            found = image_curves(rows, transform)
            del rows
            yield found
            del found  # before the next rows are read

    return dict(zip(names, mean_curves(arrays(), (0, highest)), strict=True))


def mean_curves(
    methods: Iterable[tuple[Floats, AnyNames]], possible: tuple[float, float] = (-np.inf, np.inf)
) -> list[Curve]:
    """Averages the curves of several methods over the images that have a value at each step.

    Methods with a value on images of the same groups share one product.

    Args:
        methods: curves (N,K), nan where undefined, and the groups (N,) of the images.
        possible: lowest and highest value, which clip the interval.
    """
    found = list[Curve]()
    waiting: dict[Clusters, list[_Sums]] = {}
    for curves, groups in methods:
        has_value = np.flatnonzero(np.isfinite(curves).any(axis=1))
        known, (clusters, member) = curves[has_value], clusters_of(groups[has_value])
        mean, undefined = mean_over(known, axis=0), len(curves) - len(known)
        found.append(Curve(mean, mean, mean, len(known), undefined))
        if len(known):
            sums = _Sums(len(found) - 1, *group_sums(known, member, clusters.number))
            waiting.setdefault(clusters, []).append(sums)
            del sums
        del curves, groups, known, member  # before the next ones are read
        if sum(one.total.size for parts in waiting.values() for one in parts) > _WAITING:
            _add_limits(found, waiting, possible)
    _add_limits(found, waiting, possible)
    return found


@dataclass(frozen=True)
class _Sums:
    """Sums and counts (G,K) of a method's values in groups."""

    place: int
    total: Floats
    count: Floats


def _add_limits(found: list[Curve], waiting: dict[Clusters, list[_Sums]], possible: tuple[float, float]) -> None:
    """Gives the curves that wait their intervals, with one product for all of the same groups."""
    while waiting:
        clusters, parts = waiting.popitem()
        total, count = (
            np.concatenate(both, axis=1) for both in zip(*[(one.total, one.count) for one in parts], strict=True)
        )
        mean = np.concatenate([found[one.place].mean for one in parts])
        ends = limits(mean, resampled_ratios(total, count, clusters), (count > 0).sum(axis=0))
        splits = np.cumsum([one.total.shape[1] for one in parts])[:-1]
        each = (np.split(np.clip(end, *possible), splits) for end in ends)
        for one, low, high in zip(parts, *each, strict=True):
            found[one.place] = replace(found[one.place], low=low, high=high)
