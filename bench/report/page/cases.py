"""Case browser: every explained image with its maps, scores and deletion curves."""

from __future__ import annotations

from bench.cases.grids import MOST_CELLS
from bench.report.page.section import Content, Section

_SCRIPTS = ("case-maps.js", "case-view.js", "cases.js")


def cases_section(content: Content) -> Section | None:
    """Returns the case browser; None if the run kept no images, or asks for none."""
    data = content.prepared.cases
    if not data.get("sets"):
        return None
    view = {"quantile": f"{100 * data['quantile']:g}", "most_cells": MOST_CELLS}
    return Section("cases", "Cases", "cases.html", view, _SCRIPTS, data)
