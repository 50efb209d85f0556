"""Tables of grids: cells that differ in a penalty, the input size or the pooling, side by side.

Every run whose cells form such a grid has the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bench.report.frames.compared import no_positive_evidence
from bench.report.frames.load import Frames
from bench.report.frames.settings import Setting, settings
from bench.report.sweeps.penalty import sweeps
from bench.report.tables.captions import MEANS, weights_notes
from bench.report.tables.classification import classification_table
from bench.report.tables.main import metric_table
from bench.report.tables.table import Column, TableData
from bench.statistics.intervals import Estimate, estimate_mean

VALIDATION_AUC = Column("validation_auc", True)
NO_EVIDENCE = Column("no_positive_evidence", None)
SCORES = (Column("accuracy", True), Column("auc", True))  # of the classifier, on the test images
_NO_MAPS = "–"
_COUNTS = f"Classification scores are of all test images together, map scores of the explained images. {MEANS}"
_TEXTS = {
    "lambda_sweep": (
        "Sweep over the weight λ of a penalty (0: none).",
        "The chosen λ is the largest one whose validation AUC (best epoch, mean over the seeds that both have) is "
        "within 0.01 of that without a penalty: no test image and no mask enters the choice. No positive evidence is "
        "the share of diseased images without one positive cell.",
    ),
    "resolution": (
        "Scores on the same data set at several input sides (pixels), with the evidence grid (cells) of each.",
        "The best entry is that of a data set, backbone and head. A penalty sums over cells: one λ weighs more on a "
        "finer grid.",
    ),
    "pooling": (
        "Scores by the pooling of the evidence into the logit.",
        "The evidence gap says how far the map is from adding up to the prediction. The best entry is that of a data "
        "set, backbone and registered head.",
    ),
}


def _captioned(frames: Frames, name: str, keys: list[str], columns: list[Column]) -> TableData:
    caption, reading = _TEXTS[name]
    notes = weights_notes(frames)
    return TableData(caption, keys, columns, within=3, notes=notes, reading=f"{reading} {_COUNTS}")


def lambda_sweep(frames: Frames) -> TableData:
    """Computes accuracy, AUC and localisation by the weight of a penalty, and the weight that the rule chooses."""
    found = sweeps(frames)
    columns, measured = _measure(
        frames, [one for sweep in found for one in sweep.heads], ("localisation", "consistency")
    )
    keys = ["dataset", "backbone", "penalty", "lambda", "chosen", "explainer", "head"]
    table = _captioned(frames, "lambda_sweep", keys, [VALIDATION_AUC, *columns])
    for sweep in found:
        for setting in sweep.heads:
            auc = Estimate(sweep.mean_validation(setting), np.nan, np.nan, 0)
            about = {"penalty": sweep.penalty, "lambda": f"{sweep.weight(setting):g}"}
            about["chosen"] = "yes" if setting.head in sweep.chosen else ""
            _add(table, setting, about | {VALIDATION_AUC.name: auc}, measured)
        table.notes.append(sweep.verdict)
    return table


def resolution(frames: Frames) -> TableData:
    """Computes the scores of every head on the same data set at several input sizes."""
    sized = sorted((setting for setting in settings(frames) if setting.side), key=lambda setting: setting.side or 0)
    chosen = _varied(sized, lambda one: (one.source, one.backbone, one.head), lambda one: one.side)
    columns, measured = _measure(frames, chosen, ("localisation", "faithfulness"))
    keys = ["source", "backbone", "head", "explainer", "input side", "evidence grid", "dataset"]
    table = _captioned(frames, "resolution", keys, columns)
    for setting in chosen:
        about = {"source": setting.source, "input side": setting.side, "evidence grid": setting.grid_text}
        _add(table, setting, about, measured)
    return table


def pooling(frames: Frames) -> TableData:
    """Computes the scores of heads that differ in the pooling of their evidence, with the gap that each leaves."""
    pooled = [setting for setting in settings(frames) if "pooling" in (setting.parameters or {})]
    chosen = _varied(pooled, _apart_from_pooling, lambda one: one.others()["pooling"])
    columns, measured = _measure(frames, chosen, ("exactness", "localisation", "faithfulness"))
    keys = ["dataset", "backbone", "base", "pooling", "explainer", "head"]
    table = _captioned(frames, "pooling", keys, columns)
    for setting in chosen:
        _add(table, setting, {"base": setting.base, "pooling": setting.others()["pooling"]}, measured)
    return table


def _apart_from_pooling(setting: Setting) -> tuple[str, ...]:
    others = json.dumps(setting.others("pooling"), sort_keys=True)
    return setting.dataset, setting.backbone, setting.base, others


def _varied(
    found: list[Setting], key: Callable[[Setting], tuple[str, ...]], value: Callable[[Setting], Any]
) -> list[Setting]:
    """Returns the settings that share their key with a setting of another value, key by key."""
    grids: dict[tuple[str, ...], list[Setting]] = {}
    for setting in found:
        grids.setdefault(key(setting), []).append(setting)
    varied = [grid for grid in grids.values() if len({value(setting) for setting in grid}) > 1]
    return [setting for grid in varied for setting in grid]


Measured = dict[tuple[str, str, str], dict[str, dict[str, Any]]]


def _measure(frames: Frames, chosen: Sequence[Setting], families: Sequence[str]) -> tuple[list[Column], Measured]:
    """Computes the scores of these heads and of their own maps.

    Returns:
        The columns, and (data set, backbone, head) -> explainer -> values; a head without maps has a dash as explainer.
    """
    keys = {(one.dataset, one.backbone, one.head) for one in chosen}
    files, derived = (_of(rows, keys) for rows in (frames.source.files, frames.source.derived))
    source = replace(frames.source, files=files, derived=derived)
    stored = replace(frames.predictions, files=_of(frames.predictions.files, keys))
    part = replace(frames, predictions=stored, source=source.where(family=["inherent"]))
    columns, measured = list(SCORES), Measured()
    for family in families if keys else ():
        table = metric_table(part, family, part.source)
        columns += table.columns
        for row in table.rows:
            measured.setdefault(_key(row), {}).setdefault(row["explainer"], {}).update(row)
    if "consistency" in families and any(column.name == "positive_ratio" for column in columns):
        columns.append(NO_EVIDENCE)
        for key, rows in no_positive_evidence(part.rows(["positive_ratio"])).groupby(
            ["dataset", "backbone", "head", "explainer"]
        ):
            dataset, backbone, head, explainer = map(str, key)
            share = estimate_mean(rows["value"], rows["image"], rows["group"])
            measured[dataset, backbone, head][explainer][NO_EVIDENCE.name] = share
    for row in classification_table(part).rows if len(part.predictions) else ():
        for of_explainer in measured.setdefault(_key(row), {_NO_MAPS: {}}).values():
            of_explainer.update({column.name: row[column.name] for column in SCORES})
    return columns, measured


def _of(rows: pd.DataFrame, keys: set[tuple[str, str, str]]) -> pd.DataFrame:
    if not len(rows) or not keys:
        return rows[:0]
    return rows[pd.MultiIndex.from_frame(rows[["dataset", "backbone", "head"]]).isin(list(keys))]


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["dataset"], row["backbone"], row["head"]


def _add(table: TableData, setting: Setting, about: dict[str, Any], measured: Measured) -> None:
    """Appends one row per explainer that shows the head's own maps."""
    place = {"dataset": setting.dataset, "backbone": setting.backbone, "head": setting.head}
    for explainer, values in measured.get((setting.dataset, setting.backbone, setting.head), {}).items():
        table.rows.append(values | place | {"explainer": explainer} | about)
        table.competes.append(True)
