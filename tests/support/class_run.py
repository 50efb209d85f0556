"""A finished run on three classes, and access to its cells, classifiers and images."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from rich.console import Console

from bench.config import Config
from bench.contracts import EvidenceClassifier
from bench.data.prepare import Prepared, prepare
from bench.data.split import normalise
from bench.progress import RunProgress
from bench.registry import DATASETS
from bench.run.plan import make_plan
from bench.store.folders import CellKey, CellStore, RunStore
from bench.training.classifier import CellClassifier
from tests.support.made import tiny_config

CLASSES = ["plain", "bright", "dark"]
STEPS = 3


def class_config(every_class: bool = True, dataset: str = "shapes") -> Config:
    tiny = tiny_config(datasets=[dataset])
    update = {"diseased": 6, "healthy": 3, "faithful": 3, "gallery": 3, "steps": STEPS, "every_class": every_class}
    return tiny.model_copy(update={"explain": tiny.explain.model_copy(update=update)})


def cell_of(folder: Path, head: str) -> CellStore:
    return RunStore(folder).cell(CellKey("shapes", "compact", head, 0))


def trained(folder: Path, tmp_path: Path, head: str) -> tuple[EvidenceClassifier, Prepared]:
    """The classifier of a finished run, and its images."""
    shutil.copytree(folder, tmp_path / "run")
    settings = class_config()
    plan = make_plan(settings, tmp_path)
    prepared = prepare(DATASETS["shapes"], settings, folder, folder / "cache", skip_bad=False)
    progress = RunProgress(Console(quiet=True), [])
    key, store = CellKey("shapes", "compact", head, 0), cell_of(tmp_path / "run", head)
    cell = CellClassifier(key, store, prepared, plan.cells[key], settings, torch.device("cpu"), progress)
    classifier = cell.load()
    assert not cell.computed
    return classifier, prepared


def one_image(prepared: Prepared, name: str) -> torch.Tensor:
    """(1,3,H,W) normalised."""
    split = prepared.explain
    return normalise(split.batch([split.ids.index(name)]), prepared.data.mean, prepared.data.std)
