"""Domains: the same methods on data sets of different modalities, side by side."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from bench.report.frames.load import Frames
from bench.report.frames.paired import comparable
from bench.report.studies.counterfactual import SCORES as COUNTERFACTUAL
from bench.report.tables.captions import weights_notes
from bench.report.tables.main import all_tables
from bench.report.tables.table import Column, TableData, is_number
from bench.statistics.intervals import Estimate
from bench.store.folders import file_name

SHOWN = {"localisation": 2, "faithfulness": 1, "consistency": 1}  # number of metrics per family, as in the summary
BEST = 3  # post-hoc methods per metric
_NO_MAPS = "–"


def cross_domain(frames: Frames) -> TableData:
    """Computes main metrics with data sets as columns; empty if all are variants, settings or sizes of one."""
    datasets = frames.record.datasets
    modality = {name: facts.modality for name, facts in datasets.items() if facts.modality}
    texts = "; ".join(f"{name}: {kind}" for name, kind in modality.items())
    caption = f"Main scores with data sets as columns ({texts})."
    reading = (
        f"Rows are every classifier, every inherent map, for each metric the {BEST} post-hoc methods with the best "
        "mean over the data sets and the best one of each data set, and the controls. The post-hoc methods were "
        "chosen on these same images, which flatters them. AUC is of all test images; other entries are means over "
        "images with 95 % bootstrap intervals over groups. The best entry of each data set is bold, and arrows point "
        "to the better direction."
    )
    keys = ["metric", "backbone", "explainer", "head"]
    table = TableData(caption, keys, [Column(name, None) for name in modality], within=2, reading=reading)
    table.notes += weights_notes(frames)
    sources = {_source(datasets[name].base) for name in modality}
    if len(sources) < 2 or not len(frames.predictions):
        return table
    tables = all_tables(frames)
    if "classification" in tables:
        _append(table, frames, Column("auc", True), tables["classification"])
    for family in [family for family in SHOWN if file_name(family) in tables]:
        whole = _only(tables[file_name(family)], comparable(frames, family))
        for column in shown_columns(whole, family):
            _append(table, frames, column, whole)
    return table


def _only(table: TableData, explainers: Collection[str]) -> TableData:
    """Returns the rows of these explainers, and the columns that have a number in them."""
    rows = [row for row in table.rows if row["explainer"] in explainers]
    columns = [one for one in table.columns if any(is_number(row.get(one.name)) for row in rows)]
    return replace(table, rows=rows, columns=columns)


def shown_columns(table: TableData, family: str) -> list[Column]:
    """Returns the first metrics of a family that have a direction and that every data set can have."""
    directed = [column for column in table.columns if column.better is not None and column.name not in COUNTERFACTUAL]
    return directed[: SHOWN[family]]


def _source(base: str) -> str:
    """Returns a registered name without its variant; the name of a folder is its whole path."""
    return base if base.startswith("folder:") else base.partition("@")[0]


def _append(table: TableData, frames: Frames, column: Column, whole: TableData) -> None:
    """Appends the rows of one metric, turned so that data sets are columns."""
    turned: dict[tuple[str, ...], dict[str, Estimate]] = {}
    for row in whole.rows:
        key = row["backbone"], row.get("explainer", _NO_MAPS), row["head"]
        if column.name in row and np.isfinite(row[column.name].mean):
            turned.setdefault(key, {})[row["dataset"]] = row[column.name]
    families = {name: facts.family for name, facts in frames.record.explainers.items()}
    shown = _kept(turned, families, column)
    for (backbone, explainer, head), values in turned.items():
        if (backbone, explainer, head) in shown:
            about = {"metric": column.title, "backbone": backbone, "explainer": explainer, "head": head}
            about["family"] = families.get(explainer, "")
            table.rows.append(about | values)
            table.competes.append(about["family"] != "control")
            table.directions.append(column.better)


def _kept(
    turned: dict[tuple[str, ...], dict[str, Estimate]], families: dict[str, str], column: Column
) -> set[tuple[str, ...]]:
    """Returns all rows except post-hoc methods that are neither among the best of their backbone nor of a data set."""
    kept = set(turned)
    for backbone in {key[0] for key in turned}:
        sign = -1 if column.better else 1
        post_hoc = [key for key in turned if key[0] == backbone and families.get(key[1]) == "post-hoc"]
        means = {key: sign * float(np.mean([value.mean for value in turned[key].values()])) for key in post_hoc}
        best = set(sorted(post_hoc, key=means.__getitem__)[:BEST])
        for name in {name for key in post_hoc for name in turned[key]}:
            scored = {key: sign * turned[key][name].mean for key in post_hoc if name in turned[key]}
            best.add(min(scored, key=scored.__getitem__))
        kept -= set(post_hoc) - best
    return kept
