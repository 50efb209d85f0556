"""All explainers of a cell on all its images; what is finished is on the disk."""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bench.contracts import Explainer, UserError
from bench.cost import Cost
from bench.errors import one_line
from bench.files import replacing
from bench.plan import MetricRequest
from bench.portion import Portion
from bench.progress import RunProgress
from bench.scored import Scored
from bench.scoring import Scorer
from bench.store import SCORE_COLUMNS, CellStore, MapsWriter, read_metadata, write_scores


@dataclass
class Job:
    """One explainer whose scores are not all in the store.

    Attributes:
        title: of its steps in the progress display.
        fingerprint: of all that the maps depend on.
        missing: metrics to be computed now.
        metrics: name -> digest of the code of every metric that the store will hold.
        scored: what came of it, without what lies in pieces in the store.
        needless: why there is nothing to do; else empty.
        failed: a line that says why it failed; empty as long as it has not.
    """

    name: str
    title: str
    explainer: Explainer
    fingerprint: str
    missing: list[MetricRequest]
    metrics: dict[str, str]
    scored: Scored = field(default_factory=Scored)
    needless: str = ""
    failed: str = ""

    @property
    def lines(self) -> list[str]:
        """What a reader of the scores must know, if anything."""
        if self.failed:
            return [f"explainer {self.title!r} failed: {self.failed}"]
        return [f"{self.title}: {'; '.join(self.scored.notes)}"] if self.scored.notes else []


@dataclass(frozen=True)
class Explaining:
    """The work on the jobs of a cell: portions come first and explainers second, for these share what they need of one.

    Where there are several portions, what came of each goes to a piece in the store: a stopped run goes on behind the
    last one, and memory does not grow with the number of images.

    Attributes:
        what: names the cell in the progress display.
        save_maps: keep the maps of all images, not only those of the figures.
    """

    scorer: Scorer
    store: CellStore
    progress: RunProgress
    what: str
    save_maps: bool

    def run(self, jobs: list[Job]) -> None:
        """Explain, score and store; a job that fails says so, and in the cell's record."""
        portions = list(self.scorer.portions())
        self.progress.expect(*(job.title for job in jobs for _ in portions[1:]))
        for number, portion in enumerate(portions):
            for job in jobs:
                with self.guard(job):
                    self._portion(job, portion, number, len(portions))
            portions[number] = Portion(self.scorer, portion.positions)  # lets go of what was shared
        for job in jobs:
            with self.guard(job):
                self._finish(job, len(portions))

    @contextmanager
    def guard(self, job: Job) -> Iterator[None]:
        """A method that fails must not take the others with it."""
        try:
            yield
        except Exception as error:
            job.failed = one_line(error)
            self.store.note_explainer(job.name, status="failed", reason=job.failed, traceback=traceback.format_exc())

    def _portion(self, job: Job, portion: Portion, number: int, portions: int) -> None:
        if job.failed or (portions > 1 and self._has_piece(job, portion, number)):
            self.progress.skip(job.title)
            return
        with self.progress.step(job.title, f"{self.what}: {job.title}"):
            keep = set(portion.positions.tolist()) if self.save_maps else set(self.scorer.gallery)
            scored = portion.score(job.name, job.explainer, job.missing, keep)
            if portions > 1:
                self._write_piece(job, portion, number, scored)
            else:
                job.scored = scored

    def _piece_facts(self, job: Job, portion: Portion) -> dict[str, str]:
        """What a piece must have been made of to be used."""
        metrics = {request.name: job.metrics[request.name] for request in job.missing}
        images = [*portion.positions[[0, -1]].tolist(), self.save_maps]
        return {"fingerprint": job.fingerprint, "metrics": json.dumps(metrics), "images": json.dumps(images)}

    def _has_piece(self, job: Job, portion: Portion, number: int) -> bool:
        metadata = read_metadata(self.store.piece_file(job.name, number))
        return metadata.items() >= self._piece_facts(job, portion).items()

    def _write_piece(self, job: Job, portion: Portion, number: int, scored: Scored) -> None:
        file = self.store.piece_file(job.name, number)
        with replacing(file.with_suffix(".npz")) as temporary, temporary.open("wb") as stream:
            kept: dict[str, Any] = {str(at): values for at, values in scored.maps.items()}
            np.savez(stream, **kept)
        came = {"bad_maps": scored.bad_maps, "problems": scored.problems, "cost": asdict(scored.cost)}
        rows = pd.concat(scored.frames) if scored.frames else pd.DataFrame(columns=list(SCORE_COLUMNS))
        write_scores(file, rows, **self._piece_facts(job, portion), came=json.dumps(came))

    def _pieces(self, job: Job, portions: int) -> Iterator[Scored]:
        """What came of each portion, one at a time."""
        if portions == 1:
            yield job.scored
            return
        for number in range(portions):
            file = self.store.piece_file(job.name, number)
            came = json.loads(read_metadata(file)["came"])
            with np.load(file.with_suffix(".npz")) as maps:
                kept = {int(at): maps[at] for at in maps.files}
            cost = Cost(**came["cost"])
            rows = pd.read_parquet(file)
            yield Scored([rows] if len(rows) else [], kept, came["bad_maps"], came["problems"], cost)

    def _finish(self, job: Job, portions: int) -> None:
        """Make one of the pieces and store it."""
        if job.failed:
            return
        ids, gallery, whole = self.scorer.about["image"], set(self.scorer.gallery), Scored()
        with self._maps_writer(job) as writer:
            for piece in self._pieces(job, portions):
                if writer:
                    writer.add(ids.iloc[list(piece.maps)].tolist(), list(piece.maps.values()))
                piece.maps = {at: values for at, values in piece.maps.items() if at in gallery}
                whole.add(piece)
        if len(whole.bad_maps) == len(ids):
            raise UserError(f"explainer {job.name!r} returned only NaN or infinite maps")
        self._store(job, whole)
        shutil.rmtree(self.store.piece_file(job.name, 0).parent, ignore_errors=True)

    @contextmanager
    def _maps_writer(self, job: Job) -> Iterator[MapsWriter | None]:
        """Of all maps, where they are to be kept."""
        if not self.save_maps:
            yield None
            return
        file = self.store.maps_file(job.name)
        with replacing(file) as temporary, MapsWriter(temporary, self.scorer.classes) as writer:
            yield writer

    def _store(self, job: Job, scored: Scored) -> None:
        """Write the new rows over the old ones that still hold; a metric that failed leaves no row at all."""
        file, rows = self.store.scores_file(job.name), scored.rows
        failed = {(metric.partition("@")[0], metric.partition("@")[2]) for metric in scored.problems}
        if read_metadata(file).get("fingerprint") == job.fingerprint:
            old = pd.read_parquet(file)
            renewed = set(_pairs(rows))
            rows = pd.concat([old[[pair not in renewed for pair in _pairs(old)]], rows], ignore_index=True)
        rows = rows[[pair not in failed for pair in _pairs(rows)]]
        done = {metric: code for metric, code in job.metrics.items() if metric not in scored.problems}
        with replacing(self.store.gallery_file(job.name)) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, *(scored.maps[at] for at in sorted(scored.maps)))
        write_scores(file, rows, fingerprint=job.fingerprint, metrics=json.dumps(done))
        self.store.note_explainer(
            job.name, status="ok", fingerprint=job.fingerprint, bad_maps=scored.bad_maps, problems=scored.problems
        )
        job.scored = scored


def _pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Metric and variant of every row."""
    return list(zip(rows["metric"], rows["variant"], strict=True))
