"""Workers that a batch system starts as jobs: SLURM, PBS or LSF, described by a TOML file."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from distributed import Client
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.errors import UserError
from bench.run.cluster.settings import OF_WORKERS

_ROOT = Path(__file__).parents[3]
_CLASSES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster"}
#: Part of a job's time, and most seconds, that are left for the end of a task when its worker takes no new one.
_MARGIN, _MOST_MARGIN = 0.1, 600


class JobsFile(BaseModel):
    """Content of the file.

    Attributes:
        kind: the batch system.
        jobs: number of jobs that run at a time.
        workers_per_job: processes of one job, which share its cores.
        options: arguments of the class of dask-jobqueue for this system, such as ``queue``, ``cores``, ``memory``,
            ``walltime`` and ``job_extra_directives``.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["slurm", "pbs", "lsf"]
    jobs: int = Field(ge=1)
    workers_per_job: int = Field(1, ge=1)
    options: dict[str, Any] = {}

    @property
    def threads(self) -> int:
        """Threads of each worker."""
        return max(1, int(self.options["cores"]) // self.workers_per_job)

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the class of dask-jobqueue."""
        prologue = [f"export {name}={value}" for name, value in OF_WORKERS.items()]
        prologue += [f"export PYTHONPATH={_ROOT}${{PYTHONPATH:+:$PYTHONPATH}}", "export PYTHONSAFEPATH=1"]
        given = dict(self.options)
        extra = [*given.pop("worker_extra_args", []), *_lifetime(str(given.get("walltime") or ""))]
        before = [*prologue, *given.pop("job_script_prologue", [])]
        scheduler = {"dashboard_address": ":0"} | given.pop("scheduler_options", {})
        named = {"processes": self.workers_per_job, "python": sys.executable, "scheduler_options": scheduler}
        return named | given | {"worker_extra_args": extra, "job_script_prologue": before}


def read_jobs_file(file: Path) -> JobsFile:
    """Reads the description of the jobs.

    Raises:
        UserError: the file cannot be read, or an entry is missing, unknown or out of range.
    """
    try:
        found = JobsFile.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"--cluster {file}: {where}: {first['msg']}; docs/cluster.md has a complete file") from error
    except (OSError, ValueError) as error:
        raise UserError(f"--cluster {file} cannot be read: {error}; docs/cluster.md has a complete file") from error
    for name in ("cores", "memory"):
        if name not in found.options:
            raise UserError(f"--cluster {file}: [options] has no {name!r}; give what one job may use")
    return found


@contextmanager
def jobs_client(file: Path) -> Iterator[tuple[Client, int, Callable[[], object]]]:
    """Submits the jobs of a file; all of them end with the block.

    Yields:
        The client, the threads of each worker, and what submits jobs again that have ended.

    Raises:
        UserError: dask-jobqueue is not installed, or the file is wrong.
    """
    jobs = read_jobs_file(file)
    try:
        import dask_jobqueue
    except ImportError as error:
        raise UserError(
            "--cluster with a TOML file needs dask-jobqueue; pip install 'softcam-bench[cluster]'"
        ) from error
    try:
        cluster = getattr(dask_jobqueue, _CLASSES[jobs.kind])(**jobs.arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"--cluster {file}: {' '.join(str(error).split())[:200]}; see docs/cluster.md") from error
    with cluster, Client(cluster, set_as_default=False) as client:

        def submit() -> None:
            cluster.scale(jobs=jobs.jobs)

        submit()
        yield client, jobs.threads, submit


def _lifetime(walltime: str) -> list[str]:
    """Returns the arguments by which a worker ends between two tasks before its job is ended."""
    parts = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+)(?::(\d+))?", walltime)
    if not parts:
        return []
    days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    margin = int(min(total * _MARGIN, _MOST_MARGIN))
    return ["--lifetime", f"{total - margin}s", "--lifetime-stagger", f"{margin // 2}s"]
