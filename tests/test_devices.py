"""Memory: what is freed goes back to the system, and what is there is known."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.devices import available_memory, give_memory_back, threads_of_each


def resident() -> float:
    """Mebibytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_what_is_freed_goes_back_though_what_came_later_stays() -> None:
    give_memory_back()
    before = resident()
    arrays = [np.ones(12_500) for _ in range(2000)]
    assert resident() > before + 150
    last = arrays.pop()
    arrays.clear()
    assert resident() < before + 50
    assert last.sum() == 12_500
    assert pa.default_memory_pool().backend_name == "system"


def test_available_memory_is_that_of_the_machine() -> None:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < available_memory() <= pages


def test_threads_are_shared_out(monkeypatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    assert [threads_of_each(processes) for processes in (1, 3, 8, 20)] == [8, 2, 1, 1]
