"""A page that holds the case browser alone, under the content security policy of the whole page."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.cases.grids import MOST_CELLS
from tests.support.files import ROOT

PAGE = ROOT / "bench" / "report" / "page"
SCRIPTS = ("case-maps.js", "case-view.js", "cases.js")
_ESCAPED = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"}
#: What the scripts need of ``page.js``.
SHARED = """
"use strict";
document.documentElement.classList.add("js");
window.softcam = {
  data: (name) => JSON.parse(document.getElementById(`data-${name}`).textContent),
  element(tag, { attributes = {}, ...rest } = {}, ...children) {
    const made = Object.assign(document.createElement(tag), rest);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  },
  number: (value) => (value === null || value === undefined ? "–" : String(Number(value.toPrecision(3)))),
};
"""
STYLE = """
:root { --ink: #1d2129; --soft: #565e69; --line: #e1e4e9; --tint: #f4f6f8; --page: #fff; --link: #00619a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --soft: #a9b1bc; --line: #363c45; --tint: #20242a; --page: #15181c; --link: #7cc1f0;
          color-scheme: dark; }
}
* { box-sizing: border-box; }
body { margin: 1rem; color: var(--ink); background: var(--page); font: 15px/1.5 sans-serif; }
a { color: var(--link); }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: .2rem .5rem; border-bottom: 1px solid var(--line); }
.wide { overflow-x: auto; }
.caption, .soft { color: var(--soft); }
.js .fallback, [hidden] { display: none !important; }
"""


def write_case_page(data: dict[str, Any], file: Path) -> Path:
    """Write the page of ``render_cases``."""
    environment = Environment(
        loader=FileSystemLoader(PAGE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    body = environment.get_template("cases.html").render(quantile=99.5, most_cells=MOST_CELLS)
    scripts = [SHARED, *((PAGE / "assets" / name).read_text(encoding="utf-8") for name in SCRIPTS)]
    style = STYLE + (PAGE / "assets" / "cases.css").read_text(encoding="utf-8")
    block = "".join(_ESCAPED.get(sign, sign) for sign in json.dumps(data, allow_nan=False))
    allowed = " ".join(map(_hash, scripts))
    policy = f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data:"
    file.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>cases</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<style>{style}</style></head><body><main><section id="cases"><h2>Cases</h2>{body}</section></main>'
        f'<script type="application/json" id="data-cases">{block}</script>'
        + "".join(f"<script>{script}</script>" for script in scripts)
        + "</body></html>",
        encoding="utf-8",
    )
    return file


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
