"""Soundness of the metrics: each must prefer the better one of two maps of known quality.

A metric that fails is marked wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.special import betaincinv

from bench.report.frames.estimands import names_of
from bench.report.frames.load import Frames
from bench.report.frames.paired import title
from bench.report.gaps import Missing, has_counterfactuals, without_studies
from bench.report.tables.table import Column, FrameTable, TableData
from bench.statistics.bootstrap.resampling import group_sums
from bench.statistics.intervals import LEVEL, Estimate, Floats, ratio

PROBE = "soundness"
_TABLE = "metric_soundness"
POOLED = "all"
SOUND, FAILS, NOT_SHOWN, NOT_TRIED = "sound", "fails", "not shown", "not tried"
MARK = "†"
_ROUNDING = 1e-6
_FEWEST = 6  # images: with fewer, the exact interval always includes a half


@dataclass(frozen=True)
class Preference:
    """Number of images (groups, if images share one) on which a metric prefers the better one of two maps.

    Attributes:
        pair: "better over worse".
        share: of the images on which they differ, with the exact (Clopper–Pearson) 95 % interval; nan without any.
        ties: images on which the two maps score alike.
    """

    pair: str
    share: Estimate
    ties: int

    @property
    def verdict(self) -> str:
        """Returns "holds" or "fails" if the interval is on one side of a half or all images tie, or "not shown"."""
        if self.all_tie:
            return "fails" if self.share.n >= _FEWEST else "not shown"
        if self.share.low > 0.5:
            return "holds"
        return "fails" if self.share.high <= 0.5 else "not shown"

    @property
    def all_tie(self) -> bool:
        """True if the metric tells the two maps apart on no image."""
        return self.ties == self.share.n


@dataclass(frozen=True)
class Judgement:
    """One metric on one data set, or on all of them pooled."""

    dataset: str
    metric: str
    preferences: list[Preference]

    def pairs(self, verdict: str) -> list[str]:
        """Returns the pairs of this verdict; ties are named."""
        chosen = [one for one in self.preferences if one.verdict == verdict]
        return [f"{one.pair}{' (tied)' if one.all_tie and one.share.n else ''}" for one in chosen]

    @property
    def word(self) -> str:
        """``SOUND``, ``FAILS`` or ``NOT_SHOWN``."""
        return next((word for word in (FAILS, NOT_SHOWN) if self.pairs(word)), SOUND)

    @property
    def verdict(self) -> str:
        """Returns "sound", or the pairs at which the metric fails or is not shown to hold."""
        found = {verdict: ", ".join(self.pairs(verdict)) for verdict in (FAILS, NOT_SHOWN)}
        return "; ".join(f"{verdict}: {pairs}" for verdict, pairs in found.items() if pairs) or SOUND


@lru_cache(maxsize=2)
def judgements(frames: Frames) -> list[Judgement]:
    """Judges every metric that was tried on each data set, and on all of them pooled if there are several."""
    rows = frames.studies.get(PROBE, pd.DataFrame())
    if not len(rows):
        return []
    rows = rows.astype(dict.fromkeys(("dataset", "group", "map", "metric", "variant"), "category"))
    datasets = list(rows["dataset"].unique())
    parts = {name: rows[rows["dataset"] == name] for name in datasets}
    if len(datasets) > 1:
        parts[POOLED] = rows
    return [judgement for name, part in parts.items() for judgement in _judge(frames, name, part)]


def _judge(frames: Frames, dataset: str, rows: pd.DataFrame) -> Iterator[Judgement]:
    order = list(rows["map"].unique())  # as the study made them: from the best to the worst
    places = rows.groupby(["metric", "variant"], observed=True).indices
    group = rows.groupby(["dataset", "group"], observed=True).ngroup().to_numpy()
    of_map, value = pd.Categorical(rows["map"], order).codes, rows["value"].to_numpy(dtype=float)
    for metric in frames.record.metrics:
        part = places.get((metric.name, metric.variant))
        if part is not None:
            number, member = np.unique(group[part], return_inverse=True)
            columns = np.where(of_map[part][:, None] == np.arange(len(order)), value[part][:, None], np.nan)
            means = ratio(*group_sums(columns, member, len(number))) * (1 if metric.higher_is_better else -1)
            gains = means[:, :-1] - means[:, 1:]
            found = [preference(f"{a} over {b}", gain) for (a, b), gain in zip(pairwise(order), gains.T, strict=True)]
            yield Judgement(dataset, title(metric), found)


def preference(pair: str, differences: Floats) -> Preference:
    """Counts the images on which the better map scores better.

    Args:
        pair: "better over worse".
        differences: (N,) score of the better map minus that of the worse one, from the better end; nan is left out.
    """
    known = differences[~np.isnan(differences)]
    wins, losses = int((known > _ROUNDING).sum()), int((known < -_ROUNDING).sum())
    ties = len(known) - wins - losses
    undefined = len(differences) - len(known)
    if not wins + losses:
        return Preference(pair, Estimate(np.nan, np.nan, np.nan, len(known), undefined), ties)
    low, high = _exact_interval(wins, wins + losses)
    return Preference(pair, Estimate(wins / (wins + losses), low, high, len(known), undefined), ties)


def _exact_interval(wins: int, trials: int) -> tuple[float, float]:
    """Computes the 95 % interval of a share (Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404)."""
    low = betaincinv(wins, trials - wins + 1, (1 - LEVEL) / 2) if wins else 0.0
    high = betaincinv(wins + 1, trials - wins, (1 + LEVEL) / 2) if wins < trials else 1.0
    return float(low), float(high)


def soundness_tables(frames: Frames) -> dict[str, TableData]:
    """Returns the table ``metric_soundness``."""
    return {_TABLE: soundness_table(judgements(frames))}


def missing_soundness(frames: Frames) -> list[Missing]:
    """Returns the table as missing if a data set allows the study and the run did not ask for it."""
    below = dict.fromkeys(("localisation", "faithfulness"), "which metrics are sound")
    return without_studies(frames, _TABLE, PROBE, below=below) if has_counterfactuals(frames) else []


def soundness_table(found: list[Judgement]) -> TableData:
    """Returns one row per metric: the share of images on which the better map of each pair wins, and the verdict."""
    pairs = list(dict.fromkeys(one.pair for judgement in found for one in judgement.preferences))
    table = TableData("", ["dataset", "metric", "verdict"], [Column(pair, None) for pair in pairs])
    for judgement in found:
        row = {"dataset": judgement.dataset, "metric": judgement.metric, "verdict": judgement.verdict}
        table.rows.append(row | {one.pair: one.share for one in judgement.preferences})
        table.competes.append(False)
    table.caption = "Share of images on which a metric prefers the better one of two maps of known quality."
    table.reading = (
        "Five maps are made from the exact lesions of phantoms, each except the last from the one before: the "
        "lesions (oracle), grown by half a patch (dilated), averaged over 4×4 cells (blurred), a third of these "
        "cells exchanged (shuffled), and noise (random). Each entry is the share among the images on which the two "
        "maps differ, with the exact 95 % interval; a dash if they tie on all. Faithfulness uses images that the "
        "black box classifies right and calls healthy without their lesions. A pair holds if the interval is above a "
        f"half, fails if it ends at a half or below or if all images tie, and otherwise is not shown. {MARK} marks a "
        "metric that fails wherever it is shown: in a column if it fails over all data sets pooled, in a row of one "
        "data set if it fails there. Data sets whose lesions are not exactly known take the pooled verdict."
    )
    return table


def words(found: list[Judgement], dataset: str) -> dict[str, str]:
    """Returns metric -> its verdict on a data set in a word; pooled for a data set without exact lesions."""
    return {one.metric: one.word for one in _of(found, dataset)}


def failing(found: list[Judgement], dataset: str) -> dict[str, str]:
    """Returns metric, with each of its estimands -> the pairs at which it fails on a data set, as text."""
    judged = _of(found, dataset)
    return {name: ", ".join(pairs) for one in judged if (pairs := one.pairs(FAILS)) for name in names_of(one.metric)}


def _of(found: list[Judgement], dataset: str) -> list[Judgement]:
    """Returns the judgements on a data set, otherwise those on all, or on the only one."""
    exact, pooled = ([one for one in found if one.dataset == name] for name in (dataset, POOLED))
    return exact or pooled or found


def mark_unsound(tables: dict[str, TableData], found: list[Judgement]) -> None:
    """Marks failing metrics in columns and rows, and adds a note with the pairs at which they fail.

    The verdict is that over all data sets pooled; in the rows of a ``FrameTable`` it is that on their own data set.
    """
    pooled = failing(found, POOLED)
    for table in [table for name, table in tables.items() if name != _TABLE]:
        shown = {column.name: metric for column in table.columns if (metric := _metric_of(column)) in pooled}
        table.columns = [replace(one, mark=MARK) if one.name in shown else one for one in table.columns]
        named = {metric: pooled[metric] for metric in shown.values()}
        if isinstance(table, FrameTable) and {"dataset", "metric"} <= set(table.keys):
            named |= _mark_rows(table, found)
        elif "metric" in table.keys:
            for text in dict.fromkeys(str(row["metric"]) for row in table.rows):
                bare = text.rstrip(" ↑↓")
                for metric in [metric for metric in pooled if bare in _names(metric)]:
                    table.marked[text], named[metric] = text.replace(bare, bare + MARK), pooled[metric]
        table.notes += [_note(metric, pairs) for metric, pairs in named.items()]


def _mark_rows(table: FrameTable, found: list[Judgement]) -> dict[str, str]:
    """Marks metrics that fail on a row's data set, but not in the frame; returns metric -> where it fails."""
    where: dict[str, dict[str, str]] = {}
    for name in dict.fromkeys(str(row["dataset"]) for row in table.rows):
        pairs = failing(found, name)
        for row in [row for row in table.rows if row["dataset"] == name and row["metric"] in pairs]:
            where.setdefault(row["metric"], {})[name] = pairs[row["metric"]]
            row["metric"] += MARK
    return {metric: "; ".join(f"on {name}: {pairs}" for name, pairs in of.items()) for metric, of in where.items()}


def _metric_of(column: Column) -> str:
    """Returns the metric of a column, without a reading in parentheses such as ``(grid)``."""
    return column.name.partition(" (")[0]


def _names(metric: str) -> tuple[str, str]:
    """Returns the names that programs and tables use."""
    return metric, metric.replace("_", " ")


def _note(metric: str, pairs: str) -> str:
    return f"{MARK} {metric} fails on maps of known quality ({pairs}): see metric_soundness."
