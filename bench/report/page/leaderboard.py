"""Leaderboard: every method in every metric, from the same tables that the CSV files hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.report.frames.estimands import base_name
from bench.report.frames.load import Frames
from bench.report.frames.paired import label
from bench.report.page.charts.chart import title_of
from bench.report.page.glossary import defined
from bench.report.page.section import Content, Section
from bench.report.tables.table import Column, TableData, is_number
from bench.report.tables.writers import entry
from bench.statistics.intervals import Estimate
from bench.store.folders import file_name
from bench.store.records import MetricFacts
from bench.text.media import figure_text

_PLACE = ["dataset", "backbone"]
_KEYS = [*_PLACE, "explainer", "head"]
_MODEL = [*_PLACE, "head"]
#: Tables that follow those of the families, and their titles.
_OTHERS = {"macro": "mean over findings", "floor_ceiling": "floor to ceiling [%]", "cost": "cost per map"}
_CLASSIFIER = "classification"
_PREVIEW = 4  # columns that are shown without JavaScript
#: Roles of the controls that stay above the sorted rows.
PINNED = ("floor", "ceiling", "grid ceiling")
Key = tuple[str, ...]


def leaderboard_section(content: Content) -> Section | None:
    """Returns the table of all methods; None without a table of scores."""
    groups = dict(_groups(content))
    rows = _rows(content, groups)
    if not rows:
        return None
    named = list(dict.fromkeys((row["dataset"], row["backbone"]) for row in rows))
    short = {name: figure_text(name) for name in content.frames.record.datasets}
    several = len({backbone for _, backbone in named}) > 1
    places = [
        {"dataset": name, "backbone": backbone, "title": title_of(short[name], backbone if several else "")}
        for name, backbone in named
    ]
    known = defined(content.frames.record.metrics)
    data = {
        "places": places,
        "groups": [
            {"name": name, "title": title, "columns": [_column(column, known) for column in table.columns]}
            for name, (title, table) in groups.items()
        ],
        "rows": rows,
        "leading": next((one.metric for said in content.answer.datasets for one in said.questions), ""),
    }
    view = {"groups": groups, "previews": [_preview(content, groups, rows, place) for place in places]}
    return Section("leaderboard", "Leaderboard", "leaderboard.html", view, ("leaderboard.js",), data)


def _column(column: Column, known: Mapping[str, MetricFacts]) -> dict[str, Any]:
    metric = known.get(base_name(column.name))
    facts = {"name": column.name, "title": column.title, "better": column.better, "ranked": column.ranked}
    return facts | {"about": metric.about if metric else ""}


def _groups(content: Content) -> Iterator[tuple[str, tuple[str, TableData]]]:
    """Yields name, title and table of each family of metrics that the run has, then costs and classifiers."""
    families = {file_name(one.family): one.family for one in content.frames.record.metrics}
    for name, title in {**families, **_OTHERS, _CLASSIFIER: "classifier"}.items():
        table = content.tables.get(name)
        if table is not None and table.columns and table.keys in (_KEYS, _MODEL):
            yield name, (title, table)


def _rows(content: Content, groups: Mapping[str, tuple[str, TableData]]) -> list[dict[str, Any]]:
    """Returns one row per method of the families, in the order of the tables."""
    found: dict[Key, dict[str, Any]] = {}
    further: dict[str, dict[Key, list[Any]]] = {}
    for name, (_, table) in groups.items():
        keys = [tuple(str(row[key]) for key in table.keys) for row in table.rows]
        values = dict(zip(keys, _values(table), strict=True))
        if name in (*_OTHERS, _CLASSIFIER):
            further[name] = values
            continue
        for key, of_method in values.items():
            found.setdefault(key, _about(content.frames, key))["values"][name] = of_method
    for name, values in further.items():
        place = [_KEYS.index(key) for key in groups[name][1].keys]
        for key, row in found.items():
            if (more := values.get(tuple(key[at] for at in place))) is not None:
                row["values"][name] = more
    return list(found.values())


def _about(frames: Frames, key: Key) -> dict[str, Any]:
    dataset, backbone, explainer, head = key
    facts = frames.record.explainers[explainer]
    names = {"dataset": dataset, "backbone": backbone, "explainer": explainer, "head": head}
    kind = {"family": facts.family, "role": facts.role if facts.role in PINNED else ""}
    return names | kind | {"label": label(frames, (head, explainer)), "values": {}}


def _values(table: TableData) -> Iterator[list[Any]]:
    """Yields per row [mean, low, high, n, whether it is the best] of each column; None without a value."""
    best = table.best()
    for at, row in enumerate(table.rows):
        found: list[list[Any] | None] = []
        for column in table.columns:
            value = row.get(column.name)
            if isinstance(value, Estimate) and is_number(value):
                found.append([value.mean, value.low, value.high, value.n, (at, column.name) in best])
            else:
                found.append(None)
        yield found


def _preview(
    content: Content, groups: Mapping[str, tuple[str, TableData]], rows: list[dict[str, Any]], place: dict[str, str]
) -> dict[str, Any]:
    """Returns the table of a data set without JavaScript: the leading metrics, and the first ones otherwise."""
    wanted = {
        one.metric.split("@")[0]
        for said in content.answer.datasets
        if said.dataset == place["dataset"]
        for one in said.questions
    }
    shown = {name: table for name, (_, table) in groups.items() if name not in _OTHERS}
    columns = [(name, at, one) for name, table in shown.items() for at, one in enumerate(table.columns)]
    leading = [column for column in columns if column[2].name.split("@")[0] in wanted]
    chosen = (leading + [column for column in columns if column not in leading])[:_PREVIEW]
    mine = [row for row in rows if all(row[key] == place[key] for key in _PLACE)]
    lines = [
        (row["label"], row["family"], [_text(row["values"].get(name), at) for name, at, _ in chosen]) for row in mine
    ]
    return {"title": place["title"], "columns": [column.title for *_, column in chosen], "lines": lines}


def _text(values: list[Any] | None, at: int) -> str:
    found = values[at] if values else None
    return "–" if found is None else entry(Estimate(*found[:4]))
