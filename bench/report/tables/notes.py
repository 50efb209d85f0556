"""Notes below tables and figures of localisation: what the masks cover, and how maps are drawn."""

from __future__ import annotations

from collections.abc import Iterable

from bench.report.frames.load import Frames
from bench.report.frames.paired import title
from bench.report.tables.paper import PRECISIONS
from bench.report.tables.table import TableData
from bench.store.records import CellRecord

FAMILY = "localisation"


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


def _metric(row: dict[str, object]) -> str:
    """Returns the metric of a row by its registered name."""
    return str(row.get("metric", "")).rstrip(" ↑↓†").replace(" ", "_")
