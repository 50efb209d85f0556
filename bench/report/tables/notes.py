"""Notes below tables: what masks cover, how maps are drawn, and metrics that are not identified."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bench.report.frames.load import Frames
from bench.report.frames.paired import title
from bench.report.frames.settings import explained_by_logit
from bench.report.tables.paper import PRECISIONS
from bench.report.tables.table import TableData
from bench.store.records import CellRecord

FAMILY = "localisation"
#: Refers to the note about a metric that the run does not identify.
MARK = "‡"


def masks_note(frames: Frames, datasets: Iterable[str]) -> str:
    """Returns a sentence about the data sets whose masks do not show just the lesion; empty if there are none."""
    known = {name: frames.record.datasets[name].mask_is for name in dict.fromkeys(datasets)}
    texts = [f"{name}: {text}" for name, text in known.items() if text]
    return f"What counts as lesion is a stand-in on {'; '.join(texts)}." if texts else ""


def alignment_note(frames: Frames) -> str:
    """Returns sentences on how maps on a feature grid are drawn; empty if the run has no such maps."""
    finished = frames.cells[frames.cells["status"] == "ok"]
    records: list[CellRecord] = list(finished["record"])
    if not records or not any(facts.grid == "features" for facts in frames.record.explainers.values()):
        return ""
    if not any(record.align == "receptive-field" for record in records):
        return "Cells of feature maps are drawn evenly over the image (align = grid)."
    backbones = map(str, finished["backbone"])
    unknown = [name for name, record in zip(backbones, records, strict=True) if record.geometry is None]
    names = ", ".join(dict.fromkeys(unknown))
    exception = f" Unknown for {names}, whose cells are drawn evenly over the image." if names else ""
    return f"Cells of feature maps are drawn where they look (align = receptive-field).{exception}"


def note_alignment(frames: Frames, tables: dict[str, TableData]) -> None:
    """Adds that note below the main tables of localisation and faithfulness."""
    note = alignment_note(frames)
    for name in (FAMILY, "faithfulness"):
        if note and name in tables:
            tables[name].notes.append(note)


def note_masks(frames: Frames, tables: dict[str, TableData]) -> None:
    """Adds that sentence below every table that shows localisation."""
    metrics = {title(metric) for metric in frames.record.metrics if metric.family == FAMILY}
    localises = metrics | {f"gain_{FAMILY}"} | {column.name for column in PRECISIONS.values()}
    for table in tables.values():
        columns = {column.name for column in table.columns}
        rows = table.rows
        if not columns & localises:
            rows = [row for row in rows if _metric(row) in metrics]
        across = columns & set(frames.record.datasets) if rows else set()
        shown = {str(row["dataset"]) for row in rows if "dataset" in row} | across
        note = masks_note(frames, [name for name in frames.record.datasets if name in shown])
        table.notes += [note] if note else []


def mark_unidentified(frames: Frames, tables: dict[str, TableData]) -> None:
    """Marks metrics that read the zero of maps of logits, in columns and rows, and adds a note below the table."""
    datasets = explained_by_logit(frames)
    unidentified = [title(metric) for metric in frames.record.metrics if metric.uses_zero] if datasets else []
    for table in tables.values():
        named = [column.name for column in table.columns if column.name in unidentified]
        table.columns = [replace(one, mark=one.mark + MARK) if one.name in named else one for one in table.columns]
        if "metric" in table.keys:
            for text in dict.fromkeys(str(row["metric"]) for row in table.rows):
                if (bare := text.rstrip(" ↑↓†").replace(" ", "_")) in unidentified:
                    table.marked[text] = table.marked.get(text, text) + MARK
                    named.append(bare)
        if named:
            table.notes.append(
                f"{MARK} not identified on {', '.join(datasets)}: {', '.join(dict.fromkeys(named))}. Adding a constant "
                'to the evidence of all classes changes them, but no prediction; target = "contrast" identifies them.'
            )


def _metric(row: dict[str, object]) -> str:
    """Returns the metric of a row by its registered name."""
    return str(row.get("metric", "")).rstrip(" ↑↓†").replace(" ", "_")
