"""Answer cards: per data set the explanation to use, how certain that is, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.report.answer.model import FAITHFUL, DatasetAnswer, MethodScore, Price, QuestionAnswer
from bench.report.answer.words import recommendation
from bench.report.frames.estimands import base_name
from bench.report.page.glossary import defined
from bench.report.page.section import Content, Section
from bench.report.tables.writers import number

#: Verdict -> words for a reader who has seen none of them, and the name of the style of the badge.
CERTAINTY = {
    "better": ("The inherent map is better", "inherent"),
    "worse": ("The post-hoc map is better", "post-hoc"),
    "no relevant difference": ("Both are equally good", "equal"),
    "not decided": ("Not decided by these images", "open"),
    "too few images": ("Too few images to decide", "open"),
    "alone": ("Nothing to compare with", "open"),
}
#: Kind of a caution -> word and sign.
CAUTIONS = {
    "model": ("Model", "▲"),
    "images": ("Images", "◆"),
    "metric": ("Metric", "■"),
    "masks": ("Masks", "◐"),
    "evidence": ("Evidence", "○"),
    "run": ("Run", "●"),
}
_EDGE = 2.0  # percent of the width that stays free at both ends of a bar


@dataclass(frozen=True)
class Mark:
    """Place of a method on the bar from floor to ceiling, in percent of the width; None without such a place."""

    score: MethodScore
    at: float | None
    low: float | None
    high: float | None

    @property
    def value(self) -> str:
        """Score with its interval."""
        return interval(self.score.mean, self.score.low, self.score.high)

    @property
    def share(self) -> str:
        """Position on the way from floor to ceiling, in words."""
        return "" if self.score.share is None else f"{round(self.score.share)} %".replace("-", "−")


@dataclass(frozen=True)
class Question:
    """Question of a card.

    Attributes:
        said: of the answer.
        words, style: of the certainty.
        marks: of the best inherent map and the best post-hoc map, as far as there are both.
        floor, ceiling: places of 0 and 100 percent.
        grid: place of the best map on the grid of the network; None without one.
        difference: with its interval; empty without a comparison.
    """

    said: QuestionAnswer
    words: str
    style: str
    marks: list[Mark]
    floor: float
    ceiling: float
    grid: float | None
    difference: str

    @property
    def others(self) -> str:
        """Methods that are not shown to be worse than the best one: three by name, the others by number."""
        return recommendation(self.said.recommended[1:])

    @property
    def grid_score(self) -> str:
        """Score of the best map on the network's grid, after a space; empty without one."""
        return _end(self.said.grid_ceiling)

    @property
    def floor_score(self) -> str:
        """Score of the floor, after a space; empty without one, or if the two maps have different ones."""
        return "" if self.has_own_ends else _end(self.said.floor)

    @property
    def ceiling_score(self) -> str:
        """Score of the ceiling, after a space; empty without one, or if the two maps have different ones."""
        return "" if self.has_own_ends else _end(self.said.ceiling)

    @property
    def mask_is_best(self) -> bool:
        """Whether no map can score better than the mask, as for localisation."""
        return self.said.question != FAITHFUL

    @property
    def ceiling_name(self) -> str:
        """What 100 percent of the bar is."""
        return "ceiling" if self.mask_is_best else "lesion mask"

    @property
    def has_own_ends(self) -> bool:
        """Whether each network has a floor and a ceiling of its own, because the scores depend on the network."""
        return self.said.question == FAITHFUL and len({mark.score.head for mark in self.marks}) > 1

    @property
    def has_bar(self) -> bool:
        """Whether a method has a place between floor and ceiling."""
        return any(mark.at is not None for mark in self.marks)


def _end(score: MethodScore | None) -> str:
    return "" if score is None or score.mean is None else f" {interval(score.mean, None, None)}"


@dataclass(frozen=True)
class Card:
    """Card of a data set, with the id of its element."""

    name: str
    said: DatasetAnswer
    questions: list[Question]
    price: list[str]


def answer_section(content: Content) -> Section:
    """Returns the cards of all data sets, and a table of all answers if there are several."""
    cards = [
        Card(f"answer-{place}", said, [question(one) for one in said.questions], _price(said.price))
        for place, said in enumerate(content.answer.datasets, start=1)
    ]
    asked = {one.question: one.asks for said in content.answer.datasets for one in said.questions}
    view: dict[str, Any] = {"cards": cards, "asked": asked, "cautions": CAUTIONS, "tables": content.tables}
    view |= {"defined": defined(content.frames.record.metrics), "base_name": base_name}
    return Section("answer", "Answer", "answer.html", view)


def question(said: QuestionAnswer) -> Question:
    """Places the methods of a question on a bar that holds floor, ceiling and all intervals."""
    scores = [score for score in (said.inherent, said.post_hoc) if score is not None]
    ends = [end for one in scores for end in (one.share, one.share_low, one.share_high) if end is not None]
    lowest, highest = min([0.0, *ends]), max([100.0, *ends])

    def place(share: float | None) -> float | None:
        if share is None or not np.isfinite(share):
            return None
        return round(_EDGE + (100 - 2 * _EDGE) * (share - lowest) / (highest - lowest), 2)

    marks = [Mark(one, place(one.share), place(one.share_low), place(one.share_high)) for one in scores]
    words, style = CERTAINTY[said.certainty]
    difference = "" if said.difference is None else interval(said.difference, said.low, said.high, sign=True)
    grid = place(said.grid_ceiling.share) if said.grid_ceiling else None
    return Question(said, words, style, marks, place(0.0) or 0.0, place(100.0) or 0.0, grid, difference)


def interval(mean: float | None, low: float | None, high: float | None, sign: bool = False) -> str:
    """Returns ``mean [low, high]`` as tables print it; a dash without a mean.

    Args:
        mean: or None.
        low: end of the interval, or None.
        high: end of the interval, or None.
        sign: write a plus before positive numbers.
    """

    def written(value: float) -> str:
        return f"{'+' if sign and value > 0 else ''}{number(value)}".replace("-", "−")

    if mean is None or not np.isfinite(mean):
        return "–"
    if low is None or high is None or not np.isfinite([low, high]).all():
        return written(mean)
    return f"{written(mean)} [{written(low)}, {written(high)}]"


def _price(price: Price | None) -> list[str]:
    """Returns lines about accuracy and time."""
    if price is None:
        return []
    lines = []
    if price.auc is not None:
        gain = [None if end is None else round(-end, 3) + 0.0 for end in (price.auc_lost, price.high, price.low)]
        verdict = f" ({price.verdict})" if price.verdict else ""
        against = interval(gain[0], gain[1], gain[2], sign=True)
        lines.append(f"AUC {number(price.auc)} of {price.head}, {against} against {price.black_box}{verdict}.")
    if price.seconds:
        named = [f"{duration(seconds)} with {name}" for name, seconds in price.seconds.items()]
        lines.append(f"One map takes {', '.join(named)}.")
    return lines


def duration(seconds: float) -> str:
    """Returns a time with two digits or in whole seconds, in the unit that suits it."""
    rounded = float(f"{seconds:.2g}")
    if rounded >= 1:
        return f"{rounded:g} s" if rounded < 100 else f"{seconds:.0f} s"
    unit, scale = ("ms", 1e3) if rounded >= 1e-3 else ("µs", 1e6)
    return f"{round(scale * rounded, 3):g} {unit}"
