"""Estimands of scores that are areas under curves of the target's probability.

A run stores one score per image. Its mean over all images is the paper's estimand; images that the classifier misses
have a small intact probability and may dominate it, so two others are derived from the same scores.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from bench.outputs import outputs_of
from bench.report.frames.image_facts import logits_of
from bench.report.frames.load import Frames
from bench.report.frames.stored.reader import CELL
from bench.statistics.bootstrap.aligned import same_images
from bench.statistics.bootstrap.names import Names
from bench.statistics.estimands import ratios_of_means
from bench.statistics.intervals import Estimate, Floats
from bench.store.records import CellKey, MetricFacts

#: Area of the mean curve, relative to the mean intact probability; mean over images that the classifier gets right.
CURVE, RIGHT = "curve", "right"
_KEPT = 2**20  # probabilities that are kept


def named(metric: MetricFacts, estimand: str) -> str:
    """Returns the name of a metric with an estimand ("" = the mean over all images) and its operator."""
    name = f"{metric.name}_{estimand}" if estimand else metric.name
    return f"{name}@{metric.variant}" if metric.variant else name


def names_of(title: str) -> list[str]:
    """Returns the names of all estimands of a metric, from the name of its mean over all images."""
    name, at, variant = title.partition("@")
    return [title, *(f"{name}_{estimand}{at}{variant}" for estimand in (CURVE, RIGHT))]


def base_name(title: str) -> str:
    """Returns the name of the metric alone, from that of a metric with an estimand and operator."""
    return title.partition("@")[0].removesuffix(f"_{RIGHT}").removesuffix(f"_{CURVE}")


def right_only(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns rows whose values are nan on images that the classifier misses.

    A difference of two classifiers is therefore defined on the images that both get right.
    """
    return rows.assign(value=rows["value"].where(rows["predicted"] == rows["label"]))


def curve_estimates(
    frames: Frames, metric: MetricFacts, rows: pd.DataFrame, by: list[str]
) -> dict[tuple[Any, ...], Estimate]:
    """Computes the area under the mean curve divided by the mean intact probability p₀.

    For a score relative to p₀ the area of an image is ``p₀ · score``; otherwise it is the score. Hence no curve is
    read. p₀ is that of the float32 logits.

    Args:
        frames: the run.
        metric: with ``of_curve``.
        rows: of this metric and operator.
        by: columns that name a method; without those whose cells did not store their logits.
    """
    known = intact(frames, rows)
    areas = rows["value"] * known if metric.of_curve == "relative" else rows["value"]
    # A relative score is undefined where p₀ is 0; so is the image in both means.
    table = rows.assign(area=areas, intact=known.where(rows["value"].notna()))
    both = np.isfinite(table["area"]) & np.isfinite(table["intact"])
    table = table.assign(area=table["area"].where(both), intact=table["intact"].where(both))
    found: dict[tuple[Any, ...], Estimate] = {}
    for alike in same_images(table, by, ["area", "intact"]):
        if not len(alike.groups):
            continue
        over, under = alike.values
        n, ends = len(alike.groups), ratios_of_means(over, under, alike.groups)
        for key, undefined, mean, low, high in zip(alike.keys, alike.undefined, *ends, strict=True):
            found[key] = Estimate(float(mean), float(low), float(high), n, undefined)
    return found


def intact(frames: Frames, rows: pd.DataFrame) -> pd.Series:
    """Returns the target's probability on the intact image of each row; nan where a cell did not store its logits."""
    found, targets = np.full(len(rows), np.nan), rows["target"].to_numpy(dtype=int)
    cells: dict[Any, Any] = rows.groupby(CELL, sort=False, observed=True).indices
    for (dataset, backbone, head, seed), inside in cells.items():
        images, probabilities = _probabilities(frames, CellKey(str(dataset), str(backbone), str(head), int(seed)))
        if len(probabilities):
            asked = Names.of(rows["image"].iloc[inside])
            place = np.full(len(asked.known), -1)
            there = images.places_in(asked.known)
            place[there[there >= 0]] = np.flatnonzero(there >= 0)
            places = place[asked.place]
            found[inside] = np.where(places >= 0, probabilities[places, targets[inside]], np.nan)
    return pd.Series(found, index=rows.index)


def _probabilities(frames: Frames, key: CellKey) -> tuple[Names, Floats]:
    """Returns the explained images of a cell, and their probabilities (N,C); nothing if they are not stored."""
    known = _known(frames)
    if key not in known:
        if sum(found.size for _, found in known.values()) > _KEPT:
            known.clear()
        rows, outputs = logits_of(frames, key), outputs_of(frames.record.datasets[key.dataset])
        logits = rows.filter(like="logit_").to_numpy(dtype=float)
        known[key] = Names.of(rows["image"]), outputs.probabilities(logits) if len(rows) else logits
    return known[key]


@lru_cache(maxsize=2)
def _known(frames: Frames) -> dict[CellKey, tuple[Names, Floats]]:
    return {}
