"""Time of joining the results of a cell, and files and bytes that its shares leave until then.

    python docs/measurements/joining.py

It scores one share of noise with four explainers and lets every other share have the same result, because joining does
not depend on the values. Both numbers of shares together show whether the time is proportional.
"""

from __future__ import annotations

import copy
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from rich.console import Console
from scaling import METHODS, METRICS, Point, make_context

import run_benchmark
from bench.configs.sections import ExplainSection
from bench.evaluation import explainer_jobs
from bench.evaluation.explainer_jobs import ExplainerJob, Shares
from bench.evaluation.requests import resolve_metrics
from bench.evaluation.result import ExplainerResult
from bench.progress import RunProgress
from bench.registry import EXPLAINERS
from bench.store.folders import PIECES, CellStore
from bench.store.records import CellRecord


def measure(shares: int, folder: Path) -> tuple[float, float, int, int]:
    """Measures CPU seconds of looking for missing shares and of joining, and files and bytes of the pieces."""
    context = make_context(Point(images=shares * ExplainSection().batch_size, classes=1, size=64), folder)
    metrics = resolve_metrics(METRICS)
    jobs = [
        ExplainerJob(name, name, EXPLAINERS[name](), "-", metrics, {one.name: "" for one in metrics})
        for name in METHODS
    ]
    store = CellStore(folder)
    store.write_record(CellRecord())
    made = Shares(context, store, RunProgress(Console(quiet=True), []), "joining", save_maps=False)
    results: dict[str, ExplainerResult] = {}
    real = explainer_jobs.score_batch

    def known(batch: Any, name: str, *rest: Any) -> ExplainerResult:
        if name not in results:
            results[name] = real(batch, name, *rest)
        return copy.deepcopy(results[name])

    explainer_jobs.score_batch = known
    try:
        for number in range(len(made.positions)):
            made.score(jobs, number)
    finally:
        explainer_jobs.score_batch = real
    files = [file for file in (folder / PIECES).rglob("*") if file.is_file()]
    facts = len(files), sum(file.stat().st_size for file in files)
    started = time.process_time()
    assert not made.missing(jobs)
    looked = time.process_time()
    made.finish(jobs)
    ended = time.process_time()
    if failed := [job.failed.reason for job in jobs if job.failed]:
        raise RuntimeError("; ".join(failed))
    return looked - started, ended - looked, *facts


def main() -> None:
    """Prints one row per number of shares."""
    run_benchmark.register()
    print("| shares | looking for missing ones [CPU s] | joining [CPU s] | files | megabytes |")
    print("|---|---|---|---|---|")
    for shares in (50, 200):
        with tempfile.TemporaryDirectory() as name:
            looking, joining, files, size = measure(shares, Path(name))
        print(f"| {shares} | {looking:.2f} | {joining:.2f} | {files} | {size / 1e6:.1f} |", flush=True)


if __name__ == "__main__":
    main()
