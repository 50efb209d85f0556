"""Workers of a scheduler that runs already, and of a batch system that is played by two scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from bench.errors import UserError
from bench.run.cluster import engine
from bench.run.cluster.jobs import _CLASSES, read_jobs_file
from bench.run.cluster.worker import Expected
from bench.store.folders import RunStore
from tests.support.apart import assert_same_files, assert_same_tables, is_running, register, run_apart, wait_for
from tests.support.files import ROOT
from tests.support.made import forgotten_afterwards

SECTION: dict[str, Any] = {
    "heads": ["blackbox", "softcam-sparse"],
    "explainers": ["softcam", "gradcam", "random", "grid_oracle"],
    "studies": ["sanity"],
    "batch_size": 2,
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that all others must equal, done in this process, whose threads are as many as those of a worker."""
    assert torch.get_num_threads() == 1
    folder = tmp_path_factory.mktemp("alone") / "run"
    with forgotten_afterwards():
        register()
        assert run_apart(folder, "squares", workers=1, **SECTION).problems == []
    return folder


def assert_equal(alone: Path, other: Path) -> None:
    """Checks that nothing tells how a run was done, except its seconds."""
    assert_same_files(alone, other)
    assert_same_tables(alone, other)


@pytest.fixture(autouse=True)
def _known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TEST_FOLDER", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with forgotten_afterwards():
        register()
        yield


@contextmanager
def started(*words: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Dask that ends with the block."""
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *map(str, words)]
    if words[0] == "worker":
        command = [sys.executable, "-m", "distributed.cli.dask_worker", *map(str, words[1:])]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[tuple[Path, list[subprocess.Popen[bytes]]]]:
    """A scheduler and its workers, as a user starts them; yields the scheduler file and the processes."""
    file = folder / "scheduler.json"
    with ExitStack() as stack:
        scheduler = ("--scheduler-file", file, "--port", 0, "--dashboard-address", "127.0.0.1:0", "--host", "127.0.0.1")
        processes = [stack.enter_context(started(*scheduler))]
        assert wait_for(file.exists)
        for _ in range(workers):
            worker = ("worker", "--scheduler-file", file, "--nthreads", 1, "--no-dashboard", "--host", "127.0.0.1")
            processes.append(stack.enter_context(started(*worker, "--local-directory", folder / "scratch")))
        yield file, processes


@pytest.mark.slow
def test_same_tables_from_four_workers_of_this_machine(tmp_path: Path, alone: Path) -> None:
    assert run_apart(tmp_path / "run", "squares", workers=4, **SECTION).problems == []
    record = RunStore(tmp_path / "run").record
    assert len(record.workers) > 1
    assert {one.threads for one in record.workers.values()} == {1}
    assert_equal(alone, tmp_path / "run")


@pytest.mark.slow
def test_same_tables_from_an_address(tmp_path: Path, alone: Path) -> None:
    with cluster(tmp_path) as (file, _):
        address = json.loads(file.read_text())["address"]
        assert run_apart(tmp_path / "address", "squares", cluster=address, **SECTION).problems == []
        assert run_apart(tmp_path / "file", "squares", cluster=str(file), **SECTION).problems == []
    assert_equal(alone, tmp_path / "address")
    assert_same_files(alone, tmp_path / "file")
    record = RunStore(tmp_path / "address").record
    assert len(record.workers) == 2
    assert {one.processes for one in record.workers.values()} == {2}


@pytest.mark.slow
def test_workers_of_another_version_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Expected.here

    def other(token: str, out: Path) -> Expected:
        made = real(token, out)
        return Expected(made.token, made.folder, made.out, made.versions | {"torch": "1.0"}, made.code)

    with cluster(tmp_path, workers=1) as (file, _):
        monkeypatch.setattr(engine.Expected, "here", other)
        with pytest.raises(UserError, match=r"can take part: worker .* is refused: it has torch .* and not 1\.0"):
            run_apart(tmp_path / "run", "squares", cluster=str(file), **SECTION)
        monkeypatch.setattr(engine.Expected, "here", lambda token, out: real(token, out.parent / "elsewhere"))
        with pytest.raises(UserError, match=r"it does not see the run folder .*/elsewhere; use a folder"):
            run_apart(tmp_path / "run", "squares", cluster=str(file), **SECTION)
        monkeypatch.setattr(engine.Expected, "here", real)
        monkeypatch.setattr(engine, "code_of_plan", lambda plan: "other code")
        with pytest.raises(UserError, match="its plugins differ, or code was edited after it started"):
            run_apart(tmp_path / "run", "squares", cluster=str(file), **SECTION)
    assert not list((tmp_path / "run").glob("cells/*/*/weights.safetensors"))


@pytest.mark.slow
def test_a_scheduler_that_goes_away_is_one_line_and_the_run_goes_on_later(tmp_path: Path) -> None:
    with cluster(tmp_path, workers=1) as (file, (scheduler, *_)):
        trained = tmp_path / "run"
        killer = threading.Thread(
            target=lambda: wait_for(lambda: list(trained.glob("cells/*/*/weights.safetensors"))) and scheduler.kill()
        )
        killer.start()
        with pytest.raises(UserError, match=r"the scheduler .* is gone; repeat the command") as said:
            run_apart(trained, "squares", "shapes", cluster=str(file), **SECTION)
        killer.join()
    assert "\n" not in str(said.value)
    before = {path: path.stat().st_mtime_ns for path in trained.glob("cells/*/*/weights.safetensors")}
    assert before
    assert run_apart(trained, "squares", "shapes", workers=1, **SECTION).problems == []
    assert before == {path: path.stat().st_mtime_ns for path in before}


SBATCH = """#!{python}
import os, subprocess, sys
from pathlib import Path
folder = Path(os.environ["TEST_FOLDER"])
script = folder / f"job-{{os.getpid()}}.sh"
script.write_text(Path(sys.argv[-1]).read_text())
log = open(folder / "jobs.log", "a")
job = subprocess.Popen(["bash", script], start_new_session=True, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
(folder / f"pid-{{job.pid}}").touch()
print(f"Submitted batch job {{job.pid}}")
"""
SCANCEL = """#!{python}
import os, signal, sys
from pathlib import Path
for job in sys.argv[1:]:
    (Path(os.environ["TEST_FOLDER"]) / f"cancelled-{{job}}").touch()
    try:
        os.killpg(int(job), signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
JOBS = """
kind = "slurm"
jobs = 2

[options]
queue = "gpu"
cores = 1
memory = "4GB"
walltime = "01:00:00"
interface = "lo"
job_extra_directives = ["--gres=gpu:1"]
"""


@pytest.mark.slow
def test_same_tables_from_jobs_of_a_batch_system(tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (programs / name).write_text(text.format(python=sys.executable))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    file = tmp_path / "slurm.toml"
    file.write_text(JOBS)
    log = tmp_path / "log"
    with log.open("w") as stream:
        outcome = run_apart(
            tmp_path / "run", "squares", cluster=str(file), console=Console(file=stream, width=200), **SECTION
        )
    assert outcome.problems == []
    jobs = {path.name.removeprefix("pid-") for path in tmp_path.glob("pid-*")}
    assert len(jobs) == 2
    assert {path.name.removeprefix("cancelled-") for path in tmp_path.glob("cancelled-*")} == jobs
    assert wait_for(lambda: not any(is_running(int(job)) for job in jobs))
    script = next(tmp_path.glob("job-*.sh")).read_text()
    for line in ("#SBATCH --gres=gpu:1", "#SBATCH -p gpu", "export DASK_DISTRIBUTED__WORKER__DAEMON=False"):
        assert line in script
    assert "--lifetime 3240s --lifetime-stagger 180s" in script
    assert RunStore(tmp_path / "run").record.workers.keys() <= {"SLURMCluster-0", "SLURMCluster-1"}
    assert_equal(alone, tmp_path / "run")


@pytest.mark.parametrize(
    ("kind", "changed", "lines"),
    [
        ("slurm", {}, ["#SBATCH --gres=gpu:1", "#SBATCH -A my-group", "#SBATCH --cpus-per-task=8"]),
        (
            "pbs",
            {"resource_spec": "select=1:ncpus=8:ngpus=1:mem=32gb", "job_extra_directives": []},
            ["#PBS -l select=1:ncpus=8:ngpus=1:mem=32gb", "#PBS -A my-group"],
        ),
        (
            "lsf",
            {
                "account": None,
                "ncpus": 8,
                "mem": 32 * 10**9,
                "job_extra_directives": ["-gpu num=1"],
            },
            ["#BSUB -gpu num=1", "#BSUB -n 8"],
        ),
    ],
)
def test_the_documented_description_makes_a_job(
    tmp_path: Path, kind: str, changed: dict[str, Any], lines: list[str]
) -> None:
    document = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    (tmp_path / "jobs.toml").write_text(document.partition("```toml\n")[2].partition("```")[0])
    found = read_jobs_file(tmp_path / "jobs.toml")
    options = {name: value for name, value in (found.options | changed).items() if value is not None}
    here = found.model_copy(update={"kind": kind, "options": options | {"interface": "lo"}})
    with getattr(pytest.importorskip("dask_jobqueue"), _CLASSES[kind])(**here.arguments) as made:
        script = made.job_script().splitlines()
    for line in [*lines, "module load cuda/12.4", "export DASK_DISTRIBUTED__WORKER__DAEMON=False"]:
        assert line in script


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind = 'slurm'\njobs = 2", "has no 'cores'; give what one job may use"),
        ("kind = 'slurm'\njobs = 0", "jobs: Input should be greater than or equal to 1"),
        ("kind = 'cloud'\njobs = 1", "kind: Input should be 'slurm', 'pbs' or 'lsf'"),
        ("kind = 'slurm'\njobs = 1\nnodes = 3", "nodes: Extra inputs are not permitted"),
        ("jobs =", "cannot be read"),
    ],
)
def test_a_wrong_description_of_jobs_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "jobs.toml").write_text(text)
    with pytest.raises(UserError, match=r"--cluster .*jobs\.toml") as error:
        read_jobs_file(tmp_path / "jobs.toml")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("head:8786", "give an address such as tcp://head:8786"),
        ("nowhere.json", "no such file"),
        ("tcp://127.0.0.1:9", "no scheduler answers there"),
    ],
)
def test_a_scheduler_that_cannot_be_reached_is_one_line(where: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_PATIENCE", 0.5)
    with pytest.raises(UserError, match=said):
        engine._connected(where)


def test_threads_and_lifetime_follow_from_the_description(tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(JOBS.replace("cores = 1", "cores = 16"))
    found = read_jobs_file(tmp_path / "jobs.toml").model_copy(update={"workers_per_job": 4})
    assert found.threads == 4
    assert found.arguments["processes"] == 4
    assert found.arguments["worker_extra_args"] == ["--lifetime", "3240s", "--lifetime-stagger", "180s"]
