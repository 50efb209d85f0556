"""Sentences about verdicts: one per comparison, and lines that sum up many.

They are in a file of their own because the table, the CSV file and the terminal say the same words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.report.comparisons.opponents import CONTROLS, REFERENCE
from bench.report.frames.paired import ABSENT, SUBTRACTED
from bench.report.studies.soundness import FAILS, MARK
from bench.report.tables.writers import number
from bench.statistics.comparison import ALPHA, BETTER, NO_EVIDENCE, SAME, TOO_FEW, WORSE

#: Comparisons over which p-values are adjusted: a reader may pick any metric of a family that favours a method.
TOPIC = ["dataset", "backbone", "family"]
FAMILY = [*TOPIC, "question"]
_VERBS = {
    "localisation": "locates",
    "faithfulness": "shows what the model uses",
    "consistency": "agrees with the label",
}
_FLOORS = {
    SUBTRACTED: "against random maps on the same network",
    ABSENT: "raw: no random maps on both networks",
}


def sentence(row: dict[Any, Any], several_backbones: bool = False) -> str:
    """Returns one verdict in words, with its numbers; the interval is the one that the verdict rests on."""
    where = f"{row['dataset']}, {row['backbone']}" if several_backbones else row["dataset"]
    other = f"{row['against']} (same scores: {row['coincides']})" if row["coincides"] else row["against"]
    other += f", the best of {row['best_of']} post-hoc maps," if row.get("best_of", 0) > 1 else ""
    facts = [numbers(row)]
    facts += [_FLOORS[row["floor"]]] if row["floor"] in _FLOORS else []
    facts.append(f"n = {row['n']}" + (f" in {row['groups']} groups" if row["groups"] != row["n"] else ""))
    facts += [f"{row['seeds']} seeds"] if row["seeds"] > 1 else []
    if row["verdict"] == TOO_FEW:
        grouped = row["groups"] != row["n"]
        facts.append(f"{row['needed']}{' groups' if grouped else ''} needed")
        what = "groups of images" if grouped else "images"
        return f"too few {what} to compare {row['method']} with {other} on {where} ({', '.join(facts)})"
    evidence = f"({', '.join([*facts, p_value(row), *reason(row)])})"
    if row["verdict"] in (NO_EVIDENCE, SAME):
        return f"{row['verdict']} between {row['method']} and {other} on {where} {evidence}"
    return f"{row['method']} {verb(row)} {row['verdict']} than {other} on {where} {evidence}"


def verb(row: dict[Any, Any]) -> str:
    """Returns the verb of a family of metrics."""
    return _VERBS.get(row["family"], "scores")


def numbers(row: dict[Any, Any]) -> str:
    """Returns metric, difference and interval; without the interval if there were too few images to use it."""
    mark = MARK if row["sound"] == FAILS else ""
    return f"{row['metric'].replace('_', ' ')}{mark} {difference_text(row)}"


def difference_text(row: dict[Any, Any]) -> str:
    """Returns a difference with its interval."""
    told = row["verdict"] != TOO_FEW and np.isfinite(row["low"])
    return signed(row["difference"]) + (f" [{signed(row['low'])}, {signed(row['high'])}]" if told else "")


def p_value(row: dict[Any, Any]) -> str:
    """Returns the adjusted p."""
    return "p < 0.001" if row["p_adjusted"] < 0.001 else f"p = {number(row['p_adjusted'])}"


def reason(row: dict[Any, Any]) -> list[str]:
    """Returns why there is no evidence although interval or test alone say otherwise; empty for other verdicts."""
    if row["verdict"] != NO_EVIDENCE:
        return []
    if not (row["low"] > 0 or row["high"] < 0):
        return ["the test alone would pass, but the interval includes 0"] if row["p_adjusted"] < ALPHA else []
    if row["gated"]:
        return ["the interval excludes 0, but the primary comparison, which is tested first, does not pass"]
    if row["p_adjusted"] >= ALPHA:
        return ["the interval excludes 0, but the test does not"]
    if abs(row["difference"]) <= row["margin"]:
        return [f"the interval excludes 0, but the difference does not exceed the margin of {number(row['margin'])}"]
    return ["the interval excludes 0, but the ranks of the test point the other way"]


def signed(value: float) -> str:
    """Returns a difference with its sign."""
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{number(abs(value))}"


def disagreement(verdicts: pd.DataFrame, row: dict[Any, Any]) -> list[str]:
    """Returns a line if other metrics of the family decide the same comparison the other way."""
    opposite = {BETTER: WORSE, WORSE: BETTER}.get(row["verdict"])
    keys = [*TOPIC, "head", "explainer", "their_head", "their_explainer"]
    same = np.logical_and.reduce([verdicts[key] == row[key] for key in keys])
    others = verdicts[same & (verdicts["verdict"] == opposite) & (verdicts["sound"] != FAILS)]
    if not len(others):
        return []
    named = [
        f"{name.replace('_', ' ')} {signed(value)}"
        for name, value in zip(others["metric"], others["difference"], strict=True)
    ]
    about = f"{row['dataset']}: the metrics of {row['family']} disagree on {row['method']} and {row['against']}"
    return [f"{about}: {row['verdict']} by {row['metric'].replace('_', ' ')}, {opposite} by {', '.join(named)}"]


def too_few(verdicts: pd.DataFrame) -> list[str]:
    """Returns a line about the comparisons of one data set that have too few images or groups, if there are any."""
    rows = verdicts[verdicts["verdict"] == TOO_FEW]
    if not len(rows):
        return []
    what = "groups of images" if (rows["groups"] != rows["n"]).any() else "images"
    have, needed = _range(rows["groups"]), _range(rows["needed"])
    metrics = ", ".join(name.replace("_", " ") for name in rows["metric"].unique())
    metrics = "all" if len(rows) == len(verdicts) else metrics
    about = f"{rows['dataset'].iloc[0]}: {len(rows)} comparisons with too few {what}"
    return [f"{about} ({have}, {needed} needed), in the table only: {metrics}"]


def _range(values: pd.Series) -> str:
    least, most = values.min(), values.max()
    return f"{least}" if least == most else f"{least}–{most}"


def tally(rows: pd.DataFrame) -> str:
    """Returns the verdicts of one head on one question, counted for each family of metrics."""
    question, count = rows["question"].iloc[0], rows["against"].nunique()
    maps = {CONTROLS: f"{count} controls", REFERENCE: "the reference"}.get(
        question, f"{count} other distinct post-hoc maps"
    )
    counted = [f"{family} (metrics: {part['metric'].nunique()}): {_counts(part)}" for family, part in _families(rows)]
    return f"against {maps}: {'; '.join(counted)}"


def _families(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(family), part) for family, part in rows.groupby("family", sort=False)]


def _counts(rows: pd.DataFrame) -> str:
    counts = rows["verdict"].value_counts()
    said = {BETTER: "better", WORSE: "worse", SAME: "without a relevant difference"}
    said |= {NO_EVIDENCE: "without evidence", TOO_FEW: "with too few images"}
    parts = [f"{counts[verdict]} {word}" for verdict, word in said.items() if verdict in counts]
    failing = (rows["verdict"].isin([BETTER, WORSE]) & (rows["sound"] == FAILS)).sum()
    parts += [f"{failing} of the better or worse by metrics that fail{MARK}"] if failing else []
    return ", ".join(parts)
