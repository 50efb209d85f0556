"""Work of a report that two processes share: tables and figures without comparisons, parts of the page, a file.

The second process starts with the first of the tasks, and the first process, which has work of its own, with the last,
so that neither waits for long.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any, Literal, NamedTuple

import pandas as pd
from threadpoolctl import ThreadpoolController

from bench.memory import give_memory_back
from bench.report.contents import TOPICS, Part, Topic, draw_figures, part_of
from bench.report.current import FIGURES, FRAME
from bench.report.failures import Failures
from bench.report.frames.load import Frames, load_frames, write_long_frame
from bench.report.incremental.reuse import Captions
from bench.report.page.inline import Picture, picture
from bench.report.page.prepared import PARTS
from bench.report.studies.counterfactual import counterfactual_rows, with_counterfactual
from bench.store.manifest import Manifest
from bench.store.stored_files import collecting

#: Reads names one by one, which is faster than through Arrow where there are few: a tenth of a report.
small_text = partial(pd.option_context, "mode.string_storage", "python")


class Task(NamedTuple):
    """Tables of a topic, its figures (as of ``Topic.chosen``), a part of the page, or the long frame."""

    kind: Literal["tables", "figures", "part", "frame"]
    name: str = ""
    figures: str = "all"


class Drawn(NamedTuple):
    """Figures of a topic by their stems: their captions, and as the page shows them; and whether one failed."""

    captions: Captions
    pictures: dict[str, Picture | None]
    failed: bool


class Shared:
    """Tasks of a run folder.

    The second process is given one task after the other, by a thread of the pool, so that the first can take whatever
    is left.
    """

    def __init__(self, folder: Path, pool: ProcessPoolExecutor | None) -> None:
        """Shares tasks on the run in ``folder`` with the process of ``pool``; None if there is none."""
        self._folder, self._pool, self._lock = folder, pool, Lock()
        self._here: list[Task] = []
        self._apart: list[Task] = []
        self._given: dict[Task, Future[_Made]] = {}
        self._done: dict[Task, Any] = {}

    def add(self, tasks: Iterable[Task], apart: bool = True) -> None:
        """Adds tasks; unless they may be done ``apart``, they wait for ``results``."""
        with self._lock:
            (self._apart if apart else self._here).extend(tasks)
        if all(future.done() for future in list(self._given.values())):
            self._give()

    def results(self, frames: Frames, files: Manifest, failures: Failures, kind: str = "") -> dict[Task, Any]:
        """Does what the second process has not begun, the last first, until the tasks of a kind are done.

        Args:
            frames: the run.
            files: notes of the run folder.
            failures: receives what could not be made.
            kind: of the tasks; by default, all.

        Returns:
            Task -> what ``make`` returns, of all tasks that are done.
        """
        while (task := self._take(kind)) or (self._waits(kind) and (task := self._take())):
            self._done[task] = make(task, frames, files, failures)
        for task in [task for task in list(self._given) if kind in ("", task.kind)]:
            try:
                self._done[task], theirs, failed = self._given.pop(task).result()
            except BrokenProcessPool:  # no main guard in a script, or out of memory
                self._done[task] = make(task, frames, files, failures)
                continue
            files.written |= theirs.written
            files.kept |= theirs.kept
            failures.tracebacks |= failed.tracebacks
        return self._done

    def _give(self, _: object = None) -> None:
        """Gives the next task to the second process."""
        with self._lock:
            if not self._apart or self._pool is None:
                return
            try:
                future = self._pool.submit(_make_apart, self._folder, self._apart[0])
            except RuntimeError:  # it has died, or the report has ended
                return
            self._given[self._apart.pop(0)] = future
        future.add_done_callback(self._give)

    def _take(self, kind: str = "") -> Task | None:
        """Takes the last task of a kind that has not begun."""
        with self._lock:
            for tasks in (self._here, self._apart):
                for task in reversed(tasks):
                    if kind in ("", task.kind):
                        tasks.remove(task)
                        return task
        return None

    def _waits(self, kind: str) -> bool:
        """Returns whether the second process is busy with a task of this kind."""
        return any(task.kind == kind and not future.done() for task, future in list(self._given.items()))


_Made = tuple[Any, Manifest, Failures]


def make(task: Task, frames: Frames, files: Manifest, failures: Failures) -> Any:
    """Does a task -> ``topic_tables``, ``topic_figures``, a part of the page, or nothing."""
    if task.kind == "part":
        return PARTS[task.name](frames, failures)
    if task.kind == "frame":
        with failures.noting(FRAME):
            write_long_frame(frames, counterfactual_rows(frames), files.replacing(FRAME))
        return None
    topic = next(topic for topic in TOPICS if topic.name == task.name)
    if task.kind == "tables":
        return topic_tables(frames, topic, failures)
    return topic_figures(frames, files, topic.chosen(task.figures), failures)


def topic_tables(frames: Frames, topic: Topic, failures: Failures) -> tuple[Part, bool]:
    """Makes the tables of a topic -> these, and whether something failed."""
    before = len(failures.tracebacks)
    return part_of(frames, topic, failures), len(failures.tracebacks) > before


def topic_figures(frames: Frames, files: Manifest, topic: Topic, failures: Failures) -> Drawn:
    """Draws the figures of a topic."""
    before = len(failures.tracebacks)
    captions = draw_figures(frames, files.inside(FIGURES), [topic], failures)
    pictures = {stem: picture(files.folder / FIGURES / f"{stem}.png") for stem in captions}
    return Drawn(captions, pictures, len(failures.tracebacks) > before)


def half_the_threads() -> AbstractContextManager[Any]:
    """Leaves half of the threads of matrix products to the other process; threads without a core stop all others."""
    libraries = ThreadpoolController().select(user_api="blas")
    threads = max((one.num_threads for one in libraries.lib_controllers), default=1)
    limited: AbstractContextManager[Any] = libraries.limit(limits=max(1, threads // 2))
    return limited


def all_frames(folder: Path, failures: Failures) -> Frames:
    """Reads a run, with the scores of the studies that have some."""
    frames = load_frames(folder)
    return failures.making("scores of the study counterfactual", frames, with_counterfactual) or frames


@small_text()
def _make_apart(folder: Path, task: Task) -> _Made:
    """Does a task in the second process -> result, the notes of what was written, what failed."""
    files, failures = Manifest(folder, lenient=True), Failures()
    with collecting():
        result = make(task, frames_apart(folder), files, failures)
    return result, files, failures


@lru_cache(maxsize=1)
@small_text()
def frames_apart(folder: Path) -> Frames:
    """Reads a run in the second process, once."""
    give_memory_back()
    half_the_threads()  # as long as the process lives
    return all_frames(folder, Failures())  # the first process notes what fails
