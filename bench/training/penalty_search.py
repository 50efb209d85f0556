"""Search for the weight of a penalty on the validation images.

How sparse evidence becomes depends on the weight λ alone, and no fixed λ fits all data sets, grids and backbones. The
search reads no mask and no test image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench.contracts import Channels, Classifier, EvidenceClassifier, Head
from bench.data.split import Split, normalise
from bench.errors import UserError
from bench.models.eval_mode import evaluating
from bench.store.cell_facts import PenaltySearch, SearchStep
from bench.training.loop import TrainingLoop, predict_split, train

if TYPE_CHECKING:
    from bench.configs.sections import TrainingSection
    from bench.data.prepare import TrainingData

#: The first λ makes the penalty on the evidence of the dense twin this share of the cross-entropy of a guess, ln C.
FIRST = 0.03
FACTOR = 3.0
NEAR_ZERO = 0.01  # of the largest absolute evidence of an image
_DIGITS = 2  # of λ


@dataclass(frozen=True)
class PlannedHead:
    """A head as one cell trains it.

    Attributes:
        head: the head.
        base: its registered name, without parameters.
        parameters: all its constructor arguments.
    """

    head: Head
    base: str
    parameters: dict[str, Any]

    def with_parameters(self, changes: dict[str, Any]) -> PlannedHead:
        """Returns the head with other constructor arguments."""
        parameters = self.parameters | changes
        return replace(self, head=type(self.head)(**parameters), parameters=parameters)


@dataclass(frozen=True)
class Search:
    """Search for the searched weights of a head, along a geometric ladder of rising λ.

    Each λ trains ``search_epochs`` from the weights of the λ before it, the first one from those of the dense twin.
    The search chooses the largest λ whose validation AUC and balanced accuracy are at most the margin below the twin's,
    and ends after two in a row that are not: few validation images make one such result likely by chance. The weights
    of the chosen λ are those of the cell, so the margin holds for them.

    Attributes:
        planned: the head, with weights that are searched.
        twin: name of the head that the training starts from.
        data: training and validation images.
        recipe: of the training; its epochs and the schedule of its penalty are replaced.
        device: device to train on.
        seed_names: seed the batches, which are the same for every λ.
        checkpoint: state of the first λ between epochs; those of the others are next to it. A search that was stopped
            goes on from them.
    """

    planned: PlannedHead
    twin: str
    data: TrainingData
    recipe: TrainingSection
    device: torch.device
    seed_names: tuple[object, ...]
    checkpoint: Path

    def run(
        self, classifier: EvidenceClassifier, on_epoch: Callable[[int, dict[str, float]], None]
    ) -> tuple[PenaltySearch, pd.DataFrame]:
        """Searches, and leaves the classifier with the weights of the chosen λ.

        Args:
            classifier: with the trained weights of the dense twin; it is trained in place.
            on_epoch: called with the number of the λ and each row of the history.

        Returns:
            The search, and the history of the chosen λ's epochs.
        """
        reference = self._measured(classifier, {})
        steps: list[SearchStep] = []
        kept: tuple[dict[str, Tensor], pd.DataFrame] = {}, pd.DataFrame()
        for number, weights in enumerate(self._ladder(classifier)):
            history = self._train(classifier, number, weights, on_epoch)
            step = self._measured(classifier, weights)
            step = step.changed(within=is_within(step, reference, self.recipe.search_margin))
            steps.append(step)
            if step.within or number == 0:
                kept = {name: value.detach().clone() for name, value in classifier.state_dict().items()}, history
            if not any(one.within for one in steps[-2:]) and number:
                break
        chosen, reason = choose(steps)
        classifier.load_state_dict(kept[0])
        found = PenaltySearch(
            parameters=list(self.planned.head.searched),
            twin=self.twin,
            margin=self.recipe.search_margin,
            epochs=self.recipe.search_epochs,
            reference=reference,
            steps=steps,
            chosen=chosen,
            reason=reason,
        )
        return found, kept[1]

    def _state_of(self, number: int) -> Path:
        return self.checkpoint.with_suffix(f".{number}{self.checkpoint.suffix}")

    def _train(
        self,
        classifier: EvidenceClassifier,
        number: int,
        weights: dict[str, float],
        on_epoch: Callable[[int, dict[str, float]], None],
    ) -> pd.DataFrame:
        changes = {"epochs": self.recipe.search_epochs, "penalty_start": 0.0, "penalty_ramp": 0.0}
        head = self.planned.with_parameters(weights).head
        head.penalty_start = head.penalty_ramp = None
        loop = TrainingLoop(classifier, head, self.data, self.recipe.model_copy(update=changes), self.device)
        return train(loop, self.seed_names, self._state_of(number), lambda row: on_epoch(number, row))

    def _measured(self, classifier: EvidenceClassifier, weights: dict[str, float]) -> SearchStep:
        val, (mean, std) = self.data.val, (self.data.mean, self.data.std)
        every, size = np.arange(len(val)), self.recipe.batch_size
        logits = predict_split(classifier, val, every, mean, std, self.device, size)
        return SearchStep(
            weights=weights,
            auc=self.data.outputs.auc(logits, val.labels),
            balanced_accuracy=self.data.outputs.balanced_accuracy(logits, val.labels),
            near_zero=near_zero_share(classifier, val, mean, std, self.device, size),
        )

    def _ladder(self, classifier: EvidenceClassifier) -> list[dict[str, float]]:
        """Returns the weights of every step, rounded; each searched one alone has the same penalty on the evidence.

        Raises:
            UserError: the penalty of the twin's evidence is 0 or not finite, so that no λ can be derived from it.
        """
        head, size = self.planned.head, self.recipe.batch_size
        others = dict.fromkeys(head.searched, 0.0)
        batches = list(evidence_batches(classifier, self.data.val, self.data.mean, self.data.std, self.device, size))
        units = {}
        for name in head.searched:
            one, none = (self.planned.with_parameters(others | {name: weight}).head for weight in (1.0, 0.0))
            terms = [float(one.penalty(part) - none.penalty(part)) * len(part) for part in batches]
            units[name] = sum(terms) / len(self.data.val)
            if not (math.isfinite(units[name]) and units[name] > 0):
                raise UserError(
                    f"{name} of head {self.planned.base!r} cannot be searched, because the penalty of the evidence of "
                    f"{self.twin!r} is {units[name]}; give {name} a number"
                )
        guess = self.data.outputs.guess(classifier.num_classes)
        levels = [FIRST * FACTOR**number * guess for number in range(self.recipe.search_steps)]
        return [{name: _rounded(level / unit) for name, unit in units.items()} for level in levels]


def is_within(step: SearchStep, reference: SearchStep, margin: float) -> bool:
    """Returns whether validation AUC and balanced accuracy are at most ``margin`` below the reference's; nan is not."""
    losses = reference.auc - step.auc, reference.balanced_accuracy - step.balanced_accuracy
    return all(loss <= margin + 1e-9 for loss in losses)  # rounding


def choose(steps: Sequence[SearchStep]) -> tuple[int, str]:
    """Returns the last step within the margin, the first one if there is none, and the reason in words."""
    within = [number for number, step in enumerate(steps) if step.within]
    if not within:
        return 0, "no weight stays within the margin, so the smallest of the ladder is used"
    if within[-1] == len(steps) - 1:
        return within[-1], "the largest weight of the ladder stays within the margin"
    return within[-1], "no larger weight that was tried stays within the margin"


def evidence_batches(
    classifier: EvidenceClassifier, split: Split, mean: Channels, std: Channels, device: torch.device, size: int
) -> Iterator[Tensor]:
    """Yields the evidence (n,C,h,w) of all images of a split, in evaluation mode."""
    with evaluating(classifier), torch.inference_mode():
        for indices in torch.split(torch.arange(len(split)), size):
            images = normalise(split.batch(indices).to(device), mean, std)
            yield classifier.forward_evidence(images.contiguous(memory_format=torch.channels_last)).float()


def evidence_grid(classifier: Classifier, split: Split, device: torch.device) -> tuple[int, int] | None:
    """Returns the sides (h, w) of the evidence of an image of a split; None for a classifier without evidence."""
    if not isinstance(classifier, EvidenceClassifier):
        return None
    image = torch.zeros(1, *split.images.shape[1:], device=device)
    with evaluating(classifier), torch.inference_mode():
        height, width = classifier.to(device).forward_evidence(image).shape[2:]
    return height, width


def near_zero(evidence: Tensor) -> Tensor:
    """Computes the share of evidence (N,C,h,w) below 1 % of the image's largest absolute value -> (N,) in [0, 1].

    An image without any evidence counts as 1.
    """
    absolute = evidence.abs().flatten(start_dim=1)
    largest = absolute.amax(dim=1, keepdim=True)
    return ((absolute < NEAR_ZERO * largest) | (largest == 0)).float().mean(dim=1)


def near_zero_share(
    classifier: EvidenceClassifier, split: Split, mean: Channels, std: Channels, device: torch.device, size: int
) -> float:
    """Computes the mean of ``near_zero`` over all images of a split."""
    shares = [near_zero(part) for part in evidence_batches(classifier, split, mean, std, device, size)]
    return float(torch.cat(shares).mean())


def _rounded(weight: float) -> float:
    return float(f"{weight:.{_DIGITS}g}")
