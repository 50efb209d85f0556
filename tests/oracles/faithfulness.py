"""Deletion and insertion of one image, one patch at a time, written out in float64.

The map must have no tied patches.
"""

import itertools
import math

import numpy as np

from tests.oracles.patches import score


def grid(height, width, patch):
    """Patches from the top-left as (top, bottom, left, right), in raster order."""
    return [
        (top, min(top + patch, height), left, min(left + patch, width))
        for top in range(0, height, patch)
        for left in range(0, width, patch)
    ]


def ranked(image_map, patch, fov=None, least_first=False, rule="mean"):
    """Indices of the patches, by the score of the map inside."""
    scores = {}
    for index, (top, bottom, left, right) in enumerate(grid(*image_map.shape, patch)):
        if fov is None or fov[top:bottom, left:right].any():
            scores[index] = score(image_map, top, bottom, left, right, rule)
    return sorted(scores, key=lambda index: scores[index], reverse=not least_first)


def softmax(logits):
    highest = max(logits)
    exponentials = [math.exp(x - highest) for x in logits]
    return [e / sum(exponentials) for e in exponentials]


def curve(predict, image, image_map, target, steps, patch, filled, fov=None, least_first=False, reveal=False,
          rule="mean"):  # fmt: skip
    """``predict``: one image (3,H,W) -> list of logits. Returns K+1 probabilities of the target."""
    order = ranked(image_map, patch, fov, least_first, rule)
    places = grid(*image_map.shape, patch)
    current = np.array(image, dtype=np.float64)
    source = np.array(filled, dtype=np.float64)
    if reveal:
        source = current.copy()
        for index in order:
            top, bottom, left, right = places[index]
            current[:, top:bottom, left:right] = filled[:, top:bottom, left:right]
    probabilities = [softmax(predict(current))[target]]
    for step in range(steps):
        if step < len(order):
            top, bottom, left, right = places[order[step]]
            current[:, top:bottom, left:right] = source[:, top:bottom, left:right]
        probabilities.append(softmax(predict(current))[target])
    return probabilities


def area(values):
    """Trapezoids over [0, 1]."""
    width = 1 / (len(values) - 1)
    return sum((a + b) / 2 * width for a, b in itertools.pairwise(values))


def blur_axis(values, sigma, radius):
    """Gaussian of weights exp(-d²/2σ²), |d| <= radius, border mirrored without repeating the edge."""
    weights = [math.exp(-(d**2) / (2 * sigma**2)) for d in range(-radius, radius + 1)]
    last, out = len(values) - 1, []
    for i in range(len(values)):
        total = 0.0
        for weight, d in zip(weights, range(-radius, radius + 1), strict=True):
            place = abs(i + d)
            total += weight * values[2 * last - place if place > last else place]
        out.append(total / sum(weights))
    return out


def blur(channel, sigma, radius):
    rows = np.array([blur_axis(list(row), sigma, radius) for row in channel])
    return np.array([blur_axis(list(column), sigma, radius) for column in rows.T]).T
