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

from bench.files import read_json, write_json
from bench.report.collect import every_table, lacking
from bench.report.counterfactual import counterfactual_rows, with_counterfactual
from bench.report.decisions import weigh
from bench.report.figures import draw_figures
from bench.report.formats import html, write_table
from bench.report.frames import Frames, load_frames
from bench.report.long_frame import write_long_frame
from bench.report.page import write_page
from bench.report.reported import FILE as REPORTED
from bench.report.signatures import add_notes, signatures
from bench.report.summary import print_summary
from bench.report.verdicts import print_verdicts
from bench.store import digest, source_digest

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
    frames = _frames(folder)
    is_stale = not (only_if_stale and read_json(folder / "report.json") == _state(frames))
    with _figures(frames, is_stale) as drawn:
        signs, decisions = signatures(frames), weigh(frames)
        tables = every_table(frames, decisions)
        add_notes(tables, signs)
        captions = drawn()
    if is_stale:
        for name, table in tables.items():
            write_table(table, folder / "tables", name)
        write_long_frame(frames, counterfactual_rows(frames), folder / "scores.parquet")
        captions |= decisions.draw(frames, folder / "figures")
        _remove_others(folder / "tables", tables)
        _remove_others(folder / "figures", captions)
        pages = {name: (table.caption, html(table)) for name, table in tables.items()}
        write_page(frames, captions, pages, signs, folder / "report.html")
        write_json(folder / "report.json", _state(frames))
    print_summary(frames, tables, signs, console)
    print_verdicts(decisions.verdicts, console)
    for line in lacking(frames, decisions):
        console.print(line, style="yellow", markup=False, soft_wrap=True)


def _frames(folder: Path) -> Frames:
    return with_counterfactual(load_frames(folder))


@contextmanager
def _figures(frames: Frames, is_stale: bool) -> Iterator[Callable[[], dict[str, str]]]:
    """Gives the captions once the figures are drawn: of many cells by a second process, beside the tables."""
    folder = frames.store.folder
    if not is_stale:
        yield dict
    elif len(frames.cells) < _MANY:
        yield lambda: draw_figures(frames, folder / "figures")
    else:
        ignore = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's
        with ProcessPoolExecutor(1, get_context("spawn"), initializer=signal.signal, initargs=ignore) as pool:
            drawing = pool.submit(_draw, folder, frames.record)
            yield lambda: _result(drawing) or draw_figures(frames, folder / "figures")


def _result(drawing: Future[dict[str, str]]) -> dict[str, str]:
    """Empty where the second process died, as under a script without a main guard or when memory runs out."""
    try:
        return drawing.result()
    except BrokenProcessPool:
        return {}


def _draw(folder: Path, record: dict[str, Any]) -> dict[str, str]:
    """The record is that of the first process: nothing is registered here that could complete an older one."""
    return draw_figures(replace(_frames(folder), record=record), folder / "figures")


def _remove_others(folder: Path, stems: Iterable[str]) -> None:
    """Files of an earlier plan would pass for this one's."""
    kept = {folder / stem for stem in stems}
    for file in [file for file in folder.rglob("*") if file.is_file()]:
        if file.with_name(file.stem) not in kept:
            file.unlink()
    for inner in [inner for inner in folder.rglob("*") if inner.is_dir() and not any(inner.iterdir())]:
        inner.rmdir()


def _state(frames: Frames) -> dict[str, str]:
    """What the derived files depend on."""
    folder = frames.store.folder
    scores = [(str(file), file.stat().st_mtime_ns) for file in sorted((folder / "cells").rglob("*.*"))]
    images = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted((folder / "data").glob("*.*"))]
    facts = {key: value for key, value in frames.record.items() if key not in ("started", "finished")}
    others = [file.read_text(encoding="utf-8") for file in (Path(__file__).with_name("page.html"), REPORTED)]
    code = [source_digest(build_report), *others]
    return {"scores": digest(scores, images, facts), "code": digest(code)}
