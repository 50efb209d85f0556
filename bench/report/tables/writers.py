"""Notations of a table: CSV for programs, Markdown for reading, LaTeX (booktabs) for papers, HTML for the page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard

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
    entries = entries_of(table)
    for suffix, text in (("md", markdown(table, entries)), ("tex", latex(table, entries))):
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


class Entries(NamedTuple):
    """Text of a table before it is escaped.

    Attributes:
        counts: the n of each row (``_counts``).
        rows: text of each entry, which states another n than that of its row, and whether it is the best.
        several: whether an entry has another n than its row.
    """

    counts: list[int]
    rows: list[list[tuple[str, bool]]]
    several: bool


def entries_of(table: TableData) -> Entries:
    """Returns the entries of a table as text."""
    best, counts, several = table.best(), _counts(table), False
    rows = []
    for index, (row, count) in enumerate(zip(table.rows, counts, strict=True)):
        texts = []
        for value, column in zip(_values(table, row), table.columns, strict=True):
            differs = _is_counted(value) and value.n != count
            several = several or differs
            texts.append((entry(value) + (f" (n = {value.n})" if differs else ""), (index, column.name) in best))
        rows.append(texts)
    return Entries(counts, rows, several)


def cells(
    table: TableData,
    entries: Entries,
    bold: Callable[[str], str],
    escape: Callable[[str], str] = lambda text: text,
) -> list[list[str]]:
    """Returns header and rows as escaped text, with the best entries marked by ``bold``.

    The column ``n`` follows the keys; a table without numbers has none.
    """
    counted = ["n"] if table.columns else []
    lines = [[*map(escape, table.keys), *counted, *(escape(column.title) for column in table.columns)]]
    for row, count, texts in zip(table.rows, entries.counts, entries.rows, strict=True):
        keys = [escape(table.marked.get(str(row[key]), str(row[key]))) for key in table.keys]
        marked = [bold(escape(text)) if best else escape(text) for text, best in texts]
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


def _notes(table: TableData, entries: Entries) -> list[str]:
    """Returns the notes of the table, with a line about n if a row has several."""
    return [*table.notes, _SEVERAL] if entries.several else table.notes


def markdown(table: TableData, entries: Entries | None = None) -> str:
    """Returns the caption, a pipe table and its notes."""
    entries = entries or entries_of(table)
    header, *body = cells(table, entries, lambda text: f"**{text}**", media.markdown)
    lines = [header, ["---"] * len(header), *body]
    lines_text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    notes = "".join(f"\n- {media.markdown_paragraph(note)}" for note in _notes(table, entries))
    return f"{media.markdown_paragraph(table.caption)}\n\n{lines_text}\n" + (f"{notes}\n" if notes else "")


def latex(table: TableData, entries: Entries | None = None) -> str:
    """Returns a ``table*`` with booktabs rules and a rule between data sets."""
    entries = entries or entries_of(table)
    header, *body = cells(table, entries, lambda text: f"\\textbf{{{text}}}", media.latex)
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
            *(rf"\par\footnotesize {media.latex(note)}" for note in _notes(table, entries)),
            r"\end{table*}",
            "",
        ]
    )


def html(table: TableData) -> str:
    """Returns a plain HTML table for the page, with its notes below."""
    entries = entries_of(table)
    header, *body = cells(table, entries, lambda text: f"<b>{text}</b>", media.html)
    head = "".join(f"<th>{text}</th>" for text in header)
    rows = "".join("<tr>" + "".join(f"<td>{text}</td>" for text in row) + "</tr>\n" for row in body)
    notes = "".join(f"<li>{media.html(note)}</li>" for note in _notes(table, entries))
    text = f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table>"
    return text + (f'<ul class="caption">{notes}</ul>' if notes else "")
