"""Rankings of the same methods, scored in several ways on the same images.

The studies of operators and of resolution both compare such rankings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from bench.report.tables.table import TableData
from bench.statistics.agreement import rank_agreement
from bench.statistics.intervals import ALIKE, Estimate, Floats, weighted_means, with_ties

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
        return dict(zip(self.methods, rankdata(-scores if self.higher_is_better else scores).tolist(), strict=True))

    def agreements(self) -> Iterator[tuple[str, str, Estimate]]:
        """Yields Kendall's τ of every two ways, in their order."""
        for first, second in combinations(self.values, 2):
            yield first, second, rank_agreement(self.values[first], self.values[second], self.groups)


def rank(rows: pd.DataFrame, way: str, ways: Sequence[str], higher_is_better: bool) -> Ranking:
    """Ranks the methods without the controls by the scores of one metric, data set and backbone.

    Args:
        rows: image, group, explainer, head, family, value, and the column that is named by ``way``.
        way: name of the column that holds the way of scoring.
        ways: the ways in order; ways without a row are left out.
        higher_is_better: direction of the metric.
    """
    competing = rows[rows["family"] != "control"]
    wide = {name: part.pivot_table("value", "image", ["explainer", "head"]) for name, part in competing.groupby(way)}
    present = [one for one in ways if one in wide and wide[one].shape[1]]
    scored: list[set[Any]] = [set(wide[one].columns) for one in present]
    order = dict.fromkeys(zip(map(str, competing["explainer"]), map(str, competing["head"]), strict=True))
    methods = [method for method in order if all(method in of_way for of_way in scored)]
    groups = competing.groupby("image")["group"].first()
    values = {one: wide[one][methods].reindex(groups.index).to_numpy(dtype=float) for one in present}
    return Ranking(values, methods, groups.to_numpy(dtype=object), higher_is_better)


def add_agreements(table: TableData, about: dict[str, str], ranking: Ranking) -> None:
    """Adds a row per pair of ways by which three methods or more are ranked."""
    for first, second, tau in ranking.agreements():
        if np.isfinite(tau.mean):
            ways = {"one": first, "other": second, "methods": str(len(ranking.methods))}
            table.rows.append(about | ways | {TAU: tau})
            table.competes.append(False)
