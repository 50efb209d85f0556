"""Paired verdicts: every inherent map against every post-hoc map of its black box, on the same images.

They are the main result of a run; the win matrix, the price and the subgroups build on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.text import Text

from bench.report.comparisons.verdict_sentences import FAMILY, disagreement, sentence, tally, too_few
from bench.report.frames.load import Frames
from bench.report.frames.paired import (
    Method,
    Paired,
    directed,
    label,
    levelled,
    main_metrics,
    margin,
    own_maps,
    pairs,
    possible,
    post_hoc,
    title,
)
from bench.report.studies.soundness import FAILS, MARK, NOT_TRIED, judgements, words
from bench.report.gaps import Missing
from bench.report.tables.table import FrameTable, frame_table
from bench.statistics.comparison import TOO_FEW, compare, decide, means, paired_differences

#: What captions of tables say whose rows are ``printed``.
PRINTED = (
    "Printed is one metric of each data set and family, the first that has enough images and does not fail on maps "
    "whose worth is known; the CSV file has all."
)


@lru_cache(maxsize=2)
def verdict_frame(frames: Frames) -> pd.DataFrame:
    """One row a comparison: what ``bench.comparison.compare`` and ``decide`` say, with names and a sentence.

    ``their_mean`` is over all images of the post-hoc method, whoever it is compared with; ``floor`` says whether the
    scores of random maps on the same network were subtracted; ``sound`` whether the metric is, on this data set.
    """
    found, judged = [], judgements(frames)
    for metric in directed(frames):
        for dataset, backbone, paired in pairs(frames, metric):
            about = {"dataset": dataset, "backbone": backbone, "family": metric["family"], "metric": title(metric)}
            about |= {"higher_is_better": metric["higher_is_better"], "margin": margin(metric)}
            sound = words(judged, dataset).get(title(metric), NOT_TRIED)
            found.append(_comparisons(frames, metric, paired).assign(**about, sound=sound))
    found = [rows for rows in found if len(rows)]
    if not found:
        return pd.DataFrame()
    verdicts = decide(pd.concat(found, ignore_index=True), FAMILY, "higher_is_better", "margin")
    several = verdicts["backbone"].nunique() > 1
    return verdicts.assign(sentence=[sentence(row, several) for row in verdicts.to_dict("records")])


def _comparisons(frames: Frames, metric: dict[str, Any], paired: Paired) -> pd.DataFrame:
    ours, theirs = own_maps(frames, paired.methods), post_hoc(frames, paired.methods)
    if not ours or not theirs:
        return pd.DataFrame()
    found = []
    for one in ours:
        values, floor = levelled(frames, metric, paired, [one, *theirs])
        scored = np.isfinite(values).any(axis=(0, 2))
        if not scored.any():
            continue
        rows = compare(paired_differences(values[..., :1], values[..., 1:])[:, scored], paired.groups[scored])
        lowest, highest = possible(metric, floor)
        rows[["low", "high"]] = rows[["low", "high"]].clip(lowest - highest, highest - lowest)
        names = pd.DataFrame([_names(frames, one, other) for other in theirs])
        found.append(pd.concat([names, rows], axis=1).assign(their_mean=means(paired.of(theirs)), floor=floor))
    rows = pd.concat(found, ignore_index=True) if found else pd.DataFrame({"n": []})
    return rows[rows["n"] > 0]


def _names(frames: Frames, ours: Method, theirs: Method) -> dict[str, str]:
    return {
        "head": ours[0],
        "explainer": ours[1],
        "method": label(frames, ours),
        "against": label(frames, theirs),
        "their_head": theirs[0],
        "their_explainer": theirs[1],
    }


def verdict_tables(frames: Frames) -> dict[str, FrameTable]:
    """Returns the table ``verdicts``, if the run has a comparison."""
    verdicts = verdict_frame(frames)
    return {"verdicts": verdict_table(frames, verdicts)} if len(verdicts) else {}


def missing_verdicts(frames: Frames) -> Iterator[Missing]:
    """Yields verdicts and subgroups as missing if the run has no comparison."""
    if not len(verdict_frame(frames)):
        remedy = "They need an inherent head, its black box and a post-hoc method on the same images."
        yield Missing("verdicts and strata", remedy)


def verdict_table(frames: Frames, verdicts: pd.DataFrame) -> FrameTable:
    """Every comparison."""
    left_out = [title(metric) for metric in frames.record["metrics"] if metric["higher_is_better"] is None]
    compared = set(verdicts["metric"])
    alone = [title(metric) for metric in directed(frames) if title(metric) not in compared]
    reasons = [f"{', '.join(left_out)}: neither direction is better"] if left_out else []
    reasons += [f"{', '.join(alone)}: no post-hoc map of a black box has it"] if alone else []
    caption = (
        "Verdicts. Inherent maps minus post-hoc maps of the black-box twin (same data set, backbone and seed), image "
        "by image: mean difference, images averaged within groups and groups counted alike [95 % interval, bootstrap "
        "over groups, widened for few groups and for seeds], p of the Wilcoxon signed-rank test on group means, "
        "adjusted by Holm over all comparisons of a data set and metric family, and the matched-pairs rank-biserial "
        "effect, positive in favour of the inherent map. Where the network sets the level of a metric (floor: "
        "subtracted) each score is that against random maps on the same network; missing: there are none, the scores "
        "are raw. Better or worse only where the adjusted p is below 0.05, the interval excludes 0 and the difference "
        "is beyond the margin (0.01 of the metric's range, or 0.01); no relevant difference where the interval lies "
        "within it; too few images where groups that all point one way would not reach that p at Holm's first step."
    )
    caption += f" Left out: {'; '.join(reasons)}." if reasons else ""
    caption += f" {PRINTED}"
    keys = ["dataset", "backbone", "metric", "method", "against", "verdict", "floor", "groups", "seeds"]
    shown = printed(verdicts, verdicts).rename(columns={"p_holm": "p (Holm)"})
    table = frame_table(caption, shown, keys, {"difference": ""}, ["p (Holm)", "effect"])
    table.frame = verdicts
    table.notes = [line for row in spoken(verdicts).to_dict("records") for line in disagreement(verdicts, row)]
    return table


def chosen(frames: Frames, verdicts: pd.DataFrame) -> pd.DataFrame:
    """The main metric of each family, each head against the post-hoc method with the best mean on that data set."""
    return against_best(verdicts, [title(metric) for metric in main_metrics(frames).values()])


def against_best(verdicts: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Rows of these metrics in which the post-hoc method has the best mean on that data set."""
    if not len(verdicts):
        return verdicts
    rows = verdicts[verdicts["metric"].isin(metrics)]
    sign = np.where(rows["higher_is_better"], 1, -1)
    best = (rows["their_mean"] * sign).groupby([rows[key] for key in ("dataset", "backbone", "metric", "method")])
    return rows.loc[sorted(best.idxmax())]


def leading(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Verdicts on the first metric of each family that has enough images on a data set, against all post-hoc methods.

    A metric that fails on maps whose worth is known gives way to one that does not. How many images a metric has, and
    whether it fails, is known before any score of a method, so that this choice favours nobody.
    """
    enough = verdicts["metric"].where(verdicts["verdict"] != TOO_FEW)
    family = [verdicts[key] for key in FAMILY]
    first, standing = (
        names.groupby(family).transform("first") for names in (enough, enough.where(verdicts["sound"] != FAILS))
    )
    return verdicts[verdicts["metric"] == standing.fillna(first)]


def spoken(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The leading verdicts against the post-hoc method that is best in that metric."""
    rows = leading(verdicts)
    best = against_best(rows, list(rows["metric"].unique()))
    return best[best["verdict"] != TOO_FEW]


def printed(rows: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """Rows on the leading metric of each family, on the first one that they have where none leads.

    Args:
        rows: with the columns of ``FAMILY`` and metric.
        verdicts: all of them, or none.
    """
    first = rows.groupby(FAMILY)["metric"].transform("first")
    leads = leading(verdicts)[[*FAMILY, "metric"]].drop_duplicates() if len(verdicts) else rows[[*FAMILY, "metric"]][:0]
    known = rows[FAMILY].merge(leads, how="left", on=FAMILY)["metric"].set_axis(rows.index)
    return rows[rows["metric"] == known.fillna(first)]


def print_verdicts(verdicts: pd.DataFrame, console: Console) -> None:
    """Prints per data set the main sentences, the metrics with too few images, and the counts of each head."""
    if not len(verdicts):
        return
    title = "Verdicts: the first metric of each family that has enough images, against the best post-hoc method in it"
    console.print(Text(title, style="italic"))
    for dataset, rows in verdicts.groupby("dataset", sort=False):
        lines = []
        for row in spoken(rows).to_dict("records"):
            lines += [f"- {row['sentence']}"] + [f"  {one}" for one in disagreement(rows, row)]
        lines += [f"  {one}" for one in too_few(rows)]
        for line in lines:
            console.print(Text(line), soft_wrap=True)
        for method, part in rows.groupby("method", sort=False):
            console.print(Text(f"  {dataset}, {method}: {tally(part)}", style="bright_black"), soft_wrap=True)
    if (verdicts["sound"] == FAILS).any():
        console.print(Text(f"{MARK} fails on maps of known quality: see metric_soundness"), soft_wrap=True)
    console.print()
