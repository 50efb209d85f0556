"""Time and memory of the report for many images, on generated scores.

    python docs/measurements/report_scaling.py --images 10000 100000 1000000 --methods 17 --metrics 20
    python docs/measurements/report_scaling.py --images 10000 100000 --metrics 2 --steps 21
    python docs/measurements/report_scaling.py --queries RUN

A run folder with a valid record and files of scores is generated per number of images, and a fresh process makes every
table of it; with ``--steps``, it has deletion curves, too, whose means are also computed. With ``--queries`` the same
reads of a finished run are timed with Polars, DuckDB and pyarrow.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))
from bench.files import replacing
from bench.memory import give_memory_back, peak_resident
from bench.report.contents import TOPICS, part_of
from bench.report.frames.curves import compared_means, relative_to_intact
from bench.report.frames.load import load_frames
from bench.store.cell_facts import MachineFacts
from bench.store.folders import RunStore
from bench.store.records import CellKey, CellRecord, ExplainerOutcome, MetricFacts, RunRecord
from bench.store.scores import write_scores

HEADS = {"plain": "black box", "own": "inherent"}
FAMILIES = ("localisation", "faithfulness", "complexity", "consistency")
CURVE = "deletion_curve"
SHARE = 20_000  # images per row group, about as many as a run writes at once


def explainer_facts(methods: int) -> dict[str, dict[str, Any]]:
    """Returns one inherent map, random and ideal controls, and post-hoc maps."""
    facts = {"evidence": ("inherent", ""), "random": ("control", "floor"), "oracle": ("control", "ceiling")}
    facts |= {f"post_{number}": ("post-hoc", "") for number in range(methods - len(facts))}
    return {
        name: {"family": family, "role": role, "signed": True, "paper": ""} for name, (family, role) in facts.items()
    }


def metric_facts(metrics: int) -> Iterator[MetricFacts]:
    """Yields metrics of all families; those of faithfulness are areas under curves."""
    for at in range(metrics):
        family = FAMILIES[at % len(FAMILIES)]
        curve: Literal["", "relative"] = "relative" if family == "faithfulness" else ""
        yield MetricFacts(name=f"metric_{at}", family=family, higher_is_better=True, value_range=(0, 1), of_curve=curve)


def write_run(folder: Path, images: int, methods: int, metrics: int, steps: int = 0) -> None:
    """Writes a run of one data set, a black box and an inherent head."""
    explainers = explainer_facts(methods)
    keys = [CellKey("generated", "small", head, 0) for head in HEADS]
    measured = list(metric_facts(metrics))
    dataset = {"base": "generated", "size": 64, "classes": ["healthy", "ill"], "healthy": 0}
    machine = dict.fromkeys(("device", "gpu", "cpu", "bf16", "platform"), "")
    record = RunRecord.model_validate(
        {
            "config": {},
            "cells": keys,
            "plan": "generated",
            "explained_by": {head: list(explainers) for head in HEADS},
            "datasets": {"generated": dataset},
            "explainers": explainers,
            "heads": {head: {"base": head, "family": family, "paper": ""} for head, family in HEADS.items()},
            "metrics": measured,
            "packages": {},
            "machine": MachineFacts(**machine, processes=1, threads=1),
            "started": "",
        }
    )
    store = RunStore(folder)
    store.write_record(record)
    for number, key in enumerate(keys):
        cell, outcomes = store.cell(key), {}
        for place, (name, facts) in enumerate(explainers.items()):
            if (facts["family"] == "inherent") != (key.head == "own"):
                continue
            generator = np.random.default_rng([number, place])
            parts = score_parts(generator, images, [one.name for one in measured], place / methods, steps)
            write_scores(replacing(cell.scores_file(name)), parts, fingerprint="generated")
            outcomes[name] = ExplainerOutcome(status="ok", fingerprint="generated")
        predictions = predicted(np.random.default_rng(number), images)
        with replacing(cell.predictions) as file:
            predictions.to_parquet(file, index=False)
        with replacing(cell.explained) as file:
            predictions.drop(columns="group").to_parquet(file, index=False)
        cell.write_record(CellRecord(status="ok", plan="generated", base=key.head, explainers=outcomes))


def predicted(generator: np.random.Generator, images: int) -> pd.DataFrame:
    """Returns the predictions of a classifier; two images per group, of which one is healthy."""
    names, groups = named(np.arange(images))
    label = np.arange(images) % 2
    logits = {f"logit_{at}": generator.normal(label == at).astype(np.float32) for at in range(2)}
    return pd.DataFrame({"image": names, "group": groups, "label": label} | logits)


def named(numbers: NDArray[np.integer[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns the names of images and of their groups."""
    return np.char.mod("i%08d", numbers), np.char.mod("g%08d", numbers // 2)


def score_parts(
    generator: np.random.Generator, images: int, metrics: list[str], level: float, steps: int
) -> Iterator[pd.DataFrame]:
    """Yields the rows of one explainer, a share of the images after the other; two images per group."""
    for start in range(0, images, SHARE):
        numbers = np.arange(start, min(start + SHARE, images))
        names, groups = named(numbers)
        about = {"label": 1, "predicted": 1, "target": 1, "diseased": True, "variant": "", "step": -1}
        parts = []
        for metric in metrics:
            values = np.clip(level / 2 + generator.uniform(0, 0.5, len(numbers)), 0, 1)
            parts.append(pd.DataFrame({"image": names, "group": groups, "metric": metric, "value": values} | about))
        for step in range(steps):
            values = 1 - step / steps * generator.uniform(level, 1, len(numbers))
            curve = {"metric": CURVE, "value": values} | about | {"step": step}
            parts.append(pd.DataFrame({"image": names, "group": groups} | curve))
        yield pd.concat(parts, ignore_index=True)


def make_tables(folder: Path, with_curves: bool) -> None:
    """Makes every table and means of curves, and prints seconds and the largest memory in MiB."""
    give_memory_back()  # as every report does
    start, cpu = time.perf_counter(), time.process_time()
    frames = load_frames(folder)
    for topic in TOPICS:
        part_of(frames, topic)
    if with_curves:
        compared_means(frames, CURVE, "", relative_to_intact, np.inf)
    memory = peak_resident() / 2**20  # getrusage would include what the process that started this one had taken
    print(f"{time.perf_counter() - start:.1f} s | {time.process_time() - cpu:.1f} s | {memory:.0f} MiB")


def measure(images: int, methods: int, metrics: int, steps: int) -> None:
    """Generates a run and makes its tables in a fresh process, which alone counts."""
    give_memory_back()  # the process inherits the setting of Polars
    with tempfile.TemporaryDirectory() as folder:
        write_run(Path(folder), images, methods, metrics, steps)
        command = [sys.executable, __file__, "--tables", folder, "--steps", str(steps)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        asked = f"{images:,} images, {methods} methods, {metrics} metrics, {steps} steps"
        print(f"| {asked} | {done.stdout.strip()} |", flush=True)


def queries(run: Path) -> None:
    """Times three reads of a finished run: counts of rows, all rows without steps, and the rows of one metric."""
    import duckdb  # measured only here

    files = sorted(map(str, run.glob("cells/*/*/scores/*.parquet")))
    base = pl.scan_parquet(files, glob=False, include_file_paths="path").filter(pl.col("step") < 0)
    source = "from read_parquet($files, filename=true) where step < 0"
    count = f"select filename, metric, variant, count(*) {source} group by all"
    wanted = pc.field("step") < 0

    def ask(text: str) -> object:
        return duckdb.execute(text, {"files": files}).df()

    timed("Polars, counts", lambda: base.group_by("path", "metric", "variant").len().collect())
    timed("Polars, all", lambda: base.collect())
    timed("Polars, one metric", lambda: base.filter(pl.col("metric") == "audc").collect())
    timed("DuckDB, counts", lambda: ask(count))
    timed("DuckDB, all", lambda: ask(f"select * {source}"))
    timed("DuckDB, one metric", lambda: ask(f"select * {source} and metric = 'audc'"))
    timed("pyarrow, all", lambda: [pq.read_table(file, filters=wanted).to_pandas() for file in files])


def timed(name: str, read: Callable[[], object], repeats: int = 5) -> None:
    """Prints the median time of a read in milliseconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        read()
        seconds.append(time.perf_counter() - start)
    print(f"| {name} | {1000 * float(np.median(seconds)):.0f} ms |", flush=True)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--methods", type=int, default=17)
    parser.add_argument("--metrics", type=int, default=20)
    parser.add_argument("--steps", type=int, default=0, help="number of steps of deletion curves")
    parser.add_argument("--queries", type=Path, help="time reads of this run instead")
    parser.add_argument("--tables", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.tables:
        make_tables(asked.tables, asked.steps > 0)
    elif asked.queries:
        queries(asked.queries)
    else:
        for images in asked.images:
            measure(images, asked.methods, asked.metrics, asked.steps)


if __name__ == "__main__":
    main()
