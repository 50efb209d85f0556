"""Tiny stored runs to merge, and changes to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from bench.commands.merge.command import merge_runs
from bench.store.folders import CellStore, RunStore
from bench.store.records import CellKey
from bench.store.scores import write_scores
from tests.support.report_store import make_run

QUIET = Console(quiet=True)


def one_run(folder: Path, **arguments: Any) -> RunStore:
    """A run of one data set, whose images have digests."""
    store = make_run(folder, **{"datasets": ("first",)} | arguments)
    change_data(store, digests={"test": "1", "explain": "2"})
    return store


def two_runs(folder: Path, **changes: Any) -> tuple[RunStore, RunStore]:
    """Runs ``a`` and ``b`` of the same data set, each with one head; ``changes`` are arguments of the second."""
    return one_run(folder / "a", heads=("plain",)), one_run(folder / "b", **{"heads": ("own",)} | changes)


def merge(folder: Path, *names: str, out: str = "merged", report: bool = False) -> list[str]:
    """Merges runs of a folder into another one in it; most tests do not need the report, which takes seconds."""
    with pytest.MonkeyPatch.context() as patched:
        if not report:
            patched.setattr("bench.commands.merge.command.build_report", lambda *arguments, **options: [])
        return merge_runs([folder / name for name in names], folder / out, QUIET)


def change(store: RunStore, **facts: Any) -> None:
    store.write_record(store.record.changed(**facts))


def change_data(store: RunStore, **facts: Any) -> None:
    """Changes facts of every data set."""
    change(store, datasets={name: one.changed(**facts) for name, one in store.record.datasets.items()})


def change_cells(store: RunStore, **facts: Any) -> None:
    for key in store.record.cells:
        store.cell(key).note(**facts)


def rewrite(cell: CellStore, name: str, edit: Callable[[pd.DataFrame], pd.DataFrame], **metadata: str) -> None:
    """Replaces the scores of an explainer, as a run does."""
    file = cell.scores_file(name)
    about = cell.metadata(file) | metadata
    write_scores(cell.files.writing(file), [edit(pd.read_parquet(file))], **about)


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Returns every file of a folder with its digest and time."""
    return {
        file.relative_to(folder).as_posix(): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def first_cell(store: RunStore, head: str) -> CellStore:
    return store.cell(CellKey("first", "small", head, 0))
