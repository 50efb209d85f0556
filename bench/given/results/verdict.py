"""Comparison of any two explainers of an evaluation, by the statistics and the words of a run's verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.errors import UserError
from bench.report.comparisons.choices import leading, spoken
from bench.report.comparisons.opponents import relevant
from bench.report.comparisons.verdict_sentences import FAMILY, sentence
from bench.report.comparisons.verdicts import compared_with, verdict_frame
from bench.report.frames.estimands import named
from bench.report.frames.load import Frames
from bench.report.frames.paired import directed, label, pairs, title
from bench.report.frames.settings import is_identified
from bench.report.studies.soundness import NOT_TRIED, judgements, words
from bench.report.tables.main import metric_table
from bench.report.tables.table import is_number
from bench.specs import closest
from bench.statistics.bootstrap.paired import Method
from bench.statistics.comparison import TOO_FEW
from bench.statistics.decisions import decide

_QUESTION = "two maps"


@dataclass(frozen=True)
class Verdict:
    """Comparison of two explainers on the same images.

    Attributes:
        metric: the one that the numbers belong to.
        difference: mean of the first minus the second, over groups of images.
        low, high: its simultaneous 95 % interval.
        p: of the signed-rank test, adjusted for the metrics of a family that were compared.
        verdict: "better", "worse", "no relevant difference", "no evidence …" or "too few images".
        sentence: all of it in words.
        table: one row per metric; see ``bench.statistics.decisions.decide``.
    """

    metric: str
    difference: float
    low: float
    high: float
    p: float
    verdict: str
    sentence: str
    table: pd.DataFrame

    def __str__(self) -> str:
        return self.sentence


def methods(frames: Frames) -> list[Method]:
    """Returns (head, explainer) of everything with scores; the given model comes before what is converted from it."""
    found = frames.explained[["head", "explainer"]].drop_duplicates().to_numpy()
    order = list(frames.record.heads)
    return sorted(((str(head), str(name)) for head, name in found), key=lambda one: order.index(one[0]))


def find_method(frames: Frames, name: str) -> Method:
    """Returns the method of an explainer, on the given model if it ran there; ``explainer on head`` names the head.

    Raises:
        UserError: it has no scores.
    """
    known = methods(frames)
    explainer, _, head = name.partition(" on ")
    found = [one for one in known if one[1] == explainer and head in ("", one[0])]
    if not found:
        raise UserError(f"no scores of {name!r}; {closest(name, [explainer for _, explainer in known])}")
    return found[0]


def compare_two(frames: Frames, first: str, second: str, metric: str | None = None) -> Verdict:
    """Compares two explainers.

    Args:
        frames: the evaluation.
        first: name of an explainer.
        second: name of the other one.
        metric: name such as ``topk_precision`` or ``audc_right@zero``; its p is not adjusted for other metrics. None =
            the first metric that has enough images, adjusted for all metrics of its family.

    Raises:
        UserError: an explainer has no scores, or there is no such metric that both have and that has a direction.
    """
    ours, theirs = find_method(frames, first), find_method(frames, second)
    if ours == theirs:
        raise UserError(f"{first!r} and {second!r} are the same maps; name two explainers")
    rows = list(_compared(frames, ours, theirs))
    known = [str(one["metric"].iloc[0]) for one in rows]
    if metric is not None:
        rows = [one for one in rows if metric in (one["metric"].iloc[0], one["asked"].iloc[0])]
    if not rows:
        what = "a metric with a direction" if metric is None else f"the metric {metric!r}"
        raise UserError(
            f"{first!r} and {second!r} have no scores of {what} on the same images; known: {', '.join(known)}"
        )
    decided = decide(pd.concat(rows, ignore_index=True).assign(primary=False, own_maps=1), FAMILY)
    decided = decided.assign(sentence=[sentence(row) for row in decided.to_dict("records")])
    leads = leading(decided)
    row: dict[Any, Any] = (leads if len(leads) else decided).iloc[0].to_dict()
    numbers = {name: float(row[name]) for name in ("difference", "low", "high")}
    told = row["metric"], row["verdict"], row["sentence"]
    return Verdict(told[0], **numbers, p=float(row["p_adjusted"]), verdict=told[1], sentence=told[2], table=decided)


def _compared(frames: Frames, ours: Method, theirs: Method) -> Iterator[pd.DataFrame]:
    """Yields one row per data set and metric that both maps have."""
    judged = judgements(frames)
    for metric in directed(frames):
        for dataset, backbone, paired in pairs(frames, metric):
            if not is_identified(frames, metric, dataset) or not {ours, theirs} <= set(paired.methods):
                continue
            row = compared_with(frames, metric, paired, [(ours, [theirs])])[0][0]
            if row["n"] == 0:
                continue
            least, source = relevant(frames, metric, paired)
            sound = words(judged, dataset).get(named(metric, ""), NOT_TRIED)
            about: dict[str, Any] = {"dataset": dataset, "backbone": backbone, "family": metric.family}
            about |= {"metric": title(metric), "asked": named(metric, ""), "higher_is_better": metric.higher_is_better}
            about |= {"margin": least, "margin_is": source, "question": _QUESTION, "coincides": "", "sound": sound}
            yield pd.DataFrame([row | about | {"method": label(frames, ours), "against": label(frames, theirs)}])


def answer(frames: Frames) -> str:
    """Returns the answer of an evaluation in one sentence.

    It compares the model's own map with the best post-hoc map; without an own map, the best post-hoc map with the floor
    control.
    """
    verdicts = verdict_frame(frames)
    said = spoken(verdicts) if len(verdicts) else verdicts
    if len(said):
        return str(said["sentence"].iloc[0])
    roles = {facts.role: name for name, facts in frames.record.explainers.items()}
    best = best_post_hoc(frames)
    if not best or "floor" not in roles:
        return "no comparison: no post-hoc map has a score with a direction"
    try:
        found = compare_two(frames, best, roles["floor"])
    except UserError as error:
        return f"no comparison: {error}"
    return found.sentence if found.verdict != TOO_FEW else f"no comparison: {found.sentence}"


def best_post_hoc(frames: Frames) -> str:
    """Returns the post-hoc explainer with the best mean in the first metric that has scores; empty without any."""
    for metric in directed(frames):
        table = metric_table(frames, metric.family, frames.source)
        name, explainers = named(metric, ""), frames.record.explainers
        rows = [
            row for row in table.rows if explainers[row["explainer"]].family == "post-hoc" and is_number(row.get(name))
        ]
        if rows:
            ranked = sorted(rows, key=lambda row: row[name].mean, reverse=bool(metric.higher_is_better))
            return str(ranked[0]["explainer"])
    return ""
