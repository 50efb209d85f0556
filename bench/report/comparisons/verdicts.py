"""Paired verdicts: every inherent map against every post-hoc map of its black box, on the same images.

They are the main result of a run; the win matrix, the price and the subgroups build on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.report.comparisons.choices import printed, spoken
from bench.report.comparisons.opponents import (
    CONTROLS,
    POST_HOC,
    REFERENCE,
    coinciding,
    opponents,
    primary_rows,
    relevant,
)
from bench.report.comparisons.verdict_sentences import FAMILY, disagreement, sentence
from bench.report.frames.estimands import named
from bench.report.frames.load import Frames
from bench.report.frames.paired import NOT_NEEDED, directed, label, levelled, own_maps, pairs, possible, title
from bench.report.frames.settings import explained_by_logit, is_identified
from bench.report.gaps import Missing
from bench.report.studies.soundness import NOT_TRIED, judgements, words
from bench.report.tables.table import FrameTable, frame_table
from bench.statistics.bootstrap.names import Names
from bench.statistics.bootstrap.paired import Method, Paired
from bench.statistics.comparison import columns_of_each, difference
from bench.statistics.decisions import decide
from bench.statistics.intervals import Floats
from bench.store.records import MetricFacts

#: How to read tables whose rows are ``printed``.
PRINTED = (
    "The printed table has one metric per data set and family: the first that has enough images and does not fail on "
    "maps of known quality. The CSV file has all metrics."
)
_CAPTION = "Verdicts: inherent maps minus post-hoc maps of the black box, image by image."
_READING = (
    "Own and other maps belong to the same data set, backbone and seed. question: controls (maps that do not "
    "explain), the reference that the config names, or the other post-hoc maps; post-hoc maps with the same scores "
    "are entered once. Columns: mean difference (images averaged within groups, groups weighted alike) with its "
    "interval (symmetric bootstrap-t over groups, and seeds); p of the Wilcoxon signed-rank test on group means; and "
    "the matched-pairs rank-biserial effect, positive in favour of the inherent map. p and intervals are adjusted for "
    "all comparisons of a data set, backbone, metric family and question: the primary comparison is tested first, the "
    "others by Holm if it passes, with intervals that cover all at once in 95 %. floor: if subtracted, each score is "
    "relative to random maps on the same network, because the network sets the level of the metric; if missing, there "
    "are no random maps and the scores are raw. Better or worse: the adjusted p is below 0.05, the interval excludes "
    "0 and the difference exceeds the margin of the metric on that data set. No relevant difference: the interval "
    "lies within the margin. Too few images: even if all groups pointed in one direction, p would not be small "
    f"enough; such comparisons are not part of the family. {PRINTED}"
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
            sound = words(judged, dataset).get(named(metric, ""), NOT_TRIED)
            about |= {"metric": title(metric), "higher_is_better": metric.higher_is_better, "sound": sound}
            found += [row | about for row in _comparisons(frames, metric, paired, (dataset, backbone))]
    if not found:
        return pd.DataFrame()
    families = pd.DataFrame(found)
    own = families.groupby(FAMILY[:3])["method"].transform("nunique")
    verdicts = decide(families.assign(own_maps=own, primary=primary_rows(frames, families, FAMILY)), FAMILY)
    several = verdicts["backbone"].nunique() > 1
    return verdicts.assign(sentence=[sentence(row, several) for row in verdicts.to_dict("records")])


def _comparisons(
    frames: Frames, metric: MetricFacts, paired: Paired, place: tuple[str, str]
) -> Iterator[dict[str, Any]]:
    """Compares every own map with its opponents in one metric."""
    least, source = relevant(frames, metric, paired)
    asked, compared = [], []
    for one in own_maps(frames, paired.methods):
        against = opponents(frames, paired, place, one)
        for questions in ((CONTROLS,), (REFERENCE, POST_HOC)):  # joint intervals cover all post-hoc maps
            theirs = [(question, other) for question in questions for other in against[question]]
            if theirs:
                asked.append(theirs)
                compared.append((one, [other for _, other in theirs]))
    for theirs, rows in zip(asked, compared_with(frames, metric, paired, compared), strict=True):
        for (question, other), row in zip(theirs, rows, strict=True):
            if row["n"]:
                twins = ", ".join(name for _, name in coinciding(frames)[place].get(other, []))
                yield row | {"question": question, "coincides": twins, "margin": least, "margin_is": source}


def compared_with(
    frames: Frames, metric: MetricFacts, paired: Paired, comparisons: list[tuple[Method, list[Method]]]
) -> list[list[dict[str, Any]]]:
    """Compares maps with others, which are all on the same network or all on another one.

    Scores on one network need no floor.

    Args:
        frames: the run.
        metric: with a direction.
        paired: its scores on one data set and backbone.
        comparisons: of a map with others.

    Returns:
        A row of ``compare`` per other map of each comparison; without any score, it has only ``n``, which is 0.
    """
    floors: list[str | None] = [None] * len(comparisons)  # None without any score

    def differences(place: int, scored: NDArray[np.bool_]) -> Iterator[Floats]:
        ours, theirs = comparisons[place]
        for some in paired.shares(theirs):
            values, floors[place] = paired.of([ours, *some]), NOT_NEEDED
            if {one[0] for one in theirs} != {ours[0]}:
                values, floors[place] = levelled(frames, metric, paired, [ours, *some])
            values = values if scored.all() else values[:, scored]
            yield difference(values[..., :1], values[..., 1:])

    def sets() -> Iterator[tuple[Iterator[Floats], Names]]:
        for place, (ours, theirs) in enumerate(comparisons):
            scored = paired.scored([ours, *theirs])
            if scored.any():
                yield differences(place, scored), paired.groups[np.flatnonzero(scored)]

    compared = iter(columns_of_each(sets(), tested=True))
    found: list[list[dict[str, Any]]] = []
    for (ours, theirs), floor in zip(comparisons, floors, strict=True):
        if floor is None:
            found.append([{"n": 0} for _ in theirs])
            continue
        columns, (lowest, highest) = next(compared), possible(metric, floor)
        about = {"floor": floor, "reach": highest - lowest}
        rows = zip(*columns.values(), strict=True)
        found.append(
            [
                _names(frames, ours, other) | dict(zip(columns, row, strict=True)) | about
                for other, row in zip(theirs, rows, strict=True)
            ]
        )
    return found


def _merged(frames: Frames) -> list[str]:
    """Returns a line about maps that are entered once because all of their scores agree."""
    places: dict[str, list[str]] = {}
    for (dataset, _), groups in coinciding(frames).items():
        for one, rest in groups.items():
            if rest:
                named = f"{label(frames, one)} (also {', '.join(label(frames, other) for other in rest)})"
                places.setdefault(named, []).append(dataset)
    texts = [f"{named} on {', '.join(dict.fromkeys(where))}" for named, where in places.items()]
    return [f"Maps with the same scores, entered once: {'; '.join(texts)}."] if texts else []


def _names(frames: Frames, ours: Method, theirs: Method) -> dict[str, str]:
    return {
        "head": ours[0],
        "explainer": ours[1],
        "method": label(frames, ours),
        "against": theirs[1] if frames.record.explainers[theirs[1]].family == "control" else label(frames, theirs),
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
    keys = ["dataset", "backbone", "metric", "method", "question", "against", "verdict", "floor", "groups", "seeds"]
    shown = printed(verdicts, verdicts).rename(columns={"p_adjusted": "adjusted p"})
    table = frame_table(_CAPTION, shown, keys, {"difference": ""}, ["adjusted p", "effect"])
    table.frame = verdicts
    table.reading = _READING
    table.notes = [f"Not compared: {'; '.join(reasons)}."] if reasons else []
    table.notes += _merged(frames)
    table.notes += [line for row in spoken(verdicts).to_dict("records") for line in disagreement(verdicts, row)]
    return table
