"""Probes: studies of one trained classifier and its explanations that are more than one score an image and map."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import pandas as pd

from bench import donors, feature_pass, inference, inputs, maps, metrics, similarity
from bench.classifiers import CellClassifier
from bench.contracts import Classifier, Explainer, UserError
from bench.errors import one_line
from bench.plan import MetricRequest
from bench.prepare import Prepared
from bench.registry import PROBES
from bench.scoring import Scorer
from bench.store import CellStore, digest, file_digest, source_digest, write_probe

ProbeClass = TypeVar("ProbeClass", bound="type[Probe]")
Shared = TypeVar("Shared")


@dataclass(frozen=True)
class Subject:
    """What a probe studies.

    Attributes:
        trained: where the classifier comes from: its head, data, recipe, seeds and device.
        scorer: the trained classifier with the explained images, their masks, targets and logits.
        explainers: those of the cell whose scores are there.
        metrics: those of the run.
        parameters: of each explainer, all its constructor arguments.
    """

    trained: CellClassifier
    scorer: Scorer
    explainers: dict[str, Explainer]
    metrics: list[MetricRequest]
    parameters: dict[str, dict[str, Any]]
    _known: dict[str, Any] = field(default_factory=dict, repr=False)

    def once(self, name: str, make: Callable[[], Shared]) -> Shared:
        """What ``make`` returned when this name was first asked for: the explainers of a cell share it."""
        if name not in self._known:
            self._known[name] = make()
        return self._known[name]

    @property
    def classifier(self) -> Classifier:
        """The trained classifier, in evaluation mode."""
        return self.scorer.classifier

    @property
    def prepared(self) -> Prepared:
        """The images, and what the data set can render."""
        return self.trained.prepared


class Probe:
    """Plugin class: a study whose rows have columns of their own and feed tables of their own.

    Parameters are constructor arguments; a config sets them in ``[probes.<name>]``. A probe reads a stated subset of
    the images, because it is expensive, and says in its rows which.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    #: False: studied once a cell, without an explainer.
    per_explainer: ClassVar[bool] = True

    def applies_to(self, subject: Subject) -> str:
        """Empty, or the reason why this classifier or data set cannot be studied so (recorded as skipped)."""
        return ""

    def concerns(self, explainer: Explainer) -> bool:
        """Whether this explainer is studied; asked only where ``per_explainer`` is True."""
        return True

    def depends_on(self, subject: Subject, explainer: Explainer | None) -> list[Any]:
        """What else the rows depend on, beside classifier, images, parameters, the probe's code and the explainer's."""
        return []

    def study(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Rows about one explainer, or about the cell where ``per_explainer`` is False (``name`` is then empty)."""
        raise NotImplementedError


def register_probe(cls: ProbeClass) -> ProbeClass:
    """Class decorator: make a ``Probe`` known under its ``name``."""
    if absent := [fact for fact in ("name", "paper") if not hasattr(cls, fact)]:
        raise UserError(f"{cls.__name__} does not state its {', '.join(absent)} (class attributes)")
    PROBES.add(cls.name, cls)
    return cls


def run_probes(subject: Subject, probes: dict[str, tuple[Probe, dict[str, Any]]], store: CellStore) -> Iterator[str]:
    """Compute and store what the store does not hold -> a line for everything that was computed or failed ("" = well).

    Args:
        probes: name -> probe and its parameters.
    """
    for name, (probe, parameters) in probes.items():
        concerned = {of: one for of, one in subject.explainers.items() if probe.concerns(one)}
        explainers = concerned if probe.per_explainer else {"": None}
        step, progress = f"probe {name}", subject.trained.progress
        if reason := probe.applies_to(subject):
            store.note_probe(name, {"": {"status": "skipped", "reason": reason}})
            progress.skip(step)
            continue
        wanted = {of: _fingerprint(subject, probe, parameters, of) for of in explainers}
        missing = [of for of, fingerprint in wanted.items() if not store.probe_is_current(name, of, fingerprint)]
        if not missing:
            progress.skip(step)
            continue
        with progress.step(step, f"{subject.trained.key}: {step}"):
            for of in missing:
                yield _study(subject, probe, of, explainers[of], wanted[of], store)


def _study(
    subject: Subject, probe: Probe, of: str, explainer: Explainer | None, fingerprint: str, store: CellStore
) -> str:
    try:
        write_probe(store.probe_file(probe.name, of), probe.study(subject, of, explainer), fingerprint=fingerprint)
        store.note_probe(probe.name, {of: {"status": "ok", "fingerprint": fingerprint}})
        return ""
    except Exception as error:  # a study that fails must not take the scores with it
        reason = one_line(error)
        store.note_probe(probe.name, {of: {"status": "failed", "reason": reason, "traceback": traceback.format_exc()}})
        return f"{subject.trained.key}: probe {probe.name!r}{f' of {of!r}' if of else ''} failed: {reason}"


def _fingerprint(subject: Subject, probe: Probe, parameters: dict[str, Any], of: str) -> str:
    trained, explained = subject.trained, subject.scorer.explained
    explainer = subject.explainers.get(of)
    return digest(
        trained.fingerprint,
        subject.prepared.explain.digest,
        explained.indices.tolist(),
        probe.name,
        json.dumps(parameters, sort_keys=True, default=str),
        source_digest(type(probe)),
        source_digest(metrics),
        file_digest(donors, feature_pass, inference, inputs, maps, similarity),
        subject.scorer.inference.precision,
        source_digest(type(subject.prepared.samples)),  # a probe may have it render what the split does not hold
        of,
        subject.parameters.get(of, {}),
        source_digest(type(explainer)) if explainer else "",
        [] if probe.per_explainer else sorted(request.name for request in subject.metrics),
        probe.depends_on(subject, explainer),
    )
