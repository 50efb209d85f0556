"""Everything derived from the store: tables, figures, page and the long frame."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.devices import give_memory_back
from bench.files import read_json, write_json
from bench.report.collect import every_table, lacking
from bench.report.counterfactual import counterfactual_rows, with_counterfactual
from bench.report.decisions import Decisions, weigh
from bench.report.figures import draw_figures
from bench.report.formats import html, write_table
from bench.report.frames import Frames, load_frames, with_registered
from bench.report.long_frame import write_long_frame
from bench.report.page import write_page
from bench.report.reported import FILE as REPORTED
from bench.report.signatures import Signature, add_notes, signatures
from bench.report.summary import print_summary
from bench.report.tables import TableData
from bench.report.verdicts import print_verdicts
from bench.store import RunStore, digest, source_digest

#: From so many cells on a second process, which has to read them too, is worth its start.
_MANY = 8


def build_report(folder: Path, console: Console, only_if_stale: bool = False) -> None:
    """Write tables, figures, page and the long frame of a run, and print the summary.

    Args:
        folder: a run folder.
        only_if_stale: leave the files alone where they were already made of these scores by this code.

    Raises:
        UserError: this is not a run folder.
    """
    give_memory_back()
    record = with_registered(RunStore(folder).record)
    state = _state(folder, record)
    is_stale = not (only_if_stale and read_json(folder / "report.json") == state)
    with _figures(folder, record, is_stale) as drawn:
        frames = _frames(folder, record)
        signs, decisions = signatures(frames), weigh(frames)
        tables = every_table(frames, decisions)
        add_notes(tables, signs)
        if is_stale:
            _write(frames, tables, signs, decisions, drawn)
            write_json(folder / "report.json", state)
    print_summary(frames, tables, signs, console)
    print_verdicts(decisions.verdicts, console)
    for line in lacking(frames, decisions):
        console.print(line, style="yellow", markup=False, soft_wrap=True)


def _write(
    frames: Frames,
    tables: dict[str, TableData],
    signs: list[Signature],
    decisions: Decisions,
    drawn: Callable[[Frames], dict[str, str]],
) -> None:
    """All files but the last; what can be done while the figures are drawn comes before asking for them."""
    folder = frames.store.folder
    for name, table in tables.items():
        write_table(table, folder / "tables", name)
    write_long_frame(frames, counterfactual_rows(frames), folder / "scores.parquet")
    pages = {name: (table.caption, html(table)) for name, table in tables.items()}
    ours = decisions.draw(frames, folder / "figures")
    captions = drawn(frames) | ours
    _remove_others(folder / "tables", tables)
    _remove_others(folder / "figures", captions)
    write_page(frames, captions, pages, signs, folder / "report.html")


def _frames(folder: Path, record: dict[str, Any]) -> Frames:
    return with_counterfactual(replace(load_frames(folder), record=record))


@contextmanager
def _figures(folder: Path, record: dict[str, Any], is_stale: bool) -> Iterator[Callable[[Frames], dict[str, str]]]:
    """Gives the captions once the figures are drawn: of many cells by a second process, beside the tables."""
    if not is_stale:
        yield lambda frames: {}
    elif len(record["cells"]) < _MANY:
        yield lambda frames: draw_figures(frames, folder / "figures")
    else:
        ignore = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's
        with ProcessPoolExecutor(1, get_context("spawn"), initializer=signal.signal, initargs=ignore) as pool:
            drawing = pool.submit(_draw, folder, record)
            yield lambda frames: _result(drawing) or draw_figures(frames, folder / "figures")


def _result(drawing: Future[dict[str, str]]) -> dict[str, str]:
    """Empty where the second process died, as under a script without a main guard or when memory runs out."""
    try:
        return drawing.result()
    except BrokenProcessPool:
        return {}


def _draw(folder: Path, record: dict[str, Any]) -> dict[str, str]:
    """The record is that of the first process: nothing is registered here that could complete an older one."""
    give_memory_back()
    return draw_figures(_frames(folder, record), folder / "figures")


def _remove_others(folder: Path, stems: Iterable[str]) -> None:
    """Files of an earlier plan would pass for this one's."""
    kept = {folder / stem for stem in stems}
    for file in [file for file in folder.rglob("*") if file.is_file()]:
        if file.with_name(file.stem) not in kept:
            file.unlink()
    for inner in [inner for inner in folder.rglob("*") if inner.is_dir() and not any(inner.iterdir())]:
        inner.rmdir()


def _state(folder: Path, record: dict[str, Any]) -> dict[str, str]:
    """What the derived files depend on."""
    scores = [(str(file), file.stat().st_mtime_ns) for file in sorted((folder / "cells").rglob("*.*"))]
    images = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted((folder / "data").glob("*.*"))]
    facts = {key: value for key, value in record.items() if key not in ("started", "finished")}
    others = [file.read_text(encoding="utf-8") for file in (Path(__file__).with_name("page.html"), REPORTED)]
    code = [source_digest(build_report), *others]
    return {"scores": digest(scores, images, facts), "code": digest(code)}
