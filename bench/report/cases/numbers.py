"""Numbers of the case browser per method: maps, scores and deletion curves, as compressed arrays."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.cases.grids import Grids
from bench.report.frames.load import Frames, names_of
from bench.statistics.bootstrap.names import one_of
from bench.statistics.intervals import Floats
from bench.store.records import CellKey, MetricFacts

#: Scale of a map that was not kept, and level of a step of a curve without a value.
NO_MAP, NO_VALUE = -1.0, 255
_LEVELS = 254  # of the values of a curve
_NAMES = ("dataset", "head", "explainer", "metric", "variant", "image")


def packed(array: NDArray[np.generic]) -> str:
    """Returns an array as text: base64 of its zlib-compressed little-endian bytes."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()


def map_data(grids: Grids, ids: list[str]) -> dict[str, Any]:
    """Returns the maps of these images; the scale of one that was not kept is ``NO_MAP``."""
    place = {name: index for index, name in enumerate(grids.ids.tolist())}
    order = np.array([place.get(name, -1) for name in ids])
    values = np.where((order < 0)[:, None, None], 0, grids.values[order]).astype(np.int8)
    scales = np.where(order < 0, NO_MAP, grids.scales[order]).astype("<f4")
    return {"grid": values.shape[1:], "cells": grids.cells, "maps": packed(values), "scales": packed(scales)}


def scores_of_set(frames: Frames, dataset: str, metrics: Iterable[MetricFacts], ids: list[str]) -> pd.DataFrame:
    """Reads the scores of images of a data set, with names as plain text; without any, there are the columns alone."""
    batches = frames.source.where(dataset=[dataset]).batches()
    parts = []
    for name, batch in product(dict.fromkeys(metric.name for metric in metrics), batches):
        rows = batch.rows([name])
        if len(rows):
            parts.append(rows[one_of(rows["image"], ids)].astype(dict.fromkeys(_NAMES, str)))
    return pd.concat(parts) if parts else pd.DataFrame(columns=[*_NAMES, "seed", "value"])


def scores_of(
    rows: pd.DataFrame, methods: list[tuple[str, int, str]], metrics: list[MetricFacts], ids: list[str]
) -> Floats:
    """Arranges scores of a data set and backbone as (methods,metrics,n); nan where there is none.

    Args:
        rows: as of ``scores_of_set``.
        methods: head, seed and explainer of each.
        metrics: with their variants.
        ids: names of the n images.
    """
    found = np.full((len(methods), len(metrics), len(ids)), np.nan)
    wanted = [(metric.name, metric.variant) for metric in metrics]
    if len(rows) and metrics:
        method = pd.MultiIndex.from_tuples(methods).get_indexer(_tuples(rows, ["head", "seed", "explainer"]))
        metric = pd.MultiIndex.from_tuples(wanted).get_indexer(_tuples(rows, ["metric", "variant"]))
        image = pd.Index(ids, dtype=object).get_indexer(pd.Index(rows["image"], dtype=object))
        known = (method >= 0) & (metric >= 0) & (image >= 0)
        found[method[known], metric[known], image[known]] = rows["value"].to_numpy(dtype=float)[known]
    return found


def _tuples(rows: pd.DataFrame, columns: list[str]) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(rows[columns])


def curve_rows(frames: Frames, key: CellKey, explainer: str, variant: str, ids: list[str]) -> pd.DataFrame:
    """Reads the deletion curves of an explainer on a cell, of some images."""
    rows = frames.curve(SimpleNamespace(**names_of(key), explainer=explainer), "deletion_curve", variant, ids)
    return rows[one_of(rows["image"], ids)]


def curve_data(rows: pd.DataFrame, ids: list[str]) -> dict[str, Any]:
    """Returns curves (n,K+1) as levels of [0, 1]; ``NO_VALUE`` where there is none."""
    if not len(rows):
        return {"steps": 0, "curves": ""}
    wide = rows.pivot(index="image", columns="step", values="value")
    values = wide.set_axis(wide.index.astype(str)).reindex(ids).to_numpy(dtype=float)
    levels = np.rint(np.nan_to_num(values).clip(0, 1) * _LEVELS)
    return {
        "steps": values.shape[1],
        "curves": packed(np.where(np.isfinite(values), levels, NO_VALUE).astype(np.uint8)),
    }
