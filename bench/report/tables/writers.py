"""Notations of a table: CSV for programs, Markdown for reading, LaTeX (booktabs) for papers, HTML for the page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeGuard

from bench.report.tables.reported import Reported
from bench.report.tables.table import TableData
from bench.statistics.intervals import Estimate
from bench.store.manifest import Manifest
from bench.text import media

_ROUNDING = 1e-12  # error of numbers of order 1 in double precision
_SEVERAL = "n counts the images of most scores in a row; a score with another n states it."


def write_table(table: TableData, files: Manifest, stem: str) -> None:
    """Writes ``stem.csv``, ``stem.md`` and ``stem.tex``."""
    with files.replacing(f"{stem}.csv") as temporary:
        media.csv_frame(table.numbers()).to_csv(temporary, index=False)
    for suffix, text in (("md", markdown(table)), ("tex", latex(table))):
        with files.replacing(f"{stem}.{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")


def number(value: float) -> str:
    """Returns a number as tables print it: three decimals for shares, fewer for large values, 0 for rounding errors."""
    if not math.isfinite(value):
        return "–"
    if _ROUNDING < abs(value) < 0.001:
        return f"{value:.1e}"
    value = value if abs(value) > _ROUNDING else 0.0
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def entry(estimate: Estimate | Reported | None) -> str:
    """Returns ``mean [low, high]``, a dash if there is no value, or a reported value as it was printed."""
    if isinstance(estimate, Reported):
        return str(estimate)
    if estimate is None or not math.isfinite(estimate.mean):
        return "–"
    if not math.isfinite(estimate.low):
        return number(estimate.mean)
    return f"{number(estimate.mean)} [{number(estimate.low)}, {number(estimate.high)}]"


def cells(
    table: TableData, bold: Callable[[str], str], escape: Callable[[str], str] = lambda text: text
) -> list[list[str]]:
    """Returns header and rows as escaped text, with the best entries marked by ``bold``.

    The column ``n`` follows ``_counts``, and entries with another n state it; a table without numbers has no ``n``.
    """
    best = table.best()
    counted = ["n"] if table.columns else []
    lines = [[*map(escape, table.keys), *counted, *(escape(column.title) for column in table.columns)]]
    for index, (row, count) in enumerate(zip(table.rows, _counts(table), strict=True)):
        marked = []
        for value, column in zip(_values(table, row), table.columns, strict=True):
            text = escape(entry(value) + (f" (n = {value.n})" if _differs(value, count) else ""))
            marked.append(bold(text) if (index, column.name) in best else text)
        keys = [escape(table.marked.get(str(row[key]), str(row[key]))) for key in table.keys]
        lines.append([*keys, *([str(count)] if counted else []), *marked])
    return lines


def _counts(table: TableData) -> list[int]:
    """Returns for each row the n shared by most entries of the table (the first one wins); 0 if there is none."""
    found = [[value.n for value in _values(table, row) if _is_counted(value)] for row in table.rows]
    common = Counter(n for counts in found for n in counts)
    return [max(counts, key=common.__getitem__, default=0) for counts in found]


def _values(table: TableData, row: dict[str, Any]) -> list[Any]:
    return [row.get(column.name) for column in table.columns]


def _is_counted(value: Any) -> TypeGuard[Estimate]:
    return isinstance(value, Estimate) and value.n > 0 and math.isfinite(value.mean)


def _differs(value: Any, count: int) -> TypeGuard[Estimate]:
    return _is_counted(value) and value.n != count


def _notes(table: TableData) -> list[str]:
    """Returns the notes of the table, with a line about n if a row has several."""
    rows = zip(table.rows, _counts(table), strict=True)
    several = any(_differs(value, count) for row, count in rows for value in _values(table, row))
    return [*table.notes, _SEVERAL] if several else table.notes


def markdown(table: TableData) -> str:
    """Returns the caption, a pipe table and its notes."""
    header, *body = cells(table, lambda text: f"**{text}**", media.markdown)
    lines = [header, ["---"] * len(header), *body]
    lines_text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    notes = "".join(f"\n- {media.markdown_paragraph(note)}" for note in _notes(table))
    return f"{media.markdown_paragraph(table.caption)}\n\n{lines_text}\n" + (f"{notes}\n" if notes else "")


def latex(table: TableData) -> str:
    """Returns a ``table*`` with booktabs rules and a rule between data sets."""
    header, *body = cells(table, lambda text: f"\\textbf{{{text}}}", media.latex)
    lines = []
    for index, row in enumerate(body):
        if index and row[0] != body[index - 1][0]:
            lines.append(r"\midrule")
        lines.append(" & ".join(row) + r" \\")
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering",
            rf"\caption{{{media.latex(table.caption)}}}",
            rf"\begin{{tabular}}{{{'l' * len(table.keys)}{'r' * (len(header) - len(table.keys))}}}",
            r"\toprule",
            " & ".join(header) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par\footnotesize {media.latex(note)}" for note in _notes(table)),
            r"\end{table*}",
            "",
        ]
    )


def html(table: TableData) -> str:
    """Returns a plain HTML table for the page, with its notes below."""
    header, *body = cells(table, lambda text: f"<b>{text}</b>", media.html)
    head = "".join(f"<th>{text}</th>" for text in header)
    rows = "".join("<tr>" + "".join(f"<td>{text}</td>" for text in row) + "</tr>\n" for row in body)
    notes = "".join(f"<li>{media.html(note)}</li>" for note in _notes(table))
    text = f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table>"
    return text + (f'<ul class="caption">{notes}</ul>' if notes else "")
