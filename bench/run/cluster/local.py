"""Workers on this machine: processes that share its cores, or one per GPU."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from distributed import Client, Nanny, Scheduler, SpecCluster

from bench.errors import UserError
from bench.run.cluster.forks import start_server
from bench.run.options import RunOptions


def visible_gpus() -> list[str]:
    """Lists the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [one.strip() for one in named.split(",")] if named else [str(at) for at in range(torch.cuda.device_count())]


def pinned(options: RunOptions, count: int) -> list[dict[str, str]]:
    """Returns the environment of each worker: its own GPU with ``--workers gpus``, otherwise nothing.

    Raises:
        UserError: there is no GPU.
    """
    if options.workers != "gpus":
        return [{} for _ in range(count)]
    gpus = visible_gpus()
    if not gpus:
        raise UserError("--workers gpus: this machine has no visible GPU; name a number of workers instead")
    return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus]


@contextmanager
def local_client(environments: list[dict[str, str]]) -> Iterator[Client]:
    """Starts a scheduler in this process and one worker process per environment; all of them end with the block."""
    start_server()
    with tempfile.TemporaryDirectory(prefix="bench-workers-", ignore_cleanup_errors=True) as scratch:
        common: dict[str, Any] = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "local_directory": scratch}
        common |= {"host": "127.0.0.1", "silence_logs": 50}
        workers = {number: {"cls": Nanny, "options": common | {"env": one}} for number, one in enumerate(environments)}
        scheduler = {"cls": Scheduler, "options": {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1", "port": 0}}
        with (
            SpecCluster(workers=workers, scheduler=scheduler, silence_logs=50) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
