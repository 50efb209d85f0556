"""Section of the interactive charts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from bench.report.frames.load import Frames
from bench.report.frames.parts import only_backbone
from bench.report.page.charts.chart import ON_DARK, Chart
from bench.report.page.charts.comparisons import strata_charts, win_charts
from bench.report.page.charts.curves import curve_charts
from bench.report.page.charts.points import price_charts, scatter_charts
from bench.report.page.section import Content, Section

_SCRIPTS = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js", "charts.js")
_COMPARISONS = (win_charts, price_charts, strata_charts)
_OF_BACKBONE = (curve_charts, scatter_charts)


def charts_section(content: Content) -> Section | None:
    """Returns every chart for which the run has data; None without any."""
    charts: list[Chart] = []
    for make, name in _makers(content.frames):
        charts += content.failures.making(name, content.frames, make) or []
    if not charts:
        return None
    view = {"charts": charts, "tables": content.tables, "captions": content.captions}
    data = {"dark": ON_DARK, "charts": [chart.data() for chart in charts]}
    return Section("charts", "Charts", "charts.html", view, _SCRIPTS, data)


Make = Callable[[Frames], list[Chart]]


def _makers(frames: Frames) -> Iterator[tuple[Make, str]]:
    """Yields what makes the charts, and its name; charts of one backbone are made for each."""
    backbones = list(dict.fromkeys(frames.cells["backbone"]))
    for backbone in backbones:
        several = len(backbones) > 1
        for make in _OF_BACKBONE:
            name = f"chart {make.__name__}{f' of {backbone}' if several else ''}"
            yield _of_backbone(make, backbone, several), name
    yield from ((_listed(make), f"chart {make.__name__}") for make in _COMPARISONS)


def _listed(make: Callable[[Frames], Iterable[Chart]]) -> Make:
    return lambda frames: list(make(frames))


def _of_backbone(make: Callable[[Frames, str], Iterable[Chart]], backbone: str, several: bool) -> Make:
    def made(frames: Frames) -> list[Chart]:
        part = only_backbone(frames, backbone) if several else frames
        return list(make(part, backbone if several else ""))

    return made
