"""Runs that are merged, which are read without changing any of their files."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from bench.config import Config, parse_config
from bench.errors import UserError
from bench.files import DamagedFile, tell_damage
from bench.store.folders import CellStore, RunStore
from bench.store.record_files import CELL_FILE, RUN_FILE
from bench.store.records import CellKey, CellRecord, RunRecord
from bench.store.scores import SCORE_COLUMNS
from bench.text.media import is_printable


@dataclass(frozen=True)
class Source:
    """A run to merge.

    Attributes:
        name: of its folder; the whole path where two folders have one name.
        store: its files.
        record: its run.json.
    """

    name: str
    store: RunStore
    record: RunRecord
    _scored: dict[CellKey, list[str]] = field(default_factory=dict)

    @cached_property
    def cells(self) -> dict[CellKey, CellRecord]:
        """Records of the cells of its last plan; a damaged one has failed."""
        return {key: self._cell(key) for key in self.record.cells}

    def _cell(self, key: CellKey) -> CellRecord:
        cell = self.store.cell(key)
        try:
            record = cell.read_record()
        except DamagedFile as error:
            tell_damage(cell.folder / CELL_FILE, error.why)
            return CellRecord(status="failed", plan=self.record.plan, reason=str(error))
        return record if record.plan == self.record.plan else CellRecord()

    def finished(self, dataset: str) -> dict[CellKey, CellRecord]:
        """Returns the finished cells of a data set."""
        return {key: one for key, one in self.cells.items() if key.dataset == dataset and one.status == "ok"}

    def scored(self, key: CellKey) -> list[str]:
        """Returns the explainers that the run asked for and whose scores on a finished cell are sound."""
        if key not in self._scored:
            asked, cell = self.record.explained_by[key.head], self.store.cell(key)
            self._scored[key] = [name for name in asked if cell.is_current(name)]
        return self._scored[key]

    def scores(self, key: CellKey, explainer: str) -> pd.DataFrame:
        """Reads the rows of an explainer; empty where they turn out to be damaged."""
        cell = self.store.cell(key)
        rows = cell.files.read(cell.scores_file(explainer), pd.read_parquet)
        return pd.DataFrame(columns=list(SCORE_COLUMNS)) if rows is None else rows

    def config(self, key: CellKey) -> Config:
        """Returns the config that a cell was computed with, resolved for its data set and backbone.

        Raises:
            UserError: run.json holds a config that this version does not know.
        """
        config = parse_config(self.record.origin(key).config, str(self.store.folder / RUN_FILE))
        return config.for_dataset(self.record.datasets[key.dataset].spec or key.dataset, key.backbone)

    def metric_codes(self, dataset: str) -> dict[str, set[str]]:
        """Returns metric -> digests of the code that the stored scores of a data set were computed by."""
        found: dict[str, set[str]] = {}
        for key in self.finished(dataset):
            cell = self.store.cell(key)
            for name in self.scored(key):
                for metric, code in stored_metrics(cell, name).items():
                    found.setdefault(metric, set()).add(code)
        return found


def stored_metrics(cell: CellStore, explainer: str) -> dict[str, str]:
    """Returns metric -> digest of its code, of the scores of an explainer."""
    try:
        codes = json.loads(cell.metadata(cell.scores_file(explainer)).get("metrics", "{}"))
    except (ValueError, RecursionError):
        return {}
    return {str(metric): str(code) for metric, code in codes.items()} if isinstance(codes, dict) else {}


@contextmanager
def open_sources(folders: Sequence[Path], out: Path) -> Iterator[list[Source]]:
    """Yields the runs in these folders, which no run or report can change inside the block.

    Raises:
        UserError: fewer than two folders, one that is named twice or overlaps ``out``, one without a sound run, or one
            in which a run or report works.
    """
    places = [folder.resolve() for folder in folders]
    if len(folders) < 2:
        raise UserError("merge needs the folders of at least two runs; to report on one, use the command report")
    for at, (folder, place) in enumerate(zip(folders, places, strict=True)):
        if place in places[:at]:
            raise UserError(f"{folder} is named twice; name every run once")
        if place == out.resolve() or out.resolve() in place.parents or place in out.resolve().parents:
            raise UserError(f"--out {out} and the run {folder} share a folder; choose an --out outside of every run")
    stores = [RunStore(folder) for folder in folders]
    with ExitStack() as held:
        for store in stores:
            held.enter_context(_kept_still(store))
        sources = [Source(name, one, one.record) for name, one in zip(_names(folders, places), stores, strict=True)]
        for source in sources:
            parse_config(source.record.config, str(source.store.folder / RUN_FILE))  # the checks read its tables
        yield sources


def _names(folders: Sequence[Path], places: Sequence[Path]) -> list[str]:
    last = [place.name for place in places]
    names = [str(folder) if last.count(name) > 1 else name for folder, name in zip(folders, last, strict=True)]
    if hidden := next((name for name in names if not is_printable(name)), None):
        raise UserError(f"the name of the run {hidden!r} has hidden characters; rename its folder")
    return names


def listed(sources: Collection[Source]) -> str:
    """Returns the names of the runs."""
    return ", ".join(source.name for source in sources)


@contextmanager
def _kept_still(store: RunStore) -> Iterator[None]:
    """Keeps runs and reports from changing a folder that is read; unlike ``RunStore.lock``, it writes nothing.

    A folder without a lock file, and a file system without locks, are read as they are.

    Raises:
        UserError: a run or report works there.
    """
    lock = _shared_lock(store.folder / "lock")
    if lock is None:
        yield
        return
    try:
        yield
    finally:
        os.close(lock)


def _shared_lock(file: Path) -> int | None:
    """Returns a file descriptor that holds a lock; None where there is nothing to lock."""
    try:
        import fcntl  # not on Windows
    except ImportError:
        return None
    try:
        lock = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise UserError(f"a run or report is working in {file.parent}; wait for it") from error
        return None
    return lock
