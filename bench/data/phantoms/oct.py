"""OCT phantom: a drawn section of the retina with drusen, fluid or a neovascular lesion, which is not a patient.

    drusen         1-3 bumps under the bright RPE line, which they lift
    fluid          2-5 dark cysts within the retina (class DME)
    neovascular    1-2 bright, broad deposits on the RPE, without a lifted line above them (class CNV)

Healthy and diseased images alike contain shadows of vessels, bright spots and a membrane in the vitreous, dark vessels
in the choroid and bumps on the inner surface of the retina, so that only features in the right place reveal the class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.data.phantoms.scene import Array, Mask, Patch, Rng, Scene, Streams, Window, register_phantom
from bench.data.phantoms.shapes import blob, clouds, grid, how_many, margins, patch, ramp, scatter, strokes, window_of
from bench.data.phantoms.tag import draw_tag

#: Reflectivity by relative depth between the inner surface (0) and the outer layers (1).
INNER_DEPTHS = (-0.04, 0.0, 0.1, 0.15, 0.34, 0.4, 0.5, 0.54, 0.6, 0.65, 1.0)
INNER_LAYERS = (0.04, 0.72, 0.62, 0.46, 0.46, 0.3, 0.3, 0.48, 0.46, 0.24, 0.24)
#: Reflectivity by depth below the RPE, in image sides: photoreceptor line, RPE, choroid, sclera.
OUTER_DEPTHS = (-0.045, -0.034, -0.026, -0.018, -0.012, -0.006, 0.008, 0.016, 0.10, 0.22, 0.4)
OUTER_LAYERS = (0.24, 0.30, 0.70, 0.70, 0.46, 0.92, 0.92, 0.50, 0.42, 0.16, 0.06)
OUTER_START = OUTER_DEPTHS[0]
#: Depth of the lower edge of the RPE.
RPE_BOTTOM = 0.012
#: Share of the depth that the layers above the outer nuclear layer take, away from the fovea.
INNER_SHARE = 0.65


@dataclass(frozen=True)
class Retina:
    """Course of the layers: y of the inner surface and of the RPE, and the depth of the foveal pit, each (S,)."""

    inner: Array
    rpe: Array
    pit: Array

    @classmethod
    def random(cls, rng: Rng, size: int) -> Retina:
        """Draws the course of the layers in an image of ``size`` pixels."""
        x = grid(size)[0][0]
        rpe = rng.uniform(0.58, 0.72) + rng.uniform(-0.12, 0.12) * (x - 0.5) - rng.uniform(-0.05, 0.25) * (x - 0.5) ** 2
        rpe += rng.uniform(0, 0.012) * np.sin(2 * np.pi * (rng.uniform(0.8, 1.6) * x + rng.random()))
        pit = np.exp(-(((x - rng.uniform(0.3, 0.7)) / rng.uniform(0.1, 0.16)) ** 2))
        thickness = rng.uniform(0.2, 0.27) * (1 - rng.uniform(0.5, 0.7) * pit) + rng.uniform(-0.05, 0.05) * (x - 0.5)
        inner = rpe + OUTER_START - thickness
        for centre, height in zip(rng.random(3), rng.uniform(0, 0.025, 3) * (rng.random(3) < 0.6), strict=True):
            inner -= height * np.exp(-(((x - centre) / 0.035) ** 2))
        return cls(inner.astype(np.float32), rpe.astype(np.float32), pit.astype(np.float32))

    def below_rpe(self, size: int) -> Array:
        """Computes the depth (S,S) below the healthy RPE, in image sides."""
        depth: Array = grid(size)[1] - self.rpe
        return depth


def draw(rng: Streams, kind: str, size: int) -> Scene:
    """Draws a scene with lesions of this kind ("" = none); the rest of the scene does not depend on the kind."""
    retina = Retina.random(rng("retina"), size)
    surface = reflectivity(rng("texture"), retina, size)
    for distractor in distractors(rng("distractors"), retina, size):
        distractor.onto(surface)
    field = margins(rng("field"), size, 0.1)
    found = LESIONS[kind](rng("lesions"), retina, size) if kind else []
    lesions = [lesion.within(field) for lesion in found]
    return Scene(surface, lesions, camera(rng("camera"), retina, field, size), field)


def reflectivity(rng: Rng, retina: Retina, size: int) -> Array:
    """Draws the reflectivity (S,S,1) of vitreous, retinal layers, RPE, choroid and sclera."""
    depth = retina.below_rpe(size)
    relative = (depth - OUTER_START) / (retina.rpe + OUTER_START - retina.inner) + 1
    share = INNER_SHARE * (1 - 0.8 * retina.pit)
    stretched = np.where(
        relative < share,
        relative * INNER_SHARE / share,
        INNER_SHARE + (relative - share) * (1 - INNER_SHARE) / (1 - share),
    )
    inner = np.interp(stretched, INNER_DEPTHS, INNER_LAYERS)
    texture = rng.uniform(0.1, 0.5) * clouds(rng, size, 20) * ramp(depth / 0.03)
    texture += rng.uniform(0.02, 0.1) * clouds(rng, size, 8) + rng.uniform(0, 0.15) * clouds(rng, size, 48)
    layers = np.where(depth < OUTER_START, inner, outer_layers(depth)) * (1 + texture)
    surface: Array = layers[..., None].astype(np.float32)
    return surface


def outer_layers(depth: Array) -> Array:
    """Returns the reflectivity at a depth below the RPE."""
    layers: Array = np.interp(depth, OUTER_DEPTHS, OUTER_LAYERS)
    return layers


def distractors(rng: Rng, retina: Retina, size: int) -> list[Patch]:
    """Draws bright spots and a membrane in the vitreous, and dark vessels in the choroid."""

    def in_vitreous(x: Array, y: Array) -> Array:
        above: Array = y < np.interp(x, grid(size)[0][0], retina.inner) - 0.06
        return above

    def in_choroid(x: Array, y: Array) -> Array:
        depth = y - np.interp(x, grid(size)[0][0], retina.rpe)
        within: Array = (depth > 0.05) & (depth < 0.14)
        return within

    found = []
    for at in scatter(rng, how_many(rng, 0, 7), in_vitreous, 0.08):
        radii = (rng.uniform(0.012, 0.045), rng.uniform(0.01, 0.025))
        found.append(patch(blob(rng, size, at, radii, soft=0.8, wobble=0.05), (0.6,), rng.uniform(0.4, 0.9)))
    for at in scatter(rng, how_many(rng, 0, 9), in_choroid, 0.08):
        radii = (rng.uniform(0.015, 0.04), rng.uniform(0.012, 0.025))
        found.append(patch(blob(rng, size, at, radii, soft=0.6, wobble=0.05), (0.1,), rng.uniform(0.5, 0.9)))
    if rng.random() < 0.5:
        found.append(membrane(rng, retina, size))
    return found


def membrane(rng: Rng, retina: Retina, size: int) -> Patch:
    """Draws the detached posterior face of the vitreous, a thin line above the retina."""
    x = grid(size)[0][0]
    y = retina.inner - rng.uniform(0.03, 0.1) - 0.1 * (x - rng.random()) ** 2
    line = strokes(size, [(np.stack([x, y], axis=1), 0.006, 1.0)])
    return patch(((slice(0, size), slice(0, size)), line), (0.45,), rng.uniform(0.4, 0.8))


def drusen(rng: Rng, retina: Retina, size: int) -> list[Patch]:
    """Draws bumps of medium reflectivity that lift the RPE and the photoreceptor line above it."""
    found = []
    for x in places(rng, how_many(rng, 1, 3), slots=6):
        half, height = rng.uniform(0.035, 0.06), rng.uniform(0.03, 0.055)
        window, lift = dome(retina, size, x, half, height)
        depth = retina.below_rpe(size)[window]
        lifted = depth + lift
        paint = np.where(lifted < RPE_BOTTOM, outer_layers(np.minimum(lifted, 0)), rng.uniform(0.4, 0.55))
        cover = (lift > 0) & (lifted > OUTER_START) & (depth < RPE_BOTTOM)
        found.append(patch((window, cover.astype(np.float32)), paint[..., None]))
    return found


def neovascular(rng: Rng, retina: Retina, size: int) -> list[Patch]:
    """Draws broad bright deposits with a fuzzy top that hide the RPE line."""
    found = []
    for x in places(rng, how_many(rng, 1, 2), slots=3):
        half, height = rng.uniform(0.08, 0.14), rng.uniform(0.06, 0.1)
        window, lift = dome(retina, size, x, half, height)
        depth = retina.below_rpe(size)[window]
        cover = ramp((depth + lift) / 0.03) * ramp((RPE_BOTTOM - depth) * size + 0.5) * (lift > 0)
        paint = rng.uniform(0.65, 0.8) + 0.08 * clouds(rng, size, 24)[window]
        found.append(patch((window, cover), paint[..., None]))
    return found


def fluid(rng: Rng, retina: Retina, size: int) -> list[Patch]:
    """Draws dark cysts within the retina."""

    def in_retina(x: Array, y: Array) -> Array:
        inner, rpe = (np.interp(x, grid(size)[0][0], line) for line in (retina.inner, retina.rpe))
        within: Array = (y > inner + 0.05) & (y < rpe + OUTER_START - 0.035) & (x > 0.15) & (x < 0.85)
        return within

    found = []
    for at in scatter(rng, how_many(rng, 2, 5), in_retina, 0.13):
        radii = (rng.uniform(0.025, 0.045), rng.uniform(0.018, 0.03))
        found.append(patch(blob(rng, size, at, radii, soft=0.2, wobble=0.05), (0.05,), rng.uniform(0.8, 0.95)))
    return found


def dome(retina: Retina, size: int, x: float, half: float, height: float) -> tuple[Window, Array]:
    """Computes the window (r×c) around a bump on the RPE and its height (1,c) over each column, 0 outside of it."""
    half, height = max(half, 3 / size), max(height, 2.5 / size)
    columns = window_of(size, (x, 0.5), half)[1]
    lift = height * np.clip(1 - ((grid(size)[0][:, columns] - x) / half) ** 2, 0, None)
    course = retina.rpe[columns]
    top, bottom = course.min() - height + OUTER_START, course.max() + RPE_BOTTOM
    return (slice(max(0, int(top * size) - 1), int(bottom * size) + 2), columns), lift


def places(rng: Rng, count: int, slots: int) -> list[float]:
    """Draws ``count`` of ``slots`` places next to each other -> their positions x."""
    centres = 0.1 + 0.8 * (np.arange(slots) + 0.5 + rng.uniform(-0.15, 0.15, slots)) / slots
    chosen: list[float] = rng.choice(centres, count, replace=False).tolist()
    return chosen


def camera(rng: Rng, retina: Retina, field: Mask, size: int) -> Callable[[Array], Array]:
    """Draws shadows of vessels, speckle, brightness, contrast and black or white margins, as in registered scans."""
    x, y = grid(size)
    shade = np.zeros(size, dtype=np.float32)
    for centre, depth in zip(rng.random(8), rng.uniform(0.2, 0.8, 8) * (rng.random(8) < rng.random()), strict=True):
        shade += depth * np.exp(-(((x[0] - centre) / rng.uniform(0.01, 0.02)) ** 2))
    light = 1 - np.clip(shade, 0, 0.8) * ramp((y - retina.inner - 0.02) / 0.04)
    light *= 1 + 0.12 * clouds(rng, size, 4)
    grain = rng.standard_normal((size, size), dtype=np.float32)
    gain = rng.uniform(0.65, 1.1) * light * (1 + rng.uniform(0.1, 0.3) * grain)
    floor = rng.uniform(0.0, 0.08) + rng.uniform(0.02, 0.05) * rng.standard_normal((size, size), dtype=np.float32)
    margin = float(rng.integers(2))
    return lambda surface: np.where(field, surface[..., 0] * gain + floor, margin)[..., None]


LESIONS = {"drusen": drusen, "fluid": fluid, "neovascular": neovascular}

register_phantom(
    "oct-phantom",
    "oct",
    ("healthy", "drusen"),
    lambda rng, label, size: draw(rng, ("", "drusen")[label], size),
    draw_tag,
)
register_phantom(
    "oct-phantom@classes",
    "oct",
    ("NORMAL", "DRUSEN", "DME", "CNV"),
    lambda rng, label, size: draw(rng, ("", "drusen", "fluid", "neovascular")[label], size),
    draw_tag,
)
