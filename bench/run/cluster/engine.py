"""Choice of the workers of a run, and the run on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cloudpickle
import dask.config
from distributed import Client

from bench.config import Config
from bench.devices import threads_of_each
from bench.errors import UserError
from bench.run.cluster.jobs import jobs_client
from bench.run.cluster.local import local_client, pinned
from bench.run.cluster.loop import ClusterLoop
from bench.run.cluster.settings import SETTINGS
from bench.run.cluster.worker import Expected, Setup, code_of_plan
from bench.run.coordinator import Coordinator
from bench.run.options import RunOptions
from bench.store.cell_facts import WorkerFacts

#: Seconds that a running scheduler has to answer.
_PATIENCE = 10.0


@dataclass(frozen=True)
class _Opened:
    client: Client
    threads: int | None
    where: str
    submit: Callable[[], object] = lambda: None


def work_on_workers(
    coordinator: Coordinator, config: Config, register: Callable[[], object], token: str, count: int
) -> dict[str, WorkerFacts]:
    """Does every task of a run on workers.

    Args:
        coordinator: the state of the run.
        config: of the run.
        register: fills the registries of a worker.
        token: of the owner of the run folder.
        count: number of workers on this machine, unless the options name a cluster or GPUs.

    Returns:
        Name -> facts about every worker that took part.

    Raises:
        UserError: the workers cannot be had, the scheduler is gone, or the disk cannot be written to.
    """
    options = coordinator.options
    with dask.config.set(SETTINGS), _open(options, count) as opened:
        code = code_of_plan(coordinator.plan)
        setup = Setup(register, config, options, coordinator.plan_id, opened.threads, code)
        expected = Expected.here(token, options.out)
        loop = ClusterLoop(
            opened.client, coordinator, expected, cloudpickle.dumps(setup), opened.where, submit=opened.submit
        )
        loop.run()
        hosts = [one.host for one in loop.workers.values()]
        return {name: one.changed(processes=hosts.count(one.host)) for name, one in loop.workers.items()}


@contextmanager
def _open(options: RunOptions, count: int) -> Iterator[_Opened]:
    """Starts workers, or connects to those that a running scheduler has."""
    where = options.cluster
    if where.endswith(".toml"):
        with jobs_client(Path(where)) as (client, threads, submit):
            yield _Opened(client, threads, f"of {where}", submit)
    elif where:
        with _connected(where) as client:
            client.run_on_scheduler(_blame_one_death)
            yield _Opened(client, None, f"of {where}")
    else:
        environments = pinned(options, count)
        with local_client(environments) as client:
            yield _Opened(client, threads_of_each(len(environments)), "of this machine")


def _connected(where: str) -> Client:
    """Connects to a scheduler that runs already.

    Raises:
        UserError: it does not answer, or ``where`` is neither an address nor an existing file.
    """
    is_file = where.endswith(".json")
    if not is_file and "://" not in where:
        raise UserError(
            f"--cluster {where}: give an address such as tcp://head:8786, a scheduler.json, or a TOML file of jobs"
        )
    if is_file and not Path(where).is_file():
        raise UserError(f"--cluster {where}: no such file; dask scheduler --scheduler-file writes it")
    try:
        if is_file:
            return Client(scheduler_file=where, set_as_default=False, timeout=_PATIENCE)
        return Client(where, set_as_default=False, timeout=_PATIENCE)
    except (OSError, TimeoutError, ValueError) as error:
        raise UserError(f"--cluster {where}: no scheduler answers there; start one (docs/cluster.md)") from error


def _blame_one_death(dask_scheduler: object) -> None:
    """Makes a scheduler that others have started report a task at the first death of its worker."""
    dask_scheduler.allowed_failures = 0  # type: ignore[attr-defined]
