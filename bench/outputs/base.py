"""Operations that depend on the meaning of logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.errors import NotApplicable
from bench.statistics.classification import Integers, Weights
from bench.statistics.intervals import Floats

if TYPE_CHECKING:
    from torch import Tensor

Target = Literal["logit", "contrast"]
_UNTRAINED = "a network whose output is a number is explained here, and not trained"


class Outputs(ABC):
    """Meaning of C logits. Labels are (N,) class indices, or (N,C) with 1 present, 0 absent and -1 unknown."""

    #: An image can have several labels, or none.
    multilabel: ClassVar[bool]
    #: What is left of a prediction is relative to that of the intact image.
    relative: ClassVar[bool] = False
    #: The smallest number of logits that can be read.
    fewest: ClassVar[int]

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Computes the mean training loss of logits (N,C); ``weights`` as from ``class_weights``.

        Raises:
            NotApplicable: such outputs are explained and not trained.
        """
        raise NotApplicable(_UNTRAINED)

    def class_weights(self, labels: Integers, classes: int) -> Tensor:
        """Returns weights that make frequent and rare labels count alike; errors as ``loss``."""
        raise NotApplicable(_UNTRAINED)

    def guess(self, classes: int) -> float:
        """Returns the loss of logits that are all 0; errors as ``loss``."""
        raise NotApplicable(_UNTRAINED)

    @abstractmethod
    def probability(self, logits: Tensor) -> Tensor:
        """Converts logits (…,C) to probabilities (…,C)."""

    def of_target(self, logits: Tensor, targets: Tensor, intact: Tensor) -> Tensor:
        """Returns what is left of the prediction (N,K+1) of targets (N,): their probability.

        Args:
            logits: (N,K+1,C) of occluded images.
            targets: (N,).
            intact: (N,C) logits of the images themselves.
        """
        index = targets.view(-1, 1, 1).expand(-1, logits.shape[1], 1)
        return self.probability(logits).gather(2, index).squeeze(2)

    def fitted(self, logits: Floats) -> Outputs:
        """Returns these outputs with the unit of the logits (N,C) of all explained images, where they have one."""
        return self

    @abstractmethod
    def is_target(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Tells (N,K) whether logits (N,K,C) predict the targets (N,)."""

    @abstractmethod
    def probabilities(self, logits: Floats) -> Floats:
        """Converts logits (N,C) to probabilities (N,C)."""

    @abstractmethod
    def predicted(self, logits: Floats, targets: Integers) -> Integers:
        """Returns the prediction (N,) that is right if it equals the label of an image explained for targets (N,)."""

    @abstractmethod
    def confidence(self, logits: Floats, labels: Integers) -> Floats:
        """Returns the probability (N,) of the labels (N,) of explained images."""

    @abstractmethod
    def scores(
        self,
        logits: Floats,
        labels: Integers,
        weights: Weights | None = None,
        healthy: int | None = 0,
        ordered: bool = True,
        folds: Integers | None = None,
    ) -> dict[str, Floats]:
        """Computes classification scores; arguments and result as of ``classification_scores``."""

    def auc(self, logits: Floats, labels: Integers) -> float:
        """Computes the AUC, or its mean over classes or findings; nan if undefined."""
        return float(self.scores(logits, labels)["auc"][0])

    def accuracy(self, logits: Floats, labels: Integers) -> float:
        """Computes the share of right predictions, or its mean over findings."""
        return float(self.scores(logits, labels)["accuracy"][0])

    def balanced_accuracy(self, logits: Floats, labels: Integers) -> float:
        """Computes the mean share of right predictions over the classes that occur; nan if undefined."""
        return float(self.scores(logits, labels)["balanced_accuracy"][0])

    @abstractmethod
    def counts(self, labels: Integers, classes: int) -> list[int]:
        """Counts the images with each label."""

    @abstractmethod
    def explained(self, asked: Target) -> Target:
        """Returns what a map explains if ``asked`` is what the settings say."""
