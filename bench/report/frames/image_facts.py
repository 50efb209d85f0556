"""Facts about explained images: logits of classifiers, sizes of lesions, and confidence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.outputs import outputs_of
from bench.report.frames.load import Frames
from bench.report.frames.stored.rows import StoredRows
from bench.statistics.bootstrap.names import Names
from bench.statistics.intervals import Floats
from bench.store.scores import read_through

_OF_LESIONS = ("lesion_area", "lesion_count")


def logits_of(frames: Frames, row: Any) -> pd.DataFrame:
    """Reads image, label and logits of the explained images of a cell, which ``row`` names; empty without any."""
    folds = frames.cell(row).folds
    return _rows(frames, [one.explained for one in folds if one.files.is_good(one.explained, read_through)])


def image_facts(frames: Frames, dataset: str, backbone: str, images: pd.Index) -> pd.DataFrame:
    """Returns facts about N images, in their order; nan where one is unknown.

    Columns: lesion_area, lesion_count, and the confidence: the black box's probability of the right class, mean over
    seeds. A run of an earlier version lacks them; the same command adds them without scoring anything again.

    Args:
        frames: the run.
        dataset: of the images.
        backbone: of the black box.
        images: names (N,).
    """
    found, file = dict[str, Floats](), frames.store.lesions_file(dataset)
    if frames.store.files.is_good(file, read_through):
        rows = _rows(frames, [file], "image", *_OF_LESIONS)
        found |= {name: _placed(rows, rows[name], images) for name in _OF_LESIONS if name in rows}
    cells = frames.cells[(frames.cells["dataset"] == dataset) & (frames.cells["backbone"] == backbone)]
    outputs, confidence = outputs_of(frames.record.datasets[dataset]), list[Floats]()
    for cell in cells.itertuples():
        if frames.record.heads[str(cell.head)].family != "inherent" and len(rows := logits_of(frames, cell)):
            logits, labels = rows.filter(like="logit_").to_numpy(dtype=float), rows["label"].to_numpy(dtype=int)
            confidence.append(_placed(rows, outputs.confidence(logits, labels), images))
    if confidence:
        image = np.tile(np.arange(len(images)), len(confidence))
        found["confidence"] = np.asarray(pd.Series(np.concatenate(confidence)).groupby(image).mean(), dtype=float)
    return pd.DataFrame(found, index=range(len(images)))


def _rows(frames: Frames, files: Sequence[Path], *columns: str) -> pd.DataFrame:
    """Reads files of one row per image, with images as categories."""
    stored = StoredRows(pd.DataFrame({"path": [*map(str, files)]}), frames.source.reader.names, ("image",))
    return stored.rows(*columns)


def _placed(rows: pd.DataFrame, values: Any, images: pd.Index) -> Floats:
    """Returns the values of rows in the order of the images."""
    place, found = Names.of(rows["image"]).places_in(images), np.full(len(images), np.nan)
    found[place[place >= 0]] = np.asarray(values, dtype=float)[place >= 0]
    return found
