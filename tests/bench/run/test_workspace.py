"""Workspace: what a process keeps between tasks, and what its workers are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from bench.progress import RunProgress
from bench.run import workspace
from bench.run.plan import make_plan
from bench.run.tasks import Task, by_worker
from bench.run.workspace import Workspace
from bench.training.classifier import CellClassifier
from tests.support.made import options_of, tiny_config

pytestmark = pytest.mark.usefixtures("squares")


def test_the_last_cells_are_scored_without_reading_their_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "_MOST_CELLS", 2)
    config = tiny_config(seeds=[0, 1, 2], heads=["blackbox"], explainers=["random"])
    plan = make_plan(config, tmp_path)
    own = Workspace(config, plan, options_of(tmp_path), "plan", RunProgress(Console(quiet=True), []))
    own.perform(Task("prepare", "squares"))
    for key in plan.cells:
        assert own.perform(Task("train", "squares", key)).shares == {"": [(0, 2)]}
    read: list[int] = []
    real = CellClassifier.stored

    def stored(classifier: CellClassifier) -> object:
        read.append(classifier.key.seed)
        return real(classifier)

    monkeypatch.setattr(CellClassifier, "stored", stored)
    first, *others = plan.cells
    for key in others:
        assert own.perform(Task("score", "squares", key)).failures == {}
    assert read == []
    assert own.perform(Task("score", "squares", first)).failures == {}
    assert read == [0]


def test_workers_of_a_cluster_are_named_with_their_machine() -> None:
    assert by_worker("", "") == ""
    assert by_worker("1", "") == " (worker 1)"
    assert by_worker("1", "node7") == " (worker 1 on node7)"
