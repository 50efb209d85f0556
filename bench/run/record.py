"""The record of a run: configuration, plan, facts about methods, versions and machine."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.config import Config
from bench.devices import describe_machine
from bench.evaluation.requests import MetricRequest
from bench.run.dataset_run import RunOptions
from bench.run.plan import Plan
from bench.store.fingerprints import digest

_PACKAGES = ("torch", "torchvision", "captum", "grad-cam", "torchcam", "scipy", "scikit-learn", "pandas", "numpy")


def new_record(config: Config, plan: Plan, options: RunOptions, workers: int) -> dict[str, Any]:
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
        "probes": {name: parameters for name, (_, parameters) in plan.studies.items()},
        "metrics": [_metric_facts(request) for request in plan.metrics],
        "git": _git_state(),
        "packages": _versions(),
        "machine": describe_machine(options.device, workers),
        "started": utc_now(),
    }


def _plan_id(config: Config, plan: Plan, options: RunOptions) -> str:
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


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
