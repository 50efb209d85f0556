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


def draw_axis(values, size, start, stride):
    """``resize_axis`` of values whose i-th is at ``start + i * stride``; pixel p is at p + 0.5."""
    out = []
    for pixel in range(size):
        place = (pixel + 0.5 - start) / stride
        first = math.floor(place)
        total = 0.0
        for tap in range(first - 1, first + 3):
            total += kernel(place - tap) * values[min(max(tap, 0), len(values) - 1)]
        out.append(total)
    return out


def draw(image, size, start, stride):
    """One map (h,w) -> ``size`` (height,width), with (rows,columns) of starts and strides, float64."""
    rows = [draw_axis(list(row), size[1], start[1], stride[1]) for row in np.asarray(image, dtype=np.float64)]
    return np.array([draw_axis(list(column), size[0], start[0], stride[0]) for column in np.array(rows).T]).T
