"""Tables of data sets with several labels per image: scores of each finding, and means in which all count alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.report.frames.classification import POSSIBLE, finding_scores, with_limits
from bench.report.frames.compared import compared, row_order
from bench.report.frames.load import Frames
from bench.report.frames.paired import comparable, main_variants, title
from bench.report.tables.captions import captioned
from bench.report.tables.table import Column, TableData, is_number
from bench.statistics.classification import CLASSIFICATION_SCORES
from bench.statistics.findings import macro_mean
from bench.statistics.intervals import Estimate

_KEYS = ["dataset", "backbone", "explainer", "head"]


def _several(frames: Frames) -> list[str]:
    """Returns the data sets of several labels per image."""
    return [name for name, facts in frames.record.datasets.items() if facts.multilabel]


def classification_by_finding(frames: Frames) -> TableData:
    """Computes the scores of every classifier and finding on the test images whose label is known."""
    columns = [Column(name, better) for name, better in CLASSIFICATION_SCORES.items()]
    keys = ["dataset", "backbone", "finding", "head"]
    table = captioned(frames, "classification_findings", keys, columns, within=3)
    for (dataset, backbone), both in frames.predictions.where(dataset=_several(frames)).by("dataset", "backbone"):
        found: list[dict[str, Any]] = []
        for (head,), part in both.by("head"):
            facts = frames.record.datasets[dataset]
            scores, rows = finding_scores(part, facts), part.rows()
            for at, values in enumerate(np.moveaxis(scores, 2, 0)):
                known = rows[rows[f"label_{at}"] >= 0]
                row: dict[str, Any] = dict(zip(keys, (dataset, backbone, facts.classes[at], head), strict=True))
                of_finding = with_limits(values, known["group"].nunique())
                for column, mean, low, high, possible in zip(columns, *of_finding, POSSIBLE.T, strict=True):
                    row[column.name] = Estimate(float(mean), low, high, known["image"].nunique()).within(*possible)
                found.append(row)
        table.rows += sorted(found, key=lambda row: facts.classes.index(row["finding"]))
        table.competes += [True] * len(found)
    return table


def macro_table(frames: Frames) -> TableData:
    """Computes the means over findings of every main metric of diseased images, for the compared methods."""
    datasets = _several(frames)
    metrics = [one for one in main_variants(frames) if one.images == "diseased"]
    columns = {(one.name, one.variant): Column(title(one), one.higher_is_better) for one in metrics}
    table = captioned(frames, "macro", _KEYS, list(columns.values()))
    scores = compared(frames).where(dataset=datasets)
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for metric in metrics if datasets else []:
        rows = scores.where(explainer=comparable(frames, metric.family)).rows([metric.name])
        if len(rows):
            rows = rows[(rows["variant"] == metric.variant) & (rows["target"] == rows["label"])]
        for key, part in rows.groupby(_KEYS, sort=False) if len(rows) else ():
            row = found.setdefault(key, dict(zip(_KEYS, key, strict=True)))
            row[title(metric)] = _macro(part).within(*metric.value_range)
    explainers = frames.record.explainers
    for place in sorted(found, key=row_order(frames)):
        table.rows.append(found[place])
        table.competes.append(explainers[str(found[place]["explainer"])].family != "control")
    table.columns = [one for one in table.columns if any(is_number(row.get(one.name)) for row in table.rows)]
    return table


def _macro(rows: pd.DataFrame) -> Estimate:
    """Averages rows of one method and metric over findings."""
    wide = rows.pivot(index="seed", columns="image", values="value").sort_index(axis=1)
    about = rows.drop_duplicates("image").set_index("image").reindex(wide.columns)
    groups = about["group"].to_numpy(dtype=object)
    return macro_mean(wide.to_numpy(dtype=float), about["label"].to_numpy(dtype=np.int64), groups)
