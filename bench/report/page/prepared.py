"""Parts of the page that need no tables and no comparisons, so that a second process can make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.report.cases.data import render_cases
from bench.report.failures import Failures
from bench.report.frames.load import Frames
from bench.report.frames.parts import only_backbone
from bench.report.page.charts.chart import Chart
from bench.report.page.charts.curves import curve_charts
from bench.report.page.charts.points import scatter_charts
from bench.report.page.inline import Picture

_OF_BACKBONE = (curve_charts, scatter_charts)


@dataclass(frozen=True)
class Prepared:
    """Parts of the page; the first two have their names in ``PARTS``.

    Attributes:
        cases: data of the case browser; without ``sets``, there is none.
        charts: of each backbone.
        pictures: stem of a figure -> as the page shows it; others are read from their files.
    """

    cases: Mapping[str, Any] = field(default_factory=dict)
    charts: list[Chart] = field(default_factory=list)
    pictures: Mapping[str, Picture | None] = field(default_factory=dict)


def _cases(frames: Frames, failures: Failures) -> Mapping[str, Any]:
    with failures.noting("section cases of the page"):
        return render_cases(frames)
    return {}


def _charts(frames: Frames, failures: Failures) -> list[Chart]:
    return [chart for make, name in _makers(frames) for chart in failures.making(name, frames, make) or []]


#: Name of a part -> what makes it.
PARTS: dict[str, Callable[[Frames, Failures], Any]] = {"cases": _cases, "charts": _charts}


def prepare(frames: Frames, failures: Failures) -> Prepared:
    """Makes all parts; one that fails is empty."""
    return Prepared(**{name: make(frames, failures) for name, make in PARTS.items()})


Make = Callable[[Frames], list[Chart]]


def _makers(frames: Frames) -> Iterator[tuple[Make, str]]:
    """Yields what makes the charts of each backbone, and its name."""
    backbones = list(dict.fromkeys(frames.cells["backbone"]))
    for backbone in backbones:
        several = len(backbones) > 1
        for make in _OF_BACKBONE:
            name = f"chart {make.__name__}{f' of {backbone}' if several else ''}"
            yield partial(_made, make, backbone if several else ""), name


def _made(make: Callable[[Frames, str], Iterator[Chart]], backbone: str, frames: Frames) -> list[Chart]:
    return list(make(only_backbone(frames, backbone) if backbone else frames, backbone))
