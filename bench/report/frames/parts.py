"""Parts of a run: the frames of one backbone, or without some data sets."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pandas as pd

from bench.report.frames.load import Frames

_ROWS, _READ = ("cells", "cost", "training"), ("source", "own_class", "predictions")


@lru_cache(maxsize=8)  # results that are cached by frames then serve figures, charts and cases
def only_backbone(frames: Frames, backbone: str) -> Frames:
    """Returns the rows of one backbone; the record stays that of the whole run."""
    return replace(frames, **_chosen(frames, "backbone", [backbone]))


def without_datasets(frames: Frames, datasets: Collection[str]) -> Frames:
    """Returns the run as if it did not have these data sets."""
    record = frames.record
    kept = record.changed(
        cells=[key for key in record.cells if key.dataset not in datasets],
        datasets={name: facts for name, facts in record.datasets.items() if name not in datasets},
    )
    return replace(frames, record=kept, **_chosen(frames, "dataset", list(kept.datasets)))


def _chosen(frames: Frames, column: str, values: list[str]) -> dict[str, Any]:
    """Returns field of the frames -> its rows that have one of these values."""

    def chosen(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[rows[column].isin(values)] if len(rows) else rows

    changes: dict[str, Any] = {name: chosen(getattr(frames, name)) for name in _ROWS}
    changes |= {name: getattr(frames, name).where(**{column: values}) for name in _READ}
    return changes | {"studies": {name: chosen(rows) for name, rows in frames.studies.items()}}
