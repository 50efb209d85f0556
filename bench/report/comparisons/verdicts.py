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
from bench.report.frames.estimands import named
from bench.report.frames.identified import explained_by_logit, is_identified
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
from bench.report.gaps import Missing
from bench.report.studies.soundness import FAILS, MARK, NOT_TRIED, judgements, words
from bench.report.tables.table import FrameTable, frame_table
from bench.statistics.comparison import TOO_FEW, compare, decide, means, paired_differences
from bench.store.records import MetricFacts

#: How to read tables whose rows are ``printed``.
PRINTED = (
    "The printed table has one metric per data set and family: the first that has enough images and does not fail on "
    "maps of known quality. The CSV file has all metrics."
)
_CAPTION = "Verdicts: inherent maps minus post-hoc maps of the black box, image by image."
_READING = (
    "Both maps belong to the same data set, backbone and seed. Columns: mean difference (images averaged within "
    "groups, groups weighted alike) with its 95 % bootstrap interval over groups, widened for few groups and for "
    "seeds; p of the Wilcoxon signed-rank test on group means, adjusted by Holm over all comparisons of a data set, "
    "backbone and metric family; and the matched-pairs rank-biserial effect, positive in favour of the inherent map. "
    "floor: if subtracted, each score is relative to random maps on the same network, because the network sets the "
    "level of the metric; if missing, there are no random maps and the scores are raw. Better or worse: the adjusted "
    "p is below 0.05, the interval excludes 0 and the difference exceeds the margin (0.01 of the metric's range, or "
    "0.01). No relevant difference: the interval lies within the margin. Too few images: even if all groups pointed "
    f"in one direction, p would not be small enough at Holm's first step. {PRINTED}"
)


@lru_cache(maxsize=2)
def verdict_frame(frames: Frames) -> pd.DataFrame:
    """Computes one row per comparison: ``bench.statistics.comparison.compare`` and ``decide``, names and a sentence.

    ``their_mean`` is over all images of the post-hoc method; ``floor`` tells if the scores of random maps on the same
    network were subtracted; ``sound`` is the verdict on the metric on this data set.
    """
    found, judged = [], judgements(frames)
    for metric in directed(frames):
        for dataset, backbone, paired in pairs(frames, metric):
            if not is_identified(frames, metric, dataset):
                continue
            about: dict[str, Any] = {"dataset": dataset, "backbone": backbone, "family": metric.family}
            about |= {"metric": title(metric), "higher_is_better": metric.higher_is_better, "margin": margin(metric)}
            sound = words(judged, dataset).get(named(metric, ""), NOT_TRIED)
            found.append(_comparisons(frames, metric, paired).assign(**about, sound=sound))
    found = [rows for rows in found if len(rows)]
    if not found:
        return pd.DataFrame()
    verdicts = decide(pd.concat(found, ignore_index=True), FAMILY, "higher_is_better", "margin")
    several = verdicts["backbone"].nunique() > 1
    return verdicts.assign(sentence=[sentence(row, several) for row in verdicts.to_dict("records")])


def _comparisons(frames: Frames, metric: MetricFacts, paired: Paired) -> pd.DataFrame:
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
    yield from unidentified(frames)


def unidentified(frames: Frames) -> Iterator[Missing]:
    """Yields verdicts as missing on metrics that read the zero of maps of logits."""
    datasets = explained_by_logit(frames)
    names = [title(metric) for metric in directed(frames) if metric.uses_zero]
    if datasets and names:
        remedy = (
            "They depend on the zero of the map, which a softmax model does not identify if its maps explain a logit; "
            'set target = "contrast" in [explain].'
        )
        yield Missing(f"verdicts on {', '.join(names)} on {', '.join(datasets)}", remedy)


def verdict_table(frames: Frames, verdicts: pd.DataFrame) -> FrameTable:
    """Returns every comparison."""
    left_out = [title(metric) for metric in frames.record.metrics if metric.higher_is_better is None]
    compared = set(verdicts["metric"])
    known = [metric for metric in directed(frames) if not (metric.uses_zero and explained_by_logit(frames))]
    alone = [title(metric) for metric in known if title(metric) not in compared]
    reasons = [f"{', '.join(left_out)} (neither direction is better)"] if left_out else []
    reasons += [f"{', '.join(alone)} (no post-hoc map of a black box has it)"] if alone else []
    keys = ["dataset", "backbone", "metric", "method", "against", "verdict", "floor", "groups", "seeds"]
    shown = printed(verdicts, verdicts).rename(columns={"p_holm": "p (Holm)"})
    table = frame_table(_CAPTION, shown, keys, {"difference": ""}, ["p (Holm)", "effect"])
    table.frame = verdicts
    table.reading = _READING
    table.notes = [f"Not compared: {'; '.join(reasons)}."] if reasons else []
    table.notes += [line for row in spoken(verdicts).to_dict("records") for line in disagreement(verdicts, row)]
    return table


def chosen(frames: Frames, verdicts: pd.DataFrame) -> pd.DataFrame:
    """Returns each head against the best post-hoc method on that data set, in the main metric of each family."""
    return against_best(verdicts, [title(metric) for metric in main_metrics(frames).values()])


def against_best(verdicts: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Returns the rows of these metrics in which the post-hoc method has the best mean on that data set."""
    if not len(verdicts):
        return verdicts
    rows = verdicts[verdicts["metric"].isin(metrics)]
    sign = np.where(rows["higher_is_better"], 1, -1)
    best = (rows["their_mean"] * sign).groupby([rows[key] for key in ("dataset", "backbone", "metric", "method")])
    return rows.loc[sorted(best.idxmax())]


def leading(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Returns the verdicts on the first metric of each family that has enough images on a data set.

    A metric that fails on maps of known quality gives way to one that does not. The number of images of a metric, and
    its soundness, are known before any score of a method, so that this choice favours no method.
    """
    enough = verdicts["metric"].where(verdicts["verdict"] != TOO_FEW)
    family = [verdicts[key] for key in FAMILY]
    first, standing = (
        names.groupby(family).transform("first") for names in (enough, enough.where(verdicts["sound"] != FAILS))
    )
    return verdicts[verdicts["metric"] == standing.fillna(first)]


def spoken(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Returns the leading verdicts against the post-hoc method that is best in that metric."""
    rows = leading(verdicts)
    best = against_best(rows, list(rows["metric"].unique()))
    return best[best["verdict"] != TOO_FEW]


def printed(rows: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows on the leading metric of each family, or on their first metric if none leads.

    Args:
        rows: with the columns of ``FAMILY`` and metric.
        verdicts: all verdicts, or none.
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
