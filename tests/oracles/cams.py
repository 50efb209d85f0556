"""Class activation maps cell by cell in float64; imports nothing of the project."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Map = np.ndarray
GradientCAM = Callable[[Map, Map], Map]


def grad_cam(features: Map, gradients: Map) -> Map:
    """Features, gradients (D,h,w) -> (h,w): arXiv:1610.02391, eq. 1 and 2."""
    depth, height, width = features.shape
    cam = np.zeros((height, width))
    for k in range(depth):
        weight = sum(gradients[k, i, j] for i in range(height) for j in range(width)) / (height * width)
        cam += weight * features[k]
    return np.maximum(cam, 0)


def grad_cam_plus_plus(features: Map, gradients: Map) -> Map:
    """Features, gradients (D,h,w) -> (h,w): arXiv:1710.11063, eq. 19, without the factor exp(score)."""
    depth, height, width = features.shape
    cam = np.zeros((height, width))
    for k in range(depth):
        total, weight = features[k].sum(), 0.0
        for i in range(height):
            for j in range(width):
                g = gradients[k, i, j]
                if g > 0:
                    weight += g * g**2 / (2 * g**2 + total * g**3 + 1e-6)
        cam += weight * features[k]
    return np.maximum(cam, 0)


def grad_cam_plus_plus_of_the_paper(features: Map, gradients: Map, score: float) -> Map:
    """Features, gradients (D,h,w), score -> (h,w): arXiv:1710.11063, eq. 5, 19 and 20 with Y = exp(score)."""
    depth, height, width = features.shape
    cam = np.zeros((height, width))
    for k in range(depth):
        total, weight = features[k].sum(), 0.0
        for i in range(height):
            for j in range(width):
                first, second, third = (math.exp(score) * gradients[k, i, j] ** order for order in (1, 2, 3))
                if first > 0:
                    weight += second / (2 * second + total * third) * first
        cam += weight * features[k]
    return np.maximum(cam, 0)


def layer_cam(features: Map, gradients: Map) -> Map:
    """Features, gradients (D,h,w) -> (h,w): ReLU of the sum of features times positive gradients."""
    depth, height, width = features.shape
    cam = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            cam[i, j] = sum(max(gradients[k, i, j], 0) * features[k, i, j] for k in range(depth))
    return np.maximum(cam, 0)


def score_cam(image: Map, features: Map, logit: Callable[[Map], float]) -> Map:
    """Image (3,H,W), features (D,h,w), image -> target logit; -> (h,w): arXiv:1910.01279 on raw logits."""
    scores = []
    for channel in features:
        mask = bilinear(channel, *image.shape[1:])
        mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-8)
        scores.append(logit(image * mask))
    exponentials = [math.exp(score - max(scores)) for score in scores]
    cam = sum(e / sum(exponentials) * channel for e, channel in zip(exponentials, features, strict=True))
    return np.maximum(cam, 0)


def bilinear(channel: Map, height: int, width: int) -> Map:
    """(h,w) -> (H,W), corners aligned with corners."""
    rows, columns = channel.shape
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            v, u = y * (rows - 1) / (height - 1), x * (columns - 1) / (width - 1)
            top, left = min(int(v), rows - 2), min(int(u), columns - 2)
            dv, du = v - top, u - left
            out[y, x] = (
                (1 - dv) * (1 - du) * channel[top, left]
                + (1 - dv) * du * channel[top, left + 1]
                + dv * (1 - du) * channel[top + 1, left]
                + dv * du * channel[top + 1, left + 1]
            )
    return out
