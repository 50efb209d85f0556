"""Chest X-ray phantom: a drawn frontal chest film with 1-3 soft opacities in the lungs, which is not a patient.

Masks of the samples are the opacities' bounding boxes, as in RSNA's pneumonia challenge; ``exact_mask`` has the shapes.
Healthy and diseased images alike contain round crisp spots (vessels seen end-on), electrodes, wires, a side marker,
dark areas in the lungs, soft bright and dark areas next to and below them, haze, and dark margins of the collimated
field, so that neither brightness nor shape alone reveals the class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.data.phantoms.scene import Array, Mask, Patch, Point, Rng, Scene, Streams, register_phantom
from bench.data.phantoms.shapes import (
    Stroke,
    bezier,
    blob,
    clouds,
    grid,
    how_many,
    margins,
    patch,
    ramp,
    scatter,
    strokes,
    taper,
    wander,
)
from bench.data.phantoms.tag import draw_tag

#: Whiteness of soft tissue, of lungs without haze, and of the air around the body.
TISSUE, AIR, OUTSIDE = 0.66, 0.26, 0.04


@dataclass(frozen=True)
class Chest:
    """Layout of one chest.

    Attributes:
        middle: x of the spine.
        apex: y of the top of the lungs.
        domes: y of the top of the diaphragm, under the image-left and the image-right lung.
        width: half width of a lung.
        heart: centre of the heart.
        heart_radii: its half axes.
    """

    middle: float
    apex: float
    domes: Point
    width: float
    heart: Point
    heart_radii: Point

    @classmethod
    def random(cls, rng: Rng) -> Chest:
        """Draws a layout."""
        middle, base = rng.uniform(0.45, 0.55), rng.uniform(0.64, 0.8)
        heart = (middle + rng.uniform(0.03, 0.07), base - rng.uniform(0.06, 0.1))
        domes = (base - rng.uniform(0.0, 0.04), base)
        radii = (rng.uniform(0.14, 0.2), rng.uniform(0.13, 0.17))
        return cls(middle, rng.uniform(0.08, 0.16), domes, rng.uniform(0.125, 0.165), heart, radii)

    def lungs(self, x: Array, y: Array) -> Array:
        """Computes the share of air at points: 0 outside the lungs and in the heart, 1 well inside the lungs."""
        air = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.float32)
        for side, dome in zip((-1, 1), self.domes, strict=True):
            centre = self.middle + side * (self.width + 0.055)
            floor = dome + 0.5 * np.abs(x - centre + side * 0.03) ** 1.6
            height = np.clip((y - self.apex) / (dome - self.apex), 0, 1)
            half = self.width * np.clip(1 - (1 - height) ** 3.2, 0, 1) ** 0.6 * (0.9 + 0.14 * height)
            across = (half - np.abs(x - centre)) / 0.035
            air = np.maximum(air, ramp(across) * ramp((floor - y) / 0.03))
        heart = np.hypot((x - self.heart[0]) / self.heart_radii[0], (y - self.heart[1]) / self.heart_radii[1])
        outside_heart: Array = air * ramp((heart - 0.9) / 0.2)
        return outside_heart

    def in_lungs(self, x: Array, y: Array) -> Array:
        """Tells which points (n,) are within the lungs."""
        return self.lungs(x, y) > 0.8


def draw(rng: Streams, label: int, size: int) -> Scene:
    """Draws a scene with 1-3 opacities for label 1; the rest of the scene does not depend on the label."""
    chest = Chest.random(rng("chest"))
    air = chest.lungs(*grid(size))
    surface = film(rng("film"), chest, air, size)
    for distractor in distractors(rng("distractors"), chest, air, surface, size):
        distractor.onto(surface)
    field = margins(rng("field"), size, 0.12)
    found = opacities(rng("lesions"), chest, air, surface, size) if label else []
    lesions = [lesion.within(field) for lesion in found]
    return Scene(surface, lesions, camera(rng("camera"), field, size), field)


def film(rng: Rng, chest: Chest, air: Array, size: int) -> Array:
    """Draws the whiteness (S,S,1) of the healthy chest: body, lungs with haze, heart, spine, bones, vessels."""
    x, y = grid(size)
    haze = (
        rng.uniform(-0.04, 0.06)
        + 0.06 * clouds(rng, size, 3)
        + rng.uniform(0, 0.02) * clouds(rng, size, 9)
        + rng.uniform(-0.06, 0.06) * (x - 0.5) * 2
    )
    density = TISSUE + 0.04 * clouds(rng, size, 4) - air * (TISSUE - AIR - haze)
    from_middle = np.abs(x - chest.middle)
    density += rng.uniform(0, 0.2) * ramp((0.075 - from_middle) / 0.05) * (1 - 0.5 * air)
    density += 0.03 * ramp((0.035 - from_middle) / 0.01) * np.sin(y * rng.uniform(80, 100))
    density -= 0.14 * ramp((0.022 - from_middle) / 0.012) * ramp((0.32 - y) / 0.06)
    density += 0.10 * ramp((y - 0.62) / 0.25) * (1 - air)
    density += rng.uniform(0.06, 0.2) * strokes(size, bones(rng, chest)) * (0.35 + 0.65 * air)
    density += air * rng.uniform(0, 0.06) * clouds(rng, size, 28)
    density += rng.uniform(0.08, 0.22) * strokes(size, lung_vessels(rng, chest)) * air
    shoulder = 0.07 + 0.9 * np.clip(from_middle - 0.12, 0, None) ** 1.5 + rng.uniform(-0.02, 0.02)
    body = np.maximum(ramp((y - shoulder) / 0.03), ramp((0.1 - from_middle) / 0.02))
    whiteness: Array = (OUTSIDE + body * (density - OUTSIDE))[..., None].astype(np.float32)
    return whiteness


def bones(rng: Rng, chest: Chest) -> list[Stroke]:
    """Draws posterior ribs (they fall outwards), fainter anterior ribs (they fall inwards) and clavicles."""
    curves: list[Stroke] = []
    step, first = rng.uniform(0.078, 0.09), chest.apex + rng.uniform(-0.01, 0.02)
    for side in (-1, 1):
        mid, reach = chest.middle, side * (2 * chest.width + 0.05)
        for level in first + step * np.arange(9):
            arc = ((0.05, 0.0), (0.5, -0.05), (0.85, 0.02), (1.02, 0.13))
            curves.append((bezier(*((mid + reach * u, level + v) for u, v in arc)), 0.02, 0.55))
        for level in first + 0.12 + step * np.arange(6):
            arc = ((1.02, 0.0), (0.85, 0.08), (0.6, 0.11), (0.4, 0.11))
            curves.append((bezier(*((mid + reach * u, level + v) for u, v in arc)), 0.022, 0.3))
        arc = ((0.08, 0.1), (0.4, 0.08), (0.7, 0.0), (1.15, 0.01))
        curves.append((bezier(*((mid + reach * u, chest.apex - 0.01 + v) for u, v in arc)), 0.03, 0.8))
    return curves


def lung_vessels(rng: Rng, chest: Chest) -> list[Stroke]:
    """Draws vessels that fan out from both hila."""
    curves: list[Stroke] = []
    for side in (-1, 1):
        hilum = (chest.middle + side * 0.085, 0.5 * (chest.apex + chest.domes[0]) + 0.03)
        for turn in np.linspace(-1.3, 1.3, 8) + rng.uniform(-0.15, 0.15, 8):
            heading = turn if side > 0 else np.pi - turn
            curve = wander(rng, hilum, heading, rng.uniform(0.16, 0.3), 0.7)
            curves += taper(curve, 0.016, 0.004, 0.7, pieces=3)
    return curves


def distractors(rng: Rng, chest: Chest, air: Array, surface: Array, size: int) -> list[Patch]:
    """Draws discs, soft shadows of the wrong sign or in the wrong place, wires and a side marker."""
    lines = [wire(rng) for _ in range(how_many(rng, 0, 3))] + [marker(rng)]
    drawn = patch(((slice(0, size), slice(0, size)), strokes(size, lines)), (0.97,), 0.9)
    return [*discs(rng, chest, size), *shadows(rng, chest, air, surface, size), drawn]


def discs(rng: Rng, chest: Chest, size: int) -> list[Patch]:
    """Draws round crisp spots: vessels seen end-on in the lungs, and larger, brighter electrodes anywhere."""

    def on_body(x: Array, y: Array) -> Array:
        return (y > 0.15) & (y < 0.8)

    vessels = scatter(rng, how_many(rng, 0, 9), chest.in_lungs, 0.05)
    electrodes = scatter(rng, how_many(rng, 0, 3), on_body, 0.2)
    found = []
    for places, smallest, white, faintest in ((vessels, 0.008, 0.75, 0.4), (electrodes, 0.016, 0.85, 0.6)):
        for at in places:
            radius = rng.uniform(1, 2) * smallest
            shape = blob(rng, size, at, (radius, radius), wobble=0)
            found.append(patch(shape, (white,), rng.uniform(faintest, faintest + 0.35)))
    return found


def shadows(rng: Rng, chest: Chest, air: Array, surface: Array, size: int) -> list[Patch]:
    """Draws soft areas as large as opacities: dark ones in the lungs (bullae), bright and dark ones around them."""

    def in_soft_tissue(x: Array, y: Array) -> Array:
        return (y > chest.domes[1] + 0.04) | ((y > 0.35) & (np.abs(x - chest.middle) > 2 * chest.width + 0.08))

    found = []
    for at in scatter(rng, how_many(rng, 0, 5), chest.in_lungs, 0.15):
        window, cover = blob(rng, size, at, (rng.uniform(0.05, 0.09), rng.uniform(0.05, 0.09)), soft=0.7, wobble=0.03)
        found.append(patch((window, cover * air[window]), surface[window] - 0.15, rng.uniform(0.3, 1)))
    for at in scatter(rng, how_many(rng, 0, 7), in_soft_tissue, 0.1):
        window, cover = blob(rng, size, at, (rng.uniform(0.05, 0.1), rng.uniform(0.04, 0.08)), soft=1.2, wobble=0.03)
        off_lungs = (window, cover * (1 - air[window]))
        found.append(patch(off_lungs, surface[window] + rng.choice((-0.25, 0.2)), rng.uniform(0.4, 1)))
    return found


def wire(rng: Rng) -> Stroke:
    """Draws a thin bright cable across the film."""
    ends = (0.0, rng.uniform(0.1, 0.9)), (rng.uniform(0.3, 0.9), 1.0)
    middle = rng.uniform(0.2, 0.8, (2, 2))
    return bezier(ends[0], tuple(middle[0]), tuple(middle[1]), ends[1], points=30), 0.007, rng.uniform(0.4, 0.9)


def marker(rng: Rng) -> Stroke:
    """Draws the letter L in an upper corner."""
    corner = np.array([rng.choice((0.06, 0.9)), rng.uniform(0.04, 0.1)])
    return (corner + 0.05 * np.array([[0, 0], [0, 1], [0.6, 1]])).astype(np.float32), 0.012, 1.0


def opacities(rng: Rng, chest: Chest, air: Array, film: Array, size: int) -> list[Patch]:
    """Draws soft white areas that veil ribs and vessels, within the lungs and apart from each other."""

    def deep_in_lungs(x: Array, y: Array) -> Array:
        around = [chest.lungs(x + dx, y + dy) for dx, dy in ((-0.045, 0), (0.045, 0), (0, -0.045), (0, 0.045))]
        inside: Array = np.minimum.reduce(around) > 0.5
        return inside

    found = []
    for at in scatter(rng, int(rng.choice((1, 2, 3), p=(0.6, 0.25, 0.15))), deep_in_lungs, 0.16):
        radii = (rng.uniform(0.042, 0.052), rng.uniform(0.042, 0.052))
        window, cover = blob(rng, size, at, radii, soft=0.8, wobble=0.04)
        veil = np.maximum(rng.uniform(0.64, 0.72), film[window])
        found.append(patch((window, cover * air[window]), veil, 0.66))
    return found


def camera(rng: Rng, field: Mask, size: int) -> Callable[[Array], Array]:
    """Draws exposure, contrast, uneven light and noise; margins outside the collimated field are dark."""
    x, y = grid(size)
    tilt = rng.uniform(-0.2, 0.2, 2).tolist()
    light = ((1 + tilt[0] * (x - 0.5) + tilt[1] * (y - 0.5)) * field)[..., None]
    gain, offset, gamma = rng.uniform(0.92, 1.1), rng.uniform(-0.03, 0.04), rng.uniform(0.9, 1.15)
    grain = rng.uniform(0.01, 0.03) * rng.standard_normal((size, size, 1), dtype=np.float32)
    return lambda film: np.clip(film * light * gain + offset, 0, 1) ** gamma + grain


register_phantom("cxr-phantom", "cxr", ("healthy", "opacity"), draw, draw_tag, boxes=True)
