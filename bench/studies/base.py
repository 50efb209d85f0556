"""Probes: studies of one trained classifier and its explanations that are more than one score an image and map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pandas as pd

from bench.contracts import Classifier, Explainer, UserError
from bench.registry import STUDIES

if TYPE_CHECKING:
    from bench.data.prepare import Prepared
    from bench.evaluation.context import EvaluationContext
    from bench.evaluation.requests import MetricRequest
    from bench.training.classifier import CellClassifier


StudyClass = TypeVar("StudyClass", bound="type[Study]")
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
    context: EvaluationContext
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
        return self.context.classifier

    @property
    def prepared(self) -> Prepared:
        """The images, and what the data set can render."""
        return self.trained.prepared


class Study:
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

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Rows about one explainer, or about the cell where ``per_explainer`` is False (``name`` is then empty)."""
        raise NotImplementedError


def register_study(cls: StudyClass) -> StudyClass:
    """Class decorator: make a ``Study`` known under its ``name``."""
    if absent := [fact for fact in ("name", "paper") if not hasattr(cls, fact)]:
        raise UserError(f"{cls.__name__} does not state its {', '.join(absent)} (class attributes)")
    STUDIES.add(cls.name, cls)
    return cls
