"""Gini index and entropy of the positive part of one map, written out in float64."""

import math


def shares(image):
    values = [max(float(v), 0.0) for v in image.ravel()]
    return [v / sum(values) for v in values]


def gini(image):
    """Mean absolute difference of all pairs over twice the mean."""
    values = shares(image)
    differences = sum(abs(a - b) for a in values for b in values)
    return differences / (2 * len(values) * sum(values))


def entropy(image):
    values = shares(image)
    return -sum(v * math.log(v) for v in values if v > 0) / math.log(len(values))
