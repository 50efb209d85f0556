"""Bicubic resizing written out: cubic convolution with a = -0.75, half-pixel centres, border pixels repeated."""

import math

import numpy as np


def kernel(distance, a=-0.75):
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    if x < 2:
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return 0.0


def resize_axis(values, size):
    """A list of numbers -> ``size`` numbers."""
    old, out = len(values), []
    for i in range(size):
        centre = (i + 0.5) * old / size - 0.5
        start = math.floor(centre)
        total = 0.0
        for tap in range(start - 1, start + 3):
            total += kernel(centre - tap) * values[min(max(tap, 0), old - 1)]
        out.append(total)
    return out


def resize(image, height, width):
    """One map (h,w) -> (height,width), float64."""
    rows = np.array([resize_axis(list(row), width) for row in np.asarray(image, dtype=np.float64)])
    return np.array([resize_axis(list(column), height) for column in rows.T]).T
