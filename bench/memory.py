"""Memory of the device and of the process: peak use, available memory, and smaller batches when it runs out.

A run must fit every machine without being told its size, and report the memory that each method needs.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psutil
import pyarrow as pa

from bench.errors import UserError

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")
#: Option of mallopt (malloc.h): size in bytes from which an array is mapped to separate pages.
_MMAP_THRESHOLD = -3
_DECAY = "dirty_decay_ms:"
_POLARS = ("_RJEM_MALLOC_CONF", f"{_DECAY}0,muzzy_decay_ms:0")
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_CGROUP = Path("/sys/fs/cgroup")


def is_out_of_memory(error: BaseException) -> bool:
    """Returns True if an exception means that a smaller batch might fit."""
    import torch  # not at the top, here and below: the report does without it, and starts in half the time

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)


def with_smaller_batches(compute: Callable[[int], Result], batch_size: int) -> tuple[Result, int]:
    """Calls ``compute(batch_size)`` and halves the batch while memory runs out.

    Returns:
        The result, and the batch size that fitted.

    Raises:
        UserError: a batch of one does not fit.
    """
    while True:
        try:
            return compute(batch_size), batch_size
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if batch_size == 1:
                why = next(iter(str(error).splitlines()), "")  # a MemoryError has no message
                raise UserError(f"out of memory even with a batch of one{': ' if why else ''}{why}") from error
        import torch

        batch_size //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def in_batches(compute: Callable[[slice], Result], count: int, batch_size: int) -> list[Result]:
    """Calls ``compute`` for consecutive slices of ``count`` items; the slices shrink when memory runs out.

    Returns:
        One result per slice, in order.

    Raises:
        UserError: a slice of one does not fit.
    """

    def attempt(size: int) -> list[Result]:
        return [compute(slice(start, start + size)) for start in range(0, count, size)]

    return with_smaller_batches(attempt, batch_size)[0]


class PeakMemory:
    """Peak memory use of a ``with`` block above the use at its start.

    The peak of the CPU's memory is measured on Linux only, as no other platform can reset it.

    Args:
        device: its memory is measured if it is a CUDA device, otherwise the resident memory of this process.

    Attributes:
        mebibytes: the peak in MiB after the block; nan if it cannot be measured.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.mebibytes = float("nan")

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
            self._start = float(torch.cuda.memory_allocated(self.device))
        else:
            with contextlib.suppress(OSError):
                _CLEAR.write_text("5")  # resets the peak (VmHWM) of this process to its present size
            self._start = float(psutil.Process().memory_info().rss)
        return self

    def __exit__(self, *exception: object) -> None:
        if self.device.type == "cuda":
            import torch

            peak: float = torch.cuda.max_memory_allocated(self.device)
        else:
            peak = peak_resident()
        self.mebibytes = max(peak - self._start, 0.0) / 2**20  # in this order, max keeps a nan


def available_memory() -> float:
    """Returns the bytes that this process can still use: those of the machine, or of its container if that has less."""
    found = [float(psutil.virtual_memory().available)]
    with contextlib.suppress(OSError, ValueError):  # no such file, or no limit ("max"); psutil ignores containers
        found.append(float((_CGROUP / "memory.max").read_text()) - float((_CGROUP / "memory.current").read_text()))
    return min(found)


def peak_resident() -> float:
    """Returns the peak resident size in bytes since the last reset, which psutil cannot read; nan if unknown."""
    lines = _STATUS.read_text(encoding="utf-8").splitlines() if _STATUS.exists() else []
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), float("nan"))


def give_memory_back() -> None:
    """Makes this process return freed memory to the system at once: its C library if that is glibc, Arrow and Polars.

    Repeated allocations of different sizes, one per image and resample, would otherwise fragment the heap. Polars has
    its own allocator, which reads the setting when Polars is first imported.
    """
    name, value = _POLARS
    if os.environ.get(name, _DECAY).startswith(_DECAY):  # not the user's: Polars sets it when it is imported
        os.environ[name] = value  # for the processes that this one starts, too
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_MMAP_THRESHOLD, 64 * 1024)
        libc.malloc_trim(0)
