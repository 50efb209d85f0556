"""Memory: what is freed goes back to the system, and what is there is known."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.devices import threads_of_each
from bench.memory import available_memory
from tests.support.paths import ROOT

#: In a process of its own: the heap of a long one has room for the arrays.
ARRAYS = """
import os, sys
import numpy as np
import pyarrow as pa
from bench.devices import give_memory_back

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

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
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < available_memory() <= pages


def test_threads_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    assert [threads_of_each(processes) for processes in (1, 3, 8, 20)] == [8, 2, 1, 1]
