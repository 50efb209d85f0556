"""Tables: one row a method on a classifier, one column a metric, with intervals, floor and ceiling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from bench.classification import CLASSIFICATION_SCORES
from bench.report.frames import Frames
from bench.report.paired import comparable, title
from bench.report.predictions import POSSIBLE, seed_scores, with_limits
from bench.statistics import ALIKE, Estimate, estimate_means, with_ties

BLACK_BOX = "black box"
_COSTS = {
    "forwards_per_map": "forward passes",
    "backwards_per_map": "backward passes",
    "seconds_per_map": "seconds",
    "peak_memory_mib": "peak memory [MiB]",
}
_KEYS = ["dataset", "backbone", "explainer", "head"]
#: Families of which there is a table by class, and its name.
PER_CLASS = {"faithfulness": "per_class", "localisation": "per_class_localisation"}
_BOLD = "best in bold; arrows point to the better end."
MEANS = f"Mean over images [95 % bootstrap interval over groups]; {_BOLD}"
OVERALL = (
    "Scores of all test images together (AUC, κ and calibration error are no means over images), mean over seeds "
    f"[95 % bootstrap interval over groups, widened for few groups and for seeds]; {_BOLD}"
)


@dataclass(frozen=True)
class Column:
    """One metric of a table; ``better`` is None where neither direction is, ``parts`` are what the CSV tells.

    ``mark`` refers to a note below the table; of a column that is not ``ranked`` no row is the best.
    """

    name: str
    better: bool | None
    parts: tuple[str, ...] = ("mean", "low", "high", "n", "undefined")
    mark: str = ""
    ranked: bool = True

    @property
    def title(self) -> str:
        """Name with its mark and an arrow that points to the better end."""
        arrow = {True: " ↑", False: " ↓", None: ""}[self.better]
        return self.name.replace("_", " ") + self.mark + arrow


@dataclass
class TableData:
    """A table before it is written.

    Attributes:
        keys: names of the columns that say what a row is.
        columns: the metrics.
        rows: key values and one ``Estimate`` (or None) a column name; what others report instead has no interval.
        competes: whether each row may be the best; controls may not.
        within: how many of the first keys rows have in common among which the best is marked.
        directions: of each row, where the columns are data sets instead of metrics.
        notes: lines below the table.
        marked: text of a key -> the same with its mark, which refers to a note; CSV files stay without.
    """

    caption: str
    keys: list[str]
    columns: list[Column]
    rows: list[dict[str, Any]] = field(default_factory=list)
    competes: list[bool] = field(default_factory=list)
    within: int = 1
    directions: list[bool | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    marked: dict[str, str] = field(default_factory=dict)

    def best(self) -> set[tuple[int, str]]:
        """(row, column) of the best means (ties are all best) of each data set and column among rows that compete."""
        found: set[tuple[int, str]] = set()
        rivals: dict[tuple[Any, ...], list[int]] = {}
        for index, row in enumerate(self.rows):
            if self.competes[index]:
                rivals.setdefault(tuple(row[key] for key in self.keys[: self.within]), []).append(index)
        for indices in rivals.values():
            for column in [column for column in self.columns if column.ranked]:
                better = self.directions[indices[0]] if self.directions else column.better
                means = {
                    index: self.rows[index][column.name].mean * (1 if better else -1)
                    for index in indices
                    if better is not None and _is_number(self.rows[index].get(column.name))
                }
                if len(means) > 1:
                    ends = with_ties(np.array(list(means.values())), ALIKE)
                    found |= {(at, column.name) for at, mean in zip(means, ends, strict=True) if mean == ends.max()}
        return found

    def numbers(self) -> pd.DataFrame:
        """The table as plain numbers: mean, low, high, n and undefined of every column (or its own parts)."""
        rows = []
        for row in self.rows:
            flat = {key: row[key] for key in self.keys}
            for column in self.columns:
                estimate = row.get(column.name)
                for part in column.parts:
                    flat[f"{column.name}_{part}"] = getattr(estimate, part, np.nan)
            rows.append(flat)
        return pd.DataFrame(rows)


def _is_number(estimate: Estimate | None) -> bool:
    return estimate is not None and np.isfinite(estimate.mean)


def all_tables(frames: Frames) -> dict[str, TableData]:
    """Every table for which there are scores, by file name."""
    tables = {"classification": classification_table(frames)} if len(frames.predictions) else {}
    families = dict.fromkeys(metric["family"] for metric in frames.record["metrics"])
    main = main_rows(frames)
    for family in families:
        tables[family] = metric_table(frames, family, main)
        tables[f"{family}_all_weights"] = metric_table(frames, family, frames.scores)
        if family in PER_CLASS:
            tables[PER_CLASS[family]] = per_class_table(frames, family)
    tables["cost"] = cost_table(frames)
    return {name: table for name, table in tables.items() if table.rows}


@lru_cache(maxsize=2)
def main_rows(frames: Frames) -> pd.DataFrame:
    """The comparison that the paper makes: inherent maps of their own models, the others on the black box.

    Post-hoc methods and controls come from the black box of each data set, or, where it was not trained, from the
    first head there is.
    """
    scores = frames.scores
    if not len(scores):
        return scores
    heads = list(frames.record["heads"])
    preferred = sorted(heads, key=lambda name: frames.record["heads"][name]["family"] != BLACK_BOX)  # stable
    rank = scores["head"].map({name: place for place, name in enumerate(preferred)})
    reference = rank == rank.groupby([scores["dataset"], scores["backbone"]]).transform("min")
    return scores[(scores["family"] == "inherent") | reference]


def metric_table(frames: Frames, family: str, scores: pd.DataFrame) -> TableData:
    """Means over images of every metric of a family."""
    table = TableData(_caption(frames, family), _KEYS, [])
    _fill(table, frames, family, scores, row_order(frames))
    return table


def per_class_table(frames: Frames, family: str) -> TableData:
    """The metrics of a family by true class, on images that are explained for it; of more than two classes.

    Read are the compared methods' rows where the map is made for the image's label, and those of ``Frames.own_class``.
    """
    keys = ["dataset", "backbone", "class", "explainer", "head"]
    table = TableData(_caption(frames, PER_CLASS[family]), keys, [], within=3)
    rows = main_rows(replace(frames, scores=pd.concat([frames.scores, frames.own_class], ignore_index=True)))
    if not len(rows):
        return table
    classes = {name: facts.get("classes", []) for name, facts in frames.record["datasets"].items()}
    several = [name for name, names in classes.items() if len(names) > 2]
    rows = rows[rows["dataset"].isin(several) & (rows["target"] == rows["label"])]
    names = [classes[name][label] for name, label in zip(rows["dataset"], rows["label"], strict=True)]
    place = row_order(frames)

    def order(key: tuple[Any, ...]) -> tuple[int, ...]:
        dataset, backbone, name, *method = key
        first, second, *rest = place((dataset, backbone, *method))
        return first, second, classes[dataset].index(name), *rest

    _fill(table, frames, family, rows.assign(**{"class": names}), order)
    return table


def _fill(
    table: TableData, frames: Frames, family: str, scores: pd.DataFrame, order: Callable[[tuple[Any, ...]], Any]
) -> None:
    """Add a row for every combination of the table's keys, and the columns that have a number somewhere."""
    if not len(scores):
        return
    keys = table.keys
    metrics = [metric for metric in frames.record["metrics"] if metric["family"] == family]
    columns = {(m["name"], m["variant"]): Column(title(m), m["higher_is_better"]) for m in metrics}
    ranges = {(m["name"], m["variant"]): m.get("value_range", (-np.inf, np.inf)) for m in metrics}
    wanted = scores[scores["metric"].isin({name for name, _ in columns})]
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for (*key, name, variant), estimate in estimate_means(wanted, [*keys, "metric", "variant"]).items():
        row = found.setdefault(tuple(key), dict(zip(keys, key, strict=True)))
        if (name, variant) in columns:
            row[columns[name, variant].name] = estimate.within(*ranges[name, variant])
    compared, explainers = comparable(frames, family), frames.record["explainers"]
    for place in sorted(found, key=order):
        name = found[place]["explainer"]
        table.rows.append(found[place])
        table.competes.append(explainers[name]["family"] != "control" and name in compared)
    used = columns.values()
    table.columns = [column for column in used if any(_is_number(row.get(column.name)) for row in table.rows)]


def row_order(frames: Frames) -> Callable[[tuple[Any, ...]], tuple[int, ...]]:
    """Data sets as planned; inherent methods first, then post-hoc ones, controls last; heads as planned."""
    families = ("inherent", "post-hoc", "control")
    datasets = list(frames.record["datasets"])
    explainers, heads = frames.record["explainers"], list(frames.record["heads"])
    backbones = list(dict.fromkeys(frames.cells["backbone"]))

    def place(key: tuple[Any, ...]) -> tuple[int, ...]:
        dataset, backbone, explainer, head = key
        family = families.index(explainers[explainer]["family"])
        position = list(explainers).index(explainer)
        return datasets.index(dataset), backbones.index(backbone), family, heads.index(head), position

    return place


def classification_table(frames: Frames) -> TableData:
    """Scores of every classifier on the test images."""
    columns = [Column(name, better) for name, better in CLASSIFICATION_SCORES.items()]
    keys = ["dataset", "backbone", "head"]
    table = TableData(_caption(frames, "classification"), keys, columns)
    for key, rows in frames.predictions.groupby(keys, sort=False):
        healthy = frames.record["datasets"][key[0]].get("healthy")
        scores = with_limits(seed_scores(rows, sorted(rows["seed"].unique()), healthy), rows["group"].nunique())
        row: dict[str, Any] = dict(zip(keys, key, strict=True))
        for column, mean, low, high, possible in zip(columns, *scores, POSSIBLE.T, strict=True):
            row[column.name] = Estimate(float(mean), low, high, rows["image"].nunique()).within(*possible)
        table.rows.append(row)
        table.competes.append(True)
    return table


def cost_table(frames: Frames) -> TableData:
    """What one map costs, on the machine of this run."""
    keys = ["dataset", "backbone", "explainer", "head"]
    columns = [Column(name, False) for name in _COSTS.values()]
    table = TableData(_caption(frames, "cost"), keys, columns)
    if not len(frames.cost):
        return table
    order = row_order(frames)
    for key, rows in sorted(frames.cost.groupby(keys, sort=False), key=lambda item: order(item[0])):
        means = rows.groupby("metric")["value"].mean()
        seeds = rows["seed"].nunique()
        row: dict[str, Any] = dict(zip(keys, key, strict=True))
        for name, shown in _COSTS.items():
            row[shown] = Estimate(float(means.get(name, np.nan)), np.nan, np.nan, seeds)
        table.rows.append(row)
        table.competes.append(False)
    return table


def _chance(frames: Frames) -> str:
    known = {name: facts for name, facts in frames.record["datasets"].items() if "prevalence" in facts}
    texts = [f"{name} {facts['prevalence']:.3f} / {facts['topk_chance']:.3f}" for name, facts in known.items()]
    return f"Chance of a random pixel / patch to hit lesion: {'; '.join(texts)}." if texts else ""


def _caption(frames: Frames, family: str) -> str:
    machine = frames.record["machine"]
    notes = {
        "classification": OVERALL,
        "localisation": "Diseased images. Controls are the floor (random, centre) and the ceiling (the mask itself). "
        f"{_chance(frames)}",
        "faithfulness": "The first diseased images, occluded patch by patch; the operator stands behind the @.",
        "per_class": "Faithfulness by true class: every image is explained, and occluded, for its own class. Controls "
        "that read masks find none on healthy images and delete in random order.",
        "per_class_localisation": "Diseased images by true class, each explained for its own class.",
        "consistency": "Positive ratio on diseased, the others on healthy images; largest evidence in a map's unit. "
        "Unsigned maps, positive by construction, do not compete.",
        "exactness": "Inherent methods only.",
        "complexity": "Neither direction is better.",
        "cost": f"Mean cost of one map on {machine['gpu'] if machine['gpu'] != 'none' else machine['cpu']}, "
        f"{_threads(machine)}; memory above that of the model and the images.",
    }
    body = notes.get(family, "") + ("" if family in ("classification", "cost") else f" {MEANS}")
    return f"{family.replace('_', ' ').capitalize()}. {body} {weights_note(frames)}".replace("  ", " ")


def _threads(machine: dict[str, Any]) -> str:
    """What a map was computed by, and beside how many others."""
    threads, processes = machine["threads"], machine.get("processes", 1)
    text = f"{threads} thread{'s' * (threads > 1)}"
    return f"{text} of each of {processes} processes at work beside each other" if processes > 1 else text


def weights_note(frames: Frames) -> str:
    """Where the backbones' weights come from, for captions."""
    origins = sorted({record["weights_from"] for record in frames.cells["record"] if "best_epoch" in record})
    return f"Backbones start from: {'; '.join(origins)}."
