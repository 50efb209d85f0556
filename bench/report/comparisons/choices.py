"""Choice of the comparisons that are shown first: the leading metric of a family, and the best post-hoc method.

Neither choice favours a method: the first uses no score of any, and the intervals of the second cover the choice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.report.comparisons.opponents import CONTROLS
from bench.report.comparisons.verdict_sentences import TOPIC, sentence
from bench.report.frames.load import Frames
from bench.report.frames.paired import main_metrics, title
from bench.report.studies.soundness import FAILS
from bench.statistics.bootstrap_t import half_width
from bench.statistics.comparison import ALPHA, BETTER, NO_EVIDENCE, SAME, TOO_FEW, WORSE


def chosen(frames: Frames, verdicts: pd.DataFrame) -> pd.DataFrame:
    """Returns each head against the best post-hoc method on that data set, in the main metric of each family."""
    return against_best(verdicts, [title(metric) for metric in main_metrics(frames).values()])


def against_best(verdicts: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Returns each own map's comparison with the best post-hoc method in these metrics, with the choice accounted for.

    The best method is the one from which the own map gains least, by the very mean that the difference shows. ``low``
    and ``high`` are an interval of the difference from the best method, whichever it is: the least ends of intervals
    that hold jointly for all post-hoc methods, at a level shared by the own maps of the data set. A verdict without
    the support of that interval becomes "no evidence". ``best_of`` counts the distinct maps.
    """
    if not len(verdicts):
        return verdicts
    rows = verdicts[verdicts["metric"].isin(metrics) & (verdicts["question"] != CONTROLS)]
    found = [_best(part) for _, part in rows.groupby(["dataset", "backbone", "metric", "method"], sort=False)]
    if not found:
        return rows
    best = pd.DataFrame(found)
    several = verdicts["backbone"].nunique() > 1
    best["sentence"] = [sentence(row, several) for row in best.to_dict("records")]
    return best.sort_index()


def _best(rows: pd.DataFrame) -> pd.Series:
    """Returns the row of the best of the post-hoc methods of one own map in one metric."""
    sign = np.where(rows["higher_is_better"], 1, -1)
    gain = rows["difference"].to_numpy() * sign
    half = half_width(rows, 1 - ALPHA / rows["own_maps"].to_numpy(), joint=True)
    low, high = np.fmin.reduce(gain - half), np.fmin.reduce(gain + half)
    best: pd.Series = rows.iloc[int(np.argmin(gain))]
    low, high = np.clip([low, high], -best["reach"], best["reach"])
    ends = sorted((sign[0] * low, sign[0] * high))
    verdict, least = best["verdict"], best["margin"]
    holds = {BETTER: low > 0, WORSE: high < 0, SAME: low > -least and high < least, TOO_FEW: True, NO_EVIDENCE: True}
    changes: dict[str, Any] = {"low": ends[0], "high": ends[1], "best_of": len(rows)}
    changes |= {"verdict": verdict if holds[verdict] else NO_EVIDENCE}
    return pd.Series(best.to_dict() | changes, name=best.name)


def leading(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Returns the verdicts on the first metric of each family that has enough images on a data set.

    A metric that fails on maps of known quality gives way to one that does not. The number of images of a metric, and
    its soundness, are known before any score of a method, so that this choice favours no method.
    """
    enough = verdicts["metric"].where((verdicts["verdict"] != TOO_FEW) & ~verdicts["primary"])
    family = [verdicts[key] for key in TOPIC]
    first, standing = (
        names.groupby(family).transform("first") for names in (enough, enough.where(verdicts["sound"] != FAILS))
    )
    return verdicts[verdicts["metric"] == standing.fillna(first)]


def spoken(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Returns the leading verdicts against the post-hoc method that is best in that metric (``against_best``)."""
    rows = leading(verdicts)
    best = against_best(rows, list(rows["metric"].unique()))
    return best[best["verdict"] != TOO_FEW]


def printed(rows: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows on the leading metric of each family, or on their first metric if none leads.

    Args:
        rows: with the columns of ``TOPIC`` and metric.
        verdicts: all verdicts, or none.
    """
    first = rows.groupby(TOPIC)["metric"].transform("first")
    leads = leading(verdicts)[[*TOPIC, "metric"]].drop_duplicates() if len(verdicts) else rows[[*TOPIC, "metric"]][:0]
    known = rows[TOPIC].merge(leads, how="left", on=TOPIC)["metric"].set_axis(rows.index)
    return rows[rows["metric"] == known.fillna(first)]
