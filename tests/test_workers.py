"""Data sets beside each other: the same numbers as one after the other, and nothing lost when a process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from rich.console import Console

from bench.plan import make_plan
from bench.progress import Progress, RunProgress, SentProgress
from bench.registry import DATASETS, dataset
from bench.runner import Options, Outcome, run
from bench.store import CellKey, RunStore
from bench.workers import choose_workers
from tests.made import register_shapes, register_squares, squares, tiny_config

SCORES = "cells/*/*/scores/*.parquet"


def dying(root: Path, split: str) -> Any:
    """A data set whose process ends in the middle of the images, as when the system kills it."""
    samples = squares(root, split)
    if split == "test":
        os._exit(7)
    return samples


def register() -> None:
    """What a new process must do to know the names of these tests."""
    register_squares()
    register_shapes()
    dataset("dying", "other", ("plain", "square"), masks="pixel", source="-", licence="-", citation="-", in_all=False)(
        dying
    )


def run_apart(out: Path, *names: str, console: Console | None = None, workers: int = 2) -> Outcome:
    """The tiny run on several data sets; with one worker in this process."""
    config = tiny_config(datasets=list(names))
    options = Options(out, out, torch.device("cpu"), precision="float32", workers=workers)
    quiet = console or Console(file=(out.parent / "log.txt").open("a"))
    return run(config, make_plan(config, out), options, quiet, [], register)


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> Any:
    known = set(DATASETS)
    register()
    yield
    for name in set(DATASETS) - known:
        DATASETS.remove(name)


@pytest.mark.parametrize(
    ("asked", "device", "data_sets", "expected"),
    [
        (None, "cpu", 9, 1),
        (None, "cuda", 9, 1),
        (3, "cpu", 9, 3),
        (3, "cuda", 9, 3),
        (3, "cpu", 2, 2),
        (1, "cpu", 4, 1),
    ],
)
def test_number_of_workers(asked: int | None, device: str, data_sets: int, expected: int) -> None:
    # tests have one thread
    options = Options(Path(), Path(), torch.device(device), workers=asked)
    assert choose_workers(options, data_sets) == expected


def test_as_many_workers_as_threads_but_eight_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(Path(), Path(), torch.device("cpu"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert choose_workers(options, 9) == 4
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert choose_workers(options, 20) == 8


def test_same_rows_apart_as_in_one_process(tmp_path: Path) -> None:
    apart, alone = (
        run_apart(tmp_path / "apart", "squares", "shapes"),
        run_apart(tmp_path / "alone", "squares", "shapes", workers=1),
    )
    assert apart == alone == Outcome([], True)
    files = sorted(file.relative_to(tmp_path / "alone") for file in (tmp_path / "alone").glob(SCORES))
    assert len(files) == len(list((tmp_path / "apart").glob(SCORES))) >= 12
    for file in files:
        ours, theirs = (pd.read_parquet(tmp_path / run / file) for run in ("apart", "alone"))
        costs = ours["image"] == ""  # seconds
        pd.testing.assert_frame_equal(ours[~costs], theirs[~costs])
    ours, theirs = (RunStore(tmp_path / run).record for run in ("apart", "alone"))
    assert ours["datasets"] == theirs["datasets"]
    assert ours["machine"] == theirs["machine"] | {"processes": 2}
    assert not run_apart(tmp_path / "apart", "squares", "shapes").computed


def test_a_process_that_dies_takes_only_its_own_cells(tmp_path: Path) -> None:
    outcome = run_apart(tmp_path / "run", "dying", "squares")
    assert outcome.computed
    assert len(outcome.problems) == 1
    assert outcome.problems[0].startswith("dying failed: its process died with exit code 7")
    store = RunStore(tmp_path / "run")
    status = {
        name: store.cell(CellKey(name, "compact", "blackbox", 0)).record["status"] for name in ("dying", "squares")
    }
    assert status == {"dying": "failed", "squares": "ok"}
    assert store.record["problems"] == outcome.problems


class _Stopped(Console):
    """Ctrl-C at the first line that is printed."""

    def print(self, *objects: Any, **named: Any) -> None:
        raise KeyboardInterrupt


def test_no_process_outlives_a_stop(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_apart(tmp_path / "run", "squares", "shapes", console=_Stopped(file=(tmp_path / "log").open("w")))
    assert active_children() == []
    assert run_apart(tmp_path / "run", "squares", "shapes").problems == []


SCRIPT = """
import sys
from pathlib import Path
from tests.test_workers import register, run_apart
if __name__ == "__main__":
    register()
    run_apart(Path(sys.argv[1]), "squares", "shapes")
"""


def test_no_process_outlives_a_killed_one(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    here = Path(__file__).parent.parent
    first = subprocess.Popen([sys.executable, script, tmp_path / "run"], env=os.environ | {"PYTHONPATH": str(here)})
    workers = _wait_for(lambda: [pid for server in _children(first.pid) for pid in _children(server)])
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert _wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def _children(pid: int) -> list[int]:
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in file.read_text().split()] if file.exists() else []


def _wait_for(found: Any, seconds: float = 60) -> Any:
    for _ in range(int(seconds / 0.05)):
        if result := found():
            return result
        time.sleep(0.05)
    return None


def test_progress_is_passed_on_word_for_word() -> None:
    heard: list[tuple[Any, ...]] = []
    progress = SentProgress(lambda *message: heard.append(message))
    with progress.step("train", "a text"):
        pass
    with pytest.raises(ValueError, match="no"), progress.step("gradcam", "another"):
        raise ValueError("no")
    progress.expect("a", "b")
    progress.skip("c")
    progress.say("red", style="red")
    progress.milestone("done")
    assert [message if message[0] != "end" else (*message[:2], message[2] is None) for message in heard] == [
        ("update", "a text"),
        ("end", "train", False),
        ("update", "another"),
        ("end", "gradcam", True),
        ("expect", "a", "b"),
        ("end", "c", True),
        ("say", "red", "red"),
        ("milestone", "done"),
    ]
    assert all(callable(getattr(Progress, kind)) for kind, *_ in heard)


def test_time_left_counts_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    with log.open("w") as file:
        for workers in (1, 2):
            progress = RunProgress(Console(file=file), ["train"] * 9, workers)
            progress.end("train", 60.0)
            progress.milestone("one")
    assert [line.split("(")[1] for line in log.read_text().splitlines()] == ["about 8:00 left)", "about 4:00 left)"]
