"""Answers to the questions of a data set: the leading metric, the best maps in it, and how certain their order is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.report.answer.best import best_first, not_shown_worse
from bench.report.answer.model import LOCATES, Certainty, MethodScore, QuestionAnswer
from bench.report.answer.words import ASKS, question_sentence
from bench.report.comparisons.choices import against_best, leading
from bench.report.comparisons.opponents import CONTROLS, coinciding, primary_metrics
from bench.report.comparisons.verdict_sentences import reason
from bench.report.frames.load import Frames
from bench.report.frames.paired import directed, label, own_maps, pairs, post_hoc, title
from bench.report.studies.soundness import failing, judgements
from bench.report.tables.table import TableData
from bench.statistics.bootstrap.paired import Method, Paired
from bench.statistics.comparison import BETTER, NO_EVIDENCE, SAME, TOO_FEW, WORSE
from bench.statistics.intervals import FEWEST_GROUPS
from bench.store.folders import file_name
from bench.store.records import MetricFacts

_CERTAINTY: dict[str, Certainty] = {
    BETTER: "better",
    WORSE: "worse",
    SAME: "no relevant difference",
    NO_EVIDENCE: "not decided",
    TOO_FEW: "too few images",
}
Tables = dict[str, TableData]


@dataclass(frozen=True)
class _Place:
    """Where a question is asked: a metric on one data set and backbone, with its scores and the tables that show it."""

    frames: Frames
    tables: Tables
    dataset: str
    backbone: str
    metric: MetricFacts
    paired: Paired

    def score(self, method: Method) -> MethodScore:
        """Returns the score of a method as the tables show it."""
        head, explainer = method
        column = title(self.metric)
        mean = self._row(file_name(self.metric.family), method).get(column)
        if mean is None and self.metric.estimand:  # main tables show the estimands of the first operator only
            plain = title(self.metric.changed(estimand=""))
            mean = self._row("estimands", method, plain).get(self.metric.estimand)
        share = self._row("floor_ceiling", method).get(column)
        facts = {"label": label(self.frames, method), "explainer": explainer, "head": head}
        facts |= {"family": self.frames.record.explainers[explainer].family}
        return MethodScore.model_validate(facts | _parts(mean, "mean", "") | _parts(share, "share", "share_"))

    def controls(self) -> dict[str, MethodScore | None]:
        """Returns floor, ceiling and grid ceiling, on the black box if they ran there, each with its share."""
        floor, ceiling, grid = (self._control(role) for role in ("floor", "ceiling", "grid ceiling"))
        if floor and ceiling:
            floor, ceiling = floor.changed(share=0.0), ceiling.changed(share=100.0)
        means = [score.mean for score in (floor, ceiling, grid) if score and score.mean is not None]
        if grid and len(means) == 3 and means[0] != means[1]:
            grid = grid.changed(share=100 * (means[2] - means[0]) / (means[1] - means[0]))
        shown = grid if self.metric.family == LOCATES else None
        return {"floor": floor, "ceiling": ceiling, "grid_ceiling": shown}

    def _control(self, role: str) -> MethodScore | None:
        record = self.frames.record
        heads = sorted(record.heads, key=lambda name: record.heads[name].family == "inherent")  # stable
        names = [name for name, facts in record.explainers.items() if facts.role == role]
        methods = [(head, name) for name in names for head in heads if (head, name) in self.paired.methods]
        return next((score for score in map(self.score, methods) if score.mean is not None), None)

    def _row(self, table: str, method: Method, metric: str = "") -> dict[str, Any]:
        key = {"dataset": self.dataset, "backbone": self.backbone, "explainer": method[1], "head": method[0]}
        key |= {"metric": metric} if metric else {}
        rows = self.tables[table].rows if table in self.tables else []
        return next((row for row in rows if key.items() <= row.items()), {})


def answers(
    frames: Frames, tables: Tables, verdicts: pd.DataFrame, dataset: str, backbone: str
) -> list[QuestionAnswer]:
    """Returns the answers for which a data set and backbone have scores."""
    found = []
    for family in ASKS:
        rows = verdicts
        if len(verdicts):
            same = [verdicts[key] == value for key, value in (("dataset", dataset), ("backbone", backbone))]
            rows = verdicts[np.logical_and.reduce([*same, verdicts["family"] == family])]
        metric, paired = _leading_metric(frames, rows, family, dataset, backbone)
        if metric is not None and paired is not None:
            found.append(_answer(_Place(frames, tables, dataset, backbone, metric, paired), rows))
    return [one for one in found if one is not None]


def _leading_metric(
    frames: Frames, verdicts: pd.DataFrame, family: str, dataset: str, backbone: str
) -> tuple[MetricFacts | None, Paired | None]:
    """Returns the metric that answers a question, with its scores.

    It is the one that the config names, otherwise the leading one of the verdicts, otherwise the first one that is
    sound.
    """
    wished, fails = primary_metrics(frames).get(family), failing(judgements(frames), dataset)
    led = set(leading(verdicts)["metric"]) if len(verdicts) else set[str]()
    metrics = [metric for metric in directed(frames) if metric.family == family]
    metrics.sort(key=lambda one: (title(one) != wished, title(one) not in led, title(one) in fails))  # stable
    for metric in metrics:
        for name, of, paired in pairs(frames, metric):
            if (name, of) == (dataset, backbone):
                return metric, paired
    return None, None


def _answer(place: _Place, verdicts: pd.DataFrame) -> QuestionAnswer | None:
    frames, metric, paired = place.frames, place.metric, place.paired
    same = {one for rest in coinciding(frames)[place.dataset, place.backbone].values() for one in rest}
    own = best_first(frames, metric, paired, own_maps(frames, paired.methods))
    others = best_first(frames, metric, paired, [m for m in post_hoc(frames, paired.methods) if m not in same])
    if not own and not others:
        return None
    row = _comparison(verdicts, title(metric))
    if row:  # the comparison reads images that both classifiers get right, which may change who is best
        own = _with_first(own, (row["head"], row["explainer"]))
        others = _with_first(others, (row["their_head"], row["their_explainer"]))
    not_compared: Certainty = "too few images" if own and others else "alone"
    certainty = _CERTAINTY[row["verdict"]] if row else not_compared
    facts: dict[str, Any] = {"question": metric.family, "asks": ASKS[metric.family], "metric": title(metric)}
    facts |= {"higher_is_better": bool(metric.higher_is_better), "certainty": certainty}
    facts |= {"inherent": place.score(own[0]) if own else None, "post_hoc": place.score(others[0]) if others else None}
    facts |= place.controls()
    if row:
        facts |= {"difference": float(row["difference"]), "n": int(row["n"]), "groups": int(row["groups"])}
        if row["verdict"] != TOO_FEW:  # an interval that no decision uses would be read as one
            facts |= {"low": _finite(row["low"]), "high": _finite(row["high"])}
    else:
        most = max((score for score in (facts["inherent"], facts["post_hoc"]) if score), key=lambda score: score.n)
        facts |= {"n": most.n, "groups": paired.number_of_groups((most.head, most.explainer))}
    few = certainty == "too few images" or facts["groups"] < FEWEST_GROUPS
    chosen = [] if few else _recommended(place, own, others, certainty)
    facts["recommended"] = [label(frames, one) for one in chosen]
    answer = QuestionAnswer.model_validate(facts)
    return answer.changed(sentence=question_sentence(answer, len(others), reason(row) if row else []))


def _comparison(verdicts: pd.DataFrame, metric: str) -> dict[str, Any]:
    """Returns the comparison of the best own map with the best post-hoc map; empty without one.

    Its interval and verdict hold for any own map, because ``against_best`` shares the level among them. Own maps with
    too few images are passed over if there are others; numbers of images favour no method.
    """
    rows = verdicts[(verdicts["metric"] == metric) & (verdicts["question"] != CONTROLS)] if len(verdicts) else verdicts
    best = against_best(rows, [metric]) if len(rows) else rows
    if not len(best):
        return {}
    enough = best[best["verdict"] != TOO_FEW]
    best = enough if len(enough) else best
    gains = best["difference"].to_numpy() * np.where(best["higher_is_better"], 1, -1)
    return {str(name): value for name, value in best.iloc[int(np.argmax(gains))].items()}


def _recommended(place: _Place, own: list[Method], others: list[Method], certainty: Certainty) -> list[Method]:
    """Returns the methods to use: those not shown to be worse than the best, of the better kind if that is decided."""
    if certainty == "better":
        others = []
    elif certainty == "worse":
        own = []
    ordered = best_first(place.frames, place.metric, place.paired, [*own, *others])
    kept = not_shown_worse(place.frames, place.metric, place.paired, ordered)
    undecided = {own[0], others[0]} if own and others else set()  # the verdict, which reads ranks as well, keeps both
    return [one for one in ordered if one in kept or one in undecided]


def _with_first(methods: list[Method], first: Method) -> list[Method]:
    return [first, *(one for one in methods if one != first)]


def _parts(estimate: Any, mean: str, prefix: str) -> dict[str, Any]:
    """Returns the fields of an estimate; nothing without a finite mean."""
    if estimate is None or not np.isfinite(estimate.mean):
        return {mean: None}
    ends = {f"{prefix}low": _finite(estimate.low), f"{prefix}high": _finite(estimate.high)}
    return {mean: float(estimate.mean)} | ends | ({"n": estimate.n} if not prefix else {})


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
