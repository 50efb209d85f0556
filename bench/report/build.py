"""Files derived from the store: tables, figures, page and the long frame.

They can be made again at any time, so a run stores scores only once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Literal

from rich.console import Console
from rich.text import Text

from bench.configs.sections import ReportSection
from bench.memory import give_memory_back
from bench.progress import clock
from bench.report.current import FIGURES, FRAME, PAGE, STATE, TABLES, is_current, renew_source, state_of, stored_state
from bench.store.folders import RunStore
from bench.store.manifest import Manifest, set_aside
from bench.store.records import RunRecord
from bench.store.stored_files import collecting
from bench.text.transcript import Transcript

#: Number of cells from which a second process, which has to read them too, is worth its start.
MANY_CELLS = 8


def build_report(
    folder: Path,
    console: Console,
    only_if_stale: bool = False,
    said: Collection[str] = (),
    figures: Literal["", "shown", "all", "none"] = "",
    verbose: bool = False,
) -> list[str]:
    """Writes tables, figures, page and the long frame of a run, and prints the summary.

    A file that the report did not write, or that was changed since, is left as it is and named.

    Args:
        folder: a run folder.
        console: receives the summary.
        only_if_stale: make only what this code did not already make from these inputs.
        said: lines about problems that the caller prints.
        figures: which are drawn: those of the paper and of the answer, all or none; "" = as the run's config says.
        verbose: also print main scores, every verdict and what could be added.

    Returns:
        A line per stored file that is damaged, per table or figure that failed, and per file that could not be written
        because another is in its place.

    Raises:
        UserError: this is not a run folder, or a run or another report works in it.
    """
    give_memory_back()
    store = RunStore(folder)
    record = store.record  # before the lock, which makes the folder if there is none
    with store.lock(), collecting():  # ``Frames.damaged`` names them
        files = Manifest(folder, lenient=True)
        section = ReportSection.model_validate(record.config.get("report", {}))
        figures = figures or section.figures
        stored = stored_state(folder)
        state = state_of(folder, record, figures, stored, build_report)
        if only_if_stale and is_current(files, state, stored):
            renew_source(files, state, stored)
            for name in ("details", "summary") if verbose else ("summary",):
                Transcript(stored[name]).replay(console, said)
            return list(stored["damaged"])
        _make_room(files, console)
        old = stored if only_if_stale else {}
        console.print(Text("building the report", style="bright_black"))
        started = time.monotonic()
        with _second_process(folder, record, reads=not old) as pool:
            from bench.report.making import Report  # not at the top: a report that is current needs none of these
            from bench.report.two_processes import half_the_threads

            report = Report(files, record, state)
            with half_the_threads() if pool else nullcontext():
                texts = report.make(old, pool)
        for transcript in (texts.details, texts.summary) if verbose else (texts.summary,):
            transcript.replay(console, said)
        left = report.finish(texts, console)
        console.print(Text(f"report built in {clock(time.monotonic() - started)}", style="bright_black"))
        return left


@contextmanager
def _second_process(folder: Path, record: RunRecord, reads: bool) -> Iterator[ProcessPoolExecutor | None]:
    """Yields a pool of one process, which may already read the run; None for a run with few cells."""
    if len(record.cells) < MANY_CELLS:
        yield None
        return
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_follow_first) as pool:
        if reads:
            pool.submit(_read, folder)
        yield pool


def _follow_first() -> None:
    """Leaves Ctrl-C to the first process, and ends with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_first, daemon=True).start()


def _end_with_first() -> None:
    if first := parent_process():
        first.join()
        os._exit(1)


def _read(folder: Path) -> None:
    from bench.report.two_processes import frames_apart  # not at the top: see ``build_report``

    with collecting():
        frames_apart(folder)


def _make_room(files: Manifest, console: Console) -> None:
    """Sets aside derived files of versions without a manifest, because they look like files of the user."""
    derived = () if files.exists else (TABLES, FIGURES, PAGE, FRAME, STATE)
    if aside := set_aside(files.folder, derived):
        line = f"tables and figures of an earlier version are now in {aside}; delete it if you do not need them"
        console.print(Text(line, style="yellow"), soft_wrap=True)
