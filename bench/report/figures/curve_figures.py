"""Figures of curves, one panel per data set: top-k precision, deletion, insertion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plain.names import RULES, fill_and_rule
from bench.report.figures.looks import Method, averaging_note, methods_in, of_family
from bench.report.figures.style import GREY, LIGHT, MUTED, Drawing, Look, legend_below, panels
from bench.report.frames.compared import topk_variants
from bench.report.frames.curves import Curve, compared_means, hit_share, relative_to_intact
from bench.report.frames.load import Frames
from bench.report.tables.notes import masks_note
from bench.statistics.intervals import Floats
from bench.text.media import figure_text

_CHANCE = Look(GREY, width=0.7)
_OTHER = Look(LIGHT, width=0.7)


@dataclass(frozen=True)
class Plot:
    """Settings in which figures of curves differ.

    Attributes:
        metric: rows that hold the curves.
        transform: their values (N,K) -> what is averaged over images.
        better: True if higher is better.
        occlusion: True if there is a curve per operator, and the x axis is the share of all steps, from 0; otherwise it
            is the number of the step, from 1.
        caption: one sentence.
        reading: rules behind the numbers.
        highest: possible value.
    """

    metric: str
    stem: str
    transform: Callable[[Floats], Floats]
    better: bool
    occlusion: bool
    x: str
    y: str
    caption: str
    reading: str
    highest: float = 1

    def steps(self, count: int) -> Floats:
        """Returns the places of ``count`` steps on the x axis."""
        return np.linspace(0, 1, count) if self.occlusion else np.arange(1.0, count + 1)


TOPK = Plot(
    "topk_hits",
    "topk_precision",
    hit_share,
    better=True,
    occlusion=False,
    x="k (most activated patches)",
    y="top-k precision ↑",
    caption="Share of the k most activated patches that contain lesion (top-k localisation precision).",
    reading="Curves are means over diseased images (patches {variant}); higher is better. If a map has fewer than k "
    "patches above 0, those that exist count.",
)
DELETION = Plot(
    "deletion_curve",
    "deletion_curves",
    relative_to_intact,
    better=False,
    occlusion=True,
    x="share of the {steps} deletion steps",
    y="target probability / intact ↓",
    caption="Probability of the explained class while the most important patches are filled (deletion).",
    reading="Probabilities are relative to the intact image ({variant}). Curves are means over images; lower "
    "is better.",
    highest=np.inf,
)
INSERTION = Plot(
    "insertion_curve",
    "insertion_curves",
    lambda curves: curves,
    better=True,
    occlusion=True,
    x="share of the {steps} insertion steps",
    y="target probability ↑",
    caption="Probability of the explained class while the most important patches are revealed (insertion).",
    reading="Patches are revealed in the filled image ({variant}). Curves are means over images; higher is better.",
)


def worded(plot: Plot, frames: Frames) -> Plot:
    """Returns a plot of occlusion with the words for a regression if all data sets are one: it has no probability."""
    if not plot.occlusion or not all(one.regression for one in frames.record.datasets.values()):
        return plot
    removed = plot is DELETION
    return replace(
        plot,
        y=f"output left {'↓' if removed else '↑'}",
        caption=plot.caption.replace("Probability of the explained class", "Output"),
        reading="1 is the output of the intact image, 0 a fall by the standard deviation of all outputs or more "
        f"({{variant}}). Curves are means over images; {'lower' if removed else 'higher'} is better.",
    )


def topk_precision(frames: Frames) -> Iterator[Drawing]:
    """Draws top-k precision against k, with the chance of a random patch."""
    yield from _draw(frames, TOPK)


def deletion_curves(frames: Frames) -> Iterator[Drawing]:
    """Draws the probability while patches are deleted, for the first occlusion operator of the run."""
    yield from _draw(frames, worded(DELETION, frames))


def insertion_curves(frames: Frames) -> Iterator[Drawing]:
    """Draws the probability while patches are inserted, for the first occlusion operator of the run."""
    yield from _draw(frames, worded(INSERTION, frames))


@lru_cache(maxsize=24)  # three plots of each backbone
def first_curves(frames: Frames, plot: Plot) -> tuple[str, dict[str, dict[Method, Curve]]]:
    """Returns the first requested variant that has curves, and the curves (none without any), for figures and page."""
    asked = dict.fromkeys(facts.variant for facts in frames.record.metrics if facts.variant)
    for variant in asked if plot.occlusion else topk_variants(frames):
        if curves := method_curves(frames, plot.metric, variant, plot.transform, plot.highest):
            return variant, curves
    return "", {}


def variant_words(plot: Plot, variant: str) -> str:
    """Returns the words for a variant: the rule that ranks patches, after the operator if there is one."""
    operator, rule = fill_and_rule(variant) if plot.occlusion else ("", variant or RULES[0])
    return f"operator: {operator}; patches ranked by: {rule}" if operator else f"ranked by: {rule}"


def _draw(frames: Frames, plot: Plot) -> Iterator[Drawing]:
    variant, curves = first_curves(frames, plot)
    if not curves:
        return
    looks = distinct_looks(best_post_hoc(curves, plot.better))
    count = len(next(iter(next(iter(curves.values())).values())).mean)
    figure, axes = panels(len(curves), 2.1, plot.x.format(steps=count - 1), plot.y)
    for axis, (name, of_dataset) in zip(axes, curves.items(), strict=True):
        _panel(axis, plot, of_dataset, looks)
        n = max(curve.n for curve in of_dataset.values())
        axis.set_title(f"{figure_text(name)} (n = {n})")
        chance = frames.record.datasets[name].topk_chance
        if plot is TOPK and chance is not None:
            axis.axhline(chance, **_CHANCE.line(), zorder=1.5)
    axes[0].set_ylim(bottom=0)  # of all panels, after every curve has set the top
    if not plot.occlusion:
        axes[0].set_xticks([1, *range(5, count + 1, 5)])
    present = {(method.explainer, method.head) for of_dataset in curves.values() for method in of_dataset}
    drawn = methods_in(frames, pd.DataFrame(present, columns=["explainer", "head"]))
    _legend(figure, drawn, looks, plot is TOPK)
    notes = [_best_note(drawn, len(looks)), _undefined_note(curves), _bands_note(drawn), averaging_note(frames, drawn)]
    notes += [masks_note(frames, curves)] if plot is TOPK else []
    reading = " ".join([plot.reading.format(variant=variant_words(plot, variant)), *filter(None, notes)])
    yield Drawing(plot.stem, figure, plot.caption, reading)


def distinct_looks(best: list[Method]) -> dict[Method, Look]:
    """Returns the looks of the coloured post-hoc methods; no two share a colour while there are enough."""
    looks: dict[Method, Look] = {}
    for method in best:
        taken = {look.color for look in looks.values()}
        free = [color for color in (method.look.color, *MUTED) if color not in taken]
        looks[method] = replace(method.look, color=(free or [method.look.color])[0])
    return looks


def _panel(axis: Axes, plot: Plot, curves: dict[Method, Curve], looks: dict[Method, Look]) -> None:
    """Draws all curves of a data set: grey ones lowest, inherent ones with their intervals on top."""
    for method, curve in curves.items():
        x = plot.steps(len(curve.mean))
        look, layer = method.look, {"inherent": 4.0, "post-hoc": 3.0, "control": 2.5}[method.family]
        if method.family == "inherent":
            axis.fill_between(x, curve.low, curve.high, color=look.color, alpha=0.13, linewidth=0, zorder=2)
        if method.family == "post-hoc":
            look, layer = (looks[method], layer) if method in looks else (_OTHER, 1.0)
        axis.plot(x, curve.mean, **look.line(), zorder=layer)
    axis.margins(x=0.01)


def _legend(figure: Figure, methods: list[Method], looks: dict[Method, Look], chance: bool) -> None:
    def line(look: Look, label: str) -> Line2D:
        return Line2D([], [], label=label, **look.line())

    post_hoc = [line(look, method.label) for method, look in looks.items()]
    others = len(of_family(methods, "post-hoc")) - len(looks)
    if others:
        post_hoc.append(line(_OTHER, f"{others} other post-hoc"))
    controls = [line(method.look, method.label) for method in of_family(methods, "control")]
    if chance:
        controls.append(line(_CHANCE, "chance: random patches"))
    inherent = [line(method.look, method.label) for method in of_family(methods, "inherent")]
    legend_below(figure, {"inherent": inherent, "post-hoc, best first": post_hoc, "control": controls})


def _best_note(methods: list[Method], best: int) -> str:
    total = len(of_family(methods, "post-hoc"))
    if total <= best:
        return ""
    return (
        f"Coloured: the {best} of {total} post-hoc methods with the best mean curve over the data sets "
        "(chosen on these images, which flatters them). Grey: the others."
    )


def _bands_note(methods: list[Method]) -> str:
    inherent = of_family(methods, "inherent")
    return "Bands: 95 % bootstrap intervals over groups, of the inherent methods." if inherent else ""


def _undefined_note(curves: dict[str, dict[Method, Curve]]) -> str:
    undefined = [
        (curve.undefined, f"{method.label}, {name}")
        for name, of_dataset in curves.items()
        for method, curve in of_dataset.items()
    ]
    most, where = max(undefined)
    return f"Images on which a method has no value are left out of its curve (at most {most}: {where})." if most else ""


BEST = 5  # post-hoc methods that get a colour


def method_curves(
    frames: Frames,
    metric: str,
    variant: str,
    transform: Callable[[Floats], Floats],
    highest: float = np.inf,
) -> dict[str, dict[Method, Curve]]:
    """Returns data set -> compared method -> curve; methods without any value are left out.

    Raises:
        ValueError: the frames are of several backbones.
    """
    if frames.cells["backbone"].nunique() > 1:
        raise ValueError("curves are drawn of one backbone at a time")
    means = compared_means(frames, metric, variant, transform, highest)
    curves = {(dataset, explainer, head): curve for (dataset, _, explainer, head), curve in means.items()}
    methods = methods_in(frames, pd.DataFrame([key[1:] for key in curves], columns=["explainer", "head"]))
    found: dict[str, dict[Method, Curve]] = {}
    for dataset in dict.fromkeys(key[0] for key in curves):
        for method in methods:
            curve = curves.get((dataset, method.explainer, method.head))
            if curve is not None and curve.n:
                found.setdefault(dataset, {})[method] = curve
    return found


def best_post_hoc(curves: dict[str, dict[Method, Curve]], better: bool) -> list[Method]:
    """Returns the post-hoc methods with the highest (or lowest) curves: mean over steps, then over data sets."""
    heights: dict[Method, list[float]] = {}
    for of_dataset in curves.values():
        for method, curve in of_dataset.items():
            if method.family == "post-hoc":
                heights.setdefault(method, []).append(float(np.nanmean(curve.mean)))
    sign = -1 if better else 1
    return sorted(heights, key=lambda method: sign * float(np.mean(heights[method])))[:BEST]
