"""Tables of classification quality and of cost, which describe classifiers and maps without judging maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.report.frames.classification import POSSIBLE, head_scores, with_limits
from bench.report.frames.compared import row_order
from bench.report.frames.load import Frames
from bench.report.frames.stored.reader import CELL
from bench.report.machines import machines_of_cells
from bench.report.tables.captions import captioned
from bench.report.tables.table import Column, TableData
from bench.statistics.classification import CLASSIFICATION_SCORES
from bench.statistics.intervals import Estimate

#: Left out without a GPU, where it measures what the allocator happens to keep.
_MEMORY = "peak_memory_mib"
_COSTS = {
    "forwards_per_map": "forward passes",
    "backwards_per_map": "backward passes",
    "seconds_per_map": "seconds",
    _MEMORY: "peak memory per batch [MiB]",
}


def classification_table(frames: Frames) -> TableData:
    """Computes the scores of every classifier on the test images."""
    columns = [Column(name, better) for name, better in CLASSIFICATION_SCORES.items()]
    keys = ["dataset", "backbone", "head"]
    table = captioned(frames, "classification", keys, columns)
    for (dataset, backbone, head), _ in frames.predictions.by(*keys):
        if frames.record.datasets[dataset].regression:
            continue
        of_head = head_scores(frames, dataset, backbone, head)
        scores = with_limits(np.concatenate([*of_head.of_seed.values()], axis=1), of_head.groups)
        row: dict[str, Any] = {"dataset": dataset, "backbone": backbone, "head": head}
        for column, mean, low, high, possible in zip(columns, *scores, POSSIBLE.T, strict=True):
            row[column.name] = Estimate(float(mean), low, high, of_head.images).within(*possible)
        table.rows.append(row)
        table.competes.append(True)
    return table


def cost_table(frames: Frames) -> TableData:
    """Averages the cost of one map, by machine if those of the run differ."""
    keys, costs_of = ["dataset", "backbone", "explainer", "head"], frames.cost
    if len(costs_of) and (machines := machines_of_cells(frames)):
        keys.append("machine")
        costs_of = costs_of.merge(frames.cells[CELL].assign(machine=machines), on=CELL)
    has_gpu = any(run.machine.gpu != "none" for run in [frames.record, *frames.record.merged])
    costs = {name: shown for name, shown in _COSTS.items() if name != _MEMORY or has_gpu}
    columns = [Column(name, False) for name in costs.values()]
    table = captioned(frames, "cost", keys, columns)
    if not len(costs_of):
        return table
    order = row_order(frames)
    for key, rows in sorted(costs_of.groupby(keys, sort=False), key=lambda item: order(item[0][:4])):
        means = rows.groupby("metric")["value"].mean()
        seeds = rows["seed"].nunique()
        row: dict[str, Any] = dict(zip(keys, key, strict=True))
        for name, shown in costs.items():
            row[shown] = Estimate(float(means.get(name, np.nan)), np.nan, np.nan, seeds)
        table.rows.append(row)
        table.competes.append(False)
    return table
