"""How a map loses its likeness to the intact one while the model loses what it has learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.curve_figures import distinct_looks
from bench.report.frames import Frames
from bench.report.methods import Method, averaging_note, methods_in, of_family
from bench.report.sanity import FAILS
from bench.report.style import GREY, LIGHT, MUTED, Drawing, Look, legend_below, panels
from bench.report.tables import main_rows
from bench.statistics import Estimate, estimate_means

Cascades = dict[str, dict[Method, dict[str, Estimate]]]
_BORDER, _OTHER = Look(GREY, width=0.7), Look(LIGHT, width=0.7)


def randomisation(frames: Frames) -> Iterator[Drawing]:
    """Rank correlation with the intact map, stage by stage, a panel a data set."""
    if "sanity" not in frames.probes:
        return
    rows = frames.probes["sanity"]
    rows = main_rows(replace(frames, scores=rows[rows["check"] == "cascade"]))
    methods = methods_in(frames, rows)
    cascades = _cascades(rows, methods)
    looks = _looks(cascades, methods)
    stages = list(rows.sort_values("stage")["fresh"].unique())
    figure, axes = panels(len(cascades), 2.1, "fresh weights", "rank correlation with intact map")
    for axis, (dataset, lines) in zip(axes, cascades.items(), strict=True):
        _panel(axis, lines, looks, stages)
        count = max(value.n for line in lines.values() for value in line.values())
        axis.set_title(f"{dataset} (n = {count})")
    axes[0].set_ylim(-1.05, 1.05)
    _legend(figure, methods, looks)
    caption = (
        "Cascading randomisation (arXiv:1810.03292): Spearman correlation of each map with the intact one while "
        "weights are drawn anew, first the head's, then the features' from the top down; mean over images. Low is "
        f"necessary and not enough: noise has 0. Thin line: {FAILS:.2f}, half of the ranks' variance. Coloured: the "
        f"post-hoc methods that keep most; grey: the others. {averaging_note(frames, methods)}"
    )
    yield Drawing("randomisation", figure, caption.strip())


def _cascades(rows: pd.DataFrame, methods: list[Method]) -> Cascades:
    """Data set -> method -> name of the stage -> mean over images."""
    found: Cascades = {}
    by_name = {(method.explainer, method.head): method for method in methods}
    names = ["dataset", "explainer", "head", "fresh"]
    estimates = estimate_means(rows, names)
    for key in rows[names].drop_duplicates().itertuples(index=False, name=None):
        dataset, explainer, head, fresh = key
        found.setdefault(dataset, {}).setdefault(by_name[explainer, head], {})[fresh] = estimates[key]
    return found


def _looks(cascades: Cascades, methods: list[Method]) -> dict[Method, Look]:
    """Looks of the post-hoc methods whose maps stay most alike, in the mean over data sets."""

    def left(method: Method) -> float:
        ends = pd.Series([[*lines[method].values()][-1].mean for lines in cascades.values() if method in lines])
        return float(ends.fillna(-1).mean())

    return distinct_looks(sorted(of_family(methods, "post-hoc"), key=left, reverse=True)[: len(MUTED)])


def _panel(axis: Axes, lines: dict[Method, dict[str, Estimate]], looks: dict[Method, Look], stages: list[str]) -> None:
    axis.axhline(FAILS, **_BORDER.line(), zorder=0.5)
    for method, line in lines.items():
        look, layer = method.look, {"inherent": 4.0, "post-hoc": 3.0, "control": 2.5}[method.family]
        if method.family == "post-hoc":
            look, layer = (looks[method], layer) if method in looks else (_OTHER, 1.0)
        places = [stages.index(fresh) for fresh in line]
        if method.family == "inherent":
            low, high = [value.low for value in line.values()], [value.high for value in line.values()]
            axis.fill_between(places, low, high, color=look.color, alpha=0.13, linewidth=0, zorder=2)
        axis.plot(places, [value.mean for value in line.values()], **look.line(), zorder=layer)
    axis.set_xticks(range(len(stages)), [stage.removeprefix("head ") for stage in stages])


def _legend(figure: Figure, methods: list[Method], looks: dict[Method, Look]) -> None:
    def line(look: Look, label: str) -> Line2D:
        return Line2D([], [], label=label, **look.line())

    post_hoc = [line(look, method.label) for method, look in looks.items()]
    others = len(of_family(methods, "post-hoc")) - len(looks)
    if others > 0:
        post_hoc.append(line(_OTHER, f"{others} other post-hoc"))
    inherent = [line(method.look, method.label) for method in of_family(methods, "inherent")]
    controls = [line(method.look, method.label) for method in of_family(methods, "control")]
    legend_below(figure, {"inherent": inherent, "post-hoc, most alike first": post_hoc, "control": controls})
