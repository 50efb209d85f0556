"""Works through a plan cell by cell; whatever fails is kept with its reason, and the rest goes on."""

from __future__ import annotations

import platform
import subprocess
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from bench.cell import Cell
from bench.classifiers import CellClassifier, step_of
from bench.config import Config
from bench.contracts import NotApplicable
from bench.devices import describe_machine
from bench.errors import one_line
from bench.image_facts import lesion_facts, write_if_new
from bench.plan import MetricRequest, Plan, plan_head
from bench.prepare import Prepared, facts, prepare, write_gallery_images
from bench.progress import RunProgress
from bench.store import CellKey, RunStore, digest

PREPARE = "prepare"
_PACKAGES = ("torch", "torchvision", "captum", "grad-cam", "torchcam", "scipy", "scikit-learn", "pandas", "numpy")


@dataclass(frozen=True)
class Options:
    """What the command line says beside the config; ``cache`` holds decoded images for any number of runs."""

    root: Path
    out: Path
    device: torch.device
    save_maps: bool = False
    skip_bad: bool = False
    splits: Path | None = None
    cache: Path | None = None
    precision: str = "auto"

    @property
    def cache_folder(self) -> Path:
        """The folder ``cache`` beside the run's own, where none is given: runs with other configs share it."""
        return self.cache or self.out.parent / "cache"


@dataclass
class Outcome:
    """What a run ends with: a line for everything that failed, and whether anything was computed."""

    problems: list[str]
    computed: bool


def run(config: Config, plan: Plan, options: Options, console: Console, problems: list[str]) -> Outcome:
    """Do everything in the plan that the store does not hold yet.

    Args:
        problems: lines about plugins that were left out; they belong to the outcome.

    Raises:
        UserError: the folder cannot be written to, or another run works in it.
    """
    store = RunStore(options.out)
    steps = [PREPARE] * len(plan.datasets)
    steps += [step for key in plan.cells for step in steps_of(plan, key)]
    with store.lock(), RunProgress(console, steps) as progress:
        work = _Work(config, plan, options, store, progress, new_record(config, plan, options), list(problems))
        store.write_record(work.record)
        for problem in problems:
            progress.say(problem, style="red")
        for name in plan.datasets:
            work.dataset(name)
        work.record |= {"finished": _now(), "problems": work.problems}
        store.write_record(work.record)
        return Outcome(work.problems, work.computed)


@dataclass
class _Work:
    config: Config
    plan: Plan
    options: Options
    store: RunStore
    progress: RunProgress
    record: dict[str, Any]
    problems: list[str]
    computed: bool = False

    def dataset(self, name: str) -> None:
        """Prepare one data set and run its cells."""
        cells = [key for key in self.plan.cells if key.dataset == name]
        prepared = None
        with self._guard(name, cells), self.progress.step(PREPARE, f"{name}: reading the images"):
            prepared = prepare(
                self.plan.datasets[name],
                self.plan.configs[name],
                self.options.root,
                self.options.cache_folder,
                self.options.skip_bad,
                self.options.splits,
                self.progress.update,
            )
            self.record["datasets"][name] |= facts(prepared)
            write_gallery_images(self.store.images_file(name), prepared, self.plan.configs[name].explain.gallery)
            write_if_new(self.store.lesions_file(name), lesion_facts(prepared.explain, prepared.explained))
            self.store.write_record(self.record)
        if prepared is None:
            self.progress.skip(*(step for key in cells for step in steps_of(self.plan, key)))
            return
        for key in cells:
            with self._guard(str(key), [key]):
                self._cell(key, prepared)

    def _classifier(self, key: CellKey, prepared: Prepared) -> CellClassifier:
        planned = self.plan.cells.get(key) or plan_head(self.config, key)
        source = replace(key, head=planned.head.converts) if planned.head.converts else None
        return CellClassifier(
            key,
            self.store.cell(key),
            prepared,
            planned,
            self.config.for_dataset(key.dataset, key.backbone),
            self.options.device,
            self.progress,
            None if source is None else self._classifier(source, prepared),
            self.plan.init,
        )

    def _cell(self, key: CellKey, prepared: Prepared) -> None:
        cell = Cell(
            self._classifier(key, prepared),
            self.store.cell(key),
            self.record["plan"],
            self.plan.parameters,
            self.options.precision,
        )
        problems = cell.run(self.plan.explainers_of(key), self.plan.metrics, self.plan.probes, self.options.save_maps)
        self.computed |= cell.computed
        for problem in problems:
            self._problem(problem)
        if cell.computed:
            self.progress.milestone(f"{key}: done")

    def _problem(self, text: str) -> None:
        self.problems.append(text)
        self.progress.say(text, style="red")

    @contextmanager
    def _guard(self, what: str, cells: list[CellKey]) -> Iterator[None]:
        """Keep a failure, with its traceback, in the cells that it hits, and go on."""
        try:
            yield
        except NotApplicable as error:
            self._note(cells, status="skipped", reason=one_line(error))
            self.progress.say(f"{what} skipped: {one_line(error)}", style="yellow")
        except Exception as error:
            reason = one_line(error)
            self._note(cells, status="failed", reason=reason, traceback=traceback.format_exc())
            self._problem(f"{what} failed: {reason}")

    def _note(self, cells: list[CellKey], **facts: str) -> None:
        for key in cells:
            cell = self.store.cell(key)
            cell.write_record(cell.record | facts | {"plan": self.record["plan"]})


def steps_of(plan: Plan, key: CellKey) -> list[str]:
    """The kinds of steps that a cell takes, for the estimate of the time left."""
    return [step_of(plan.cells[key]), *plan.explainers_of(key), *(f"probe {name}" for name in plan.probes)]


def new_record(config: Config, plan: Plan, options: Options) -> dict[str, Any]:
    """What run.json says before anything is computed: config, plan, facts about the methods, versions, machine."""
    return {
        "config": config.model_dump(),
        "cells": [asdict(key) for key in plan.cells],
        "plan": _plan_id(config, plan, options),
        "explained_by": {key.head: list(plan.explainers_of(key)) for key in plan.cells},
        "datasets": {
            name: {"base": info.name, "size": plan.configs[name].data.size, "side": {}}
            for name, info in plan.datasets.items()
        },
        "absent": plan.absent,
        "init": {"file": str(plan.init.path), "sha256": plan.init.digest} if plan.init else None,
        "splits": str(options.splits or ""),
        "explainers": {
            name: {
                "family": one.family,
                "signed": one.signed,
                "paper": one.paper,
                "role": one.role,
                "variant_of": one.variant_of,
            }
            for name, one in plan.explainers.items()
        },
        "heads": {
            name: {
                "base": one.base,
                "family": one.head.family,
                "paper": one.head.paper,
                "converts": one.head.converts,
            }
            for name, one in plan.heads.items()
        },
        "probes": {name: parameters for name, (_, parameters) in plan.probes.items()},
        "metrics": [_metric_facts(request) for request in plan.metrics],
        "git": _git_state(),
        "packages": _versions(),
        "machine": describe_machine(options.device),
        "started": _now(),
    }


def _plan_id(config: Config, plan: Plan, options: Options) -> str:
    """Hash of what is asked for and of which images: cells of another id are not shown beside these."""
    return digest(
        config.model_dump(),
        [asdict(key) for key in plan.cells],
        list(plan.explainers),
        options.root.resolve(),
        options.splits and options.splits.resolve(),
        options.skip_bad,
        plan.init and plan.init.digest,
        options.precision,
    )


def _metric_facts(request: MetricRequest) -> dict[str, Any]:
    info = request.info
    return {
        "name": info.name,
        "variant": request.variant,
        "family": info.family,
        "higher_is_better": info.higher_is_better,
        "value_range": list(info.value_range),
        "images": info.images,
        "of_network": info.of_network,
        "paper": info.paper,
    }


def _versions() -> dict[str, str]:
    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    return {"python": platform.python_version()} | {package: installed(package) for package in _PACKAGES}


def _git_state() -> dict[str, Any]:
    """Commit of the code that runs, and whether files differ from it; empty outside a checkout."""
    here = Path(__file__).parent

    def ask(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
