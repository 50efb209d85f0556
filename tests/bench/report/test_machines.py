"""Machines: what seconds were measured on, and which machine did what."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

from bench.report.frames.load import load_frames
from bench.report.machines import hardware, work_of_machines
from bench.report.tables.classification import cost_table
from bench.store.cell_facts import WorkerFacts, WorkFacts
from bench.store.records import CellRecord
from tests.support.report_store import MACHINE, make_run, run_record


def worker(name: str, host: str, **facts: Any) -> WorkerFacts:
    return WorkerFacts.model_validate(MACHINE.model_dump() | {"name": name, "host": host} | facts)


def test_one_kind_of_machine_is_named_once() -> None:
    assert hardware(run_record()) == "Measured on an abacus, 1 thread."
    workers = {name: worker(name, "here", processes=2, threads=3) for name in ("0", "1")}
    assert hardware(run_record(workers=workers)) == (
        "Measured on an abacus, 3 threads for each of 2 processes at a time."
    )


def test_several_kinds_are_all_named() -> None:
    workers = {"a": worker("a", "north"), "b": worker("b", "south", gpu="a loom"), "c": worker("c", "east")}
    assert hardware(run_record(workers=workers)) == (
        "Measured on an abacus, 1 thread (east, north); a loom, 1 thread (south): "
        "seconds of different machines must not be compared."
    )


def test_work_is_counted_by_machine() -> None:
    def work(task: str, of: str, shares: int = 0) -> WorkFacts:
        return WorkFacts.model_validate({"task": task, "worker": of, "started": "", "seconds": 1, "shares": shares})

    cells = [
        CellRecord(work=[work("train", "a"), work("score", "a", 3), work("score", "b", 2), work("finish", "b")]),
        CellRecord(work=[work("train", "c"), work("score", "gone", 4)]),
    ]
    record = run_record(workers={"a": worker("a", "north"), "b": worker("b", "south"), "c": worker("c", "north")})
    names = {"dataset": "made", "backbone": "small", "head": "blackbox", "seed": [0, 1]}
    frames: Any = SimpleNamespace(record=record, cells=pd.DataFrame(names | {"record": cells}))
    assert work_of_machines(frames) == (
        "an earlier run: 4 shares scored; north: 2 trained, 3 shares scored; south: 2 shares scored, 1 finished"
    )


def test_costs_are_listed_by_machine_if_kinds_differ(tmp_path: Path) -> None:
    store = make_run(tmp_path)
    assert "machine" not in cost_table(load_frames(tmp_path)).keys
    keys = store.record.cells
    workers = {"a": worker("a", "north"), "b": worker("b", "south", gpu="a loom")}
    store.write_record(store.record.changed(workers=workers))
    for number, key in enumerate(keys):
        facts = {"task": "score", "worker": "ab"[number % 2], "started": "", "seconds": 1, "shares": 2}
        store.cell(key).note(work=[WorkFacts.model_validate(facts)])
    table = cost_table(load_frames(tmp_path))
    assert table.keys[-1] == "machine"
    named = {(row["dataset"], row["head"], row["machine"]) for row in table.rows}
    assert named == {(key.dataset, key.head, ("north", "south")[number % 2]) for number, key in enumerate(keys)}
