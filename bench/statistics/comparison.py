"""Comparison of methods by paired differences over images, with intervals and tests that respect groups.

Images are averaged within their group, and all groups count equally in the mean, its interval, the test and the effect.
Everything is computed for M comparisons at once. The choices made here are explained in docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.statistics.bootstrap.names import AnyNames
from bench.statistics.bootstrap.paired import shares
from bench.statistics.bootstrap.resampling import (
    RESAMPLES,
    Clusters,
    Floats,
    clusters_of,
    group_sums,
    replicates,
    resampled_ratios,
    resampled_sums,
)
from bench.statistics.bootstrap_t import half_width, scaled, standard_errors, stretch, studentised
from bench.statistics.intervals import (
    ABSOLUTE,
    LEVEL,
    RELATIVE,
    limits,
    mean_over,
    ratio,
    variance_of_seeds,
)
from bench.statistics.sign_flip import sign_flip_tests

ALPHA = 1 - LEVEL
#: Means of groups that share a product, with whose squares and counts more would take too much memory; means that wait
#: for others of the same groups.
_AT_ONCE, _WAITING = 2**20, 2**21
BETTER, WORSE, TOO_FEW = "better", "worse", "too few images"
SAME, NO_EVIDENCE = "no relevant difference", "no evidence of a relevant difference"


def paired_differences(ours: Floats, theirs: Floats) -> Floats:
    """Computes the differences (…,A·B) of scores (…,A) and (…,B) of the same images: every ours minus every theirs.

    A difference is nan if either score is, and exactly 0 if both agree up to the rounding of float32.
    """
    found = np.empty((*ours.shape, theirs.shape[-1]))
    for one, row in zip(np.moveaxis(ours, -1, 0), np.moveaxis(found, -2, 0), strict=True):
        for some, place in zip(shares(theirs), shares(row), strict=True):
            place[...] = difference(one[..., None], some)
    return found.reshape(*ours.shape[:-1], -1)


def difference(ours: Floats, theirs: Floats) -> Floats:
    """Subtracts theirs from ours; the result is exactly 0 if both agree up to the rounding of float32."""
    return np.where(np.isclose(ours, theirs, rtol=RELATIVE, atol=ABSOLUTE), 0.0, ours - theirs)


def compare(differences: Floats, groups: AnyNames, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Computes ``mean_differences`` with a test and an effect size: p (two-sided) and effect (rank-biserial).

    The Wilcoxon signed-rank test takes one value per group, the mean over its images and seeds, because images of one
    group are not independent.

    Args:
        differences: (S,N,M) of S seeds, N images and M comparisons; nan if undefined.
        groups: (N,) group of each image.
        resamples: number of bootstrap samples.

    Returns:
        The rows of ``mean_differences`` with p in [0, 1] and effect in [-1, 1].

    Source: Wilcoxon 1945, doi:10.2307/3001968; Kerby 2014, doi:10.2466/11.IT.3.1.
    """
    return pd.DataFrame(columns_of_each([(shares(differences), groups)], True, resamples)[0])


def mean_differences(differences: Floats, groups: AnyNames, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Averages paired differences over seeds, images of a group and groups, in this order, with 95 % intervals.

    Args:
        differences: (S,N,M) of S seeds, N images and M comparisons; nan if undefined.
        groups: (N,) group of each image.
        resamples: number of bootstrap samples.

    Returns:
        One row per comparison: difference, low, high (nan for few groups, see ``half_width``), n images with a value,
        undefined images, the numbers of groups and seeds with a value, and the columns ``SPREAD``, from which
        ``half_width`` computes intervals at other levels.
    """
    return pd.DataFrame(mean_columns(differences, groups, resamples))


def mean_columns(differences: Floats, groups: AnyNames, resamples: int = RESAMPLES) -> dict[str, Floats]:
    """Computes the columns of ``mean_differences``, each (M,)."""
    return columns_of_each([(shares(differences), groups)], resamples=resamples)[0]


def columns_of_each(
    comparisons: Iterable[tuple[Iterable[Floats], AnyNames]], tested: bool = False, resamples: int = RESAMPLES
) -> list[dict[str, Floats]]:
    """Computes ``mean_columns`` of several sets of comparisons; small sets of the same groups share one product.

    Args:
        comparisons: differences (S,N,M) of each set, some of its comparisons after the other, and its groups (N,).
        tested: whether to add p and effect, as ``compare`` does.
        resamples: number of bootstrap samples.
    """
    sets: list[list[_Columns]] = []
    waiting: dict[tuple[Clusters, int], _Waiting] = {}

    def size(members: _Waiting) -> int:
        return sum(parts.groups.size for _, parts in members)

    def finish(members: _Waiting) -> None:
        owners, ends = [own for own, _ in members], np.cumsum([len(parts.mean) for _, parts in members])
        together = _Parts.joined([parts for _, parts in members])
        members.clear()  # frees what is joined
        for own, one in zip(owners, _columns(together, ends[:-1], tested, resamples), strict=True):
            own.append(one)

    for differences, groups in comparisons:
        known, own = clusters_of(groups), list[_Columns]()
        sets.append(own)
        for some in differences:
            key = known[0], len(some)
            members = waiting.setdefault(key, [])
            members.append((own, _Parts(some, *known)))
            if size(members) > _AT_ONCE:
                finish(waiting.pop(key))
            elif sum(map(size, waiting.values())) > _WAITING:
                finish(waiting.pop(next(iter(waiting))))  # the one that waits longest
    for members in waiting.values():
        finish(members)
    return [_joined(parts) for parts in sets]


class _Columns(NamedTuple):
    """Columns of some comparisons of a set, each (M,), and the largest ``scaled`` deviation (B,) in each resample."""

    columns: dict[str, Floats]
    largest: Floats


_Waiting = list[tuple[list[_Columns], "_Parts"]]  # means of the same groups, with the columns of the set of each


def _columns(together: _Parts, ends: NDArray[np.integer[Any]], tested: bool, resamples: int) -> list[_Columns]:
    """Computes the columns of means of the same groups, all but those of the interval, and divides them at ends."""
    deviations = scaled(studentised(replicates(together.clusters, resamples), together.groups), together.count)
    columns = {"difference": together.mean} | together.facts | together.errors(resamples)
    columns["stretch"] = stretch(deviations)
    if tested:
        columns["p"], columns["effect"] = sign_flip_tests(together.groups)
    split = {name: np.split(values, ends) for name, values in columns.items()}
    largest = [one.max(axis=1, initial=0) for one in np.split(deviations, ends, axis=1)]
    return [_Columns({name: split[name][at] for name in split}, one) for at, one in enumerate(largest)]


def _joined(parts: list[_Columns]) -> dict[str, Floats]:
    """Joins the columns of a set, whose intervals also hold for all of its means at once."""
    columns = {name: np.concatenate([one.columns[name] for one in parts]) for name in parts[0].columns}
    joint = stretch(np.max([one.largest for one in parts], axis=0)[:, None])
    columns["joint_stretch"] = np.maximum(columns["stretch"], joint)
    half = half_width(columns)
    tests = {name: columns.pop(name) for name in ("p", "effect") if name in columns}
    return columns | {"low": columns["difference"] - half, "high": columns["difference"] + half} | tests


def mean_ratios(over: Floats, under: Floats, groups: AnyNames, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Computes ratios of means, averaged as in ``mean_differences``, with 95 % intervals.

    Means are divided instead of averaging ratios, because a single image with a denominator near 0 would dominate the
    average. An image counts if both values are defined.

    Args:
        over: (S,N,M) numerators.
        under: (S,N,M) denominators.
        groups: (N,) group of each image.
        resamples: number of bootstrap samples.

    Returns:
        One row per comparison: ratio, low, high, n and undefined.
    """
    both = np.isfinite(over) & np.isfinite(under)
    first, second = (_Parts.of(np.where(both, one, np.nan), groups) for one in (over, under))
    estimate, by_seed = _quotient(first.mean, second.mean), _quotient(first.by_seed, second.by_seed)
    samples = _quotients(first.groups, second.groups, first.clusters, resamples)
    each = samples[:, None]
    if len(over) > 1:
        of_seeds = zip(first.each, second.each, strict=True)
        each = np.stack([_quotients(*one, first.clusters, resamples) for one in of_seeds], axis=1)
    low, high = limits(estimate, samples, first.count, by_seed, each)
    n = both.any(axis=0).sum(axis=0)
    return pd.DataFrame({"ratio": estimate, "low": low, "high": high, "n": n, "undefined": len(groups) - n})


def _quotients(over: Floats, under: Floats, clusters: Clusters, resamples: int) -> Floats:
    """Divides means over the same groups (G,M) in bootstrap samples (B,M), in which they have the same weights."""
    sums = resampled_sums(np.nan_to_num(np.concatenate([over, under], axis=1)), clusters, resamples)
    return _quotient(*np.split(sums, 2, axis=1))


def _quotient(over: Floats, under: Floats) -> Floats:
    quotient: Floats = np.divide(over, under, out=np.full(over.shape, np.nan), where=under != 0)
    return quotient


class _Parts:
    """Means (M,) of values (S,N,M) over equally weighted groups, for all seeds and for each, and bootstrap samples.

    Attributes:
        clusters: the G groups.
        groups: (G,M) means of the groups.
        each: (S,G,M) the same in each seed.
        facts: n, undefined, groups and seeds of ``mean_differences``.
        count: (M,) number of groups with a value.
    """

    def __init__(self, values: Floats, clusters: Clusters, member: NDArray[np.integer[Any]]) -> None:
        self.clusters = clusters
        self.groups = _group_means(mean_over(values, axis=0), member, clusters.number)
        several = len(values) > 1
        each = [_group_means(one, member, clusters.number) for one in values] if several else []
        self.each, defined = np.stack(each) if several else self.groups[None], np.isfinite(values)
        self._summarise()
        n, seeds = defined.any(axis=0).sum(axis=0), defined.any(axis=1).sum(axis=0)
        self.facts = {"n": n, "undefined": len(member) - n, "groups": self.count, "seeds": seeds}

    @classmethod
    def of(cls, values: Floats, groups: AnyNames) -> _Parts:
        """Averages values (S,N,M), some comparisons after the other, so that no copy of all is in memory."""
        known = clusters_of(groups)
        return cls.joined([cls(some, *known) for some in shares(values)])

    def _summarise(self) -> None:
        self.count = np.isfinite(self.groups).sum(axis=0)
        self.mean, self.by_seed = mean_over(self.groups, axis=0), mean_over(self.each, axis=1)

    @classmethod
    def joined(cls, parts: Sequence[_Parts]) -> _Parts:
        """Returns the means of several parts with the same groups and number of seeds."""
        if len(parts) == 1:
            return parts[0]
        found = copy(parts[0])
        found.groups = np.concatenate([one.groups for one in parts], axis=-1)
        several = len(found.each) > 1
        found.each = np.concatenate([one.each for one in parts], axis=-1) if several else found.groups[None]
        found.facts = {name: np.concatenate([one.facts[name] for one in parts]) for name in found.facts}
        found._summarise()
        return found

    def errors(self, resamples: int) -> dict[str, Floats]:
        """Computes the standard errors of groups and seeds."""
        of_seeds = np.zeros(len(self.count))
        if len(self.each) > 1:
            with np.errstate(invalid="ignore", divide="ignore"):  # a single seed or group with a value
                of_seeds = np.sqrt(variance_of_seeds(self.by_seed, self.drawn_by_seed(resamples), self.count))
        error = np.where(self.count > 1, standard_errors(self.groups), np.nan)
        return {"error": error, "seed_error": of_seeds}

    def drawn_by_seed(self, resamples: int) -> Floats:
        """Draws B bootstrap samples of the means of each seed (B,S,M)."""
        known = np.isfinite(self.each)
        sums = zip(np.where(known, self.each, 0), known.astype(float), strict=True)
        return np.stack([resampled_ratios(*both, self.clusters, resamples) for both in sums], axis=1)


def means(values: Floats) -> Floats:
    """Averages defined values (S,N,M) over seeds, then over images: (M,)."""
    return mean_over(mean_over(values, axis=0), axis=0)


def _group_means(values: Floats, member: NDArray[np.integer[Any]], count: int) -> Floats:
    return ratio(*group_sums(values, member, count))


def non_inferiority(low: float, high: float, margin: float) -> str:
    """Classifies the interval of a difference, positive if ours is better, by a margin.

    Returns:
        "non-inferior" if even the lower end loses less than the margin, "inferior" if even the upper end loses more,
        otherwise "undecided".
    """
    if low > -margin:
        return "non-inferior"
    return "inferior" if high < -margin else "undecided"
