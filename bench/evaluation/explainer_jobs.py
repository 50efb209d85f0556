"""Jobs of a cell: every explainer on all explained images.

The images are divided into shares, the unit that is scored and stored at once. The shares of a cell can be scored in
any order and by several processes; their bounds depend on the config alone. A share writes nothing but its own pieces,
so that processes do not disturb each other, and a run that stops loses at most the share that it works on.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.cases.grids import Grids, joined, to_grids, write_grids
from bench.contracts import Explainer
from bench.errors import UserError, disk_fault, is_stop, one_line
from bench.evaluation.batch import EvaluationBatch, batches
from bench.evaluation.context import EvaluationContext
from bench.evaluation.requests import MetricRequest
from bench.evaluation.result import Cost, ExplainerResult
from bench.evaluation.scoring import score_batch
from bench.progress import Progress
from bench.store.folders import PIECES, CellStore
from bench.store.maps import MapsWriter, read_arrays, write_drawing
from bench.store.records import ExplainerOutcome
from bench.store.scores import SCORE_COLUMNS, read_metadata, write_scores

#: Prefix of the arrays of a piece that hold maps of cases.
_CASES = "cases_"


class Failure(NamedTuple):
    """Reason of a failure in one line, and its traceback."""

    reason: str
    traceback: str


@dataclass
class ExplainerJob:
    """One explainer of a cell.

    Attributes:
        name: registered name, with parameters as in the config.
        title: its name in the progress display.
        explainer: computes the maps.
        fingerprint: hash of everything that the maps depend on.
        missing: metrics that the store lacks.
        metrics: metric -> digest of its code, for every metric that the store will hold.
        result: facts about its scores, without rows and maps, once its pieces are joined.
        skipped: the reason why the explainer does not apply; empty otherwise.
        is_stored: whether the store holds everything already.
        failed: why it failed; None if it has not.
    """

    name: str
    title: str
    explainer: Explainer
    fingerprint: str
    missing: list[MetricRequest]
    metrics: dict[str, str]
    result: ExplainerResult = field(default_factory=ExplainerResult)
    skipped: str = ""
    is_stored: bool = False
    failed: Failure | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether there is anything to compute."""
        return not (self.skipped or self.is_stored or self.failed)

    @property
    def lines(self) -> list[str]:
        """At most one line: the failure, or the problems that a reader of the scores must know."""
        if self.failed:
            return [f"explainer {self.title!r} failed: {self.failed.reason}"]
        return [f"{self.title}: {'; '.join(self.result.notes)}"] if self.result.notes else []


@contextmanager
def recording_failure(job: ExplainerJob) -> Iterator[None]:
    """Records an exception as a failure of the job, so that one explainer does not stop the others."""
    try:
        yield
    except BaseException as error:  # a plugin may raise anything, such as the end of the program
        if is_stop(error) or disk_fault(error):
            raise
        job.failed = Failure(one_line(error), traceback.format_exc())


@dataclass(frozen=True)
class Shares:
    """Scores the shares of a cell, or of a part of it, and joins their pieces.

    Attributes:
        context: the context of the cell.
        store: the folder of the cell.
        progress: shows what is computed.
        cell: name of the cell in the progress display.
        save_maps: whether the maps of all images are kept, not only the ones of the figures.
        cases: positions among the explained images whose maps are kept for the page, as 8-bit integers.
    """

    context: EvaluationContext
    store: CellStore
    progress: Progress
    cell: str
    save_maps: bool
    cases: frozenset[int] = frozenset()

    @cached_property
    def positions(self) -> list[np.ndarray]:
        """Positions (n,) of each share among the explained images."""
        return [batch.positions for batch in batches(self.context)]

    def missing(self, jobs: list[ExplainerJob]) -> list[int]:
        """Lists the shares of which the store lacks a piece of any waiting job."""
        waiting = [job for job in jobs if job.is_waiting]
        numbers = range(len(self.positions))
        return [number for number in numbers if not all(self._has_piece(job, number) for job in waiting)]

    def score(self, jobs: list[ExplainerJob], number: int, without: Container[str] = ()) -> dict[str, Failure]:
        """Scores one share by every waiting job whose piece the store lacks.

        The jobs of a share are computed in the same process, because they share its features and occluded logits.

        Args:
            jobs: the explainers of the cell.
            number: of the share.
            without: explainers that have failed on another share.

        Returns:
            Name -> failure of the explainers that failed on this share.
        """
        batch, failures = EvaluationBatch(self.context, self.positions[number]), {}
        for job in jobs:
            if not job.is_waiting or job.name in without or self._has_piece(job, number):
                continue
            share = f", share {number + 1} of {len(self.positions)}" if len(self.positions) > 1 else ""
            self.progress.update(f"{self.cell}: {job.title}{share}")
            with recording_failure(job):
                keep = set(batch.positions.tolist()) if self.save_maps else {*self.cases, *self.context.gallery}
                result = score_batch(batch, job.name, job.explainer, job.missing, keep)
                self._write_piece(job, number, result, self._take_grids(result))
            if job.failed:
                failures[job.name] = job.failed
        return failures

    def finish(self, jobs: list[ExplainerJob]) -> None:
        """Joins the pieces of the waiting jobs, and notes the outcome of every job in the record of the cell."""
        for job in jobs:
            if job.is_waiting:
                self.progress.update(f"{self.cell}: {job.title}, storing")
                with recording_failure(job):
                    self._join(job)
            if job.skipped:
                self.store.note_explainer(job.name, ExplainerOutcome(status="skipped", reason=job.skipped))
            if job.failed:
                self.store.note_explainer(job.name, ExplainerOutcome(status="failed", **job.failed._asdict()))
        if not any(job.failed for job in jobs):  # otherwise, pieces remain, so that less is done again
            self.store.files.remove(self.store.folder / PIECES)

    def _take_grids(self, result: ExplainerResult) -> Grids:
        """Returns the maps of the cases, and removes those from the result that nothing else needs."""
        positions = [at for at in result.maps if at in self.cases]
        names = self.context.about["image"].iloc[positions].tolist()
        grids = to_grids(names, [result.maps[at] for at in positions])
        if not self.save_maps:
            result.maps = {at: result.maps[at] for at in result.maps if at in self.context.gallery}
        return grids

    def _has_piece(self, job: ExplainerJob, number: int) -> bool:
        """Returns whether the store holds the rows and maps of a piece of these settings."""
        file, files = self.store.piece_file(job.name, number), self.store.piece_files(number)
        found = files.read(file, read_metadata) or {}
        has_rows = found.items() >= self._piece_facts(job, number).items()
        return has_rows and files.is_good(file.with_suffix(".npz"), read_arrays)

    def _write_piece(self, job: ExplainerJob, number: int, result: ExplainerResult, grids: Grids) -> None:
        """Writes maps, then rows: the rows mark the piece as complete."""
        file, facts = self.store.piece_file(job.name, number), self._piece_facts(job, number)
        files = self.store.piece_files(number)
        with files.writing(file.with_suffix(".npz")) as temporary, temporary.open("wb") as stream:
            maps: dict[str, Any] = {str(at): values for at, values in result.maps.items()} | grids.arrays(_CASES)
            np.savez(stream, **maps)
        came = {
            "bad_maps": result.bad_maps,
            "problems": result.problems,
            "left": result.left,
            "cost": asdict(result.cost),
            "kinds": sorted(result.kinds),
        }
        rows = pd.concat(result.frames) if result.frames else pd.DataFrame(columns=list(SCORE_COLUMNS))
        write_scores(files.writing(file), [rows], **facts, came=json.dumps(came))

    def _piece_facts(self, job: ExplainerJob, number: int) -> dict[str, str]:
        """Returns the settings that a stored piece must match to be used."""
        metrics = {request.name: job.metrics[request.name] for request in job.missing}
        cases = sorted(self.cases.intersection(self.positions[number].tolist()))
        images = [*self.positions[number][[0, -1]].tolist(), self.save_maps, cases]
        return {"fingerprint": job.fingerprint, "metrics": json.dumps(metrics), "images": json.dumps(images)}

    def _join(self, job: ExplainerJob) -> None:
        """Joins the pieces of a job and stores them; a metric that failed on any piece leaves no row at all.

        Raises:
            UserError: a piece is damaged, or all maps hold NaN or infinite values.
        """
        for number in range(len(self.positions)):
            if not self._has_piece(job, number):
                where = self.store.piece_file(job.name, number)
                raise UserError(f"{where} is damaged or missing; repeat the command, which computes it again")
            job.result.add(_read_facts(self.store.piece_file(job.name, number)))
        if len(job.result.bad_maps) == len(self.context.explained.indices):
            raise UserError(f"explainer {job.name!r} returned only NaN or infinite maps")
        maps, grids = dict[int, np.ndarray](), list[Grids]()
        computed = {metric: code for metric, code in job.metrics.items() if metric not in job.result.problems}
        rows = self._rows(job, maps, grids)
        place = self.store.files.writing(self.store.scores_file(job.name))
        write_scores(place, rows, fingerprint=job.fingerprint, metrics=json.dumps(computed))
        with self.store.files.writing(self.store.gallery_file(job.name)) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, *(maps[at] for at in sorted(maps)))
        if self.cases:
            with self.store.files.writing(self.store.cases_file(job.name)) as temporary:
                write_grids(temporary, joined(grids))
        bad_maps, problems = job.result.bad_maps, job.result.problems
        outcome = ExplainerOutcome(status="ok", fingerprint=job.fingerprint, bad_maps=bad_maps, problems=problems)
        self.store.note_explainer(job.name, outcome)

    def _rows(self, job: ExplainerJob, gallery: dict[int, np.ndarray], grids: list[Grids]) -> Iterator[pd.DataFrame]:
        """Yields stored rows that are still valid, then new ones; fills ``gallery`` and ``grids``, and writes maps."""
        file, cost = self.store.scores_file(job.name), job.result.cost_rows
        failed = {(metric.partition("@")[0], metric.partition("@")[2]) for metric in job.result.problems}
        if self.store.metadata(file).get("fingerprint") == job.fingerprint:
            yield _without(pd.read_parquet(file), job.result.kinds | failed | set(_pairs(cost)))
        shown = set(self.context.gallery)
        with self._maps_writer(job) as writer:
            for number in range(len(self.positions)):
                result, cases = _read_piece(self.store.piece_file(job.name, number))
                grids.append(cases)
                if writer:
                    writer.add(self.context.about["image"].iloc[list(result.maps)].tolist(), result.maps.values())
                gallery |= {at: values for at, values in result.maps.items() if at in shown}
                if result.frames:
                    yield _without(pd.concat(result.frames), failed)
        yield cost

    @contextmanager
    def _maps_writer(self, job: ExplainerJob) -> Iterator[MapsWriter | None]:
        """Opens the file of all maps; yields None if they are not kept."""
        if not self.save_maps:
            yield None
            return
        file, files = self.store.maps_file(job.name), self.store.files
        with files.writing(file) as temporary, MapsWriter(temporary, self.context.classes) as writer:
            yield writer
        geometry = self.context.geometry_of(job.explainer)
        write_drawing(files.writing(file.with_suffix(".json")), writer.members, job.explainer.grid, geometry)


def _read_facts(file: Path) -> ExplainerResult:
    """Reads a piece without its rows and maps."""
    came = json.loads(read_metadata(file)["came"])
    kinds = {(metric, variant) for metric, variant in came["kinds"]}
    return ExplainerResult([], {}, came["bad_maps"], came["problems"], Cost(**came["cost"]), kinds, came["left"])


def _read_piece(file: Path) -> tuple[ExplainerResult, Grids]:
    arrays = read_arrays(file.with_suffix(".npz"))
    kept = {int(at): maps for at, maps in arrays.items() if not at.startswith(_CASES)}
    rows = pd.read_parquet(file)
    return ExplainerResult([rows] if len(rows) else [], kept), Grids.of(arrays, _CASES)


def _without(rows: pd.DataFrame, kinds: set[tuple[str, str]]) -> pd.DataFrame:
    """Returns the rows of all other (metric, variant) pairs."""
    return rows[[pair not in kinds for pair in _pairs(rows)]]


def _pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Returns (metric, variant) of every row."""
    return list(zip(rows["metric"], rows["variant"], strict=True))
