"""The record of a run before it starts: configuration, plan, facts about methods, versions and machine."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.config import Config
from bench.devices import describe_machine
from bench.evaluation.requests import MetricRequest
from bench.run.options import RunOptions
from bench.run.plan import Plan
from bench.store.cell_facts import GitState, MachineFacts
from bench.store.code_digest import digest
from bench.store.records import (
    DatasetFacts,
    ExplainerFacts,
    HeadFacts,
    InitFacts,
    MetricFacts,
    RunRecord,
)
from bench.text.definition import definition

_PACKAGES = ("torch", "torchvision", "captum", "grad-cam", "torchcam", "scipy", "scikit-learn", "pandas", "numpy")


def new_record(config: Config, plan: Plan, options: RunOptions, workers: int) -> RunRecord:
    """Returns the record of a run as it is before anything is computed."""
    return RunRecord(
        config=config.model_dump(),
        cells=list(plan.cells),
        plan=_plan_id(config, plan, options),
        explained_by={key.head: list(plan.explainers_of(key)) for key in plan.cells},
        datasets={
            name: DatasetFacts(base=info.name, size=plan.configs[name].data.size, spec=plan.specs.get(name, ""))
            for name, info in plan.datasets.items()
        },
        absent=plan.absent,
        init=InitFacts(file=str(plan.init.path), sha256=plan.init.digest) if plan.init else None,
        splits=str(options.splits or ""),
        explainers={
            name: ExplainerFacts(
                family=one.family,
                signed=one.signed,
                paper=one.paper,
                role=one.role,
                variant_of=one.variant_of,
                grid=one.grid,
            )
            for name, one in plan.explainers.items()
        },
        heads={
            name: HeadFacts(base=one.base, family=one.head.family, paper=one.head.paper, converts=one.head.converts)
            for name, one in plan.heads.items()
        },
        studies={name: parameters for name, (_, parameters) in plan.studies.items()},
        metrics=[_metric_facts(request) for request in plan.metrics],
        git=_git_state(),
        packages=versions_of(_PACKAGES),
        machine=MachineFacts.model_validate(describe_machine(options.device, workers)),
        started=utc_now(),
    )


def _plan_id(config: Config, plan: Plan, options: RunOptions) -> str:
    """Hashes what is asked for and of which images: cells with another hash are not shown with these."""
    return digest(
        config.model_dump(exclude={"report"}),  # what is compared changes nothing that is computed
        [asdict(key) for key in plan.cells],
        list(plan.explainers),
        options.root.resolve(),
        options.splits and options.splits.resolve(),
        options.skip_bad,
        plan.init and plan.init.digest,
        options.precision,
    )


def _metric_facts(request: MetricRequest) -> MetricFacts:
    info = request.info
    return MetricFacts(
        name=info.name,
        variant=request.variant,
        family=info.family,
        higher_is_better=info.higher_is_better,
        value_range=info.value_range,
        images=info.images,
        of_network=info.of_network,
        uses_zero=info.reads_zero(request.variant),
        of_curve=info.of_curve,
        paper=info.paper,
        about=definition(info.function),
    )


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Returns the version of Python and of each package, or "not installed"."""

    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    return {"python": platform.python_version()} | {package: installed(package) for package in packages}


def _git_state() -> GitState | None:
    """Returns the commit of the code that runs, and whether files differ from it; None outside a checkout."""
    here = Path(__file__).parent

    def ask(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return GitState(commit=ask("rev-parse", "HEAD"), dirty=bool(ask("status", "--porcelain")))
    except (OSError, subprocess.CalledProcessError):
        return None


def utc_now() -> str:
    """Returns the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
