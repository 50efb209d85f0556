"""Meaning of a classifier's logits: one class per image (softmax), or several findings per image (sigmoid).

Loss, probabilities, decisions and classification scores follow from it; nothing else asks how many labels there are.
"""

from bench.outputs.base import Outputs
from bench.outputs.sigmoid import SIGMOID
from bench.outputs.softmax import SOFTMAX

__all__ = ["SIGMOID", "SOFTMAX", "Outputs", "outputs_of"]


def outputs_of(multilabel: bool) -> Outputs:
    """Returns the meaning of the logits of a data set with one label per image, or with several."""
    return SIGMOID if multilabel else SOFTMAX
