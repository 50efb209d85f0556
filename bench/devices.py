"""What depends on the machine: device, bf16, memory that runs out and memory that was used."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from bench.errors import UserError


def choose_device(name: str) -> torch.device:
    """``auto`` takes CUDA where there is a card; anything else is what torch.device understands.

    Raises:
        UserError: there is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device {name!r} is not usable here ({reason}); try cpu, cuda or auto") from error
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is done in hardware, so that training under autocast pays."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def training_autocast(device: torch.device) -> torch.autocast:
    """bf16 autocast where the device has it, else a context that does nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_fast_bf16(device))


def threads_of_each(processes: int) -> int:
    """Threads of torch for each of some processes that share this one's."""
    return max(1, torch.get_num_threads() // processes)


def describe_machine(device: torch.device, processes: int = 1) -> dict[str, str | int]:
    """What a reader must know to judge the seconds of a run, and its last digits: these hang on the threads too."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return {
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "none",
        "cpu": cpu,
        "processes": processes,
        "threads": threads_of_each(processes),
        "bf16": str(has_fast_bf16(device)),
        "platform": platform.platform(),
    }
