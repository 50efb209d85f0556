"""Memory of the device and of the process: peaks, room, and retries with smaller batches when it runs out."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import torch

from bench.errors import UserError

Result = TypeVar("Result")
#: Of mallopt (malloc.h): from how many bytes on an array has pages of its own.
_MMAP_THRESHOLD = -3
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that a smaller batch might fit."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)


def with_smaller_batches(compute: Callable[[int], Result], batch_size: int) -> tuple[Result, int]:
    """``compute(batch_size)``, with the batch halved down to 1 while memory runs out -> result, size that fitted.

    Raises:
        UserError: not even a batch of one fits.
    """
    while True:
        try:
            return compute(batch_size), batch_size
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if batch_size == 1:
                raise UserError(f"out of memory even with a batch of one: {str(error).splitlines()[0]}") from error
        batch_size //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def in_batches(compute: Callable[[slice], Result], count: int, batch_size: int) -> list[Result]:
    """Results of ``compute`` for consecutive slices of ``count`` things; the slices shrink when memory runs out.

    Raises:
        UserError: not even one at a time fits.
    """

    def attempt(size: int) -> list[Result]:
        return [compute(slice(start, start + size)) for start in range(0, count, size)]

    return with_smaller_batches(attempt, batch_size)[0]


class PeakMemory:
    """Highest memory use inside a ``with`` block above that at its start, in MiB (nan where it cannot be measured)."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.mebibytes = float("nan")

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._start = float(torch.cuda.memory_allocated(self.device))
        else:
            with contextlib.suppress(OSError):
                _CLEAR.write_text("5")  # resets the peak (VmHWM) of this process to its present size
            self._start = _resident_kib("VmRSS") * 1024
        return self

    def __exit__(self, *exception: object) -> None:
        if self.device.type == "cuda":
            peak: float = torch.cuda.max_memory_allocated(self.device)
        else:
            peak = _resident_kib("VmHWM") * 1024
        self.mebibytes = max(0.0, peak - self._start) / 2**20


def available_memory() -> float:
    """Bytes that may still be used, by this machine or by the container that this is; infinite where nobody says so."""
    group, machine = Path("/sys/fs/cgroup"), Path("/proc/meminfo")
    found = [float("inf")]
    if machine.exists():
        lines = dict(line.split(":") for line in machine.read_text().splitlines())
        found.append(float(lines["MemAvailable"].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # there is no such file, or no limit: "max"
        found.append(float((group / "memory.max").read_text()) - float((group / "memory.current").read_text()))
    return min(found)


def _resident_kib(field: str) -> float:
    if not _STATUS.exists():
        return float("nan")
    lines = _STATUS.read_text().splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith(field + ":")), float("nan"))


def give_memory_back() -> None:
    """From now on return what is freed to the system at once, where the C library is glibc.

    Arrays of ever other sizes, one for each image and resample, else leave holes in a heap that grows with them.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_MMAP_THRESHOLD, 64 * 1024)
        libc.malloc_trim(0)
