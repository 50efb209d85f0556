"""Data sets beside each other: the same numbers as one after the other, and nothing lost when a process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from rich.console import Console
from torch import Tensor

from bench.contracts import Classifier, EvidenceClassifier, Explainer, Sample, UserError
from bench.files import replacing
from bench.progress import RunProgress
from bench.registry import dataset, register_explainer
from bench.run import process_pool as workers
from bench.run.plan import make_plan
from bench.run.runner import Outcome, RunOptions, run
from bench.store.folders import RunStore
from bench.store.records import CellKey
from tests.support.files import ROOT
from tests.support.made import forgotten_afterwards, register_shapes, register_squares, squares, tiny_config

HERE = ROOT
CPU = torch.device("cpu")


def sleeping(root: Path, split: str) -> list[Sample]:
    """A data set that is never read to the end: in the middle of a file it waits to be stopped."""
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


def register() -> None:
    """What a new process must do to know the names of these tests."""
    register_squares()
    register_shapes()
    register_explainer(DiesOfSoftCAM)
    for builder in (sleeping, leaving):
        facts: dict[str, Any] = {"masks": "pixel", "source": "-", "licence": "-", "citation": "-", "in_all": False}
        dataset(builder.__name__, "other", ("plain", "square"), **facts)(builder)


def failing_register() -> None:
    """The names are not to be had."""
    raise UserError("the plugin is gone")


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    with forgotten_afterwards():
        register()
        yield


def run_apart(
    out: Path,
    *names: str,
    console: Console | None = None,
    processes: int = 2,
    setting: Callable[[], object] = register,
    **section: Any,
) -> Outcome:
    """The tiny run on several data sets; with one process in this one."""
    config = tiny_config(datasets=list(names), **section)
    out.mkdir(parents=True, exist_ok=True)
    options = RunOptions(out, out, CPU, precision="float32", workers=processes)
    return run(config, make_plan(config, out), options, console or Console(quiet=True), [], setting)


@pytest.mark.parametrize(
    ("asked", "device", "data_sets", "expected"),
    [
        (None, "cpu", 9, 4),
        (None, "cpu", 3, 3),
        (None, "cuda", 9, 1),
        (None, "mps", 9, 1),
        (9, "cpu", 9, 9),
        (3, "cuda", 9, 3),
        (3, "cpu", 2, 2),
        (1, "cpu", 4, 1),
    ],
)
def test_number_of_workers(
    asked: int | None, device: str, data_sets: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(workers, "available_memory", lambda: float("inf"))
    options = RunOptions(Path(), Path(), torch.device(device), workers=asked)
    assert workers.choose_workers(options, data_sets) == expected


@pytest.mark.parametrize(("gibibytes", "expected"), [(1, 1), (9, 2), (1000, 8)])
def test_workers_need_memory(gibibytes: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(workers, "available_memory", lambda: gibibytes * 2.0**30)
    assert workers.choose_workers(RunOptions(Path(), Path(), CPU), 20) == expected


@pytest.mark.slow
def test_same_rows_apart_as_in_one_process(tmp_path: Path) -> None:
    done = [run_apart(tmp_path / str(count), "squares", "shapes", processes=count) for count in (1, 2)]
    assert done == [Outcome([], True)] * 2
    scores = "cells/*/*/scores/*.parquet"
    files = [sorted(file.relative_to(out) for file in out.glob(scores)) for out in (tmp_path / "1", tmp_path / "2")]
    assert files[0] == files[1]
    assert len(files[0]) >= 12
    for file in files[0]:
        alone, apart = (pd.read_parquet(tmp_path / run / file) for run in ("1", "2"))
        of_images = alone["image"] != ""  # the others are seconds
        # the size of a batch, chosen by the clock, moves the last digit
        pd.testing.assert_frame_equal(apart[of_images], alone[of_images], atol=1e-6)
    alone, apart = (RunStore(tmp_path / run).record for run in ("1", "2"))
    assert apart.datasets == alone.datasets
    assert apart.machine == alone.machine.changed(processes=2)
    assert not run_apart(tmp_path / "2", "squares", "shapes").computed


def test_a_process_that_dies_takes_only_what_it_had_not_finished(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as file:
        outcome = run_apart(tmp_path / "run", "shapes", "squares", console=Console(file=file), explainers=["dies"])
    assert outcome.computed
    assert len(outcome.problems) == 1
    assert outcome.problems[0].startswith("shapes failed: worker process exited with code 7")
    store = RunStore(tmp_path / "run")
    cells = [CellKey(*name) for name in _product(("shapes", "squares"), ("blackbox", "softcam-sparse"))]
    assert [store.cell(key).record.status for key in cells] == ["ok", "failed", "ok", "ok"]
    assert store.cell(cells[0]).is_current("dies")
    assert store.record.problems == outcome.problems


def _product(datasets: tuple[str, ...], heads: tuple[str, ...]) -> Iterator[tuple[str, str, str, int]]:
    return ((name, "compact", head, 0) for name in datasets for head in heads)


def test_a_process_that_leaves_early_has_failed(tmp_path: Path) -> None:
    outcome = run_apart(tmp_path / "run", "leaving", "squares")
    assert [problem.split(" (")[0] for problem in outcome.problems] == [
        "leaving failed: it tried to end the program with exit code 0"
    ]


def test_why_a_process_could_not_begin(tmp_path: Path) -> None:
    outcome = run_apart(tmp_path / "run", "squares", "shapes", setting=failing_register)
    assert outcome.problems == ["squares failed: the plugin is gone", "shapes failed: the plugin is gone"]
    record = RunStore(tmp_path / "run").cell(CellKey("squares", "compact", "blackbox", 0)).record
    assert "in failing_register" in record.traceback


class Counted(RunProgress):
    """Counts all steps, and those that are left."""

    steps, left = 0, 0

    def __init__(self, console: Console, steps: list[str], workers: int = 1) -> None:
        super().__init__(console, steps, workers)
        Counted.steps = Counted.left = len(steps)

    def expect(self, *kinds: str) -> None:
        super().expect(*kinds)
        Counted.steps += len(kinds)
        Counted.left += len(kinds)

    def end(self, kind: str, seconds: float | None) -> None:
        super().end(kind, seconds)
        Counted.left -= 1


def test_steps_of_a_dead_process_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.run.runner.RunProgress", Counted)
    run_apart(tmp_path / "run", "shapes", "squares", explainers=["dies"])
    assert Counted.steps > 0
    assert Counted.left == 0


@pytest.fixture
def _ctrl_c_is_heard() -> Iterator[None]:
    """A shell that starts the tests in the background has them ignore it, and Python then keeps to that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_ctrl_c_ends_the_others_and_leaves_no_half_file(tmp_path: Path) -> None:
    out = tmp_path / "run"
    stopper = threading.Thread(
        target=lambda: _wait_for((out / "asleep").exists) and os.kill(os.getpid(), signal.SIGINT)
    )
    stopper.start()
    with pytest.raises(KeyboardInterrupt):
        run_apart(out, "sleeping", "squares")
    stopper.join()
    assert active_children() == []
    assert not [file for file in tmp_path.rglob("*") if file.suffix == ".tmp"]
    assert not (out / "whole").exists()
    assert run_apart(out, "squares", "shapes").problems == []


SCRIPT = """
import sys
from pathlib import Path
from tests.bench.run.test_process_pool import register, run_apart
if __name__ == "__main__":
    register()
    run_apart(Path(sys.argv[1]), "sleeping", "squares")
"""


@pytest.mark.slow
def test_no_process_outlives_a_killed_one(tmp_path: Path) -> None:
    script, out = tmp_path / "script.py", tmp_path / "run"
    script.write_text(SCRIPT)
    first = subprocess.Popen([sys.executable, script, out], env=os.environ | {"PYTHONPATH": str(HERE)})
    assert _wait_for((out / "asleep").exists)
    others = [pid for server in _children(first.pid) for pid in (server, *_children(server))]
    assert len(others) >= 2
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert _wait_for(lambda: not any(map(_runs, others)))


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _runs(pid: int) -> bool:
    """Whether there is such a process that is more than an entry nobody has asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait_for(found: Callable[[], bool], seconds: float = 240) -> bool:
    for _ in range(int(seconds / 0.05)):
        if found():
            return True
        time.sleep(0.05)
    return False
