"""All explainers of a cell on all its images; what is finished is on the disk."""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.contracts import Explainer, UserError
from bench.errors import one_line
from bench.evaluation.batch import EvaluationBatch, batches
from bench.evaluation.context import EvaluationContext
from bench.evaluation.requests import MetricRequest
from bench.evaluation.result import Cost, ExplainerResult
from bench.evaluation.scoring import score_batch
from bench.files import replacing
from bench.progress import Progress
from bench.store.folders import CellStore
from bench.store.maps import MapsWriter
from bench.store.records import ExplainerOutcome
from bench.store.scores import SCORE_COLUMNS, read_metadata, write_scores


@dataclass
class ExplainerJob:
    """One explainer whose scores are not all in the store.

    Attributes:
        title: of its steps in the progress display.
        fingerprint: of all that the maps depend on.
        missing: metrics to be computed now.
        metrics: name -> digest of the code of every metric that the store will hold.
        result: what came of it; where there are several portions, without the rows and maps.
        needless: why there is nothing to do; else empty.
        failed: a line that says why it failed; empty as long as it has not.
    """

    name: str
    title: str
    explainer: Explainer
    fingerprint: str
    missing: list[MetricRequest]
    metrics: dict[str, str]
    result: ExplainerResult = field(default_factory=ExplainerResult)
    needless: str = ""
    failed: str = ""

    @property
    def lines(self) -> list[str]:
        """What a reader of the scores must know, if anything."""
        if self.failed:
            return [f"explainer {self.title!r} failed: {self.failed}"]
        return [f"{self.title}: {'; '.join(self.result.notes)}"] if self.result.notes else []


@dataclass(frozen=True)
class Explaining:
    """The work on the jobs of a cell: portions come first and explainers second, for these share what they need of one.

    Where there are several portions, what came of each goes to a piece in the store: a stopped run goes on behind the
    last one, and memory does not grow with the number of images.

    Attributes:
        what: names the cell in the progress display.
        save_maps: keep the maps of all images, not only those of the figures.
    """

    context: EvaluationContext
    store: CellStore
    progress: Progress
    what: str
    save_maps: bool

    def run(self, jobs: list[ExplainerJob]) -> None:
        """Explain, score and store; a job that fails says so, and in the cell's record."""
        parts = list(batches(self.context))
        self.progress.expect(*(job.title for job in jobs for _ in parts[1:]))
        for number, batch in enumerate(parts):
            for job in jobs:
                with self.guard(job):
                    self._batch(job, batch, number, len(parts))
                    if number == len(parts) - 1:
                        self._finish(job, len(parts))
            parts[number] = EvaluationBatch(self.context, batch.positions)  # lets go of what was shared

    @contextmanager
    def guard(self, job: ExplainerJob) -> Iterator[None]:
        """A method that fails must not take the others with it."""
        try:
            yield
        except Exception as error:
            job.failed = one_line(error)
            outcome = ExplainerOutcome(status="failed", reason=job.failed, traceback=traceback.format_exc())
            self.store.note_explainer(job.name, outcome)

    def _batch(self, job: ExplainerJob, batch: EvaluationBatch, number: int, parts: int) -> None:
        file = self.store.piece_file(job.name, number)
        facts = self._piece_facts(job, batch)
        if job.failed or (parts > 1 and read_metadata(file).items() >= facts.items()):
            self.progress.skip(job.title)
        else:
            with self.progress.step(job.title, f"{self.what}: {job.title}"):
                keep = set(batch.positions.tolist()) if self.save_maps else set(self.context.gallery)
                result = score_batch(batch, job.name, job.explainer, job.missing, keep)
                if parts == 1:
                    job.result = result
                else:
                    _write_piece(file, result, facts)
        if parts > 1 and not job.failed:
            job.result.add(_read_facts(file))

    def _piece_facts(self, job: ExplainerJob, batch: EvaluationBatch) -> dict[str, str]:
        """What a piece must have been made of to be used."""
        metrics = {request.name: job.metrics[request.name] for request in job.missing}
        images = [*batch.positions[[0, -1]].tolist(), self.save_maps]
        return {"fingerprint": job.fingerprint, "metrics": json.dumps(metrics), "images": json.dumps(images)}

    def _finish(self, job: ExplainerJob, parts: int) -> None:
        """Make one of the pieces and store it; a metric that failed on any leaves no row at all."""
        if job.failed:
            return
        if len(job.result.bad_maps) == len(self.context.explained.indices):
            raise UserError(f"explainer {job.name!r} returned only NaN or infinite maps")
        maps: dict[int, np.ndarray] = {}
        done = {metric: code for metric, code in job.metrics.items() if metric not in job.result.problems}
        file = self.store.scores_file(job.name)
        rows = self._rows(job, parts, maps)
        write_scores(file, rows, fingerprint=job.fingerprint, metrics=json.dumps(done))
        with replacing(self.store.gallery_file(job.name)) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, *(maps[at] for at in sorted(maps)))
        bad_maps, problems = job.result.bad_maps, job.result.problems
        outcome = ExplainerOutcome(status="ok", fingerprint=job.fingerprint, bad_maps=bad_maps, problems=problems)
        self.store.note_explainer(job.name, outcome)
        shutil.rmtree(self.store.piece_file(job.name, 0).parent, ignore_errors=True)

    def _rows(self, job: ExplainerJob, parts: int, gallery: dict[int, np.ndarray]) -> Iterator[pd.DataFrame]:
        """The old rows that still hold, and those of every portion; maps go to their file, and some to ``gallery``."""
        file, cost = self.store.scores_file(job.name), job.result.cost_rows
        failed = {(metric.partition("@")[0], metric.partition("@")[2]) for metric in job.result.problems}
        if read_metadata(file).get("fingerprint") == job.fingerprint:
            yield _without(pd.read_parquet(file), job.result.kinds | failed | set(_pairs(cost)))
        shown = set(self.context.gallery)
        with self._maps_writer(job) as writer:
            for number in range(parts):
                one = job.result if parts == 1 else _read_piece(self.store.piece_file(job.name, number))
                if writer:
                    writer.add(self.context.about["image"].iloc[list(one.maps)].tolist(), one.maps.values())
                gallery |= {at: values for at, values in one.maps.items() if at in shown}
                if one.frames:
                    yield _without(pd.concat(one.frames), failed)
        yield cost

    @contextmanager
    def _maps_writer(self, job: ExplainerJob) -> Iterator[MapsWriter | None]:
        """Of all maps, where they are to be kept."""
        if not self.save_maps:
            yield None
            return
        file = self.store.maps_file(job.name)
        with replacing(file) as temporary, MapsWriter(temporary, self.context.classes) as writer:
            yield writer


def _write_piece(file: Path, result: ExplainerResult, facts: dict[str, str]) -> None:
    """The rows last: they say that the piece is whole."""
    with replacing(file.with_suffix(".npz")) as temporary, temporary.open("wb") as stream:
        maps: dict[str, Any] = {str(at): values for at, values in result.maps.items()}
        np.savez(stream, **maps)
    came = {"bad_maps": result.bad_maps, "problems": result.problems, "cost": asdict(result.cost)}
    rows = pd.concat(result.frames) if result.frames else pd.DataFrame(columns=list(SCORE_COLUMNS))
    write_scores(file, [rows], **facts, came=json.dumps(came | {"kinds": sorted(result.kinds)}))


def _read_facts(file: Path) -> ExplainerResult:
    """A piece without its rows and maps."""
    came = json.loads(read_metadata(file)["came"])
    kinds = {(metric, variant) for metric, variant in came["kinds"]}
    return ExplainerResult([], {}, came["bad_maps"], came["problems"], Cost(**came["cost"]), kinds)


def _read_piece(file: Path) -> ExplainerResult:
    with np.load(file.with_suffix(".npz")) as maps:
        kept = {int(at): maps[at] for at in maps.files}
    rows = pd.read_parquet(file)
    return ExplainerResult([rows] if len(rows) else [], kept)


def _without(rows: pd.DataFrame, kinds: set[tuple[str, str]]) -> pd.DataFrame:
    """Rows of any other metric and variant."""
    return rows[[pair not in kinds for pair in _pairs(rows)]]


def _pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Metric and variant of every row."""
    return list(zip(rows["metric"], rows["variant"], strict=True))
