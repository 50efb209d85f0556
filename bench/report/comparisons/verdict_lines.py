"""Verdicts on the terminal: which differences matter, each question in turn, and the counts of each head."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from rich.console import Console
from rich.text import Text

from bench.report.comparisons.choices import leading, spoken
from bench.report.comparisons.opponents import CONTROLS, REFERENCE
from bench.report.comparisons.verdict_sentences import (
    difference_text,
    disagreement,
    p_value,
    reason,
    tally,
    too_few,
    verb,
)
from bench.report.studies.soundness import FAILS, MARK
from bench.report.tables.writers import number
from bench.statistics.comparison import BETTER, TOO_FEW, WORSE
from bench.text.transcript import Transcript

_TITLE = (
    "Verdicts: each own map in the leading metric of a family (the first that has enough images and does not fail), "
    "against controls, the reference and the best post-hoc method"
)


def print_verdicts(verdicts: pd.DataFrame, console: Console | Transcript) -> None:
    """Prints per data set the margins, the main sentences, the metrics with too few images, and the counts."""
    if not len(verdicts):
        return
    console.print(Text(_TITLE, style="italic"))
    for dataset, rows in verdicts.groupby("dataset", sort=False):
        for line in [*lines(rows), *(f"  {one}" for one in too_few(rows))]:
            console.print(Text(line), soft_wrap=True)
        for (method, _), part in rows.groupby(["method", "question"], sort=False):
            console.print(Text(f"  {dataset}, {method}, {tally(part)}", style="bright_black"), soft_wrap=True)
    if (verdicts["sound"] == FAILS).any():
        console.print(Text(f"{MARK} fails on maps of known quality: see metric_soundness"), soft_wrap=True)
    console.print()


def lines(verdicts: pd.DataFrame) -> Iterator[str]:
    """Yields the lines about the leading metrics of one data set: margins, then one question after the other."""
    rows = leading(verdicts)
    if len(rows):
        yield margins(rows)
    rows = rows[rows["verdict"] != TOO_FEW]
    for _, part in rows[rows["question"] == CONTROLS].groupby(["method", "family"], sort=False):
        yield from (f"- {one}" for one in against_controls(part))
    reference = rows[rows["question"] == REFERENCE]
    best = spoken(verdicts)
    for part in (reference, best):
        for row in part.to_dict("records"):
            yield f"- {row['sentence']}"
            if part is best:
                yield from (f"  {one}" for one in disagreement(verdicts, row))


def margins(rows: pd.DataFrame) -> str:
    """Returns the smallest differences that matter in the metrics of these rows of one data set."""
    named = [
        f"{row['metric'].replace('_', ' ')} {number(row['margin'])} ({row['margin_is']})"
        for row in rows.drop_duplicates("metric").to_dict("records")
    ]
    return f"{rows['dataset'].iloc[0]}: smaller differences do not matter: {', '.join(named)}"


def against_controls(rows: pd.DataFrame) -> Iterator[str]:
    """Yields one sentence per verdict of an own map on the controls, in one metric."""
    for word, part in rows.groupby("verdict", sort=False):
        verdict = str(word)
        first = part.iloc[0].to_dict()
        named = [
            f"{row['against']} ({', '.join([difference_text(row), p_value(row), *reason(row)])})"
            for row in part.to_dict("records")
        ]
        others = " and ".join(filter(None, [", ".join(named[:-1]), named[-1]]))
        where = f"on {first['dataset']} in {first['metric'].replace('_', ' ')}, n = {first['n']}"
        if verdict in (BETTER, WORSE):
            yield f"{first['method']} {verb(first)} {verdict} than {others} {where}"
        else:
            yield f"{verdict} between {first['method']} and {others} {where}"
