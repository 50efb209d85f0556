"""Jobs of a cell: every explainer on all explained images.

Finished work is written to the store as it comes, so that a run that stops loses little.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
from bench.store.folders import CellStore
from bench.store.maps import MapsWriter, read_arrays, write_drawing
from bench.store.records import ExplainerOutcome
from bench.store.scores import SCORE_COLUMNS, read_metadata, write_scores

#: Prefix of the arrays of a piece that hold maps of cases.
_CASES = "cases_"


@dataclass
class ExplainerJob:
    """One explainer whose scores are not all in the store.

    Attributes:
        name: registered name, with parameters as in the config.
        title: name of its steps in the progress display.
        explainer: computes the maps.
        fingerprint: hash of everything that the maps depend on.
        missing: metrics to compute now.
        metrics: metric -> digest of its code, for every metric that the store will hold.
        result: its scores so far; if the cell has several shares, without rows and maps, which are in the store.
        grids: maps of the cases of the page, unless there are several shares.
        needless: the reason why there is nothing to do; empty otherwise.
        failed: one line that says why it failed; empty if it has not.
    """

    name: str
    title: str
    explainer: Explainer
    fingerprint: str
    missing: list[MetricRequest]
    metrics: dict[str, str]
    result: ExplainerResult = field(default_factory=ExplainerResult)
    grids: Grids = field(default_factory=lambda: to_grids([], []))
    needless: str = ""
    failed: str = ""

    @property
    def lines(self) -> list[str]:
        """At most one line: the failure, or the problems that a reader of the scores must know."""
        if self.failed:
            return [f"explainer {self.title!r} failed: {self.failed}"]
        return [f"{self.title}: {'; '.join(self.result.notes)}"] if self.result.notes else []


def run_explainers(
    jobs: list[ExplainerJob],
    context: EvaluationContext,
    store: CellStore,
    progress: Progress,
    cell: str,
    save_maps: bool,
    cases: Collection[int] = (),
) -> None:
    """Explains all explained images by all jobs, scores the maps and stores both.

    The images are divided into shares, which are scored and stored at once. The outer loop runs over shares, because
    the jobs share features and occluded logits of the same images. With several shares, each result goes to a piece in
    the store: a stopped run continues after the last piece, and memory does not grow with the number of images.

    Args:
        jobs: the explainers; one that fails is marked as failed, also in the record of the cell.
        context: the context of the cell.
        store: the folder of the cell.
        progress: shows one step per job and share.
        cell: name of the cell in the progress display.
        save_maps: whether the maps of all images are kept, not only the ones of the figures.
        cases: positions among the explained images whose maps are kept for the page, as 8-bit integers.
    """
    shares = list(batches(context))
    progress.expect(*(job.title for job in jobs for _ in shares[1:]))
    writer = _JobWriter(context, store, progress, cell, save_maps, frozenset(cases), len(shares))
    for number, batch in enumerate(shares):
        for job in jobs:
            with recording_failure(job, store):
                writer.score_share(job, batch, number)
                if number == len(shares) - 1:
                    writer.finish(job)
        shares[number] = EvaluationBatch(context, batch.positions)  # frees what the jobs shared


@contextmanager
def recording_failure(job: ExplainerJob, store: CellStore) -> Iterator[None]:
    """Records an exception as a failure of the job, so that one explainer does not stop the others."""
    try:
        yield
    except BaseException as error:  # a plugin may raise anything, such as the end of the program
        if is_stop(error) or disk_fault(error):
            raise
        job.failed = one_line(error)
        outcome = ExplainerOutcome(status="failed", reason=job.failed, traceback=traceback.format_exc())
        store.note_explainer(job.name, outcome)


@dataclass(frozen=True)
class _JobWriter:
    """Scores the shares of a cell and joins their pieces; arguments as of ``run_explainers``."""

    context: EvaluationContext
    store: CellStore
    progress: Progress
    cell: str
    save_maps: bool
    cases: frozenset[int]
    shares: int

    def score_share(self, job: ExplainerJob, batch: EvaluationBatch, number: int) -> None:
        """Scores one share, unless the store holds its piece; adds the result to the job."""
        file = self.store.piece_file(job.name, number)
        facts = self._piece_facts(job, batch)
        if job.failed or (self.shares > 1 and self._has_piece(file, facts)):
            self.progress.skip(job.title)
        else:
            with self.progress.step(job.title, f"{self.cell}: {job.title}"):
                keep = set(batch.positions.tolist()) if self.save_maps else {*self.cases, *self.context.gallery}
                result = score_batch(batch, job.name, job.explainer, job.missing, keep)
                grids = self._take_grids(result)
                if self.shares == 1:
                    job.result, job.grids = result, grids
                else:
                    self._write_piece(file, result, grids, facts)
        if self.shares > 1 and not job.failed:
            job.result.add(_read_facts(file))

    def _take_grids(self, result: ExplainerResult) -> Grids:
        """Returns the maps of the cases, and removes those from the result that nothing else needs."""
        positions = [at for at in result.maps if at in self.cases]
        names = self.context.about["image"].iloc[positions].tolist()
        grids = to_grids(names, [result.maps[at] for at in positions])
        if not self.save_maps:
            result.maps = {at: result.maps[at] for at in result.maps if at in self.context.gallery}
        return grids

    def _has_piece(self, file: Path, facts: dict[str, str]) -> bool:
        """Returns whether the store holds the rows and maps of a piece of these settings."""
        has_rows = self.store.metadata(file).items() >= facts.items()
        return has_rows and self.store.files.is_good(file.with_suffix(".npz"), read_arrays)

    def _write_piece(self, file: Path, result: ExplainerResult, grids: Grids, facts: dict[str, str]) -> None:
        """Writes maps, then rows: the rows mark the piece as complete."""
        with self.store.files.writing(file.with_suffix(".npz")) as temporary, temporary.open("wb") as stream:
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
        write_scores(self.store.files.writing(file), [rows], **facts, came=json.dumps(came))

    def _piece_facts(self, job: ExplainerJob, batch: EvaluationBatch) -> dict[str, str]:
        """Returns the settings that a stored piece must match to be used."""
        metrics = {request.name: job.metrics[request.name] for request in job.missing}
        cases = sorted(self.cases.intersection(batch.positions.tolist()))
        images = [*batch.positions[[0, -1]].tolist(), self.save_maps, cases]
        return {"fingerprint": job.fingerprint, "metrics": json.dumps(metrics), "images": json.dumps(images)}

    def finish(self, job: ExplainerJob) -> None:
        """Joins the pieces of a job and stores them; a metric that failed on any piece leaves no row at all.

        Raises:
            UserError: All maps hold NaN or infinite values.
        """
        if job.failed:
            return
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
        self.store.files.remove(self.store.piece_file(job.name, 0).parent)

    def _rows(self, job: ExplainerJob, gallery: dict[int, np.ndarray], grids: list[Grids]) -> Iterator[pd.DataFrame]:
        """Yields stored rows that are still valid, then new ones; fills ``gallery`` and ``grids``, and writes maps."""
        file, cost = self.store.scores_file(job.name), job.result.cost_rows
        failed = {(metric.partition("@")[0], metric.partition("@")[2]) for metric in job.result.problems}
        if self.store.metadata(file).get("fingerprint") == job.fingerprint:
            yield _without(pd.read_parquet(file), job.result.kinds | failed | set(_pairs(cost)))
        shown = set(self.context.gallery)
        with self._maps_writer(job) as writer:
            for number in range(self.shares):
                piece = self.store.piece_file(job.name, number)
                result, cases = (job.result, job.grids) if self.shares == 1 else _read_piece(piece)
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
