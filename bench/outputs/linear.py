"""One number per image, such as an age: there are no classes and no probabilities, only a change of the output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.outputs.base import Outputs, Target
from bench.statistics.classification import CLASSIFICATION_SCORES, Integers, Weights, blocks_of
from bench.statistics.intervals import Floats

if TYPE_CHECKING:
    from torch import Tensor


class Linear(Outputs):
    """Outputs of a regression; labels are (N,) zeros, the index of the only output.

    Args:
        scale: unit in which changes of the output are measured.
    """

    multilabel, fewest, relative = False, 1, True

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale if scale > 0 else float("nan")  # an output that never changes tells nothing

    def probability(self, logits: Tensor) -> Tensor:
        """Returns the outputs themselves."""
        return logits

    def of_target(self, logits: Tensor, targets: Tensor, intact: Tensor) -> Tensor:
        """Computes 1 minus the fall of the output below that of the intact image in units of ``scale``, within [0, 1].

        A fall by one unit counts as all, and a rise as nothing, so that the metrics keep their ranges.
        """
        return (1 + (logits - intact.unsqueeze(1))[:, :, 0] / self.scale).clamp(0, 1)

    def fitted(self, logits: Floats) -> Linear:
        """Returns the same with the standard deviation of outputs (N,1) as unit: that of the output does not matter."""
        return Linear(float(logits.std()))

    def is_target(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns nan (N,K+1): nothing is decided."""
        return logits.new_full(logits.shape[:2], float("nan"))

    def probabilities(self, logits: Floats) -> Floats:
        """Returns the outputs themselves."""
        return logits

    def predicted(self, logits: Floats, targets: Integers) -> Integers:
        """Returns the targets: no image is wrong."""
        return np.asarray(targets)

    def confidence(self, logits: Floats, labels: Integers) -> Floats:
        """Returns nan."""
        return np.full(len(logits), np.nan)

    def scores(
        self,
        logits: Floats,
        labels: Integers,
        weights: Weights | None = None,
        healthy: int | None = 0,
        ordered: bool = True,
        folds: Integers | None = None,
    ) -> dict[str, Floats]:
        """Returns nan for every score of a classification."""
        count = sum(map(len, blocks_of(weights, len(labels))))
        return {name: np.full(count, np.nan) for name in CLASSIFICATION_SCORES}

    def counts(self, labels: Integers, classes: int) -> list[int]:
        """Counts the images."""
        return [len(labels)]

    def explained(self, asked: Target) -> Target:
        """Returns "logit": there is no other output to contrast it with."""
        return "logit"


LINEAR = Linear()
