"""Rankings of the same methods, scored in several ways on the same images.

The studies of operators and of resolution both compare such rankings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.report.tables.table import TableData
from bench.statistics.agreement import rank_agreements
from bench.statistics.bootstrap.paired import Paired, pair
from bench.statistics.intervals import ALIKE, Estimate, Floats, mean_over, weighted_means, with_ties

Method = tuple[str, str]  # explainer, head
TAU = "kendall_tau"


@dataclass(frozen=True)
class Ranking:
    """One metric on one data set and backbone.

    Attributes:
        values: way of scoring -> (N,M), averaged over seeds; nan where undefined.
        methods: the M methods that have a score by every way; controls are not among them.
        groups: (N,) of the images.
        higher_is_better: direction.
    """

    values: dict[str, Floats]
    methods: list[Method]
    groups: NDArray[np.object_]
    higher_is_better: bool

    def ranks(self, way: str) -> dict[Method, float]:
        """Returns method -> rank of its mean, 1 for the best; means that tie share the mean of their ranks."""
        scores = with_ties(weighted_means(np.ones((1, len(self.groups))), self.values[way])[0], ALIKE)
        return dict(zip(self.methods, pd.Series(scores).rank(ascending=not self.higher_is_better), strict=True))

    def agreements(self) -> Iterator[tuple[str, str, Estimate]]:
        """Yields Kendall's τ of every two ways, in their order."""
        for pair_of_ways, estimate in zip(combinations(self.values, 2), self._agreements, strict=True):
            yield *pair_of_ways, estimate

    def renamed(self, names: dict[str, str]) -> Ranking:
        """Returns the ranking with other names of the ways; what is known of it is kept."""
        found = replace(self, values={names[way]: one for way, one in self.values.items()})
        vars(found).update({"_agreements": self._agreements})
        return found

    @cached_property
    def _agreements(self) -> list[Estimate]:
        return list(rank_agreements(list(self.values.values()), self.groups).values())


def rank(rows: pd.DataFrame, way: str, ways: Sequence[str], higher_is_better: bool) -> Ranking:
    """Ranks the methods without the controls by the scores of one metric, data set and backbone.

    Args:
        rows: image, group, explainer, head, family, value, and the column that is named by ``way``.
        way: name of the column that holds the way of scoring.
        ways: the ways in order; ways without a row are left out.
        higher_is_better: direction of the metric.
    """
    competing = rows[rows["family"] != "control"]
    by_way = {str(name): pair(part) for name, part in competing.groupby(way, sort=False)}
    present = [one for one in ways if one in by_way]
    of_way = {one: _known(by_way[one]) for one in present}
    order = dict.fromkeys(map(tuple, competing[["explainer", "head"]].drop_duplicates().astype(str).to_numpy()))
    methods = [method for method in order if all(method in of_way[one] for one in present)]
    first = competing.drop_duplicates("image").sort_values("image")
    images, groups = first["image"].to_numpy(dtype=object), first["group"].to_numpy(dtype=object)
    values = {}
    for one in present:
        found = np.full((len(images), len(methods)), np.nan)
        place = np.searchsorted(images, by_way[one].images)
        found[place] = np.stack([of_way[one][method] for method in methods], axis=-1) if methods else found[place]
        values[one] = found
    return Ranking(values, methods, groups, higher_is_better)


def _known(paired: Paired) -> dict[Method, Floats]:
    """Returns method -> mean over seeds (N,), of the methods that have a value."""
    means = mean_over(paired.values, axis=0)
    columns = zip(paired.methods, means.T, strict=True)
    return {(explainer, head): values for (head, explainer), values in columns if np.isfinite(values).any()}


def add_agreements(table: TableData, about: dict[str, str], ranking: Ranking) -> None:
    """Adds a row per pair of ways by which three methods or more are ranked."""
    for first, second, tau in ranking.agreements():
        if np.isfinite(tau.mean):
            ways = {"one": first, "other": second, "methods": str(len(ranking.methods))}
            table.rows.append(about | ways | {TAU: tau})
            table.competes.append(False)
