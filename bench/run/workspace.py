"""Workspace of a process: does the tasks of a run one after the other, and keeps what several of them need."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from bench.cases.choice import kept
from bench.cases.pictures import read_origin, to_pictures, write_pictures
from bench.config import Config
from bench.data.prepare import Prepared, facts, prepare, write_gallery_images
from bench.data.selection import lesion_facts
from bench.errors import NotApplicable, disk_fault, is_stop, one_line
from bench.files import telling
from bench.progress import Progress
from bench.run.cells.cell import Cell
from bench.run.options import RunOptions
from bench.run.plan import Plan, plan_head, source_of
from bench.run.tasks import Done, Ended, Task, ranges
from bench.store.code_digest import code_digest, digest
from bench.store.folders import RunStore
from bench.store.maps import read_arrays
from bench.store.records import CellKey
from bench.training.classifier import CellClassifier

#: Cells of which a process keeps the classifier and what its explainers share.
_MOST_CELLS = 4


@dataclass
class Workspace:
    """Everything that a process needs to do any task of a run.

    Attributes:
        config: of the run.
        plan: of the run.
        options: of the command line.
        plan_id: hash of the plan, noted in the record of every cell.
        progress: is told what is done.
    """

    config: Config
    plan: Plan
    options: RunOptions
    plan_id: str
    progress: Progress
    _prepared: dict[str, Prepared] = field(default_factory=dict)
    _cells: dict[CellKey, Cell] = field(default_factory=dict)
    _told: set[Path] = field(default_factory=set)

    def perform(self, task: Task) -> Done:
        """Does a task; an exception becomes part of the result, because one cell must not stop the others."""
        done = Done(started=time.time())
        begun = time.monotonic()
        with self._recording(done):
            getattr(self, f"_{task.kind}")(task, done)
        done.seconds = time.monotonic() - begun
        if task.cell and (done.ended or task.kind == "finish"):
            self._cells.pop(task.cell, None)
        return done

    @contextmanager
    def _recording(self, done: Done) -> Iterator[None]:
        try:
            with telling(self._mends):
                yield
        except NotApplicable as error:
            done.ended = Ended("skipped", one_line(error))
        except BaseException as error:  # a plugin may raise anything, such as the end of the program
            if is_stop(error):
                raise
            done.fault = disk_fault(error)
            done.ended = Ended("failed", one_line(error), traceback.format_exc())

    def _prepare(self, task: Task, done: Done) -> None:
        self.progress.update(str(task))
        name, store = task.dataset, RunStore(self.options.out)
        prepared = self._data(name)
        for line in prepared.doubts:
            self.progress.say(f"{name}: {line}", style="yellow")
        images = store.images_file(name)
        store.files.is_good(images, read_arrays)  # a damaged file is named before it is replaced
        write_gallery_images(store.files.writing(images), prepared, self.plan.configs[name].explain.gallery)
        store.files.write_frame(store.lesions_file(name), lesion_facts(prepared.explain, prepared.explained))
        self._write_pictures(name, prepared)
        size, spec = self.plan.configs[name].data.size, self.plan.specs.get(name, "")
        done.facts = facts(prepared, size).changed(spec=spec)

    def _write_pictures(self, name: str, prepared: Prepared) -> None:
        """Writes the pictures of the cases unless the store holds them."""
        store, split, cases = RunStore(self.options.out), prepared.explain, self._cases_of(name, prepared)
        file, at = store.cases_file(name), prepared.explained.indices[cases]
        origin = digest(split.digest, at.tolist(), code_digest(to_pictures))
        if cases and store.files.read(file, read_origin) != origin:
            ids, masks = np.asarray(split.ids)[at].tolist(), None if split.masks is None else split.masks[at]
            pictures = to_pictures(ids, split.labels[at], split.images[at], masks, origin)
            with store.files.writing(file) as temporary:
                write_pictures(temporary, pictures)

    def _cases_of(self, name: str, prepared: Prepared) -> list[int]:
        """Returns the positions, among the explained images, of those that are kept for the page."""
        store = RunStore(self.options.out)
        lesions = store.files.read(store.lesions_file(name), pd.read_parquet)
        if lesions is None:
            lesions = lesion_facts(prepared.explain, prepared.explained)
        labels = prepared.explain.labels[prepared.explained.indices]
        return kept(labels, lesions["lesion_area"].to_numpy(), self.plan.configs[name].report.page_images)

    def _train(self, task: Task, done: Done) -> None:
        if task.cell not in self.plan.cells:  # only others start from its weights
            trained = self._classifier(task.key, self._data(task.dataset))
            trained.load()
            done.computed = trained.computed
            return
        self._cells.pop(task.key, None)
        cell = self._cell(task.key)
        try:
            shares = cell.train()
        finally:
            done.computed = cell.computed
        done.shares = {part: ranges(numbers) for part, numbers in shares.items()}

    def _score(self, task: Task, done: Done) -> None:
        done.computed = True
        done.failures = self._cell(task.key).score(task.part, task.share, list(task.failures.get(task.part, {})))

    def _finish(self, task: Task, done: Done) -> None:
        cell = self._cell(task.key)
        cell.computed = False
        try:
            done.problems = cell.finish(task.failures)
        finally:
            done.computed = cell.computed

    def _data(self, name: str) -> Prepared:
        """Returns a data set, read once per process as long as the tasks are about it."""
        if name not in self._prepared:
            self._prepared.clear()
            self._cells.clear()
            self._prepared[name] = prepare(
                self.plan.datasets[name],
                self.plan.configs[name],
                self.options.root,
                self.options.cache_folder,
                self.options.skip_bad,
                self.options.splits,
                self.progress.update,
            )
        return self._prepared[name]

    def _cell(self, key: CellKey) -> Cell:
        """Returns a cell; the last ones of a data set stay in memory, because shares follow when all are trained."""
        whole = self._data(key.dataset)
        prepared = whole.of_fold(key.fold)
        if key not in self._cells:
            while len(self._cells) >= _MOST_CELLS:
                del self._cells[next(iter(self._cells))]
            self._cells[key] = Cell(
                self._classifier(key, prepared),
                RunStore(self.options.out).cell(key),
                self.plan_id,
                self.plan.explainers_of(key),
                self.plan.parameters,
                self.plan.metrics,
                self.plan.studies,
                self.options.precision,
                self.options.save_maps,
                frozenset(prepared.positions(self._cases_of(key.dataset, whole))),
            )
        return self._cells[key]

    def _classifier(self, key: CellKey, prepared: Prepared) -> CellClassifier:
        spec = self.plan.spec(key.dataset)
        planned = self.plan.cells.get(key) or plan_head(self.config, key, spec)
        source = source_of(planned, key)
        return CellClassifier(
            key,
            RunStore(self.options.out).cell(key),
            prepared,
            planned,
            self.config.for_dataset(spec, key.backbone),
            self.options.device,
            self.progress,
            None if source is None else self._classifier(source, prepared),
            self.plan.init,
        )

    def _mends(self, path: Path, why: str) -> None:
        """Says once that a damaged file is made again."""
        if path not in self._told:
            self._told.add(path)
            self.progress.say(f"{path} is damaged ({why}) and is made again", style="yellow")
