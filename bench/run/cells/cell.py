"""One cell: its classifier is trained once and explained once with every explainer that applies.

The work is divided into steps that different processes can do: train, score a share, finish. Each of them reads what
the steps before it have stored, and computes nothing that the store already holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bench.contracts import Classifier, Explainer
from bench.data.prepare import Prepared
from bench.data.selection import Selection, gallery_positions, target_class
from bench.data.split import Split
from bench.errors import UserError
from bench.evaluation import per_class
from bench.evaluation.context import EvaluationContext
from bench.evaluation.explainer_jobs import Failure
from bench.evaluation.metric_inputs import why_not_read
from bench.evaluation.mixed_precision import choose_predictor
from bench.evaluation.requests import MetricRequest
from bench.run.cells.part import CellPart
from bench.run.cells.study_jobs import run_studies
from bench.store.cell_facts import GeometryFacts
from bench.store.folders import CellStore
from bench.store.records import CellKey
from bench.studies.base import Subject
from bench.training.classifier import CellClassifier


@dataclass
class Cell:
    """A classifier of the run and all its explanations.

    Attributes:
        trained: how the classifier is obtained.
        store: files of the cell.
        plan_id: hash of the run's plan, noted in the record of the cell; a report shows only cells of one plan.
        explainers: name -> explainer.
        parameters: explainer -> all its constructor arguments.
        metrics: requested metrics.
        studies: name -> study and its parameters.
        precision: ``--precision``, see ``bench.evaluation.mixed_precision``.
        save_maps: keep the maps of all images, not only those of the figures.
        cases: positions among the explained images whose maps are kept for the page.
        computed: whether anything was computed.
    """

    trained: CellClassifier
    store: CellStore
    plan_id: str
    explainers: dict[str, Explainer]
    parameters: dict[str, dict[str, Any]]
    metrics: list[MetricRequest]
    studies: dict[str, tuple[Any, dict[str, Any]]]
    precision: str
    save_maps: bool
    cases: frozenset[int] = frozenset()
    computed: bool = False

    @property
    def key(self) -> CellKey:
        """The names of the cell."""
        return self.trained.key

    @property
    def prepared(self) -> Prepared:
        """The images of the data set."""
        return self.trained.prepared

    def train(self) -> dict[str, list[int]]:
        """Trains unless the store holds the classifier, and stores all that the shares have in common.

        Returns:
            Part -> numbers of the shares that have to be scored.
        """
        classifier = self.trained.load()
        self.computed |= self.trained.computed
        explain, explained = self.prepared.explain, self.prepared.explained
        outputs, asked = self.prepared.data.outputs, self.trained.config.explain.target
        skipped = {one.info.name: why for one in self.metrics if (why := why_not_read(one.info, explain, explained))}
        self.store.note(plan=self.plan_id, metrics_skipped=skipped, target=outputs.explained(asked))
        logits = self.trained.predict(classifier, explain, explained.indices)
        self.store.files.write_frame(self.store.explained, explained_logits(explain, explained, logits))
        context = self._context(classifier, logits)
        self._note_geometry(context)
        noted = self.store.record.inference
        predictor, facts = choose_predictor(context, self.precision, self.explainers, self._read_metrics, noted)
        self.store.note(inference=facts)
        self._use(replace(context, predictor=predictor))
        for name, part in self.parts.items():
            if name:
                part.store.note(plan=self.plan_id)
        return {name: part.missing() for name, part in self.parts.items()}

    def score(self, part: str, number: int, without: list[str]) -> dict[str, Failure]:
        """Scores one share; see ``bench.evaluation.explainer_jobs.Shares.score``."""
        self.computed = True
        return self.parts[part].score(number, without)

    def finish(self, failures: dict[str, dict[str, Failure]]) -> list[str]:
        """Joins the shares of every part and runs the studies.

        Args:
            failures: part -> explainers that failed on a share.

        Returns:
            A line for every problem that a reader of the scores must know.
        """
        explained_by, problems = self.explainers, []
        for name, part in self.parts.items():
            self.computed |= any(job.is_waiting for job in part.jobs if job.name in explained_by)
            problems += part.finish(failures.get(name, {}), explained_by)
            if not name:
                explained_by = {of: one for of, one in explained_by.items() if self.store.is_current(of)}
        subject = Subject(self.trained, self.context, explained_by, self._read_metrics, self.parameters)
        for problem in run_studies(subject, self.studies, self.store):
            self.computed = True
            problems.append(problem)
        return [problem for problem in problems if problem]

    @cached_property
    def context(self) -> EvaluationContext:
        """What all explainers share, read from the store that ``train`` has written to.

        Raises:
            UserError: the store lacks it.
        """
        classifier = self.trained.stored()
        frame = self.store.files.read(self.store.explained, pd.read_parquet)
        indices = self.prepared.explained.indices
        if classifier is None or frame is None or len(frame) != len(indices):
            raise UserError(f"{self.store.folder} was changed during the run; repeat the command, which mends it")
        logits = np.ascontiguousarray(frame.filter(regex=r"^logit_\d+$").to_numpy())
        context, noted = self._context(classifier, logits), self.store.record.inference
        context.classifier.geometry(context.size)  # the network keeps it, which no explainer must seem to have done
        predictor, _ = choose_predictor(context, self.precision, self.explainers, self._read_metrics, noted)
        return replace(context, predictor=predictor)

    @cached_property
    def parts(self) -> dict[str, CellPart]:
        """Name -> part of the cell; the main one, without a name, comes first."""
        context, metrics = self.context, self._read_metrics
        of = {"": self._part("", context, metrics, self.save_maps)}
        if self.trained.config.explain.every_class:
            for one in per_class.parts(context, metrics, self.save_maps):
                of[one.name] = self._part(one.name, one.context, one.metrics, one.save_maps)
        return of

    def _part(self, name: str, context: EvaluationContext, metrics: list[MetricRequest], save_maps: bool) -> CellPart:
        store = self.store.part(name) if name else self.store
        targets = sorted(self._given_targets.items())
        return CellPart(
            *(name, self.trained, store, context, self.explainers, self.parameters, metrics, save_maps, targets),
            frozenset() if name else self.cases,
        )

    def _use(self, context: EvaluationContext) -> None:
        """Goes on with this context in the place of one that would be read from the store."""
        vars(self).pop("parts", None)
        self.context = context

    @property
    def _read_metrics(self) -> list[MetricRequest]:
        """The metrics that are read on this data set."""
        explain, explained = self.prepared.explain, self.prepared.explained
        return [one for one in self.metrics if not why_not_read(one.info, explain, explained)]

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


def explained_logits(split: Split, explained: Selection, logits: np.ndarray) -> pd.DataFrame:
    """Returns one row per explained image: id, label and the logits (N,C) in ``logit_0``, ``logit_1`` …."""
    about = pd.DataFrame({"image": np.asarray(split.ids), "label": split.labels}).iloc[explained.indices]
    columns = {f"logit_{index}": column for index, column in enumerate(logits.T)}
    return about.reset_index(drop=True).assign(**columns)
