"""Section of the interactive charts."""

from __future__ import annotations

from bench.report.page.charts.chart import ON_DARK
from bench.report.page.charts.comparisons import strata_charts, win_charts
from bench.report.page.charts.points import price_charts
from bench.report.page.section import Content, Section

_SCRIPTS = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js", "charts.js")
_COMPARISONS = (win_charts, price_charts, strata_charts)


def charts_section(content: Content) -> Section | None:
    """Returns every chart for which the run has data; None without any."""
    charts = list(content.prepared.charts)
    for make in _COMPARISONS:
        name = f"chart {make.__name__}"
        charts += content.failures.making(name, content.frames, lambda frames, make=make: list(make(frames))) or []
    if not charts:
        return None
    view = {"charts": charts, "tables": content.tables, "captions": content.captions}
    data = {"dark": ON_DARK, "charts": [chart.data() for chart in charts]}
    return Section("charts", "Charts", "charts.html", view, _SCRIPTS, data)
