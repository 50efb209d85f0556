"""Choice of the device, bf16 support, threads and a description of the machine.

Timings and the last digits of results depend on them, so a run records them.
"""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from bench.errors import UserError


def choose_device(name: str) -> torch.device:
    """Returns the device of this name: ``auto`` is CUDA if available, otherwise the CPU.

    Args:
        name: ``auto`` or any name that ``torch.device`` understands.

    Raises:
        UserError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "cpu" and device.index:
            raise ValueError("there is one CPU, without a number")
        torch.zeros(1, device=device).item()  # fails on devices that hold no values, such as meta
    except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device {name!r} is not usable here ({reason}); try cpu, cuda or auto") from error
    return device


def device_of_cluster(name: str) -> torch.device:
    """Returns the device of the workers of a cluster, which this machine need not have: ``auto`` is the CPU.

    Raises:
        UserError: there is no such device, or it has a number.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device {name!r} is not known on a cluster; try cpu or cuda")
    return torch.device("cuda" if name == "cuda" else "cpu")


def has_fast_bf16(device: torch.device) -> bool:
    """Returns True if the device computes bf16 in hardware, so that training under autocast is faster."""
    if device.type == "cuda":
        return torch.cuda.is_available() and bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False  # not every platform has mkldnn
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def training_autocast(device: torch.device) -> torch.autocast:
    """Returns bf16 autocast if the device is fast at it, otherwise a context that does nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_fast_bf16(device))


def threads_of_each(processes: int) -> int:
    """Returns the number of torch threads per process if ``processes`` share the threads of this one."""
    return max(1, torch.get_num_threads() // processes)


def describe_machine(device: torch.device, processes: int = 1) -> dict[str, str | int]:
    """Returns hardware, platform and thread counts; timings and the last digits of results depend on them."""
    return {
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" and torch.cuda.is_available() else "none",
        "cpu": _cpu_name(),
        "processes": processes,
        "threads": threads_of_each(processes),
        "bf16": str(has_fast_bf16(device)),
        "platform": platform.platform(),
    }


def _cpu_name() -> str:
    """Returns the model name of the CPU; psutil has none, and ``platform`` names only the architecture on Linux."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
