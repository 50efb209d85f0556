"""Answer cards: places on the bar, and numbers in words."""

from __future__ import annotations

import pytest

from bench.report.page.answer import CERTAINTY, duration, interval, question
from bench.report.page.glossary import TERMS
from tests.support import page


def test_marks_lie_between_floor_and_ceiling_by_their_share() -> None:
    found = question(page.question())
    inherent, post_hoc = found.marks
    way = found.ceiling - found.floor
    assert found.floor == 2
    assert found.ceiling == 98
    assert inherent.at == pytest.approx(found.floor + 0.62 * way)
    assert post_hoc.at == pytest.approx(found.floor + 0.4 * way)
    assert (inherent.low, inherent.high) == pytest.approx((2 + 0.52 * 96, 2 + 0.72 * 96))
    assert found.difference == "+0.100 [+0.040, +0.160]"


def test_scores_beyond_floor_and_ceiling_stay_on_the_bar() -> None:
    found = question(
        page.question(
            inherent=page.score("own", "inherent", 1.2, 180.0), post_hoc=page.score("a", "post-hoc", -0.5, -55.0)
        )
    )
    assert found.marks[1].share == "−55 %"
    assert [found.marks[0].high, found.marks[1].low] == [98, 2]
    assert 2 < found.floor < found.ceiling < 98


def test_a_method_just_below_the_floor_is_at_zero() -> None:
    assert question(page.question(inherent=page.score("own", "inherent", 0.1, -0.3))).marks[0].share == "0 %"


def test_without_controls_or_a_rival_there_is_no_bar() -> None:
    found = question(page.question(inherent=page.score("own", "inherent", 0.6), post_hoc=None, certainty="alone"))
    assert [mark.at for mark in found.marks] == [None]
    assert not found.has_bar
    assert found.marks[0].share == ""


@pytest.mark.parametrize("certainty", list(CERTAINTY))
def test_every_verdict_is_defined(certainty: str) -> None:
    assert certainty.replace(" ", "-") in TERMS


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.1234, 0.1, 0.2), "0.123 [0.100, 0.200]"),
        ((-0.5, None, None), "−0.500"),
        ((None, 0.1, 0.2), "–"),
        ((float("nan"), None, None), "–"),
        ((0.5, float("nan"), float("nan")), "0.500"),
    ],
)
def test_interval_in_words(values: tuple[float | None, ...], text: str) -> None:
    assert interval(*values) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (123.4, "123 s"),
        (1.26, "1.3 s"),
        (0.0123, "12 ms"),
        (0.4, "400 ms"),
        (4.2e-5, "42 µs"),
        (9.996e-4, "1 ms"),
        (0.9996, "1 s"),
        (99.7, "100 s"),
        (3.2e-8, "0.032 µs"),
    ],
)
def test_duration_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text
