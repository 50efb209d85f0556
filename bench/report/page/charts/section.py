"""Section of the interactive charts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from bench.report.frames.load import Frames
from bench.report.page.charts.chart import ON_DARK, Chart
from bench.report.page.charts.comparisons import strata_charts, win_charts
from bench.report.page.charts.points import price_charts
from bench.report.page.section import Content, Section

_SCRIPTS = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js", "charts.js")
_COMPARISONS = (win_charts, price_charts, strata_charts)


def charts_section(content: Content) -> Section | None:
    """Returns every chart for which the run has data; None without any."""
    charts = list(content.prepared.charts)
    for make in _COMPARISONS:
        charts += content.failures.making(f"chart {make.__name__}", content.frames, partial(_listed, make)) or []
    if not charts:
        return None
    view = {"charts": charts, "tables": content.tables, "captions": content.captions}
    data = {"dark": ON_DARK, "charts": [chart.data() for chart in charts]}
    return Section("charts", "Charts", "charts.html", view, _SCRIPTS, data)


def _listed(make: Callable[[Frames], Iterable[Chart]], frames: Frames) -> list[Chart]:
    return list(make(frames))
