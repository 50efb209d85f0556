"""One class per image: the probabilities of all classes add up to 1."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from bench.outputs.base import Outputs, Target
from bench.statistics.classification import (
    Integers,
    Weights,
    auc,
    balanced_accuracy,
    classification_scores,
    softmax,
)
from bench.statistics.intervals import Floats

if TYPE_CHECKING:
    from torch import Tensor


class Softmax(Outputs):
    """Logits of classes that exclude each other; labels are (N,) class indices."""

    multilabel, fewest = False, 2

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Computes the cross-entropy, weighted by class."""
        import torch.nn.functional as F  # not at the top, here and below: the report does without torch

        return F.cross_entropy(logits, labels, weight=weights)

    def class_weights(self, labels: Integers, classes: int) -> Tensor:
        """Returns weights (C,) that are inverse to the frequencies of the classes."""
        import torch

        known = torch.as_tensor(labels)
        counts = torch.bincount(known, minlength=classes).clamp(min=1)
        return (len(known) / (len(counts) * counts)).float()

    def guess(self, classes: int) -> float:
        """Returns ln C."""
        return math.log(classes)

    def probability(self, logits: Tensor) -> Tensor:
        """Computes the softmax over the last dimension."""
        return logits.softmax(dim=-1)

    def is_target(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Tells whether the target has the largest logit."""
        return logits.argmax(dim=2) == targets.unsqueeze(1)

    def probabilities(self, logits: Floats) -> Floats:
        """Computes the softmax over the classes."""
        return softmax(logits)

    def predicted(self, logits: Floats, targets: Integers) -> Integers:
        """Returns the class with the largest logit, whatever is explained."""
        found: Integers = logits.argmax(axis=1)
        return found

    def confidence(self, logits: Floats, labels: Integers) -> Floats:
        """Returns the probability of the true class."""
        chance: Floats = softmax(logits)[np.arange(len(logits)), labels]
        return chance

    def scores(
        self,
        logits: Floats,
        labels: Integers,
        weights: Weights | None = None,
        healthy: int | None = 0,
        ordered: bool = True,
        folds: Integers | None = None,
    ) -> dict[str, Floats]:
        """Computes ``classification_scores``."""
        return classification_scores(logits, labels, weights, healthy, ordered, folds)

    def auc(self, logits: Floats, labels: Integers) -> float:
        """Computes the AUC, one against the rest for more than two classes."""
        return float(auc(softmax(logits), labels)[0])

    def accuracy(self, logits: Floats, labels: Integers) -> float:
        """Computes the share of images of the predicted class."""
        return float((logits.argmax(axis=1) == labels).mean())

    def balanced_accuracy(self, logits: Floats, labels: Integers) -> float:
        """Computes the mean recall of the classes that occur."""
        return balanced_accuracy(logits.argmax(axis=1), labels)

    def counts(self, labels: Integers, classes: int) -> list[int]:
        """Counts the images of each class."""
        found: list[int] = np.bincount(labels, minlength=classes).tolist()
        return found

    def explained(self, asked: Target) -> Target:
        """Returns what was asked for."""
        return asked


SOFTMAX = Softmax()
