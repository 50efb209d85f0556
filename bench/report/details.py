"""Details of a run on the terminal: main scores, every verdict and everything that was left out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.report.comparisons.verdict_lines import print_verdicts
from bench.report.failure_modes import Signature
from bench.report.frames.load import Frames
from bench.report.gaps import Missing, missing_lines
from bench.report.sweeps.domains import SHOWN, shown_columns
from bench.report.tables.table import Column, FrameTable, TableData
from bench.report.tables.writers import entry, number
from bench.text.transcript import Transcript

_POST_HOC = 3


def print_details(
    frames: Frames,
    tables: dict[str, TableData],
    signs: list[Signature],
    missing: Iterable[Missing],
    console: Console | Transcript,
) -> None:
    """Prints accuracy, inherent maps, the best post-hoc ones and the controls, all verdicts, warnings and gaps.

    Args:
        frames: the run.
        tables: by file name.
        signs: of failure; printed in yellow with their advice.
        missing: results that could be added.
        console: to print on.
    """
    if "classification" in tables:
        console.print(_classification(tables["classification"]), "")
    explanations = _explanations(frames, tables)
    if explanations.row_count:
        console.print(explanations, "")
    for line in model_lines(frames):
        console.print(Text(line), soft_wrap=True)
    for line in map(str, signs):
        console.print(Text(line, style="yellow"), soft_wrap=True)
    verdicts = tables.get("verdicts")
    print_verdicts(verdicts.frame if isinstance(verdicts, FrameTable) else pd.DataFrame(), console)
    for line in missing_lines(frames, missing):
        console.print(Text(line, style="yellow"), soft_wrap=True)


def _classification(data: TableData) -> Table:
    shown = [column for column in data.columns if column.name in ("accuracy", "auc", "sensitivity", "specificity")]
    table = Table(*data.keys, *(column.title for column in shown), title="Classification", box=None, pad_edge=False)
    for row in data.rows:
        table.add_row(*(str(row[key]) for key in data.keys), *(entry(row[column.name]) for column in shown))
    return table


def _explanations(frames: Frames, tables: dict[str, TableData]) -> Table:
    columns = {name: shown_columns(tables[name], name) for name in SHOWN if name in tables}
    titles = [column.title for shown in columns.values() for column in shown]
    if not titles:
        return Table()
    table = Table("data set", "explainer", "head", *titles, title="Explanations", box=None, pad_edge=False)
    merged: dict[tuple[str, ...], dict[str, str]] = {}
    for name, shown in columns.items():
        for row in tables[name].rows:
            texts = merged.setdefault(tuple(row[key] for key in tables[name].keys), {})
            texts |= {column.title: number(row[column.name].mean) for column in shown if column.name in row}
    kept = _kept(frames, tables)
    for key, texts in merged.items():
        if key in kept:
            dataset, _, explainer, head = key
            table.add_row(dataset, explainer, head, *(texts.get(title, "–") for title in titles))
    return table


def _directed(table: TableData) -> list[Column]:
    return [column for column in table.columns if column.better is not None]


def _kept(frames: Frames, tables: dict[str, TableData]) -> set[tuple[str, ...]]:
    """Returns all inherent methods and controls, and the post-hoc methods that are best in the first column."""
    shown = [tables[name] for name in SHOWN if name in tables]
    methods = frames.record.explainers
    rows = [(table, row) for table in shown for row in table.rows]
    kept = {_key(table, row) for table, row in rows if methods[row["explainer"]].family != "post-hoc"}
    table, column = next((table, _directed(table)[0]) for table in shown if _directed(table))
    ranked: dict[tuple[str, str], list[tuple[float, tuple[str, ...]]]] = {}
    for row in table.rows:
        if methods[row["explainer"]].family == "post-hoc" and column.name in row:
            score = row[column.name].mean * (1 if column.better else -1)
            ranked.setdefault((row["dataset"], row["backbone"]), []).append((score, _key(table, row)))
    for best in ranked.values():
        kept |= {key for _, key in sorted(best, reverse=True)[:_POST_HOC]}
    return kept


def _key(table: TableData, row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[key] for key in table.keys)


def model_lines(frames: Frames) -> list[str]:
    """Returns lines per data set about doubts, the use of the lesions by the models, and brightness alone."""
    lines = []
    for name, facts in frames.record.datasets.items():
        lines += [f"{name}: please check: {line}" for line in facts.doubts]
        if facts.brightness_auc is not None:
            lines.append(f"{name}: brightness statistics alone reach an AUC of {number(facts.brightness_auc)}")
        cells = frames.cells[frames.cells["dataset"] == name]
        if line := twin_line(name, cells, "free of the finding" if facts.multilabel else "healthy"):
            lines.append(line)
    return lines


def twin_line(name: str, cells: pd.DataFrame, healthy: str = "healthy") -> str:
    """Returns a line about the use of the lesions by the models of a data set; empty if it is unknown.

    Args:
        name: of the data set.
        cells: its cells.
        healthy: the word for images without lesions.
    """
    known = [record.lesion_reliance for record in cells["record"] if record.lesion_reliance]
    models = [one for one in known if one.true_positives]
    if not models:
        return ""
    shares = _range([f"{share:.0%}" for share in sorted(one.called_healthy for one in models)])
    counts = _range(sorted(one.true_positives for one in models))
    of = "1 model" if len(models) == 1 else f"range over {len(models)} models"
    return f"{name}: without their lesions {shares} of the true positives are called {healthy} ({of}, n = {counts})"


def _range(ordered: list[Any]) -> str:
    return f"{ordered[0]}" if ordered[0] == ordered[-1] else f"{ordered[0]}–{ordered[-1]}"
