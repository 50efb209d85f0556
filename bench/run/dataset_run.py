"""The work on one data set: prepares its images, runs its cells, and records whatever fails with its reason."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from bench.cases.choice import kept
from bench.cases.pictures import read_origin, to_pictures, write_pictures
from bench.config import Config
from bench.data.prepare import Prepared, facts, prepare, write_gallery_images
from bench.data.selection import lesion_facts
from bench.errors import NotApplicable, UserError, disk_fault, is_stop, one_line
from bench.files import telling
from bench.progress import PREPARE, Progress
from bench.run.cell import Cell
from bench.run.expected import weigh_steps
from bench.run.plan import Plan, plan_head
from bench.store.code_digest import code_digest, digest
from bench.store.folders import RunStore
from bench.store.maps import read_arrays
from bench.store.records import CellKey, DatasetFacts
from bench.training.classifier import CellClassifier, step_of


@dataclass(frozen=True)
class RunOptions:
    """Options of the command line that are not part of the config.

    Attributes:
        root: folder of the downloaded data sets.
        out: run folder.
        device: that everything is computed on.
        save_maps: keep the maps of all images.
        skip_bad: skip unreadable images and report how many.
        splits: folder of released split files.
        cache: folder of decoded images, which several runs may share.
        precision: of occluded images: ``float32``, ``bf16`` or ``auto``.
        workers: number of data sets that are worked on at a time, each in its own process; None = chosen for the
            machine.
    """

    root: Path
    out: Path
    device: torch.device
    save_maps: bool = False
    skip_bad: bool = False
    splits: Path | None = None
    cache: Path | None = None
    precision: str = "auto"
    workers: int | None = None

    @property
    def cache_folder(self) -> Path:
        """The given folder, otherwise ``cache`` next to the run folder, which runs with other configs share."""
        return self.cache or self.out.parent / "cache"


@dataclass
class DatasetResult:
    """Result of one data set.

    Attributes:
        problems: a line for everything that failed.
        computed: whether anything was computed.
        cells: finished cells, including those that failed.
    """

    problems: list[str] = field(default_factory=list)
    computed: bool = False
    cells: list[CellKey] = field(default_factory=list)


@dataclass
class DatasetRun:
    """A data set and its cells.

    Attributes:
        name: of the data set.
        config: of the run.
        plan: of the run.
        options: of the command line.
        plan_id: hash of the plan, noted in the record of every cell.
        progress: display that is told about every step.
        note: called with the name and the facts of the data set once they are known.
        done: result so far.
        cases: positions among the explained images that are kept for the page, once the images are prepared.
    """

    name: str
    config: Config
    plan: Plan
    options: RunOptions
    plan_id: str
    progress: Progress
    note: Callable[[str, DatasetFacts], None]
    done: DatasetResult = field(default_factory=DatasetResult)
    cases: list[int] = field(default_factory=list)
    _told: set[Path] = field(default_factory=set)

    def run(self) -> Iterator[DatasetResult]:
        """Computes what the store does not hold yet; yields the result so far after every cell."""
        prepared = None
        with self.guard(self.name, self.cells), self.progress.step(PREPARE, f"{self.name}: reading the images"):
            prepared = self._prepare()
        if prepared is None:
            self.progress.skip(*self.steps[1:])
            yield self.done
            return
        weigh_steps(self.progress, self.plan, self.name, prepared)
        for key in self.cells:
            with self.guard(str(key), [key]):
                self._cell(key, prepared)
            self.done.cells.append(key)
            yield self.done

    @property
    def cells(self) -> list[CellKey]:
        """The cells of the data set in the order of the plan; those that start from another's weights come last."""
        keys = [key for key in self.plan.cells if key.dataset == self.name]
        return sorted(keys, key=lambda key: bool(self.plan.cells[key].head.starts))

    @property
    def steps(self) -> list[str]:
        """The kinds of all its steps, for the estimate of the time left."""
        return [PREPARE, *(step for key in self.cells for step in cell_steps(self.plan, key))]

    @property
    def _store(self) -> RunStore:
        return RunStore(self.options.out)

    def _prepare(self) -> Prepared:
        config = self.plan.configs[self.name]
        prepared = prepare(
            self.plan.datasets[self.name],
            config,
            self.options.root,
            self.options.cache_folder,
            self.options.skip_bad,
            self.options.splits,
            self.progress.update,
        )
        for line in prepared.doubts:
            self.progress.say(f"{self.name}: {line}", style="yellow")
        files, images = self._store.files, self._store.images_file(self.name)
        files.is_good(images, read_arrays)  # a damaged file is named before it is replaced
        write_gallery_images(files.writing(images), prepared, config.explain.gallery)
        lesions = lesion_facts(prepared.explain, prepared.explained)
        files.write_frame(self._store.lesions_file(self.name), lesions)
        labels = prepared.explain.labels[prepared.explained.indices]
        self.cases = kept(labels, lesions["lesion_area"].to_numpy(), config.report.page_images)
        self._write_cases(prepared)
        self.note(self.name, facts(prepared, config.data.size).changed(spec=self.plan.specs.get(self.name, "")))
        return prepared

    def _write_cases(self, prepared: Prepared) -> None:
        """Writes the pictures of the cases unless the store holds them."""
        file, split, at = self._store.cases_file(self.name), prepared.explain, prepared.explained.indices[self.cases]
        origin = digest(split.digest, at.tolist(), code_digest(to_pictures))
        if self.cases and self._store.files.read(file, read_origin) != origin:
            ids, masks = np.asarray(split.ids)[at].tolist(), None if split.masks is None else split.masks[at]
            pictures = to_pictures(ids, split.labels[at], split.images[at], masks, origin)
            with self._store.files.writing(file) as temporary:
                write_pictures(temporary, pictures)

    def _classifier(self, key: CellKey, prepared: Prepared) -> CellClassifier:
        planned = self.plan.cells.get(key) or plan_head(self.config, key, self.plan.spec(key.dataset))
        name = planned.head.converts or planned.head.starts
        source = replace(key, head=name) if name else None
        return CellClassifier(
            key,
            self._store.cell(key),
            prepared,
            planned,
            self.config.for_dataset(self.plan.spec(key.dataset), key.backbone),
            self.options.device,
            self.progress,
            None if source is None else self._classifier(source, prepared),
            self.plan.init,
        )

    def _cell(self, key: CellKey, prepared: Prepared) -> None:
        cell = Cell(
            self._classifier(key, prepared),
            self._store.cell(key),
            self.plan_id,
            self.plan.parameters,
            self.options.precision,
            self.cases,
        )
        problems = cell.run(self.plan.explainers_of(key), self.plan.metrics, self.plan.studies, self.options.save_maps)
        self.done.computed |= cell.computed
        for problem in problems:
            self._problem(problem)
        if cell.computed:
            self.progress.milestone(f"{key}: done")

    def _problem(self, text: str) -> None:
        self.done.problems.append(text)
        self.progress.say(text, style="red")

    @contextmanager
    def guard(self, what: str, cells: list[CellKey]) -> Iterator[None]:
        """Records an exception, with its traceback, in the cells that it concerns, and suppresses it.

        Raises:
            UserError: the disk is full or cannot be written to.
        """
        try:
            with telling(self._mends):
                yield
        except NotApplicable as error:
            self._note(cells, status="skipped", reason=one_line(error))
            self.progress.say(f"{what} skipped: {one_line(error)}", style="yellow")
        except BaseException as error:  # a plugin may raise anything, such as the end of the program
            if is_stop(error):
                raise
            if fault := disk_fault(error):
                raise _unwritable(self.options.out, fault) from error
            reason = one_line(error)
            self._note(cells, status="failed", reason=reason, traceback=traceback.format_exc())
            self._problem(f"{what} failed: {reason}")

    def _note(self, cells: list[CellKey], **facts: str) -> None:
        for key in cells:
            try:
                with telling(self._mends), suppress(UserError):  # it cannot be read: that is the failure
                    self._store.cell(key).note(plan=self.plan_id, **facts)
            except OSError as error:
                raise _unwritable(self.options.out, str(error.strerror)) from error

    def _mends(self, path: Path, why: str) -> None:
        """Says once that a damaged file is made again."""
        if path not in self._told:
            self._told.add(path)
            self.progress.say(f"{path} is damaged ({why}) and is made again", style="yellow")


def _unwritable(out: Path, why: str) -> UserError:
    return UserError(
        f"stopped: {why} while writing to {out}; make room and repeat the command, which continues from what is stored"
    )


def cell_steps(plan: Plan, key: CellKey) -> list[str]:
    """Lists the kinds of steps that a cell takes, for the estimate of the time left."""
    return [step_of(plan.cells[key]), *plan.explainers_of(key), *(f"study {name}" for name in plan.studies)]
