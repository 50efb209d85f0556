"""Memory and machine: freed memory goes back to the system, peaks and available memory are measured."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from bench import devices, memory
from bench.devices import describe_machine, threads_of_each
from bench.memory import PeakMemory, available_memory
from tests.support.files import ROOT

#: In a process of its own: the heap of a long one has room for the arrays.
ARRAYS = """
import sys
import numpy as np
import psutil
import pyarrow as pa
from bench.memory import give_memory_back

def resident():
    return psutil.Process().memory_info().rss / 2**20

if sys.argv[1] == "give back":
    give_memory_back()
    assert pa.default_memory_pool().backend_name == "system"
before = resident()
arrays = [np.ones(12_500) for _ in range(2000)]
assert resident() > before + 150
last = arrays.pop()
arrays.clear()
print(resident() - before)
"""


@pytest.mark.parametrize(("what", "least", "most"), [("keep", 150, 250), ("give back", -50, 50)])
def test_what_is_freed_goes_back_though_what_came_later_stays(what: str, least: int, most: int) -> None:
    here = str(ROOT)
    done = subprocess.run([sys.executable, "-c", ARRAYS, what], cwd=here, capture_output=True, text=True, check=True)
    assert least < float(done.stdout) < most


def test_available_memory_is_that_of_the_machine() -> None:
    assert 0 < available_memory() <= psutil.virtual_memory().total


@pytest.mark.parametrize("limit", ["5000", "max"])
def test_available_memory_is_that_of_the_container_if_it_is_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("2000\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert (available_memory() == 3000) == (limit != "max")


def test_peak_memory_is_unknown_where_the_platform_has_no_status_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "absent")
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "absent" / "absent")
    with PeakMemory(torch.device("cpu")) as peak:
        pass
    assert math.isnan(peak.mebibytes)


def test_machine_is_described_where_there_is_no_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "Path", lambda name: tmp_path / "absent")
    monkeypatch.setattr(devices.platform, "processor", lambda: "a processor")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    described = describe_machine(torch.device("cpu"))
    assert (described["cpu"], described["bf16"]) == ("a processor", "False")


def test_threads_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    assert [threads_of_each(processes) for processes in (1, 3, 8, 20)] == [8, 2, 1, 1]


@pytest.mark.parametrize(
    ("imported", "before", "after"),
    [("polars, ", "", "dirty_decay_ms:0,muzzy_decay_ms:0"), ("", "narenas:2", "narenas:2")],
)
def test_processes_started_later_give_memory_back_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, imported: str, before: str, after: str
) -> None:
    monkeypatch.setenv("_RJEM_MALLOC_CONF", before)
    code = f"import {imported}bench.memory, os; bench.memory.give_memory_back(); print(os.environ['_RJEM_MALLOC_CONF'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == after
