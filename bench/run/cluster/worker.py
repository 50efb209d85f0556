"""Worker's side: the functions that a scheduler calls in the processes of a cluster."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from distributed import get_worker

from bench.config import Config
from bench.devices import describe_machine
from bench.errors import is_stop, one_line
from bench.progress import SentProgress
from bench.registry import ALL_REGISTRIES
from bench.run.finished.receipt import parts_of
from bench.run.options import RunOptions
from bench.run.plan import Plan, make_plan
from bench.run.record import versions_of
from bench.run.tasks import Done, Task, by_worker
from bench.run.workspace import Workspace
from bench.store.cell_facts import WorkerFacts
from bench.store.code_digest import source_digest
from bench.store.run_folder import owns

#: Packages that must have the same version everywhere, because results or messages depend on them.
_PACKAGES = ("torch", "torchvision", "numpy", "pandas", "distributed")
_OWN = ("bench", "baselines", "softcam")
#: Seconds between two looks at who owns the run folder, and between two descriptions that are sent.
_LOOK, _SEND = 5.0, 0.5


@dataclass(frozen=True)
class Expected:
    """What a worker must have in common with the process that leads the run.

    Attributes:
        token: word that the owner of the run folder has written there.
        folder: current folder, which relative paths begin at.
        out: run folder.
        versions: package -> version.
        code: digest of the code of this project.
    """

    token: str
    folder: str
    out: str
    versions: dict[str, str]
    code: str

    @classmethod
    def here(cls, token: str, out: Path) -> Expected:
        """Describes this process."""
        return cls(token, str(Path.cwd()), str(out), versions_of(_PACKAGES), code_of_project())


@dataclass(frozen=True)
class Setup:
    """Everything that a worker needs for the tasks of a run.

    Attributes:
        register: fills the registries.
        config: of the run.
        options: of the command line.
        plan_id: hash of the plan.
        threads: of each worker; None = as the worker was started.
        code: digest of the code of the plan.
    """

    register: Callable[[], object]
    config: Config
    options: RunOptions
    plan_id: str
    threads: int | None
    code: str


@dataclass
class _Desk:
    """What this process keeps for a run.

    Attributes:
        workspace: does the tasks.
        progress: is told what they do.
        facts: about this worker.
        host: name of the machine in the progress display; empty if all workers are on one.
        out: run folder.
        added: names that the run has registered.
    """

    workspace: Workspace
    progress: SentProgress
    facts: WorkerFacts
    host: str
    out: Path
    added: list[set[str]]


class _Abandoned(KeyboardInterrupt):
    """The run that a task belongs to is over; handled like Ctrl-C, which no failure of a plugin is."""


_DESKS: dict[str, _Desk] = {}


def code_of_project() -> str:
    """Returns the digest of every Python file and shipped config of this project when they were imported."""
    return _CODE


def code_of_plan(plan: Plan) -> str:
    """Computes the digest of all code that takes part in the results of a plan, plugins included, as it is now."""
    return source_digest(*parts_of(plan))


def enter(expected: Expected, setup: bytes) -> WorkerFacts | str:
    """Prepares this process for a run -> facts about it, or the reason why it cannot take part.

    Args:
        expected: of the process that leads the run.
        setup: a pickled ``Setup``, which only the same code can read.
    """
    if expected.token in _DESKS:
        return _DESKS[expected.token].facts
    if reason := _difference(expected) or _leave_others():
        return reason
    os.chdir(expected.folder)
    given: Setup = pickle.loads(setup)
    if given.threads:
        torch.set_num_threads(given.threads)
    added = _register(given.register)
    plan = make_plan(given.config, given.options.root)
    if code_of_plan(plan) != given.code:
        return "its plugins differ, or code was edited after it started; put the same files there and restart it"
    device = given.options.device
    if device.type == "cuda" and not torch.cuda.is_available():
        return "it has no CUDA device; start it on a machine with a GPU, or use --device cpu"
    host = socket.gethostname() if given.options.cluster else ""
    progress = SentProgress(_sender(expected, host))
    workspace = Workspace(given.config, plan, given.options, given.plan_id, progress)
    about = {"name": str(get_worker().name), "host": socket.gethostname()}
    facts = WorkerFacts.model_validate(describe_machine(device) | about)
    _DESKS[expected.token] = _Desk(workspace, progress, facts, host, Path(expected.folder) / expected.out, added)
    return facts


def perform(token: str, task: Task) -> Done | None:
    """Does a task of a run; None if this process has not been prepared for it."""
    desk = _DESKS.get(token)
    if desk is None:
        return None
    try:
        done = desk.workspace.perform(task)
    except BaseException as error:
        if not is_stop(error):
            raise
        done = Done(is_abandoned=True)
    done.said, done.worker, done.host = list(desk.progress.take()), desk.facts.name, desk.host
    return done


def _register(register: Callable[[], object]) -> list[set[str]]:
    """Fills the registries -> the names in each that are not of this project."""
    import_module("run_benchmark").register()  # by name, because the program is above its packages
    before = [set(registry) for registry in ALL_REGISTRIES]
    register()
    return [set(registry) - known for registry, known in zip(ALL_REGISTRIES, before, strict=True)]


def _leave_others() -> str:
    """Forgets a run that this process has worked for; returns why it cannot, if that run still works."""
    for token, desk in list(_DESKS.items()):
        if owns(desk.out, token):
            return f"it works for the run in {desk.out}; wait for that, or start more workers"
        for registry, names in zip(ALL_REGISTRIES, desk.added, strict=True):
            for name in names:
                registry.remove(name)
        del _DESKS[token]
    return ""


def _difference(expected: Expected) -> str:
    """Returns the first thing that this process lacks; empty if it can take part."""
    for package, wanted in expected.versions.items():
        if (found := versions_of(_PACKAGES)[package]) != wanted:
            return f"it has {package} {found} and not {wanted}; install the same versions everywhere"
    if code_of_project() != expected.code:
        return "it runs other code of this benchmark; use one version everywhere"
    out = Path(expected.folder) / expected.out
    if not Path(expected.folder).is_dir() or not owns(out, expected.token):
        return f"it does not see the run folder {out}; use a folder that all machines share"
    probe = out / f".{uuid.uuid4().hex}.tmp"
    try:
        probe.touch()
    except OSError as error:
        return f"it cannot write to {out} ({error.strerror}); allow it to"
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return ""


def _sender(expected: Expected, host: str) -> Callable[[str, float, float], bool]:
    """Returns what sends descriptions, and ends the task once its run is over."""
    worker, out = get_worker(), Path(expected.folder) / expected.out
    last = {"look": time.monotonic(), "send": 0.0}

    def send(text: str, passes: float, seconds: float) -> bool:
        now = time.monotonic()
        if now - last["look"] > _LOOK:
            last["look"] = now
            if not owns(out, expected.token):
                raise _Abandoned
        if now - last["send"] <= _SEND:
            return False
        last["send"] = now
        with suppress(Exception):  # the scheduler is gone, which the leading process notices
            worker.log_event(expected.token, (text + by_worker(str(worker.name), host), passes, seconds))
        return True

    return send


def _digest(files: list[Path], root: Path) -> str:
    found = hashlib.sha256()
    for file in files:
        found.update(f"{file.relative_to(root)}\n".encode() + file.read_bytes())
    return found.hexdigest()[:16]


_ROOT = Path(__file__).parents[3]
_CODE = _digest(
    sorted(file for name in _OWN for kind in ("py", "toml") for file in (_ROOT / name).rglob(f"*.{kind}")), _ROOT
)


def reason_of(error: BaseException) -> str:
    """Returns why a worker could not be prepared."""
    if isinstance(error, ModuleNotFoundError) and error.name in _OWN:
        return "it does not find this benchmark; install it there, or add its folder to PYTHONPATH"
    return one_line(error)
