"""Laterality marker in a corner of the image, the tag of a planted shortcut: a cause that maps should reveal."""

from __future__ import annotations

import numpy as np

from bench.data.phantoms.scene import Patch, Rng
from bench.data.phantoms.shapes import Stroke, strokes

#: Side of the square plate with the letter, which has about the area of one opacity.
SIDE = 0.11
#: Ranges of the distances to the left and lower edges. Lesions never reach this corner.
LEFT, BELOW = (0.01, 0.08), (0.01, 0.03)
PLATE = 0.03
#: The letter R on a unit square, as one stroke of bowl and leg.
_LETTER = np.array([[0.28, 0.85], [0.28, 0.15], [0.62, 0.15], [0.74, 0.32], [0.62, 0.5], [0.28, 0.5], [0.74, 0.85]])


def draw_tag(rng: Rng, size: int) -> Patch:
    """Draws a bright R on a dark square plate of at least 8 pixels; position and brightness vary a little.

    The plate is opaque, so that the mask is exactly the region that the tag may change.
    """
    side = max(8, round(SIDE * size))
    left, below = (round(rng.uniform(*bounds) * size) for bounds in (LEFT, BELOW))
    bright = rng.uniform(0.85, 1)
    letter: Stroke = (_LETTER.astype(np.float32), 0.13, 1.0)
    paint = PLATE + (bright - PLATE) * strokes(side, [letter])
    window = slice(size - below - side, size - below), slice(left, left + side)
    return Patch(window, np.ones((side, side), dtype=np.float32), paint[..., None].astype(np.float32), 1.0)
