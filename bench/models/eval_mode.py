"""Evaluation mode for a block of code.

No call may change the train or eval mode of the classifier that it is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Runs a block with ``model`` in eval mode and then restores the mode of each of its modules."""
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
