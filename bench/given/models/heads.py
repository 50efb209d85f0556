"""Heads of given classifiers, which a run explains and scores but never trains."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import nn

from bench.contracts import Channels, Classifier, EvidenceClassifier, Head

NAME = "given"


class Given(Head):
    """A trained classifier without evidence.

    Args:
        classifier: explained as it is.
        normalisation: mean and deviation per channel that it needs, for values in [0, 1].
    """

    name, paper, given = NAME, "", True
    family: ClassVar[Literal["inherent", "black box"]] = "black box"

    def __init__(self, classifier: Classifier, normalisation: tuple[Channels, Channels]) -> None:
        self.classifier = classifier
        self.normalisation = normalisation

    def build(self, model: nn.Module, num_classes: int) -> Classifier:
        """Returns the classifier itself.

        Raises:
            ValueError: it has another number of outputs.
        """
        if self.classifier.num_classes != num_classes:
            raise ValueError(f"the model has {self.classifier.num_classes} outputs, the data set {num_classes} classes")
        return self.classifier


class GivenEvidence(Given):
    """A trained classifier that predicts from class evidence."""

    family: ClassVar[Literal["inherent", "black box"]] = "inherent"


def head_of(classifier: Classifier, normalisation: tuple[Channels, Channels]) -> Given:
    """Returns the head of a trained classifier."""
    kind = GivenEvidence if isinstance(classifier, EvidenceClassifier) else Given
    return kind(classifier, normalisation)
