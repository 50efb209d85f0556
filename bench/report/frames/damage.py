"""Damage of a run folder: stored files that are missing or not as they were written, and what the report lacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from bench.plain.names import EVERY_CLASS, OWN_CLASS
from bench.store.folders import CellStore, RunStore
from bench.store.maps import read_arrays
from bench.store.stored_files import StoredFiles, collecting

_REMEDY = "repeat the command that wrote it"


def damaged_images(store: RunStore, dataset: str) -> list[str]:
    """Returns a line per damaged file of a data set's images and lesions."""
    with collecting() as met:
        store.files.is_good(store.images_file(dataset), read_arrays)
        store.files.is_good(store.lesions_file(dataset), pd.read_parquet)
        store.files.is_good(store.cases_file(dataset), read_arrays)
    return [_line(dataset, path, why) for path, why in met.items()]


def sound_explainers(cell: CellStore, explainers: list[str]) -> tuple[list[str], dict[str, str]]:
    """Divides the explainers that succeeded on a cell by whether their scores can be read.

    Args:
        cell: a finished cell.
        explainers: that its run asked for.

    Returns:
        Those with sound scores, and explainer -> damage of the others.
    """
    current, lost = list[str](), dict[str, str]()
    for name, outcome in cell.record.explainers.items():
        if outcome.status != "ok" or name not in explainers:
            continue
        if cell.is_current(name):
            current.append(name)
        else:
            lost[name] = _fault(cell.files, cell.scores_file(name))
    return [name for name in explainers if name in current], lost


def lines_of(key: str, cell: CellStore, lost: Mapping[str, str], met: Mapping[Path, str]) -> list[str]:
    """Returns a line per damaged file of a cell and per explainer without scores.

    Args:
        key: name of the cell.
        cell: its files.
        lost: explainer -> damage of its scores.
        met: further damaged files that were met while the cell was read.
    """
    scores = {cell.scores_file(name) for name in lost}
    lines = [_line(f"{key}: explainer {name!r}", cell.scores_file(name), why) for name, why in lost.items()]
    lines += [_line(key, path, why) for path, why in met.items() if path not in scores]
    with collecting() as further:
        cell.files.is_good(cell.explained, pd.read_parquet)
        for store in (cell, cell.part(OWN_CLASS), cell.part(EVERY_CLASS)):
            for name, outcome in store.record.explainers.items():
                if outcome.status == "ok" and name not in lost:
                    store.metadata(store.scores_file(name))
                    store.files.is_good(store.gallery_file(name), read_arrays)
                    store.files.is_good(store.cases_file(name), read_arrays)
    lines += [_line(key, path, why) for path, why in further.items() if path not in met]
    studies = [
        cell.study_file(name, of)
        for name, outcomes in cell.record.studies.items()
        for of, outcome in outcomes.items()
        if outcome.status == "ok"
    ]
    absent = [path for path in (cell.predictions, *studies) if cell.files.fault(path) is None]
    return lines + [_line(key, path, "it is missing") for path in absent]


def _fault(files: StoredFiles, path: Path) -> str:
    fault = files.fault(path)
    if fault == "":
        return "its scores are of other settings or cannot be read"
    return "it is missing" if fault is None else fault


def _line(what: str, path: Path, why: str) -> str:
    return f"{what}: {path} is damaged ({why}); {_REMEDY}"
