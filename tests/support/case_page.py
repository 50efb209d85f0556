"""A page that holds the case browser alone, under the content security policy of the whole page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.cases.grids import MOST_CELLS
from bench.report.page.inline import asset, json_block, policy
from tests.support.files import ROOT

PAGE = ROOT / "bench" / "report" / "page"
SCRIPTS = ("page.js", "case-maps.js", "case-view.js", "cases.js")
STYLES = ("page.css", "cases.css")


def write_case_page(data: dict[str, Any], file: Path) -> Path:
    """Write the page of ``render_cases``."""
    environment = Environment(
        loader=FileSystemLoader(PAGE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    body = environment.get_template("cases.html").render(quantile=99.5, most_cells=MOST_CELLS)
    scripts, style = [asset(name) for name in SCRIPTS], "\n".join(map(asset, STYLES))
    file.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>cases</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(scripts, [style])}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<style>{style}</style></head><body><main><section id="cases"><h2>Cases</h2>{body}</section></main>'
        f'<script type="application/json" id="data-cases">{json_block(data)}</script>'
        + "".join(f"<script>{script}</script>" for script in scripts)
        + "</body></html>",
        encoding="utf-8",
    )
    return file
