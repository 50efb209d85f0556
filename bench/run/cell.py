"""One cell: its classifier is trained once and explained once with every explainer that applies."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bench.cases.grids import read_ids
from bench.contracts import Classifier, Explainer
from bench.data.prepare import Prepared
from bench.data.selection import Selection, gallery_positions, target_class
from bench.data.split import Split
from bench.evaluation import per_class
from bench.evaluation.context import EvaluationContext
from bench.evaluation.explainer_jobs import ExplainerJob, recording_failure, run_explainers
from bench.evaluation.metric_inputs import why_not_read
from bench.evaluation.mixed_precision import choose_predictor
from bench.evaluation.requests import MetricRequest
from bench.evaluation.scoring import score_batch
from bench.files import read_json
from bench.run.study_jobs import run_studies
from bench.store.cell_facts import GeometryFacts
from bench.store.code_digest import code_digest, digest
from bench.store.folders import CellStore
from bench.store.maps import member_names, read_arrays
from bench.store.records import CellKey, ExplainerOutcome
from bench.studies.base import Subject
from bench.training.classifier import CellClassifier


@dataclass
class Cell:
    """A classifier of the run and all its explanations, or a part of these.

    Attributes:
        trained: how the classifier is obtained.
        store: files of the cell, or of a part of it, that the scores are written to.
        plan_id: hash of the run's plan, noted in the record of the cell; a report shows only cells of one plan.
        parameters: explainer -> all its constructor arguments.
        precision: ``--precision``, see ``bench.evaluation.mixed_precision``.
        cases: positions among the explained images whose maps are kept for the page.
        part: name of the part; empty for the explained images themselves.
        computed: whether anything was computed.
    """

    trained: CellClassifier
    store: CellStore
    plan_id: str
    parameters: dict[str, dict[str, Any]]
    precision: str
    cases: Collection[int] = ()
    part: str = ""
    computed: bool = False

    @property
    def key(self) -> CellKey:
        """The names of the cell."""
        return self.trained.key

    @property
    def prepared(self) -> Prepared:
        """The images of the data set."""
        return self.trained.prepared

    def run(
        self,
        explainers: dict[str, Explainer],
        metrics: list[MetricRequest],
        studies: dict[str, tuple[Any, dict[str, Any]]],
        save_maps: bool,
    ) -> list[str]:
        """Trains, then runs every explainer whose scores are not in the store.

        Args:
            explainers: name -> explainer.
            metrics: requested metrics.
            studies: name -> study and its parameters.
            save_maps: keep the maps of all images, not only those of the figures.

        Returns:
            A line for every problem that a reader of the scores must know.
        """
        classifier = self.trained.load()
        self.computed |= self.trained.computed
        explain, explained = self.prepared.explain, self.prepared.explained
        outputs, asked = self.prepared.data.outputs, self.trained.config.explain.target
        skipped = {one.info.name: why for one in metrics if (why := why_not_read(one.info, explain, explained))}
        self.store.note(plan=self.plan_id, metrics_skipped=skipped, target=outputs.explained(asked))
        metrics = [request for request in metrics if request.info.name not in skipped]
        logits = self.trained.predict(classifier, explain, explained.indices)
        self.store.files.write_frame(self.store.explained, explained_logits(explain, explained, logits))
        context = self._context(classifier, logits)
        self._note_geometry(context)
        noted = self.store.record.inference
        predictor, facts = choose_predictor(context, self.precision, explainers, metrics, noted)
        self.store.note(inference=facts)
        context = replace(context, predictor=predictor)
        problems = self._explain(context, explainers, metrics, save_maps)
        explained_by = {name: one for name, one in explainers.items() if self.store.is_current(name)}
        if self.trained.config.explain.every_class:
            for part in per_class.parts(context, metrics, save_maps):
                problems += self._explain_part(part, explained_by)
        subject = Subject(self.trained, context, explained_by, metrics, self.parameters)
        for problem in run_studies(subject, studies, self.store):
            self.computed = True
            problems.append(problem)
        return [problem for problem in problems if problem]

    def _note_geometry(self, context: EvaluationContext) -> None:
        """Records where the cells of the feature map look, or that it is unknown, and how they are drawn."""
        geometry = context.classifier.geometry(context.size)
        facts = None if geometry is None else GeometryFacts(**asdict(geometry))
        self.store.note(geometry=facts, align=context.section.align)

    def _context(self, classifier: Classifier, logits: np.ndarray) -> EvaluationContext:
        """Returns what all explainers share, from the classifier and its logits (n,C) of the explained images."""
        trained, explain, explained = self.trained, self.prepared.explain, self.prepared.explained
        return EvaluationContext(
            classifier=classifier,
            split=explain,
            explained=explained,
            section=trained.config.explain,
            targets=self._targets(logits),
            mean=trained.data.mean,
            std=trained.data.std,
            device=trained.device,
            logits=logits,
            gallery=gallery_positions(explained, explain, trained.config.explain.gallery),
            healthy=self.prepared.info.lesion_free,
            seed_names=trained.names,
            outputs=self.prepared.data.outputs.fitted(logits),
        )

    def _targets(self, logits: np.ndarray) -> np.ndarray:
        """Returns the class (n,) that each explained image is explained for, from logits (n,C)."""
        split, indices = self.prepared.explain, self.prepared.explained.indices
        if self.trained.config.explain.explained_class == "predicted":
            return np.asarray(logits.argmax(axis=1))
        usual = target_class(logits, split.labels[indices], self.prepared.info.lesion_free)
        given = self._given_targets
        return np.array([given.get(split.ids[at], one) for at, one in zip(indices, usual, strict=True)], dtype=np.int64)

    @property
    def _given_targets(self) -> Mapping[str, int]:
        """Image -> class that its map explains in the place of the usual one; empty unless the data set states it."""
        targets: Mapping[str, int] = getattr(self.prepared.samples, "targets", {})
        return targets

    def _explain_part(self, part: per_class.Part, explainers: dict[str, Explainer]) -> list[str]:
        """Explains additional (image, class) pairs and stores their scores in a subfolder of the cell."""
        cell = replace(self, store=self.store.part(part.name), part=part.name, cases=(), computed=False)
        cell.store.note(plan=self.plan_id)
        self.trained.progress.expect(*map(cell._title, explainers))
        problems = cell._explain(part.context, explainers, part.metrics, part.save_maps)
        self.computed |= cell.computed
        return problems

    def _title(self, name: str) -> str:
        """Names an explainer, with the part of the cell unless it is the main one."""
        return f"{name} ({self.part.replace('_', ' ')})" if self.part else name

    def _explain(
        self,
        context: EvaluationContext,
        explainers: dict[str, Explainer],
        metrics: list[MetricRequest],
        save_maps: bool,
    ) -> list[str]:
        """Computes what the store does not hold -> lines that a reader of the scores must know."""
        wanted = {request.name: code_digest(request.info.function) for request in metrics}
        jobs = [self._job(context, name, explainer, metrics, wanted) for name, explainer in explainers.items()]
        for job in jobs:
            with recording_failure(job, self.store):
                job.needless = self._why_not(context, job.explainer)
                if job.needless:
                    self.store.note_explainer(job.name, ExplainerOutcome(status="skipped", reason=job.needless))
                elif self._is_done(job, save_maps):
                    job.needless = "its scores are in the store"
        waiting = [job for job in jobs if not job.needless and not job.failed]
        self.trained.progress.skip(*(job.title for job in jobs if job.needless or job.failed))
        self.computed |= bool(waiting)
        run_explainers(waiting, context, self.store, self.trained.progress, str(self.key), save_maps, self.cases)
        return [f"{self.key}: {line}" for job in jobs for line in job.lines]

    def _why_not(self, context: EvaluationContext, explainer: Explainer) -> str:
        if explainer.needs_masks and context.split.masks is None:
            return "the data set has no masks"
        return explainer.applies_to(context.inference.classifier) or context.why_too_coarse(explainer)

    def _job(
        self,
        context: EvaluationContext,
        name: str,
        explainer: Explainer,
        metrics: list[MetricRequest],
        wanted: dict[str, str],
    ) -> ExplainerJob:
        """Determines what is left to do for an explainer; ``wanted`` maps each metric to the digest of its code."""
        fingerprint = self._explain_fingerprint(context, name, explainer)
        stored = self._stored_metrics(name, fingerprint)
        missing = [request for request in metrics if (stored or {}).get(request.name) != wanted[request.name]]
        if stored is None:
            self.store.files.remove(self.store.maps_file(name))  # maps of other settings
        return ExplainerJob(name, self._title(name), explainer, fingerprint, missing, (stored or {}) | wanted)

    def _is_done(self, job: ExplainerJob, save_maps: bool) -> bool:
        is_current = self._stored_metrics(job.name, job.fingerprint) is not None and self.store.is_current(job.name)
        maps, files = self.store.maps_file(job.name), self.store.files
        has_maps = not save_maps or (
            files.is_good(maps, member_names) and files.is_good(maps.with_suffix(".json"), read_json)
        )
        has_gallery = files.is_good(self.store.gallery_file(job.name), read_arrays)
        return is_current and not job.missing and has_maps and has_gallery and self._has_cases(job.name)

    def _has_cases(self, name: str) -> bool:
        """Returns whether the store holds the maps of an explainer that the page needs; it may hold more."""
        ids = np.asarray(self.prepared.explain.ids)[self.prepared.explained.indices[list(self.cases)]]
        stored = self.store.files.read(self.store.cases_file(name), read_ids) if self.cases else set()
        return stored is not None and stored.issuperset(ids.tolist())

    def _explain_fingerprint(self, context: EvaluationContext, name: str, explainer: Explainer) -> str:
        explained, gallery = self.prepared.explained, self.trained.config.explain.gallery
        several = len(self.prepared.classes) > 2
        main = digest(
            self.trained.fingerprint,
            self.prepared.explain.digest,
            explained.indices.tolist(),
            explained.faithful,
            self.trained.config.explain.steps,
            gallery_positions(explained, self.prepared.explain, gallery) if several else gallery,
            name,
            self.parameters[name],
            context.inference.precision,
            context.alignment if explainer.grid == "features" else [],
            context.target,
            code_digest(explainer, score_batch, target_class),
            *(
                [self.trained.config.explain.explained_class]
                if self.trained.config.explain.explained_class != "label"
                else []
            ),
            *([sorted(self._given_targets.items())] if self._given_targets else []),
        )
        return f"{main}-{digest(self.part, code_digest(per_class))}" if self.part else main

    def _stored_metrics(self, name: str, fingerprint: str) -> dict[str, str] | None:
        """Returns metric -> digest of its code; None if there are no scores, or only scores of other settings."""
        metadata = self.store.metadata(self.store.scores_file(name))
        return json.loads(metadata["metrics"]) if metadata.get("fingerprint") == fingerprint else None


def explained_logits(split: Split, explained: Selection, logits: np.ndarray) -> pd.DataFrame:
    """Returns one row per explained image: id, label and the logits (N,C) in ``logit_0``, ``logit_1`` …."""
    about = pd.DataFrame({"image": np.asarray(split.ids), "label": split.labels}).iloc[explained.indices]
    columns = {f"logit_{index}": column for index, column in enumerate(logits.T)}
    return about.reset_index(drop=True).assign(**columns)
