"""Workers on this machine: the same numbers as in one process, and nothing lost when a process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from itertools import combinations
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from rich.console import Console

from bench.contracts import UserError
from bench.progress import RunProgress
from bench.run import runner
from bench.run.cluster import local
from bench.run.runner import Outcome, RunOptions
from bench.store.folders import RunStore
from bench.store.records import CellKey
from bench.store.run_folder import OWNER_FILE, owns
from tests.support.apart import (
    CPU,
    Registering,
    assert_same_files,
    children,
    is_running,
    listening,
    register,
    run_apart,
    statuses,
    wait_for,
)
from tests.support.files import ROOT
from tests.support.made import forgotten_afterwards

__all__ = ["listening"]


@pytest.fixture(autouse=True)
def _known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TEST_FOLDER", str(tmp_path))
    with forgotten_afterwards():
        register()
        yield


class Failing(Registering):
    """The names are not to be had."""

    def __call__(self) -> None:
        raise UserError("the plugin is gone")


@pytest.mark.parametrize(
    ("asked", "device", "cells", "expected"),
    [
        (None, "cpu", 9, 4),
        (None, "cpu", 3, 3),
        (None, "cuda", 9, 1),
        (None, "mps", 9, 1),
        (9, "cpu", 3, 9),
        (3, "cuda", 9, 3),
        (1, "cpu", 4, 1),
    ],
)
def test_number_of_workers(
    asked: int | None, device: str, cells: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(runner, "available_memory", lambda: float("inf"))
    options = RunOptions(Path(), Path(), torch.device(device), workers=asked)
    assert runner.choose_workers(options, cells) == expected


@pytest.mark.parametrize(("gibibytes", "expected"), [(1, 1), (9, 2), (1000, 8)])
def test_workers_need_memory(gibibytes: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(runner, "available_memory", lambda: gibibytes * 2.0**30)
    assert runner.choose_workers(RunOptions(Path(), Path(), CPU), 20) == expected


@pytest.mark.slow
def test_same_files_from_one_process_and_from_four_workers(tmp_path: Path) -> None:
    """With three heads on one data set and a part for every class; the records show two workers at once."""
    heads = ["blackbox", "tte", "softcam-sparse"]
    for count in (1, 4):
        done = run_apart(tmp_path / str(count), "shapes", workers=count, batch_size=2, heads=heads, studies=["sanity"])
        assert done == Outcome([], True)
    assert_same_files(tmp_path / "1", tmp_path / "4")
    assert not list(tmp_path.glob("*/cells/*/*/**/pieces"))
    alone, apart = (RunStore(tmp_path / name).record for name in ("1", "4"))
    assert apart.datasets == alone.datasets
    assert apart.machine == alone.machine.changed(processes=4)
    assert alone.workers == {}
    assert {one.threads for one in apart.workers.values()} == {1}
    spans = []
    for key in apart.cells:
        work = RunStore(tmp_path / "4").cell(key).record.work
        assert {one.task for one in work} == {"train", "score", "finish"}
        assert {one.worker for one in work} <= apart.workers.keys()
        (training,) = (one for one in work if one.task == "train")
        begun = datetime.fromisoformat(training.started).timestamp()
        spans.append((training.worker, begun, begun + training.seconds))
    together = [(a, b) for a, b in combinations(spans, 2) if a[0] != b[0] and max(a[1], b[1]) < min(a[2], b[2])]
    assert together
    assert not run_apart(tmp_path / "4", "shapes", workers=1, batch_size=2, heads=heads, studies=["sanity"]).computed


def test_a_task_that_kills_every_worker_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "RunProgress", Counted)
    log = tmp_path / "log"
    with log.open("w") as file:
        outcome = run_apart(tmp_path / "run", "shapes", "squares", console=Console(file=file), explainers=["dies"])
    assert outcome.computed
    (problem,) = outcome.problems
    assert problem.startswith("shapes · compact · softcam-sparse · seed 0 failed: ")
    assert "its worker process died, usually because memory ran out, twice" in problem
    assert "scoring share 1: its worker process died, usually because memory ran out; it is tried" in log.read_text()
    assert statuses(tmp_path / "run") == ["ok", "failed", "ok", "ok"]
    store = RunStore(tmp_path / "run")
    assert store.cell(CellKey("shapes", "compact", "blackbox", 0)).is_current("dies")
    assert store.record.problems == outcome.problems
    assert Counted.steps > 0
    assert Counted.left == 0


def test_a_worker_that_is_killed_costs_one_try_of_its_task(tmp_path: Path) -> None:
    section = {"explainers": ["random", "dies_once"], "heads": ["blackbox"]}
    assert run_apart(tmp_path / "run", "squares", batch_size=2, **section) == Outcome([], True)
    assert not is_running(int((tmp_path / "died").read_text()))
    run_apart(tmp_path / "whole", "squares", batch_size=2, workers=1, **section)
    assert_same_files(tmp_path / "run", tmp_path / "whole")


class KilledInTraining(Registering):
    """Registers the names, and has the first worker that trains killed in its second epoch."""

    def __call__(self) -> None:
        from bench.training import loop

        super().__call__()
        real, folder = loop.validate, Path(self.folder)

        def killed(*arguments: object) -> object:
            with (folder / "epochs").open("a") as file:
                file.write(f"{os.getpid()}\n")
            if len((folder / "epochs").read_text().split()) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)  # type: ignore[arg-type]

        loop.validate = killed  # type: ignore[assignment]


@pytest.mark.slow
def test_a_worker_that_is_killed_in_a_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    section = {"explainers": ["random"], "heads": ["blackbox"]}
    assert run_apart(tmp_path / "run", "squares", setting=KilledInTraining, **section) == Outcome([], True)
    first, second, *others = (tmp_path / "epochs").read_text().split()
    assert first == second
    assert len(others) == 1  # the second epoch alone
    assert others[0] != first
    run_apart(tmp_path / "whole", "squares", workers=1, **section)
    assert_same_files(tmp_path / "run", tmp_path / "whole")


def test_a_plugin_that_ends_the_program_has_failed(tmp_path: Path) -> None:
    outcome = run_apart(tmp_path / "run", "leaving", "squares", heads=["blackbox"], explainers=["random"])
    assert outcome.problems == ["leaving failed: it tried to end the program with exit code 0"]
    assert statuses(tmp_path / "run") == ["failed", "ok"]


def test_why_workers_cannot_begin(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"of this machine can take part: worker tcp:.* is refused: the plugin"):
        run_apart(tmp_path / "run", "squares", setting=Failing)


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


@pytest.mark.usefixtures("listening")
def test_ctrl_c_ends_the_others_and_leaves_no_half_file(tmp_path: Path) -> None:
    out = tmp_path / "run"
    stopper = threading.Thread(target=lambda: wait_for((out / "asleep").exists) and os.kill(os.getpid(), signal.SIGINT))
    stopper.start()
    with pytest.raises(KeyboardInterrupt):
        run_apart(out, "sleeping", "squares")
    stopper.join()
    assert active_children() == []
    assert not [file for file in tmp_path.rglob("*") if file.suffix == ".tmp"]
    assert not (out / "whole").exists()
    assert not (out / "owner.json").exists()
    assert run_apart(out, "squares", "shapes", workers=1).problems == []


def test_a_run_that_has_lost_its_folder_stops_with_one_line(tmp_path: Path) -> None:
    """Another machine takes the folder over after this one was silent, for example because it was suspended."""
    out = tmp_path / "run"

    def take_over() -> None:
        wait_for((out / "asleep").exists)
        (out / OWNER_FILE).write_text('{"token": "theirs", "host": "elsewhere", "process": 1}')

    other = threading.Thread(target=take_over)
    other.start()
    with pytest.raises(UserError, match=r"stopped: .*run belongs to another run") as said:
        run_apart(out, "sleeping", "squares")
    other.join()
    assert "\n" not in str(said.value)
    assert owns(out, "theirs")


SCRIPT = """
import sys
from pathlib import Path
from tests.support.apart import register, run_apart
if __name__ == "__main__":
    register()
    run_apart(Path(sys.argv[1]), "sleeping", "squares")
"""


@pytest.mark.slow
def test_no_process_outlives_a_killed_one(tmp_path: Path) -> None:
    script, out = tmp_path / "script.py", tmp_path / "run"
    script.write_text(SCRIPT)
    first = subprocess.Popen([sys.executable, script, out], env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert wait_for((out / "asleep").exists)
    others = [pid for server in children(first.pid) for pid in (server, *children(server))]
    assert len(others) >= 2
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert wait_for(lambda: not any(map(is_running, others)))


class Echoing(Registering):
    """Registers the names, and writes down which GPU this process may use."""

    def __call__(self) -> None:
        super().__call__()
        (Path(self.folder) / f"gpu-{os.environ['CUDA_VISIBLE_DEVICES']}").touch()


@pytest.mark.slow
def test_every_gpu_has_a_worker_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    section = {"explainers": ["random"], "heads": ["blackbox", "softcam-sparse"]}
    assert run_apart(tmp_path / "run", "squares", workers="gpus", setting=Echoing, **section).problems == []
    assert {file.name for file in tmp_path.glob("gpu-*")} == {"gpu-4", "gpu-7"}


def test_workers_on_gpus_need_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "visible_gpus", list)
    with pytest.raises(UserError, match="--workers gpus: this machine has no visible GPU"):
        local.pinned(RunOptions(Path(), Path(), CPU, workers="gpus"), 1)
