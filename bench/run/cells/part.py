"""Explainers of a cell on one set of its (image, class) pairs.

The main part holds the explained images; with more than two classes there are more parts, each in a subfolder of the
cell. All parts are divided into shares and scored in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Container
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.cases.grids import read_ids
from bench.contracts import Explainer
from bench.data.selection import gallery_positions, target_class
from bench.evaluation import per_class
from bench.evaluation.context import EvaluationContext
from bench.evaluation.explainer_jobs import ExplainerJob, Failure, Shares, recording_failure
from bench.evaluation.requests import MetricRequest
from bench.evaluation.scoring import score_batch
from bench.files import read_json
from bench.store.code_digest import code_digest, digest
from bench.store.folders import CellStore
from bench.store.maps import member_names, read_arrays
from bench.training.classifier import CellClassifier


@dataclass(frozen=True)
class CellPart:
    """One set of (image, class) pairs of a cell, with the explainers that are run on it.

    Attributes:
        name: of the part; empty for the explained images themselves.
        trained: how the classifier was obtained.
        store: files of the part.
        context: the pairs, as explained images with targets.
        explainers: name -> explainer.
        parameters: explainer -> all its constructor arguments.
        metrics: the metrics to compute.
        save_maps: whether the maps of all images are kept.
        given_targets: image -> class that its map explains in the place of the usual one.
        cases: positions among the explained images whose maps are kept for the page.
    """

    name: str
    trained: CellClassifier
    store: CellStore
    context: EvaluationContext
    explainers: dict[str, Explainer]
    parameters: dict[str, dict[str, Any]]
    metrics: list[MetricRequest]
    save_maps: bool
    given_targets: list[tuple[str, int]]
    cases: frozenset[int] = frozenset()

    @cached_property
    def shares(self) -> Shares:
        """The shares of the part."""
        cell = str(self.trained.key)
        return Shares(self.context, self.store, self.trained.progress, cell, self.save_maps, self.cases)

    @cached_property
    def jobs(self) -> list[ExplainerJob]:
        """What is left to do for each explainer; nothing is written to find out."""
        wanted = {request.name: code_digest(request.info.function) for request in self.metrics}
        jobs = []
        for name, explainer in self.explainers.items():
            fingerprint = self._fingerprint(name, explainer)
            stored = self._stored_metrics(name, fingerprint) or {}
            missing = [request for request in self.metrics if stored.get(request.name) != wanted[request.name]]
            job = ExplainerJob(name, self._title(name), explainer, fingerprint, missing, stored | wanted)
            with recording_failure(job):
                job.skipped = self._why_not(explainer)
                job.is_stored = not job.skipped and self._is_stored(job)
            jobs.append(job)
        return jobs

    def missing(self) -> list[int]:
        """Lists the numbers of the shares that have to be scored."""
        return self.shares.missing(self.jobs)

    def score(self, number: int, without: Container[str]) -> dict[str, Failure]:
        """Scores one share; see ``Shares.score``."""
        return self.shares.score(self.jobs, number, without)

    def finish(self, failures: dict[str, Failure], only: Collection[str]) -> list[str]:
        """Joins what the shares have stored.

        Args:
            failures: explainers that failed on a share.
            only: names of the explainers that the part is to hold.

        Returns:
            A line for every problem that a reader of the scores must know.
        """
        jobs = [job for job in self.jobs if job.name in only]
        for job in jobs:
            job.failed = job.failed or failures.get(job.name)
            if self._stored_metrics(job.name, job.fingerprint) is None:
                self.store.files.remove(self.store.maps_file(job.name))  # maps of other settings
        self.shares.finish(jobs)
        return [f"{self.trained.key}: {line}" for job in jobs for line in job.lines]

    def _title(self, name: str) -> str:
        """Names an explainer, with the part of the cell unless it is the main one."""
        return f"{name} ({self.name.replace('_', ' ')})" if self.name else name

    def _why_not(self, explainer: Explainer) -> str:
        if explainer.needs_masks and self.context.split.masks is None:
            return "the data set has no masks"
        return explainer.applies_to(self.context.inference.classifier) or self.context.why_too_coarse(explainer)

    def _is_stored(self, job: ExplainerJob) -> bool:
        is_current = self._stored_metrics(job.name, job.fingerprint) is not None and self.store.is_current(job.name)
        maps, files = self.store.maps_file(job.name), self.store.files
        has_maps = not self.save_maps or (
            files.is_good(maps, member_names) and files.is_good(maps.with_suffix(".json"), read_json)
        )
        has_gallery = files.is_good(self.store.gallery_file(job.name), read_arrays)
        return is_current and not job.missing and has_maps and has_gallery and self._has_cases(job.name)

    def _has_cases(self, name: str) -> bool:
        """Returns whether the store holds the maps of an explainer that the page needs; it may hold more."""
        if not self.cases:
            return True
        ids = self.context.about["image"].iloc[sorted(self.cases)].tolist()
        stored = self.store.files.read(self.store.cases_file(name), read_ids)
        return stored is not None and stored.issuperset(ids)

    def _fingerprint(self, name: str, explainer: Explainer) -> str:
        trained, context, section = self.trained, self.context, self.context.section
        prepared = trained.prepared
        explained, gallery = prepared.explained, section.gallery
        several = len(prepared.classes) > 2
        main = digest(
            trained.fingerprint,
            prepared.explain.digest,
            explained.indices.tolist(),
            explained.faithful,
            section.steps,
            gallery_positions(explained, prepared.explain, gallery) if several else gallery,
            name,
            self.parameters[name],
            context.inference.precision,
            context.alignment if explainer.grid == "features" else [],
            context.target,
            code_digest(explainer, score_batch, target_class),
            *([section.explained_class] if section.explained_class != "label" else []),
            *([self.given_targets] if self.given_targets else []),
        )
        return f"{main}-{digest(self.name, code_digest(per_class))}" if self.name else main

    def _stored_metrics(self, name: str, fingerprint: str) -> dict[str, str] | None:
        """Returns metric -> digest of its code; None if there are no scores, or only scores of other settings."""
        metadata = self.store.metadata(self.store.scores_file(name))
        return json.loads(metadata["metrics"]) if metadata.get("fingerprint") == fingerprint else None
