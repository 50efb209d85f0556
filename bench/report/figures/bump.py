"""Bump charts: the rank of every method by one way of scoring after the other.

Two studies draw them: occlusion operators and fair resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes

from bench.report.figures.looks import look_of
from bench.report.figures.panels import label_rows, panel_columns
from bench.report.figures.style import BLACK, GREY, LIGHT, MUTED, STRONG, Drawing, Look
from bench.report.frames.load import Frames
from bench.report.tables.rankings import Method, Ranking
from bench.text.media import figure_text

_FEWEST = 3  # methods and ways: fewer make no ranking that could move
_METRICS = 2  # panels above each other
_OTHER = Look(LIGHT, width=0.8)
_COLOURS = (
    f"Strong lines are inherent maps, thin lines the {len(MUTED)} post-hoc methods whose ranks move most, grey lines "
    "the others. Names are at the ends of the lines; those of tied methods are below each other."
)
Charts = dict[str, dict[str, Ranking]]  # metric -> data set -> ranking


def bump_chart(frames: Frames, stem: str, charts: Charts, caption: str, reading: str) -> Iterator[Drawing]:
    """Yields one figure with a column per data set and a panel per metric; none where too little could move."""
    large = {title: _large(of_metric) for title, of_metric in charts.items()}
    shown = {title: large[title] for title in [title for title in large if large[title]][:_METRICS]}
    datasets = list(dict.fromkeys(name for of_metric in shown.values() for name in of_metric))
    if not datasets:
        return
    rankings = [ranking for of_metric in shown.values() for ranking in of_metric.values()]
    looks = _looks(frames, rankings)
    lines = max(len(ranking.methods) for ranking in rankings)
    figure, stacks = panel_columns(len(datasets), len(shown), max(0.14 * lines + 0.35, 1.6), across=2)
    for axes, dataset in zip(stacks, datasets, strict=True):
        for axis, of_metric in zip(axes, shown.values(), strict=True):
            if dataset in of_metric:
                _draw(axis, of_metric[dataset], dataset, looks)
    label_rows(stacks, [f"rank by {title}" for title in shown])
    for axis in [axis for axes in stacks for axis in axes]:
        axis.invert_yaxis()
    yield Drawing(stem, figure, caption, f"{reading} {_COLOURS}")


def _looks(frames: Frames, rankings: list[Ranking]) -> dict[Method, tuple[str, Look]]:
    """Returns label and look of every method; post-hoc methods are grey but for those whose ranks move most."""
    moved: dict[Method, float] = {}
    for ranking in rankings:
        ranks = [ranking.ranks(way) for way in ranking.values]
        for method in ranking.methods:
            places = [of_way[method] for of_way in ranks]
            moved[method] = moved.get(method, 0.0) + max(places) - min(places)
    families = {name: facts.family for name, facts in frames.record.explainers.items()}
    others = [method for method in moved if families[method[0]] != "inherent"]
    movers = sorted(others, key=lambda method: -moved[method])[: len(MUTED)]
    looks = {method: look_of(frames, *method) for method in moved}
    looks |= {method: (looks[method][0], _OTHER) for method in others}
    return looks | {one: (looks[one][0], Look(color, width=1.3)) for one, color in zip(movers, MUTED, strict=False)}


def _large(rankings: dict[str, Ranking]) -> dict[str, Ranking]:
    return {
        name: ranking
        for name, ranking in rankings.items()
        if len(ranking.methods) >= _FEWEST and len(ranking.values) >= _FEWEST
    }


def _draw(axis: Axes, ranking: Ranking, dataset: str, looks: dict[Method, tuple[str, Look]]) -> None:
    """Draws a line per method, with its name at the end."""
    ways = list(ranking.values)
    ranks = [ranking.ranks(way) for way in ways]
    end = len(ways) - 1
    for place, method in enumerate(sorted(ranking.methods, key=lambda method: ranks[-1][method]), start=1):
        label, look = looks[method]
        layer = {_OTHER.color: 2.0}.get(look.color, 2.0 + look.width)
        line = look.line() | {"marker": look.marker, "markersize": 1.5 + 1.5 * look.width, "zorder": layer}
        axis.plot(range(len(ways)), [of_way[method] for of_way in ranks], **line)
        margin = end + 0.05 * end
        axis.plot([end, margin], [ranks[-1][method], place], color=look.color, linewidth=0.6, clip_on=False)
        color = look.color if look.color in STRONG else GREY if look is _OTHER else BLACK
        weight = "bold" if look.color in STRONG else "normal"
        axis.text(margin + 0.02 * end, place, label, ha="left", va="center", color=color, fontsize=7, fontweight=weight)
    axis.set_xticks(range(len(ways)), ways)
    axis.set_xlim(-0.03 * end, 1.03 * end)
    axis.set_yticks(_places(len(ranking.methods)))
    axis.grid(visible=False, axis="x")
    tau = np.mean([agreement.mean for *_, agreement in ranking.agreements()])
    axis.set_title(f"{figure_text(dataset)} (n = {len(ranking.groups)}, τ = {tau:.2f})")


def _places(methods: int) -> Sequence[int]:
    """Returns the ranks that have a tick: 1 and every fifth."""
    return [1, *range(5, methods + 1, 5)] if methods > 5 else range(1, methods + 1)
