"""Charts of comparisons: wins against post-hoc methods, and differences in subgroups of the images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bench.report.comparisons.choices import leading
from bench.report.comparisons.opponents import CONTROLS
from bench.report.comparisons.subgroups import named_stratum, strata_frame
from bench.report.comparisons.verdict_figures import wins
from bench.report.comparisons.verdicts import verdict_frame
from bench.report.frames.load import Frames
from bench.report.frames.paired import directed, questions_first, title
from bench.report.page.charts.chart import Chart, Panel, by_columns, hover, title_of
from bench.report.page.charts.points import head_entry
from bench.report.tables.writers import number
from bench.text.media import figure_text


def win_charts(frames: Frames) -> Iterator[Chart]:
    """Yields the matrix of wins and losses of each own map against each post-hoc method, one panel per family."""
    verdicts = verdict_frame(frames)
    rows = leading(verdicts) if len(verdicts) else verdicts
    rows = rows[rows["question"] != CONTROLS] if len(rows) else rows
    if not len(rows):
        return
    matrices = {str(family): _matrix(part) for family, part in rows.groupby("family", sort=False)}
    panels = [Panel(family, values) for family, values in matrices.items() if values]
    if not panels:
        return
    yield Chart(
        name="win_matrix",
        title="Wins and losses",
        caption="Data sets on which a head's own maps are better : worse than a post-hoc method.",
        reading="Read a column for one inherent model. Blue: better more often. Red: worse more often. A dot: not "
        "decided on any data set. Point at a field to see each data set. The metric is the first of each family that "
        "has enough images and does not fail on maps of known quality.",
        figures=["win_matrix"],
        table="verdicts",
        spec=_matrix_spec(),
        panels=panels,
    )


def _matrix(rows: pd.DataFrame) -> dict[str, list[Any]]:
    counts = wins(rows)
    said = rows.assign(said=[_said(row) for row in rows.to_dict("records")])
    where = said.groupby(["method", "against"])["said"].agg("; ".join)
    return by_columns(
        {
            "own": row["method"],
            "against": row["against"],
            "balance": (row["better"] - row["worse"]) / row["all"],
            "text": f"{row['better']}:{row['worse']}" if row["better"] + row["worse"] else "·",
            "where": where[row["method"], row["against"]],
        }
        for row in counts.to_dict("records")
        if row["all"]
    )


def _said(row: dict[Any, Any]) -> str:
    return f"{row['dataset']}: {row['verdict']} ({row['metric'].replace('_', ' ')}, {number(row['difference'])})"


def _matrix_spec() -> dict[str, Any]:
    strong = "abs(datum.balance) > 0.6"
    shown = hover({"own": "inherent", "against": "post-hoc", "text": "wins : losses", "where": "data sets"})
    color = {
        "field": "balance",
        "type": "quantitative",
        "legend": None,
        "scale": {"domain": [-1, 1], "domainMid": 0, "range": "diverging", "interpolate": "rgb"},
    }
    labels = {"labelAngle": -90, "orient": "top", "labelLimit": 130, "grid": False}
    return {
        "height": {"step": 20},
        "encoding": {
            "x": {"field": "own", "type": "nominal", "title": None, "sort": None, "axis": labels},
            "y": {"field": "against", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 130}},
            "tooltip": shown,
        },
        "layer": [
            {"mark": {"type": "rect", "strokeWidth": 1}, "encoding": {"color": color}},
            {
                "mark": {"type": "text"},
                "encoding": {"text": {"field": "text"}, "color": {"condition": {"test": strong, "value": "white"}}},
            },
        ],
    }


def strata_charts(frames: Frames) -> Iterator[Chart]:
    """Yields the differences from the best post-hoc method in parts of the images."""
    rows = strata_frame(frames)
    rows = rows[rows["difference"].notna()] if len(rows) else rows
    if not len(rows):
        return
    order = {title(metric): place for place, metric in enumerate(questions_first(directed(frames)))}
    rows = rows.sort_values("metric", key=lambda names: names.map(order).fillna(len(order)), kind="stable")
    several = rows["backbone"].nunique() > 1
    panels = [
        Panel(
            title_of(figure_text(str(dataset)), str(backbone) if several else ""),
            by_columns(_stratum(frames, row) for row in part.to_dict("records")),
            [("x", 0.0, "no difference")],
        )
        for (dataset, backbone), part in rows.groupby(["dataset", "backbone"], sort=False)
    ]
    yield Chart(
        name="strata",
        title="Subgroups",
        caption="Each head's own maps minus the best post-hoc method, on parts of the images.",
        reading="Right of 0, the value of the inherent map is larger (which is worse where lower is better; see the "
        "table). Bars are 95 % intervals, not adjusted for the number of subgroups: they are for exploring.",
        figures=[],
        table="strata",
        spec=_forest_spec(),
        panels=panels,
        legend=[head_entry(frames, str(method)) for method in rows["method"].unique()],
        choice="metric",
    )


def _stratum(frames: Frames, row: dict[Any, Any]) -> dict[str, Any]:
    name = named_stratum(frames, row)
    short = name if row["by"] == "class" else name.split(" (")[0]  # without the range of a third
    values = {key: row[key] for key in ("difference", "difference_low", "difference_high", "ours", "theirs", "n")}
    about = {"method": row["method"], "against": row["against"], "metric": row["metric"], "images": name}
    return about | {"stratum": short if row["by"] == "all" else f"{row['by']}: {short}"} | values


def _forest_spec() -> dict[str, Any]:
    title = "inherent minus best post-hoc"
    shown = hover(
        {"method": "inherent", "against": "best post-hoc", "stratum": "part", "images": "images", "n": "n"},
        {
            "difference": "difference",
            "difference_low": "95 % from",
            "difference_high": "to",
            "ours": "inherent score",
            "theirs": "post-hoc score",
        },
    )
    x = {"field": "difference", "type": "quantitative", "title": title}
    low = {"field": "difference_low", "type": "quantitative", "title": title}
    return {
        "height": {"step": 9, "for": "offset"},
        "encoding": {
            "y": {
                "field": "stratum",
                "type": "nominal",
                "title": None,
                "sort": None,
                "axis": {"labelLimit": 190, "grid": True, "tickBand": "extent"},
            },
            "yOffset": {"field": "method", "sort": None},
        },
        "layer": [
            {"mark": {"type": "rule"}, "encoding": {"x": low, "x2": {"field": "difference_high"}}},
            {"mark": {"type": "point", "filled": True, "size": 40}, "encoding": {"x": x, "tooltip": shown}},
        ],
    }
