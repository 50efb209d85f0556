"""Frames of a run: all results that the report reads, loaded from the store once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.contracts import EVERY_CLASS, OWN_CLASS
from bench.errors import UserError
from bench.files import Place
from bench.store.folders import CellStore, RunStore
from bench.store.records import CellKey, CellRecord, RunRecord
from bench.store.scores import SCORE_SCHEMA

CELL = ["dataset", "backbone", "head", "seed"]
_IS_STEP = pc.field("step") >= 0


@dataclass(frozen=True, eq=False)  # hashed by identity, so that functions of the frames can cache their results
class Frames:
    """A run as data frames.

    Attributes:
        record: run.json.
        cells: one row per cell: the columns of ``CELL``, status and the rest of cell.json in ``record``.
        scores: long rows of every finished explainer with the cell's columns, explainer and its family; without the
            steps of curves, which are most of what a run stores and are read by ``curve`` where they are needed.
        own_class: the same of additional images, each explained for its true class (data sets of more than two
            classes); only scores by class may read them.
        cost: dataset, …, explainer, metric, value: passes, seconds and memory of a map.
        predictions: one row per cell and test image; logits in ``logit_0`` …, nan if a data set has fewer classes.
        training: one row per cell and epoch.
        studies: name of a study -> its rows, whose further columns are its own.
    """

    store: RunStore
    record: RunRecord
    cells: pd.DataFrame
    scores: pd.DataFrame
    own_class: pd.DataFrame
    cost: pd.DataFrame
    predictions: pd.DataFrame
    training: pd.DataFrame
    studies: dict[str, pd.DataFrame]

    @cached_property
    def own_explainers(self) -> dict[str, list[str]]:
        """Head -> inherent explainers with scores."""
        if not len(self.scores):
            return {}
        inherent = self.scores.loc[self.scores["family"] == "inherent", ["head", "explainer"]].drop_duplicates()
        return {str(head): list(rows) for head, rows in inherent.groupby("head")["explainer"]}

    def cell(self, row: Any) -> CellStore:
        """Returns the files of a cell, named by anything that has the columns of ``CELL`` as attributes."""
        return self.store.cell(CellKey(row.dataset, row.backbone, row.head, int(row.seed)))

    @cached_property
    def explained(self) -> pd.DataFrame:
        """One row per cell and finished explainer that has scores, with its family."""
        columns = [*CELL, "explainer", "family"]
        return self.scores[columns].drop_duplicates() if len(self.scores) else pd.DataFrame(columns=columns)

    def curve(self, row: Any, metric: str, variant: str) -> pd.DataFrame:
        """Reads image, group, step, value and seed of a curve of one explainer on one cell, which ``row`` names."""
        wanted = (pc.field("metric") == metric) & (pc.field("variant") == variant) & _IS_STEP
        file = self.cell(row).scores_file(row.explainer)
        rows: pd.DataFrame = pq.read_table(
            file, columns=["image", "group", "step", "value"], filters=wanted
        ).to_pandas()
        return rows.assign(seed=row.seed)


def load_frames(folder: Path, only: CellKey | None = None) -> Frames:
    """Reads every finished cell of the run's last plan, or only one of them.

    Raises:
        UserError: this is not a run folder.
    """
    store = RunStore(folder)
    record = store.record
    keys = [key for key in record.cells if only in (None, key)]
    cells = pd.DataFrame([vars(key) | _cell_facts(store.cell(key), record.plan) for key in keys])
    scores: list[pd.DataFrame] = []
    own_class: list[pd.DataFrame] = []
    cost: list[pd.DataFrame] = []
    predictions: list[pd.DataFrame] = []
    training: list[pd.DataFrame] = []
    studies: dict[str, list[pd.DataFrame]] = {}
    for key, status in zip(keys, cells["status"], strict=True):
        if status != "ok":
            continue
        cell, about = store.cell(key), vars(key)
        predictions.append(pd.read_parquet(cell.predictions).assign(**about))
        if cell.training.exists():  # a converted classifier was never trained
            training.append(pd.read_csv(cell.training).assign(**about))
        current = [name for name in record.explained_by[key.head] if cell.is_current(name)]
        beside = [name for name in part_explainers(record, cell, OWN_CLASS) if name in current]
        for rows in _rows(record, key, cell, current):
            scores.append(rows[rows["image"] != ""])
            cost.append(rows[rows["image"] == ""])
        own_class += [rows[rows["image"] != ""] for rows in _rows(record, key, cell.part(OWN_CLASS), beside)]
        for name in record.studies:
            studies.setdefault(name, []).extend(_study_rows(record, key, cell, name, current))
    return Frames(
        store=store,
        record=record,
        cells=cells,
        scores=_concat(scores),
        own_class=_concat(own_class),
        cost=_concat(cost),
        predictions=_concat(predictions),
        training=_concat(training),
        studies={name: _concat(rows) for name, rows in studies.items() if rows},
    )


def part_explainers(record: RunRecord, cell: CellStore, part: str) -> list[str]:
    """Returns the explainers whose results in a part of a cell belong to the last plan and to the cell's scores."""
    if cell.part(part).record.plan != record.plan:
        return []
    return [name for name in record.explainers if cell.part_is_current(part, name)]


def _rows(record: RunRecord, key: CellKey, cell: CellStore, explainers: list[str]) -> Iterator[pd.DataFrame]:
    """Yields rows of explainers of a cell, or of a part of one, without the steps of curves."""
    for name in explainers:
        rows = pq.read_table(cell.scores_file(name), filters=~_IS_STEP).to_pandas()
        yield rows.assign(**vars(key), explainer=name, family=record.explainers[name].family)


def _study_rows(
    record: RunRecord, key: CellKey, cell: CellStore, name: str, explainers: list[str]
) -> Iterator[pd.DataFrame]:
    """Yields rows of a study of a cell, with the cell's columns; explainer and family are empty for a whole cell."""
    families = {"": ""} | {one: record.explainers[one].family for one in explainers}
    for of, family in families.items():
        if cell.study_is_current(name, of):
            yield pd.read_parquet(cell.study_file(name, of)).assign(**vars(key), explainer=of, family=family)


def _cell_facts(cell: CellStore, plan: str) -> dict[str, Any]:
    """Returns status and cell.json; a cell that this plan has not reached is absent, whatever an earlier plan left.

    A cell has failed if its record, or that of a part of it, cannot be read.
    """
    try:
        record = cell.record
        for part in (OWN_CLASS, EVERY_CLASS):
            _ = cell.part(part).record
    except UserError as error:
        record = CellRecord(status="failed", plan=plan, reason=str(error))
    if record.plan != plan:
        record = CellRecord()
    return {"status": record.status, "record": record}


def _concat(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


_ABOUT = {name: pa.int64() if name == "seed" else pa.string() for name in (*CELL, "explainer", "family")}


def write_long_frame(frames: Frames, derived: pd.DataFrame, place: Place) -> None:
    """Writes one row per image, method, metric and step, without cost; one explainer is read at a time.

    Args:
        frames: the run.
        derived: rows of ``frames.scores`` that no explainer's file holds.
        place: of the file.
    """
    schema = pa.schema([*SCORE_SCHEMA, *_ABOUT.items()])
    with place as temporary, pq.ParquetWriter(temporary, schema) as writer:
        if len(derived):
            writer.write_table(pa.Table.from_pandas(derived, schema=schema, preserve_index=False))
        for row in frames.explained.itertuples():
            file = frames.cell(row).scores_file(str(row.explainer))
            table = pq.read_table(file, filters=pc.field("image") != "")
            for name, kind in _ABOUT.items():
                table = table.append_column(name, pa.repeat(pa.scalar(getattr(row, name), kind), len(table)))
            writer.write_table(table.cast(schema))
