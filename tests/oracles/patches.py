"""The score of one patch of one map, written out with loops over its pixels, in float64."""

import math

from tests.oracles.bicubic import kernel


def cubic(values, place):
    """Value at a place between the entries of a list; the first and the last one go on."""
    start, last = math.floor(place), len(values) - 1
    return sum(kernel(place - tap) * values[min(max(tap, 0), last)] for tap in range(start - 1, start + 3))


def score(image, top, bottom, left, right, rule="mean", ignored=None):
    """``ignored`` pixels do not count; as a point they are 0."""
    if rule == "point":
        rows = [[0.0 if ignored is not None and ignored[y, x] else float(image[y, x])
                 for x in range(image.shape[1])] for y in range(image.shape[0])]  # fmt: skip
        return cubic([cubic(row, (left + right - 1) / 2) for row in rows], (top + bottom - 1) / 2)
    values = [
        float(image[y, x])
        for y in range(top, bottom)
        for x in range(left, right)
        if ignored is None or not ignored[y, x]
    ]
    if rule == "max":
        return max(values, default=-math.inf)
    if rule == "sum":
        return math.fsum(values)
    return math.fsum(max(value, 0.0) for value in values) / max(len(values), 1)
