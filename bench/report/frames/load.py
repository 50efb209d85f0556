"""Frames of a run: all results that the report reads, loaded from the store once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from bench.errors import UserError
from bench.files import Place
from bench.plain.names import EVERY_CLASS, OWN_CLASS
from bench.report.frames.damage import damaged_images, lines_of, sound_explainers
from bench.report.frames.folds.joined import WholeCell, joined_record, whole_record
from bench.report.frames.stored.reader import ABOUT, CELL
from bench.report.frames.stored.rows import StoredRows
from bench.report.frames.stored.scores import Scores
from bench.statistics.bootstrap.columns import NameTable
from bench.store.folders import CellStore, RunStore
from bench.store.records import CellKey, CellRecord, RunRecord
from bench.store.scores import SCORE_COLUMNS, SCORE_SCHEMA, read_through
from bench.store.stored_files import collecting


@dataclass(frozen=True, eq=False)  # hashed by identity, so that functions of the frames can cache their results
class Frames:
    """A run as data frames.

    Attributes:
        record: run.json; the folds of a cross-validation are one cell (``bench.report.frames.folds.joined``).
        cells: one row per cell: the columns of ``CELL``, status and the rest of cell.json in ``record``.
        source: scores of every finished explainer, which ``rows`` reads; without the steps of curves, which are most
            of what a run stores and are read by ``curve`` where they are needed.
        own_class: the same of additional images, each explained for its true class (data sets of more than two
            classes); only scores by class may read them.
        cost: dataset, …, explainer, metric, value: passes, seconds and memory of a map.
        predictions: of the classifiers on the test images, which are read when they are asked for.
        training: one row per cell and epoch.
        studies: name of a study -> its rows, whose further columns are its own.
        damaged: a line per stored file that should be there and is missing or damaged, with what it lacks.
        folds: cell -> its folds, where there is cross-validation.
    """

    store: RunStore
    record: RunRecord
    cells: pd.DataFrame
    source: Scores
    own_class: Scores
    cost: pd.DataFrame
    predictions: StoredRows
    training: pd.DataFrame
    studies: dict[str, pd.DataFrame]
    damaged: tuple[str, ...] = ()
    folds: Mapping[CellKey, tuple[CellKey, ...]] = field(default_factory=dict)

    @cached_property
    def own_explainers(self) -> dict[str, list[str]]:
        """Head -> inherent explainers with scores."""
        inherent = self.explained.loc[self.explained["family"] == "inherent", ["head", "explainer"]].drop_duplicates()
        return {str(head): list(rows) for head, rows in inherent.groupby("head")["explainer"]}

    def cell(self, row: Any) -> WholeCell:
        """Returns the files of a cell, named by anything that has the columns of ``CELL`` as attributes."""
        key = CellKey(row.dataset, row.backbone, row.head, int(row.seed))
        keys = self.folds.get(key, (key,))
        return WholeCell(tuple(map(self.store.cell, keys)), tuple(one.fold for one in keys))

    def trainings(self, row: Any) -> list[CellRecord]:
        """Returns facts about the trainings of a row of ``cells``: one, or with cross-validation one per fold."""
        return [one.record for one in self.cell(row).folds] if self.folds else [row.record]

    @property
    def explained(self) -> pd.DataFrame:
        """One row per cell and finished explainer that has scores, with its family."""
        return self.source.methods

    def rows(self, metrics: Collection[str] | None = None) -> pd.DataFrame:
        """Reads the scores of these metrics, by their stored names (without variant); of all metrics by default.

        Returns:
            Long rows with the cell's columns, explainer and its family; without any score, there are no columns.
            Columns of names are categories.
        """
        return self.source.rows(metrics)

    def curve(self, row: Any, metric: str, variant: str, images: Collection[str] | None = None) -> pd.DataFrame:
        """Reads image, group, step, value and seed of a curve of an explainer on a cell, at least of ``images``."""
        files = self.cell(row).score_files(row.explainer)
        parts = [self.source.reader.curve(str(file), metric, variant, images) for file in files]
        return (parts[0] if len(parts) == 1 else pd.concat(parts)).assign(seed=row.seed)


@dataclass
class _Parts:
    """Rows of a run, cell by cell; attributes as of ``Frames``."""

    files: list[dict[str, Any]] = field(default_factory=list)
    own_class: list[dict[str, Any]] = field(default_factory=list)
    cost: list[pa.Table] = field(default_factory=list)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    training: list[pa.Table] = field(default_factory=list)
    studies: dict[str, list[pa.Table]] = field(default_factory=dict)


def load_frames(folder: Path, only: CellKey | None = None) -> Frames:
    """Reads every finished cell of the run's last plan, or only one of them; damaged files are left out and named.

    Raises:
        UserError: this is not a run folder, or a link in it leads out of it.
    """
    store = RunStore(folder)
    record = store.record
    folds = dict[CellKey, tuple[CellKey, ...]]()
    for key in record.cells:
        if only in (None, key):
            folds[key.whole] = (*folds.get(key.whole, ()), key)
    parts, damaged = _Parts(), list[str]()
    for dataset in dict.fromkeys(key.dataset for key in folds):
        damaged += damaged_images(store, dataset)
    facts, names = [], dict[str, NameTable]()
    for whole, keys in folds.items():
        found, lines = _read_folds(store, record, keys, parts)
        damaged += lines
        facts.append(names_of(whole) | {"status": found.status, "record": found})
    return Frames(
        store=store,
        record=whole_record(record),
        cells=pd.DataFrame(facts),
        source=_source(parts.files, names),
        own_class=_source(parts.own_class, names),
        cost=_concat(parts.cost),
        predictions=_predictions(parts.predictions, names),
        training=_concat(parts.training, "epoch"),
        studies={name: _concat(rows) for name, rows in parts.studies.items() if rows},
        damaged=tuple(damaged),
        folds=folds if any(key.fold is not None for key in record.cells) else {},
    )


def _read_folds(
    store: RunStore, record: RunRecord, keys: Sequence[CellKey], parts: _Parts
) -> tuple[CellRecord, list[str]]:
    """Adds all rows of a cell, or of all its folds, if it is finished -> its record, and a line per damaged file."""
    cells = [store.cell(key) for key in keys]
    each = [_cell_record(cell, record.plan) for cell in cells]
    lines = [f"{key} failed: {found.reason}" for key, (found, damaged) in zip(keys, each, strict=True) if damaged]
    whole = joined_record([found for found, _ in each], [key.fold for key in keys])
    if whole.status == "ok":
        asked = record.explained_by[keys[0].head]
        with collecting() as met:
            sound = [sound_explainers(cell, asked) for cell in cells]
        current = [name for name in asked if all(name in good for good, _ in sound)]
        for key, cell, (_, lost) in zip(keys, cells, sound, strict=True):
            with collecting() as further:
                _add_cell(parts, record, key, cell, current)
            own = {path: why for path, why in met.items() if path.is_relative_to(cell.folder)}
            lines += lines_of(str(key), cell, lost, own | further)
    return whole, lines


def names_of(key: CellKey) -> dict[str, Any]:
    """Returns the columns of ``CELL``."""
    return {name: getattr(key, name) for name in CELL}


def _add_cell(parts: _Parts, record: RunRecord, key: CellKey, cell: CellStore, current: list[str]) -> None:
    """Adds all rows of a finished cell, whose explainers ``current`` have sound scores."""
    about = names_of(key)
    fold = {} if key.fold is None else {"fold": key.fold}
    if cell.files.is_good(cell.predictions, read_through):
        parts.predictions.append({"path": str(cell.predictions)} | about | fold)
    # A converted classifier was never trained and has no history.
    if (training := cell.files.read(cell.training, pd.read_csv)) is not None:
        rows = pa.Table.from_pandas(training, preserve_index=False).replace_schema_metadata()
        parts.training.append(_with_facts(rows, about | fold))
    own_class = [name for name in part_explainers(record, cell, OWN_CLASS) if name in current]
    for name, path, rows in _costs(cell, current):
        facts = about | {"explainer": name, "family": record.explainers[name].family}
        parts.files.append({"path": path} | facts)
        parts.cost.append(_with_facts(rows, facts))
    for name, path, _ in _costs(cell.part(OWN_CLASS), own_class):
        parts.own_class.append({"path": path, "explainer": name, "family": record.explainers[name].family} | about)
    for name in record.studies:
        parts.studies.setdefault(name, []).extend(_study_rows(record, key, cell, name, current))


def part_explainers(record: RunRecord, cell: CellStore, part: str) -> list[str]:
    """Returns the explainers whose results in a part of a cell belong to the last plan and to the cell's scores."""
    if cell.part(part).record.plan != record.plan:
        return []
    return [name for name in record.explainers if cell.part_is_current(part, name)]


def _read_table(path: Path) -> pa.Table:
    """Reads a file in this thread: on small files, threads cost more than they save."""
    with pq.ParquetFile(path) as file:
        return file.read(use_threads=False).replace_schema_metadata()


def _with_facts(table: pa.Table, facts: Mapping[str, Any]) -> pa.Table:
    """Returns a table with columns that have the same value in each row; they replace those of the same name."""
    for name, value in facts.items():
        column = pa.repeat(pa.scalar(value), len(table))
        at = table.schema.get_field_index(name)
        table = table.append_column(name, column) if at < 0 else table.set_column(at, name, column)
    return table


def _joined(tables: list[pa.Table]) -> pd.DataFrame:
    """Joins tables; numbers of different types become the wider one, and a column that one lacks is empty there."""
    try:
        rows: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
        return rows
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # a column with words in one table and numbers in another
        frames: list[pd.DataFrame] = [table.to_pandas() for table in tables]
        return pd.concat(frames, ignore_index=True)


def _costs(cell: CellStore, explainers: list[str]) -> Iterator[tuple[str, str, pa.Table]]:
    """Yields explainers with readable scores, the paths of these, and the rows about their cost."""
    paths = {name: cell.scores_file(name) for name in explainers}
    good = {name: str(path) for name, path in paths.items() if cell.files.is_good(path, read_through)}
    if not good:
        return
    scan = pl.scan_parquet(list(good.values()), glob=False, include_file_paths="path").filter(pl.col("image") == "")
    parts = scan.select(*SCORE_COLUMNS, "path").collect().partition_by("path", as_dict=True, include_key=False)
    nothing = pl.DataFrame(schema=scan.select(SCORE_COLUMNS).collect_schema())
    for name, path in good.items():
        yield name, path, parts.get((path,), nothing).to_arrow()


def _source(files: list[dict[str, Any]], names: dict[str, NameTable]) -> Scores:
    return Scores.stored(pd.DataFrame(files, columns=["path", *ABOUT]), names)


def _study_rows(
    record: RunRecord, key: CellKey, cell: CellStore, name: str, explainers: list[str]
) -> Iterator[pa.Table]:
    """Yields rows of a study of a cell, with the cell's columns; explainer and family are empty for a whole cell."""
    families = {"": ""} | {one: record.explainers[one].family for one in explainers}
    for of, family in families.items():
        if cell.study_is_current(name, of):
            rows = cell.files.read(cell.study_file(name, of), _read_table)
            if rows is not None:
                yield _with_facts(rows, names_of(key) | {"explainer": of, "family": family})


def _cell_record(cell: CellStore, plan: str) -> tuple[CellRecord, bool]:
    """Returns cell.json and whether that is damaged.

    A cell that this plan has not reached is absent, whatever an earlier plan left.
    A cell has failed if its record, or that of a part of it, cannot be read.
    """
    try:
        record = cell.read_record()
        for part in (OWN_CLASS, EVERY_CLASS):
            cell.part(part).read_record()
    except UserError as error:
        return CellRecord(status="failed", plan=plan, reason=str(error)), True
    return (record if record.plan == plan else CellRecord()), False


def _concat(tables: list[pa.Table], *columns: str) -> pd.DataFrame:
    """Joins tables; without any, the result has the cell's columns and these, if they are given."""
    if tables:
        return _joined(tables)
    return pd.DataFrame(columns=[*CELL, *columns] if columns else None)


def _predictions(files: list[dict[str, Any]], names: dict[str, NameTable]) -> StoredRows:
    return StoredRows(pd.DataFrame(files), names) if files else StoredRows()


def write_long_frame(frames: Frames, derived: pd.DataFrame, place: Place) -> None:
    """Writes one row per image, method, metric and step, without cost, as a stream.

    Args:
        frames: the run.
        derived: rows that no explainer's file holds.
        place: of the file.
    """
    schema = pa.schema([*SCORE_SCHEMA, *((name, pa.int64() if name == "seed" else pa.string()) for name in ABOUT)])
    tables = [pl.DataFrame(schema.empty_table()), *([pl.from_pandas(derived[schema.names])] if len(derived) else [])]
    parts = [table.lazy() for table in tables]
    for row in frames.explained.itertuples():
        about = [pl.lit(getattr(row, name)).alias(name) for name in ABOUT]
        for file in frames.cell(row).score_files(str(row.explainer)):
            scan = pl.scan_parquet(file, glob=False).filter(pl.col("image") != "")
            parts.append(scan.select(*SCORE_COLUMNS, *about))
    with place as temporary:
        pl.concat(parts, how="vertical_relaxed").sink_parquet(temporary, compression="snappy")
