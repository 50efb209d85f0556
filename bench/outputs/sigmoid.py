"""Several findings per image, or none: each logit decides on one finding alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from bench.outputs.base import Outputs, Target
from bench.plain.names import NO_FINDING
from bench.statistics.classification import Integers, Weights
from bench.statistics.findings import macro_scores, sigmoid
from bench.statistics.intervals import Floats

if TYPE_CHECKING:
    from torch import Tensor


class Sigmoid(Outputs):
    """Logits of findings; labels are (N,F), or (N,) findings of explained pairs with ``NO_FINDING`` for none."""

    multilabel, fewest = True, 1

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Computes the binary cross-entropy: its mean over the known labels, weighted by presence and absence.

        Without a known label it is 0.
        """
        import torch.nn.functional as F  # not at the top, here and below: the report does without torch

        known = (labels >= 0).to(logits.dtype)
        present = (labels == 1).to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, present, reduction="none")
        share = known if weights is None else known * (weights[1] * present + weights[0] * (1 - present))
        total = share.sum()
        return (share * losses).sum() / total.where(total > 0, 1)

    def class_weights(self, labels: Integers, classes: int) -> Tensor:
        """Returns weights (2,F) of absence and presence, inverse to their frequencies among known labels."""
        import torch

        counts = torch.stack([torch.as_tensor((labels == value).sum(axis=0)) for value in (0, 1)])
        return (counts.sum(dim=0) / (2 * counts.clamp(min=1))).float()

    def guess(self, classes: int) -> float:
        """Returns ln 2, whatever the number of findings."""
        return math.log(2)

    def probability(self, logits: Tensor) -> Tensor:
        """Computes the sigmoid of each logit."""
        return logits.sigmoid()

    def is_target(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Tells whether the logit of the target exceeds 0, so that its probability exceeds 0.5."""
        index = targets.view(-1, 1, 1).expand(-1, logits.shape[1], 1)
        return logits.gather(2, index).squeeze(2) > 0

    def probabilities(self, logits: Floats) -> Floats:
        """Computes the sigmoid of each logit."""
        return sigmoid(logits)

    def predicted(self, logits: Floats, targets: Integers) -> Integers:
        """Returns the target where its logit exceeds 0, otherwise ``NO_FINDING``."""
        return np.where(logits[np.arange(len(logits)), targets] > 0, targets, NO_FINDING)

    def confidence(self, logits: Floats, labels: Integers) -> Floats:
        """Returns the probability of the finding; without one, that of the absence of the likeliest."""
        chance = sigmoid(logits)
        return np.where(labels >= 0, chance[np.arange(len(chance)), labels], 1 - chance.max(axis=1))

    def scores(
        self,
        logits: Floats,
        labels: Integers,
        weights: Weights | None = None,
        healthy: int | None = 0,
        ordered: bool = True,
        folds: Integers | None = None,
    ) -> dict[str, Floats]:
        """Computes ``macro_scores``."""
        return macro_scores(logits, labels, weights, folds)

    def counts(self, labels: Integers, classes: int) -> list[int]:
        """Counts the images in which each finding is present."""
        found: list[int] = (labels == 1).sum(axis=0).tolist()
        return found

    def explained(self, asked: Target) -> Target:
        """Returns "logit": no other finding can shift it, because a sigmoid reads it alone."""
        return "logit"


SIGMOID = Sigmoid()
