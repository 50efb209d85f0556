"""Sentences about verdicts: one per comparison, and lines that sum up many.

They are in a file of their own because the table, the CSV file and the terminal say the same words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.report.frames.paired import ABSENT, SUBTRACTED
from bench.report.studies.soundness import FAILS, MARK
from bench.report.tables.writers import number
from bench.statistics.comparison import BETTER, NO_EVIDENCE, SAME, TOO_FEW, WORSE

#: Comparisons over which p-values are adjusted: a reader may pick any metric of a family that favours a method.
FAMILY = ["dataset", "backbone", "family"]
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
    """Returns one verdict in words, with its numbers."""
    where = f"{row['dataset']}, {row['backbone']}" if several_backbones else row["dataset"]
    mark = MARK if row["sound"] == FAILS else ""
    facts = [f"{row['metric'].replace('_', ' ')}{mark} {signed(row['difference'])}"]
    if np.isfinite(row["low"]):
        facts[0] += f" [{signed(row['low'])}, {signed(row['high'])}]"
    facts += [_FLOORS[row["floor"]]] if row["floor"] in _FLOORS else []
    facts.append(f"n = {row['n']}" + (f" in {row['groups']} groups" if row["groups"] != row["n"] else ""))
    facts += [f"{row['seeds']} seeds"] if row["seeds"] > 1 else []
    if row["verdict"] == TOO_FEW:
        grouped = row["groups"] != row["n"]
        facts.append(f"{row['needed']}{' groups' if grouped else ''} needed")
        what = "groups of images" if grouped else "images"
        return f"too few {what} to compare {row['method']} with {row['against']} on {where} ({', '.join(facts)})"
    p = "p < 0.001" if row["p_holm"] < 0.001 else f"p = {number(row['p_holm'])}"
    evidence = f"({', '.join([*facts, p])})"
    if row["verdict"] in (NO_EVIDENCE, SAME):
        return f"{row['verdict']} between {row['method']} and {row['against']} on {where} {evidence}"
    verb = _VERBS.get(row["family"], "scores")
    return f"{row['method']} {verb} {row['verdict']} than {row['against']} on {where} {evidence}"


def signed(value: float) -> str:
    """Returns a difference with its sign."""
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{number(abs(value))}"


def disagreement(verdicts: pd.DataFrame, row: dict[Any, Any]) -> list[str]:
    """Returns a line if other metrics of the family decide the same comparison the other way."""
    opposite = {BETTER: WORSE, WORSE: BETTER}.get(row["verdict"])
    keys = [*FAMILY, "head", "explainer", "their_head", "their_explainer"]
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
    """Returns the verdicts of one head, counted."""
    counts = rows["verdict"].value_counts()
    said = {BETTER: "better", WORSE: "worse", SAME: "without a relevant difference"}
    said |= {NO_EVIDENCE: "without evidence", TOO_FEW: "with too few images"}
    parts = [f"{counts[verdict]} {word}" for verdict, word in said.items() if verdict in counts]
    failing = (rows["verdict"].isin([BETTER, WORSE]) & (rows["sound"] == FAILS)).sum()
    parts += [f"{failing} of the better or worse by metrics that fail{MARK}"] if failing else []
    return (
        f"{len(rows)} comparisons with {rows['against'].nunique()} post-hoc methods in "
        f"{rows['metric'].nunique()} metrics: {', '.join(parts)}"
    )
