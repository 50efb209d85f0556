"""Shapes that the phantoms are drawn from: blobs, strokes, smooth noise, scattered points.

Lengths are in image sides, so that a shape can be rendered at any resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from bench.data.phantoms.scene import Array, Mask, Patch, Point, Rng, Window

#: A curve to be drawn: points (P,2) as (x, y), its width, and its opacity in [0, 1].
Stroke = tuple[Array, float, float]
#: Smallest half axis of a blob, in pixels.
SMALLEST_RADIUS = 1.3


def how_many(rng: Rng, fewest: int, most: int) -> int:
    """Draws a random count, both ends included."""
    return int(rng.integers(fewest, most, endpoint=True))


def grid(size: int) -> tuple[Array, Array]:
    """Returns the pixel centres as x (1,S) and y (S,1)."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    return centres[None, :], centres[:, None]


def blob(rng: Rng, size: int, at: Point, radii: Point, soft: float = 0.0, wobble: float = 0.1) -> tuple[Window, Array]:
    """Draws an irregular ellipse with random tilt and outline.

    Args:
        rng: random numbers.
        size: S, side of the image in pixels.
        at: centre (x, y).
        radii: half axes; never less than 1.3 pixels, so that small things stay visible in small images.
        soft: width of the edge in radii; never less than a pixel.
        wobble: amplitude of the outline's irregularity in radii.

    Returns:
        Window (r×c) and cover (r,c) in [0, 1], 0.5 at the outline and exactly 0 beyond the edge.
    """
    long, short = (max(radius, SMALLEST_RADIUS / size) for radius in radii)
    edge = max(soft, 1 / (size * min(long, short)))
    window = window_of(size, at, max(long, short) * (1 + 3 * wobble + edge / 2))
    x, y = grid(size)
    dx, dy = x[:, window[1]] - at[0], y[window[0]] - at[1]
    tilt, *phases = rng.uniform(0, 2 * np.pi, 4)
    u, v = (np.cos(tilt) * dx + np.sin(tilt) * dy) / long, (np.cos(tilt) * dy - np.sin(tilt) * dx) / short
    angle = np.arctan2(v, u)
    lobes = sum(np.cos(k * angle + phase) for k, phase in zip((2, 3, 5), phases, strict=True)) if wobble else 0
    return window, ramp((1 + wobble * lobes - np.hypot(u, v)) / edge + 0.5)


def window_of(size: int, at: Point, reach: float) -> Window:
    """Returns rows and columns within ``reach`` of a point, clipped to the image."""
    low, high = (np.asarray(at[::-1]) + sign * reach for sign in (-1, 1))
    starts, stops = np.clip(np.floor(low * size), 0, size), np.clip(np.ceil(high * size), 0, size)
    return slice(int(starts[0]), int(stops[0])), slice(int(starts[1]), int(stops[1]))


def ramp(values: Array) -> Array:
    """Computes a smooth step from 0 (values <= 0) to 1 (values >= 1)."""
    clipped = np.clip(values, 0, 1)
    step: Array = (clipped * clipped * (3 - 2 * clipped)).astype(np.float32)
    return step


def strokes(size: int, curves: Sequence[Stroke]) -> Array:
    """Draws curves as anti-aliased cover (S,S) in [0, 1]; a later curve replaces an earlier one that it crosses."""
    scale = 4 if size <= 256 else 2
    canvas = Image.new("L", (size * scale, size * scale))
    pen = ImageDraw.Draw(canvas)
    for points, width, opacity in curves:
        flat = (points * (size * scale)).ravel().tolist()
        pen.line(flat, fill=round(255 * opacity), width=max(1, round(width * size * scale)))
    return np.asarray(canvas.reduce(scale), dtype=np.float32) / 255


def bezier(*controls: Point, points: int = 20) -> Array:
    """Computes a cubic curve (P,2) from four control points."""
    curve: Array = (_bernstein(points) @ np.asarray(controls)).astype(np.float32)
    return curve


@cache
def _bernstein(points: int) -> Array:
    t = np.linspace(0, 1, points)[:, None]
    return np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3])


def wander(rng: Rng, start: Point, heading: float, length: float, bend: float, points: int = 12) -> Array:
    """Draws a gently winding curve (P,2) from ``start``; ``bend`` is approximately the total turn in radians."""
    turns = rng.normal(0, 0.12, points - 1) + rng.uniform(-bend, bend) / points
    angles = heading + np.cumsum(turns)
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1) * length / points
    return np.vstack([[start], np.asarray(start) + np.cumsum(steps, axis=0)]).astype(np.float32)


def taper(curve: Array, width: float, end: float, opacity: float, pieces: int = 4) -> list[Stroke]:
    """Returns the strokes of a curve that thins from ``width`` to ``end``."""
    cuts = [(len(curve) - 1) * i // pieces for i in range(pieces + 1)]
    thinning = (width - end) / (pieces - 1)
    return [(curve[cuts[i] : cuts[i + 1] + 1], width - i * thinning, opacity) for i in range(pieces)]


def margins(rng: Rng, size: int, widest: float) -> Mask:
    """Draws margins of up to ``widest`` on about half of the sides -> (S,S), False in the margins."""
    x, y = grid(size)
    left, right, top, bottom = np.clip(rng.uniform(-widest, widest, 4), 0, None)
    field: Mask = (x > left) & (x < 1 - right) & (y > top) & (y < 1 - bottom)
    return field


def clouds(rng: Rng, size: int, cells: int) -> Array:
    """Draws smooth noise (S,S), standard normal at the nodes of a grid of ``cells`` per side."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def scatter(rng: Rng, count: int, allowed: Callable[[Array, Array], Array], gap: float) -> list[Point]:
    """Draws up to ``count`` random points (x, y) where ``allowed(x, y)`` is true, at least ``gap`` apart."""
    candidates = rng.random((400, 2), dtype=np.float32)
    chosen: list[Array] = []
    for point in candidates[allowed(candidates[:, 0], candidates[:, 1])]:
        if len(chosen) == count:
            break
        if all(np.hypot(*(point - other)) >= gap for other in chosen):
            chosen.append(point)
    return [(float(x), float(y)) for x, y in chosen]


def patch(shape: tuple[Window, Array], paint: Array | Sequence[float], strength: float = 1.0) -> Patch:
    """Fills a shape with paint (K,) or (r,c,K)."""
    return Patch(*shape, np.asarray(paint, dtype=np.float32), strength)
