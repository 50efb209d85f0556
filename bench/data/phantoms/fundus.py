"""Fundus phantom: a drawn retina with microaneurysms, haemorrhages and hard exudates, which is not a patient.

Grades by lesion load (a simplification of the clinical scale for these phantoms):

    0  no lesion
    1  2-4 microaneurysms
    2  3-6 microaneurysms, 1-2 haemorrhages
    3  5-8 microaneurysms, 4-7 haemorrhages
    4  5-8 microaneurysms, 4-7 haemorrhages, 2-3 clusters of hard exudates

The binary task mixes loads: 0-2 microaneurysms, 1-3 haemorrhages and 0-1 cluster of exudates.
Healthy and diseased images alike contain whitish smudges and dark dust on the lens, which resemble lesions in number,
size and contrast but not in colour. They vary in field of view, texture and visible vessels.
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
    patch,
    ramp,
    scatter,
    strokes,
    taper,
    wander,
)
from bench.data.phantoms.tag import draw_tag

#: Ranges (fewest, most) of microaneurysms, haemorrhages and exudate clusters.
Load = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
BINARY_LOADS: tuple[Load, ...] = (((0, 0), (0, 0), (0, 0)), ((0, 2), (1, 3), (0, 1)))
GRADE_LOADS: tuple[Load, ...] = (
    ((0, 0), (0, 0), (0, 0)),
    ((2, 4), (0, 0), (0, 0)),
    ((3, 6), (1, 2), (0, 0)),
    ((5, 8), (4, 7), (0, 0)),
    ((5, 8), (4, 7), (2, 3)),
)
#: Colour of microaneurysms and haemorrhages, relative to the retina: redder than vessels.
BLOOD = (0.9, 0.15, 0.2)
#: Values that harmless smudges and exudates add to the retina's reflectance.
WHITE = (0.2, 0.25, 0.2)
YELLOW = (0.12, 0.22, -0.1)
#: Control points of main vessels as seen from the disc: x towards the fovea or away from it, y up or down.
TEMPORAL_ARCADE = np.array([[0, 0], [-0.02, 0.2], [0.26, 0.34], [0.62, 0.2]])
NASAL_ARCADE = np.array([[0, 0], [0.05, 0.1], [0.12, 0.18], [0.3, 0.34]])


@dataclass(frozen=True)
class Eye:
    """Layout of one eye and colour of its retina.

    Attributes:
        temporal: +1 or -1, direction in x from the disc to the fovea.
        disc: centre of the optic disc.
        disc_radius: radius of the optic disc.
        fovea: centre of the fovea.
        radius: radius of the field of view around the image centre.
        crop: half height of the field of view, which some cameras cut at top and bottom.
        colour: (3,) reflectance of the retina.
    """

    temporal: int
    disc: Point
    disc_radius: float
    fovea: Point
    radius: float
    crop: float
    colour: Array

    @classmethod
    def random(cls, rng: Rng) -> Eye:
        """Draws a layout."""
        temporal = int(rng.choice((-1, 1)))
        disc = (0.5 - temporal * rng.uniform(0.2, 0.3), 0.5 + rng.uniform(-0.06, 0.06))
        fovea = (disc[0] + temporal * rng.uniform(0.28, 0.33), disc[1] + rng.uniform(0.0, 0.05))
        radius = rng.uniform(0.37, 0.49)
        crop = rng.uniform(0.8, 1.15) * radius
        orange, pink, brown = np.array([[0.80, 0.40, 0.16], [0.80, 0.48, 0.38], [0.62, 0.38, 0.18]])
        weights = rng.dirichlet((15, 1, 1))
        colour = weights @ np.stack([orange, pink, brown])
        return cls(temporal, disc, rng.uniform(0.065, 0.08), fovea, radius, crop, colour.astype(np.float32))

    def field_of_view(self, size: int) -> Mask:
        """Returns (S,S), True inside the camera's round field."""
        x, y = grid(size)
        return (np.hypot(x - 0.5, y - 0.5) <= self.radius) & (np.abs(y - 0.5) <= self.crop)

    def has_room(self, x: Array, y: Array) -> Array:
        """Tells which points (n,) are well inside the field and outside of the disc and the fovea."""
        inside = (np.hypot(x - 0.5, y - 0.5) < self.radius - 0.065) & (np.abs(y - 0.5) < self.crop - 0.065)
        off_disc = np.hypot(x - self.disc[0], y - self.disc[1]) > self.disc_radius + 0.07
        return inside & off_disc & (np.hypot(x - self.fovea[0], y - self.fovea[1]) > 0.07)


def draw(rng: Streams, load: Load, size: int) -> Scene:
    """Draws a scene with this load of lesions; the rest of the scene does not depend on the load."""
    eye = Eye.random(rng("eye"))
    surface = retina(rng("retina"), eye, size)
    for distractor in distractors(rng("distractors"), eye, size):
        distractor.onto(surface)
    field = eye.field_of_view(size)
    found = [lesion.within(field) for lesion in lesions(rng("lesions"), eye, load, size)]
    return Scene(surface, found, camera(rng("camera"), field, size), field)


def retina(rng: Rng, eye: Eye, size: int) -> Array:
    """Draws the reflectance (S,S,3) of the healthy retina: choroid, fovea, disc and vessels."""
    x, y = grid(size)
    texture = [rng.uniform(0, 0.08) * clouds(rng, size, cells) for cells in (6, 20, 50)]
    surface: Array = eye.colour * (1 + np.sum(texture, axis=0)[..., None])
    fovea = np.exp(-((x - eye.fovea[0]) ** 2 + (y - eye.fovea[1]) ** 2) / rng.uniform(0.05, 0.07) ** 2)
    surface *= 1 - rng.uniform(0.3, 0.55) * fovea[..., None] * np.array([0.8, 1, 1], dtype=np.float32)
    disc = np.hypot(x - eye.disc[0], (y - eye.disc[1]) / 1.1) / eye.disc_radius
    blend(surface, rng.uniform(0.6, 0.95) * ramp((1.12 - disc) / 0.25), (1.0, 0.78, 0.48))
    blend(surface, rng.uniform(0.1, 0.9) * ramp((0.6 - disc) / 0.3), (1.0, 0.92, 0.72))
    vessels = strokes(size, vessel_tree(rng, eye))
    blend(surface, rng.uniform(0.5, 1) * vessels, eye.colour * (0.55, 0.4, 0.48))
    return surface


def blend(surface: Array, cover: Array, paint: Array | tuple[float, float, float]) -> None:
    """Blends one colour (3,) into a surface (S,S,3) in place, by cover (S,S)."""
    surface += cover[..., None] * (np.asarray(paint, dtype=np.float32) - surface)


def vessel_tree(rng: Rng, eye: Eye) -> list[Stroke]:
    """Draws arteries (paler, thinner) below veins: four arcades each, with branches, from the disc."""
    curves: list[Stroke] = []
    caliber, leaves = rng.uniform(0.7, 1.3), how_many(rng, 1, 6)
    for width, opacity in ((0.010 * caliber, 0.6), (0.014 * caliber, 0.85)):
        for up in (-1, 1):
            for temporal in (True, False):
                trunk = arcade(rng, eye, up, temporal)
                for branch in branches(rng, trunk, leaves):
                    curves += taper(branch, 0.55 * width, 0.3 * width, 0.8 * opacity, pieces=2)
                curves += taper(trunk, width, 0.45 * width, opacity)
    for heading in rng.uniform(-0.5, 0.5, 3) + (0 if eye.temporal > 0 else np.pi):
        curves += taper(wander(rng, eye.disc, heading, 0.2, 0.8), 0.006, 0.003, 0.6, pieces=2)
    return curves


def arcade(rng: Rng, eye: Eye, up: int, temporal: bool) -> Array:
    """Draws one main vessel (P,2): temporal ones arch around the fovea, nasal ones are straighter."""
    side = eye.temporal if temporal else -eye.temporal
    relative = TEMPORAL_ARCADE if temporal else NASAL_ARCADE
    jitter = rng.normal(0, 0.03, (4, 2)) * np.array([[0], [0.6], [1], [1.5]])
    return bezier(*(np.asarray(eye.disc) + (relative + jitter) * (side, up)))


def branches(rng: Rng, trunk: Array, count: int) -> list[Array]:
    """Draws side vessels (P,2) that leave a trunk to both sides at acute angles."""
    sides = []
    for start in rng.integers(3, len(trunk) - 2, count):
        along = trunk[start + 1] - trunk[start]
        heading = np.arctan2(along[1], along[0]) + rng.choice((-1, 1)) * rng.uniform(0.4, 0.9)
        sides.append(wander(rng, tuple(trunk[start]), heading, rng.uniform(0.12, 0.3), 0.8))
    return sides


def distractors(rng: Rng, eye: Eye, size: int) -> list[Patch]:
    """Draws whitish smudges (larger and softer than exudates, not yellow) and dust (as dark as blood, not red)."""
    found = []
    for at in scatter(rng, how_many(rng, 0, 7), eye.has_room, 0.06):
        radius = rng.uniform(0.015, 0.05)
        shape = blob(rng, size, at, (radius, 0.7 * radius), soft=1.2)
        found.append(patch(shape, eye.colour + WHITE, rng.uniform(0.3, 1)))
    for at in scatter(rng, how_many(rng, 0, 6), eye.has_room, 0.06):
        radius = rng.uniform(0.01, 0.03)
        tint = eye.colour * rng.uniform((0.3, 0.4, 0.7), (0.5, 0.8, 1.2))
        found.append(patch(blob(rng, size, at, (radius, radius), soft=0.5, wobble=0), tint, rng.uniform(0.4, 0.8)))
    return found


def lesions(rng: Rng, eye: Eye, load: Load, size: int) -> list[Patch]:
    """Draws the lesions of one eye, apart from each other so that each has pixels of its own."""
    dots, blots, clusters = (how_many(rng, *bounds) for bounds in load)
    places = scatter(rng, dots + blots + clusters, eye.has_room, 0.075)
    makers = [exudates] * clusters + [haemorrhage] * blots + [microaneurysm] * dots
    return [make(rng, eye, at, size) for make, at in zip(makers, places, strict=False)]


def microaneurysm(rng: Rng, eye: Eye, at: Point, size: int) -> Patch:
    """Draws a small red dot."""
    radius = rng.uniform(0.008, 0.012)
    return patch(blob(rng, size, at, (radius, radius), wobble=0), eye.colour * BLOOD, rng.uniform(0.75, 0.9))


def haemorrhage(rng: Rng, eye: Eye, at: Point, size: int) -> Patch:
    """Draws a dark red blot of irregular outline."""
    radius = rng.uniform(0.022, 0.03)
    shape = blob(rng, size, at, (radius, rng.uniform(0.7, 1) * radius), soft=0.4, wobble=0.1)
    return patch(shape, eye.colour * BLOOD, rng.uniform(0.75, 0.9))


def exudates(rng: Rng, eye: Eye, at: Point, size: int) -> Patch:
    """Draws a cluster of small, sharp, yellow spots, which is one lesion."""
    cover = np.zeros((size, size), dtype=np.float32)
    for offset in rng.normal(0, 0.018, (how_many(rng, 4, 8), 2)).clip(-0.03, 0.03):
        radius = rng.uniform(0.006, 0.012)
        window, spot = blob(rng, size, (at[0] + offset[0], at[1] + offset[1]), (radius, radius), wobble=0.05)
        cover[window] = np.maximum(cover[window], spot)
    return patch(((slice(0, size), slice(0, size)), cover), eye.colour + YELLOW, rng.uniform(0.7, 0.9))


def camera(rng: Rng, field: Mask, size: int) -> Callable[[Array], Array]:
    """Draws light, vignetting, colour cast, gamma and noise; the image is black outside the field of view."""
    x, y = grid(size)
    tilt = rng.uniform(-0.2, 0.2, 2).tolist()
    light = 1 + tilt[0] * (x - 0.5) + tilt[1] * (y - 0.5) + 0.04 * clouds(rng, size, 4)
    light *= 1 - rng.uniform(0.7, 2.0) * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    colour = rng.uniform(0.75, 1.15) * rng.uniform(0.94, 1.06, 3)
    gain = (light * field)[..., None] * colour.astype(np.float32)
    gamma = rng.uniform(0.9, 1.1)
    grain = rng.uniform(0.008, 0.025) * rng.standard_normal((size, size, 3), dtype=np.float32) * field[..., None]
    return lambda surface: np.clip(surface * gain, 0, 1) ** gamma + grain


register_phantom(
    "fundus-phantom",
    "fundus",
    ("healthy", "lesion"),
    lambda rng, label, size: draw(rng, BINARY_LOADS[label], size),
    draw_tag,
)
register_phantom(
    "fundus-phantom@grades",
    "fundus",
    ("grade 0", "grade 1", "grade 2", "grade 3", "grade 4"),
    lambda rng, label, size: draw(rng, GRADE_LOADS[label], size),
    draw_tag,
)
