"""Chart of the page: a Vega-Lite specification without data, its panels, and a legend that switches methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.report.figures.looks import Method
from bench.report.figures.style import BLACK, Look
from bench.store.folders import file_name

#: Colour for figures -> colour on a dark page. Black stands for the colour of text.
ON_DARK = {
    BLACK: "#E8EAED",
    "#666666": "#9AA3AF",
    "#D55E00": "#F58A3C",
    "#0072B2": "#56B4E9",
    "#009E73": "#2CC79A",
    "#332288": "#9D90F0",
    "#8C564B": "#C99487",
    "#882255": "#DD7FA8",
    "#999933": "#C5C55C",
    "#56B4E9": "#8ECDF2",
}
_DIGITS = 5  # significant ones, more than a screen can show
_DASHED = 1.6  # pixels per unit of a dash


@dataclass(frozen=True)
class Panel:
    """One panel of a chart, usually a data set.

    Attributes:
        title: above it.
        values: column -> entries, all of the same length; ``method`` refers to the legend.
        lines: straight lines for reference: axis, value and what it is.
    """

    title: str
    values: Mapping[str, Sequence[Any]]
    lines: Sequence[tuple[str, float, str]] = ()


@dataclass(frozen=True)
class Chart:
    """A chart; attributes as its texts in the page, and the parts of its specification.

    Attributes:
        name: of the chart; its element is ``chart-<name>``.
        figures: stems of the figures that show the same without JavaScript.
        table: name of the table with the numbers.
        spec: Vega-Lite without data, size and colours; layers share ``encoding``.
        legend: entries of the switch: name, colour, dash, group, and whether it is shown at first.
        choice: column of the values by which the reader chooses one part of them; empty for none.
    """

    name: str
    title: str
    caption: str
    reading: str
    figures: Sequence[str]
    table: str
    spec: Mapping[str, Any]
    panels: Sequence[Panel]
    legend: Sequence[Mapping[str, Any]] = ()
    choice: str = ""

    def data(self) -> dict[str, Any]:
        """Returns what the script needs to draw the chart."""
        panels = [{"title": one.title, "values": _rounded(one.values), "lines": list(one.lines)} for one in self.panels]
        return {
            "name": self.name,
            "title": self.title,
            "spec": self.spec,
            "panels": panels,
            "legend": list(self.legend),
            "choice": self.choice,
        }


def _rounded(values: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    return {name: [_short(value) for value in column] for name, column in values.items()}


def _short(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float | np.floating) and np.isfinite(value) else value


def legend_entry(method: Method, look: Look, shown: bool = True) -> dict[str, Any]:
    """Returns the entry of a method: inherent ones are solid, so that colour is never the only difference."""
    return {
        "name": method.label,
        "color": look.color,
        "dash": _dash(look),
        "width": look.width,
        "group": method.family,
        "shown": shown,
    }


def distinct(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns one entry per name: a method has the same look on every classifier."""
    found: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        found.setdefault(entry["name"], entry)
    return list(found.values())


def _dash(look: Look) -> list[float]:
    return [1, 0] if isinstance(look.dash, str) else [round(_DASHED * length, 1) for length in look.dash[1]]


def stem_of(stem: str, backbone: str) -> str:
    """Returns the name of a figure of a backbone, as ``figures.style.of_backbone`` names its file."""
    return f"{stem}_{file_name(backbone)}" if backbone else stem


def title_of(title: str, backbone: str) -> str:
    """Returns a title that names the backbone if there are several."""
    return f"{title} · {backbone}" if backbone else title


def by_columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Returns rows with the same names as columns."""
    listed = list(rows)
    return {name: [row[name] for row in listed] for name in (listed[0] if listed else ())}


def axis(field_name: str, title: str, zero: bool = False) -> dict[str, Any]:
    """Returns the encoding of a number on an axis."""
    ticks = {"tickCount": 6, "labelOverlap": True}
    return {"field": field_name, "type": "quantitative", "title": title, "scale": {"zero": zero}, "axis": ticks}


def hover(texts: Mapping[str, str], numbers: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Returns the lines of a tooltip, from columns of texts (or of counts) and of numbers, each with its title."""
    lines = [{"field": name, "title": title, "type": "nominal"} for name, title in texts.items()]
    decimal = {"type": "quantitative", "format": ".3~f"}
    return lines + [{"field": name, "title": title} | decimal for name, title in (numbers or {}).items()]
