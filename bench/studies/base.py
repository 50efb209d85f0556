"""Contract of a study.

A study examines one trained classifier and its explanations beyond one score per image and map: it may train again,
render images anew or explain the same image several times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pandas as pd

from bench.contracts import Classifier, Explainer
from bench.errors import UserError
from bench.evaluation.predictor import explained_as
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
    """Everything that a study may read about one cell.

    Attributes:
        trained: the origin of the classifier: its head, data, recipe, seeds and device.
        context: the trained classifier with the explained images, their masks, targets and logits.
        explainers: name -> explainer, for the explainers of the cell whose scores are stored.
        metrics: the metrics of the run.
        parameters: name of each explainer -> all its constructor arguments.
    """

    trained: CellClassifier
    context: EvaluationContext
    explainers: dict[str, Explainer]
    metrics: list[MetricRequest]
    parameters: dict[str, dict[str, Any]]
    _known: dict[str, Any] = field(default_factory=dict, repr=False)

    def once(self, name: str, make: Callable[[], Shared]) -> Shared:
        """Returns the cached value of ``name``, which the explainers of a cell share; calls ``make`` on first use."""
        if name not in self._known:
            self._known[name] = make()
        value: Shared = self._known[name]
        return value

    @property
    def classifier(self) -> Classifier:
        """The trained classifier in evaluation mode."""
        return self.context.classifier

    @property
    def explained_model(self) -> Classifier:
        """The trained classifier as it is explained: its logits are what the maps explain."""
        return self.explained(self.classifier)

    def explained(self, classifier: Classifier) -> Classifier:
        """Returns another classifier of the same classes as it is explained."""
        return explained_as(self.context.target, classifier)

    @property
    def prepared(self) -> Prepared:
        """The data set with its images and samples."""
        return self.trained.prepared


class Study:
    """Plugin class of a study, whose rows have columns of their own and feed tables of their own.

    Parameters are constructor arguments; a config sets them in ``[studies.<name>]``. A study reads a stated subset of
    the images, because it is expensive, and its rows say which.

    Attributes:
        name: registered name.
        paper: source of the study, as arXiv id or DOI; empty if it is ours.
        per_explainer: whether each explainer is studied; otherwise the cell is studied once, without an explainer.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    per_explainer: ClassVar[bool] = True

    def applies_to(self, subject: Subject) -> str:
        """Returns why this classifier or data set cannot be studied (recorded as skipped); empty if it can."""
        return ""

    def concerns(self, explainer: Explainer) -> bool:
        """Returns whether this explainer is studied; called only if ``per_explainer`` is True."""
        return True

    def depends_on(self, subject: Subject, explainer: Explainer | None) -> list[Any]:
        """Lists further inputs of the rows, beyond classifier, images, parameters, and code of study and explainer."""
        return []

    def measure(self, subject: Subject, name: str, explainer: Explainer | None) -> pd.DataFrame:
        """Computes the rows of one explainer, or of the cell.

        Args:
            subject: the cell.
            name: name of the explainer; empty if ``per_explainer`` is False.
            explainer: the explainer; None if ``per_explainer`` is False.

        Returns:
            Rows with the columns of the study; ``image`` names the images that were read.
        """
        raise NotImplementedError


def register_study(cls: StudyClass) -> StudyClass:
    """Registers a ``Study`` under its ``name``; a class decorator.

    Raises:
        UserError: The class does not state its name or paper.
    """
    if absent := [fact for fact in ("name", "paper") if not hasattr(cls, fact)]:
        raise UserError(f"study {cls.__name__} does not state its {', '.join(absent)}; add class attributes")
    STUDIES.add(cls.name, cls)
    return cls
