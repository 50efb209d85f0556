"""A run: works through a plan data set by data set, and keeps the record of it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.config import Config
from bench.devices import describe_machine
from bench.plan import MetricRequest, Plan
from bench.progress import RunProgress
from bench.run_folder import check_run_folder
from bench.store import RunStore, digest
from bench.work import Options, Work
from bench.workers import Assignment, choose_workers, work_apart

_PACKAGES = ("torch", "torchvision", "captum", "grad-cam", "torchcam", "scipy", "scikit-learn", "pandas", "numpy")


@dataclass
class Outcome:
    """What a run ends with: a line for everything that failed, and whether anything was computed."""

    problems: list[str]
    computed: bool


def run(
    config: Config,
    plan: Plan,
    options: Options,
    console: Console,
    problems: list[str],
    register: Callable[[], object] | None = None,
) -> Outcome:
    """Do everything in the plan that the store does not hold yet.

    Args:
        problems: lines about plugins that were left out; they belong to the outcome.
        register: makes everything known by name in a new process; without it there is none but this one.

    Raises:
        UserError: the folder holds something else than a run, cannot be written to, or another run works in it.
    """
    check_run_folder(options.out)
    store = RunStore(options.out)
    workers = choose_workers(options, len(plan.datasets)) if register else 1
    with store.lock(), RunProgress(console, [], workers) as progress:
        record = new_record(config, plan, options, workers)
        store.write_record(record)
        for problem in problems:
            progress.say(problem, style="red")

        def note(name: str, facts: dict[str, Any]) -> None:
            record["datasets"][name] |= facts
            store.write_record(record)

        works = [Work(name, config, plan, options, record["plan"], progress, note) for name in plan.datasets]
        progress.expect(*(step for work in works for step in work.steps))
        if register and workers > 1:
            done = work_apart(Assignment(register, config, options, record["plan"], workers), works, progress)
        else:
            done = {work.name: list(work.run())[-1] for work in works}
        problems = [*problems, *(problem for name in plan.datasets for problem in done[name].problems)]
        store.write_record(record | {"finished": _now(), "problems": problems})
        return Outcome(problems, any(one.computed for one in done.values()))


def new_record(config: Config, plan: Plan, options: Options, workers: int) -> dict[str, Any]:
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
        "machine": describe_machine(options.device, workers),
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
