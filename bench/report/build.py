"""Files derived from the store: tables, figures, page and the long frame.

They can be made again at any time, so a run stores scores only once.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from bench.files import file_digest
from bench.memory import give_memory_back
from bench.report.answer.compute import answer_of
from bench.report.answer.files import write_results
from bench.report.answer.model import Answer
from bench.report.answer.results import FILE as RESULTS
from bench.report.answer.results import results_of
from bench.report.contents import COMPARISONS, OTHERS, draw_figures, every_table, missing
from bench.report.details import print_details
from bench.report.failure_modes import Signature, add_notes, signatures
from bench.report.failures import FOLDER, Failures
from bench.report.figures.style import Caption
from bench.report.frames.load import Frames, load_frames, write_long_frame
from bench.report.gaps import faults
from bench.report.page.inline import sources
from bench.report.page.page import write_page
from bench.report.page.section import Content
from bench.report.studies.counterfactual import counterfactual_rows, with_counterfactual
from bench.report.summary import print_summary
from bench.report.tables.reported import FILE as REPORTED
from bench.report.tables.table import TableData
from bench.report.tables.writers import write_table
from bench.store.code_digest import code_digest, digest
from bench.store.folders import RunStore
from bench.store.manifest import Manifest, set_aside
from bench.store.records import RunRecord
from bench.store.stored_files import collecting

#: Number of cells from which a second process, which has to read them too, is worth its start.
MANY_CELLS = 8
_TABLES, _FIGURES, _PAGE, _FRAME, _STATE = "tables", "figures", "report.html", "scores.parquet", "report.json"
_NAMED = 5


def build_report(
    folder: Path, console: Console, only_if_stale: bool = False, said: Collection[str] = (), verbose: bool = False
) -> list[str]:
    """Writes tables, figures, page and the long frame of a run, and prints the summary.

    A file that the report did not write, or that was changed since, is left as it is and named.

    Args:
        folder: a run folder.
        console: receives the summary.
        only_if_stale: leave the files alone if this code already made them from these scores.
        said: lines about problems that the caller prints.
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
        return _build(folder, record, console, only_if_stale, said, verbose)


def _build(
    folder: Path, record: RunRecord, console: Console, only_if_stale: bool, said: Collection[str], verbose: bool
) -> list[str]:
    state = _state(folder, record)
    files, failures = Manifest(folder, lenient=True), Failures()
    is_stale = not (only_if_stale and _is_current(files, state))
    if is_stale:
        _make_room(files, console)
    with _figures(files, record, failures, is_stale) as drawn:
        frames = _frames(folder, failures)
        signs, tables = _content(frames, failures)
        answer = Answer()
        with failures.noting("answer"):
            answer = answer_of(frames, tables, signs)
        if is_stale:
            _write(files, frames, tables, signs, answer, drawn, failures)
    if verbose:
        with failures.noting("details"):
            print_details(frames, tables, signs, missing(frames, failures), console)
    with failures.noting("summary"):
        problems = [line for line in faults(frames) if line not in said]
        print_summary(answer, list(record.absent), problems, folder, console)
    left = [*frames.damaged, *_said(failures, console)]
    return [*left, *(_finish(files, state, failures, console) if is_stale else [])]


def _content(frames: Frames, failures: Failures) -> tuple[list[Signature], dict[str, TableData]]:
    """Returns the signs of failure, and every table with those that concern it."""
    signs: list[Signature] = []
    with failures.noting("warning signs"):
        signs = signatures(frames)
    tables = every_table(frames, failures)
    add_notes(tables, signs)
    return signs, tables


def _said(failures: Failures, console: Console) -> list[str]:
    """Prints and returns the line of every failure."""
    for line in failures.lines:
        console.print(Text(line, style="red"), soft_wrap=True)
    return failures.lines


def _write(
    files: Manifest,
    frames: Frames,
    tables: dict[str, TableData],
    signs: list[Signature],
    answer: Answer,
    drawn: Callable[[Frames], dict[str, Caption]],
    failures: Failures,
) -> None:
    """Writes tables and page; everything that does not need the figures runs while they are drawn."""
    for name, table in tables.items():
        with failures.noting(f"files of table {name}"):
            write_table(table, files.inside(_TABLES), name)
    with failures.noting(_FRAME):
        write_long_frame(frames, counterfactual_rows(frames), files.replacing(_FRAME))
    with failures.noting(RESULTS):
        write_results(results_of(frames, tables, answer), files)
    ours = draw_figures(frames, files.inside(_FIGURES), COMPARISONS, failures)
    captions = drawn(frames) | ours
    with failures.noting(_PAGE):
        content = Content(frames, answer, tables, captions, signs, files.folder / _FIGURES, failures)
        write_page(content, files.replacing(_PAGE))


def _make_room(files: Manifest, console: Console) -> None:
    """Sets aside derived files of versions without a manifest, because they look like files of the user."""
    derived = () if files.exists else (_TABLES, _FIGURES, _PAGE, _FRAME, _STATE)
    if aside := set_aside(files.folder, derived):
        line = f"tables and figures of an earlier version are now in {aside}; delete it if you do not need them"
        console.print(Text(line, style="yellow"), soft_wrap=True)


def _finish(files: Manifest, state: dict[str, str], failures: Failures, console: Console) -> list[str]:
    """Removes files of an earlier plan, and returns a line per file that could not be written."""
    failures.write(files)
    foreign = files.tidy(_TABLES, _FIGURES, FOLDER)
    if files.kept or failures.lines:
        files.remove(_STATE)  # the next run then tries again
    else:
        if files.was_written(_STATE) and _stored_state(files.folder) is None:  # damaged: it holds nothing of the user
            (files.folder / _STATE).unlink(missing_ok=True)
        with files.replacing(_STATE) as temporary:
            content = state | {"files": sorted(files.written)}
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    files.compact()
    lines = [
        f"{files.folder / name} {why} and is left as it is; rename or delete it to have it written again"
        for name, why in files.kept.items()
    ]
    if foreign:
        more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        said = f"left as they are in {files.folder}, not written by this run or changed since: "
        console.print(Text(said + ", ".join(foreign[:_NAMED]) + more, style="yellow"), soft_wrap=True)
    for line in lines:
        console.print(Text(line, style="yellow"), soft_wrap=True)
    return lines


def _frames(folder: Path, failures: Failures) -> Frames:
    frames = load_frames(folder)
    return failures.making("scores of the study counterfactual", frames, with_counterfactual) or frames


@contextmanager
def _figures(
    files: Manifest, record: RunRecord, failures: Failures, is_stale: bool
) -> Iterator[Callable[[Frames], dict[str, Caption]]]:
    """Yields a function that returns the captions once the figures are drawn, by a second process if there are many."""

    def draw(frames: Frames) -> dict[str, Caption]:
        return draw_figures(frames, files.inside(_FIGURES), OTHERS, failures)

    if not is_stale:
        yield lambda frames: {}
    elif len(record.cells) < MANY_CELLS:
        yield draw
    else:
        ignore = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's
        with ProcessPoolExecutor(1, get_context("spawn"), initializer=signal.signal, initargs=ignore) as pool:
            drawing = pool.submit(_draw, files.folder)
            yield lambda frames: _result(drawing, files, failures) or draw(frames)


_Drawn = tuple[dict[str, Caption], Manifest, Failures]


def _result(drawing: Future[_Drawn], files: Manifest, failures: Failures) -> dict[str, Caption]:
    """Returns the captions, or nothing if the second process died (no main guard in a script, or out of memory)."""
    try:
        captions, theirs, failed = drawing.result()
    except BrokenProcessPool:
        return {}
    files.written |= theirs.written
    files.kept |= theirs.kept
    failures.tracebacks |= failed.tracebacks
    return captions


def _draw(folder: Path) -> _Drawn:
    """Draws the figures in the second process -> captions, the notes of what was written, and what failed."""
    give_memory_back()
    files, failures = Manifest(folder, lenient=True), Failures()
    with collecting():
        frames = _frames(folder, failures)
        return draw_figures(frames, files.inside(_FIGURES), OTHERS, failures), files, failures


def _is_current(files: Manifest, state: dict[str, str]) -> bool:
    """Whether the last report was made of these scores by this code, and all its files are as it wrote them."""
    stored = _stored_state(files.folder)
    if not isinstance(stored, dict) or {key: stored.get(key) for key in state} != state:
        return False
    written = stored.get("files")
    return isinstance(written, list) and all(isinstance(name, str) and files.is_ours(name) for name in written)


def _stored_state(folder: Path) -> Any:
    """Returns the state at the last report; None if there is none, or the file is damaged."""
    try:
        return json.loads((folder / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _state(folder: Path, record: RunRecord) -> dict[str, str]:
    """Returns digests of everything that the derived files depend on."""
    scores = [(str(file), file.lstat().st_mtime_ns) for file in sorted((folder / "cells").rglob("*.*"))]
    images = [file_digest(file) for file in sorted((folder / "data").glob("*.*")) if file.is_file()]
    facts = record.model_dump(exclude={"started", "finished"})
    others = [file.read_text(encoding="utf-8") for file in (*sources(), REPORTED)]
    code = [code_digest(build_report), *others]
    return {"scores": digest(scores, images, facts), "code": digest(code)}
