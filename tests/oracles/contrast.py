"""Contrast of one class with the others, written out in float64."""

import numpy as np


def contrast(values, target):
    """``values``: one number, or one map (h,w), per class. The target's minus the mean of the other classes'."""
    values = [np.asarray(value, dtype=np.float64) for value in values]
    others = [value for index, value in enumerate(values) if index != target]
    return values[target] - sum(others) / len(others)
