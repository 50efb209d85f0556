"""Work of a report that two processes share: figures without comparisons, and parts of the page.

The second process starts with the first of the tasks; what it has not begun when the first process has finished the
rest of the report, that one does, so that neither waits for long.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from bench.memory import give_memory_back
from bench.report.contents import OTHERS, Topic, draw_figures
from bench.report.current import FIGURES
from bench.report.failures import Failures
from bench.report.frames.load import Frames, load_frames
from bench.report.incremental.reuse import Captions
from bench.report.page.prepared import PARTS
from bench.report.studies.counterfactual import with_counterfactual
from bench.store.manifest import Manifest
from bench.store.records import RunRecord
from bench.store.stored_files import collecting

#: Number of cells from which a second process, which has to read them too, is worth its start.
MANY_CELLS = 8


class Task(NamedTuple):
    """A topic whose figures are drawn (all of them, or the main ones), or a part of the page."""

    name: str
    all_figures: bool = False


@dataclass
class Shared:
    """Tasks of a run folder.

    Attributes:
        folder: of the run.
        pool: the second process; None if there is none.
    """

    folder: Path
    pool: ProcessPoolExecutor | None
    _tasks: dict[Task, Future[_Made] | None] = field(default_factory=dict)

    def add(self, tasks: Sequence[Task], apart: bool = True) -> None:
        """Adds tasks; unless they are to be done ``apart``, they wait for ``results``."""
        for task in tasks:
            self._tasks[task] = None
            if self.pool and apart:
                with suppress(BrokenProcessPool):
                    self._tasks[task] = self.pool.submit(_make_apart, self.folder, task)

    def results(self, frames: Frames, files: Manifest, failures: Failures) -> dict[str, Any]:
        """Does what the second process has not begun, the last first, and waits for the rest -> task -> result.

        The second process may have died: no main guard in a script, or out of memory.
        """
        found: dict[str, Any] = {}
        waiting: dict[Task, Future[_Made]] = {}
        for task, future in reversed(self._tasks.items()):
            if future is None or future.cancel():
                found[task.name] = make(task, frames, files, failures)
            else:
                waiting[task] = future
        for task, future in waiting.items():
            try:
                found[task.name], theirs, failed = future.result()
            except BrokenProcessPool:
                found[task.name] = make(task, frames, files, failures)
                continue
            files.written |= theirs.written
            files.kept |= theirs.kept
            failures.tracebacks |= failed.tracebacks
        return found


_Made = tuple[Any, Manifest, Failures]


def make(task: Task, frames: Frames, files: Manifest, failures: Failures) -> Any:
    """Makes a part of the page, or draws the figures of a topic -> ``topic_figures``."""
    if task.name in PARTS:
        return PARTS[task.name](frames, failures)
    topic = next(topic for topic in OTHERS if topic.name == task.name)
    return topic_figures(frames, files, topic.chosen(task.all_figures), failures)


def topic_figures(frames: Frames, files: Manifest, topic: Topic, failures: Failures) -> tuple[Captions, bool]:
    """Draws the figures of a topic -> their captions, and whether one failed."""
    before = len(failures.tracebacks)
    captions = draw_figures(frames, files.inside(FIGURES), [topic], failures)
    return captions, len(failures.tracebacks) > before


def all_frames(folder: Path, failures: Failures) -> Frames:
    """Reads a run, with the scores of the studies that have some."""
    frames = load_frames(folder)
    return failures.making("scores of the study counterfactual", frames, with_counterfactual) or frames


@contextmanager
def second_process(record: RunRecord) -> Iterator[ProcessPoolExecutor | None]:
    """Yields a pool of one process; None for a run with few cells."""
    if len(record.cells) < MANY_CELLS:
        yield None
        return
    ignore = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=signal.signal, initargs=ignore) as pool:
        yield pool


def _make_apart(folder: Path, task: Task) -> _Made:
    """Does a task in the second process -> result, the notes of what was written, what failed."""
    files, failures = Manifest(folder, lenient=True), Failures()
    with collecting():
        result = make(task, _frames_apart(folder), files, failures)
    return result, files, failures


@lru_cache(maxsize=1)
def _frames_apart(folder: Path) -> Frames:
    give_memory_back()
    return all_frames(folder, Failures())  # the first process notes what fails
