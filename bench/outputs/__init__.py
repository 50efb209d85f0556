"""Meaning of a network's outputs: one class per image (softmax), several findings (sigmoid), or a number (linear).

Loss, probabilities, decisions and classification scores follow from it; nothing else asks how many labels there are.
"""

from typing import Protocol

from bench.outputs.base import Outputs
from bench.outputs.linear import LINEAR
from bench.outputs.sigmoid import SIGMOID
from bench.outputs.softmax import SOFTMAX

__all__ = ["LINEAR", "SIGMOID", "SOFTMAX", "Outputs", "outputs_of"]


class Labelled(Protocol):
    """Facts of a data set that decide what its labels, and the outputs of a network, mean."""

    @property
    def multilabel(self) -> bool:
        """An image has several labels, or none."""

    @property
    def regression(self) -> bool:
        """An image has a number instead of a label."""


def outputs_of(facts: Labelled) -> Outputs:
    """Returns the meaning of the outputs of a network for a data set."""
    if facts.regression:
        return LINEAR
    return SIGMOID if facts.multilabel else SOFTMAX
