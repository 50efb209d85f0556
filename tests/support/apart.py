"""Tiny runs on worker processes, and what the tests of them share."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from torch import Tensor

from bench.contracts import Classifier, EvidenceClassifier, Explainer, Sample
from bench.files import replacing
from bench.registry import dataset, register_explainer
from bench.report.build import build_report
from bench.run.options import RunOptions
from bench.run.plan import make_plan
from bench.run.runner import Outcome, run
from bench.store.folders import RunStore
from tests.support.made import register_shapes, register_squares, squares, tiny_config

CPU = torch.device("cpu")


def sleeping(root: Path, split: str) -> list[Sample]:
    """A data set that no worker reads to the end: in the middle of a file it waits to be stopped."""
    if parent_process() is None:  # the process of the command only asks for its files
        return squares(root, split)
    with replacing(root / "whole") as temporary:
        temporary.touch()
        (root / "asleep").touch()
        time.sleep(600)
    return squares(root, split)


def leaving(root: Path, split: str) -> list[Sample]:
    """A data set of a plugin that takes itself for a script."""
    sys.exit()


class DiesOfSoftCAM(Explainer):
    """Ends its process when it is to explain the evidence of three classes."""

    name, family, signed, paper = "dies", "post-hoc", True, "-"

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        if isinstance(classifier, EvidenceClassifier) and classifier(images).shape[1] == 3:
            os._exit(7)
        return images.sum(dim=1)


class DiesOnce(Explainer):
    """Ends its process the first time that it is called on this machine, as if the system had killed it."""

    name, family, signed, paper = "dies_once", "post-hoc", True, "-"

    def __init__(self, mark: str = "") -> None:
        self.mark = mark

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        mark = Path(os.environ["TEST_FOLDER"]) / "died"
        if not mark.exists():
            mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), 9)
        return images.sum(dim=1)


def register() -> None:
    """Does what a new process must do to know the names of these tests."""
    register_squares()
    register_shapes()
    register_explainer(DiesOfSoftCAM)
    register_explainer(DiesOnce)
    for builder in (sleeping, leaving):
        facts: dict[str, Any] = {"masks": "pixel", "source": "-", "licence": "-", "citation": "-", "in_all": False}
        dataset(builder.__name__, "other", ("plain", "square"), **facts)(builder)


@dataclass(frozen=True)
class Registering:
    """Registers the names in a process that is told the folder of the test, which its environment may not hold."""

    folder: str

    def __call__(self) -> None:
        os.environ["TEST_FOLDER"] = self.folder
        register()


def run_apart(
    out: Path,
    *names: str,
    console: Console | None = None,
    workers: Any = 2,
    cluster: str = "",
    setting: type[Registering] = Registering,
    batch_size: int = 4,
    **section: Any,
) -> Outcome:
    """Runs the tiny config on several data sets; with one worker in this process."""
    config = tiny_config(datasets=list(names), **section)
    explain = config.explain.model_copy(update={"batch_size": batch_size})
    config = config.model_copy(update={"explain": explain})
    out.mkdir(parents=True, exist_ok=True)
    number = None if cluster else workers
    options = RunOptions(out, out, CPU, precision="float32", workers=number, cluster=cluster)
    return run(config, make_plan(config, out), options, console or Console(quiet=True), [], setting(str(out.parent)))


def stored(run: Path) -> dict[str, pd.DataFrame]:
    """Every stored frame of a run by its place, without rows that hold seconds."""
    found = {str(file.relative_to(run)): pd.read_parquet(file) for file in sorted(run.glob("cells/**/*.parquet"))}
    return {name: frame[frame["image"] != ""] if "image" in frame else frame for name, frame in found.items()}


def assert_same_files(one: Path, other: Path) -> None:
    """Checks that two runs hold the same frames, to the last digit."""
    ours, theirs = stored(one), stored(other)
    assert ours
    assert ours.keys() == theirs.keys()
    for name, frame in ours.items():
        pd.testing.assert_frame_equal(frame, theirs[name], check_exact=True)
    archives = [file.relative_to(one) for file in sorted(one.rglob("*.npz"))]
    assert {name.parts[0] for name in archives} == {"cells", "data"}
    assert archives == [file.relative_to(other) for file in sorted(other.rglob("*.npz"))]
    for name in archives:
        with np.load(one / name) as first, np.load(other / name) as second:
            assert first.files == second.files
            for part in first.files:
                np.testing.assert_array_equal(first[part], second[part], err_msg=f"{name}: {part}")


def assert_same_tables(one: Path, other: Path) -> None:
    """Checks that the reports of two runs hold the same tables, to the last byte; that of costs holds seconds."""
    tables = []
    for out in (one, other):
        build_report(out, Console(quiet=True), only_if_stale=True)
        tables.append({file.relative_to(out): file.read_bytes() for file in out.glob("tables/**/*.csv")})
        assert tables[-1].pop(Path("tables/cost.csv"))
    assert len(tables[0]) > 3
    assert tables[0] == tables[1]


def statuses(run: Path) -> list[str]:
    """The status of every cell, in the order of the plan."""
    store = RunStore(run)
    return [store.cell(key).record.status for key in store.record.cells]


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    """Whether there is such a process that is more than an entry that nobody has asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(found: Callable[[], object], seconds: float = 240) -> bool:
    """Waits until something is there."""
    for _ in range(int(seconds / 0.05)):
        if found():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def listening() -> Iterator[None]:
    """Ctrl-C is heard, also where a shell that runs the tests in the background has them ignore it."""
    import signal

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
