"""Figures of the grids, drawn from their tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from bench.report.figures.looks import head_look, look_of
from bench.report.figures.panels import (
    SMALLEST,
    Rows,
    draw_curve,
    draw_groups,
    handle,
    label_rows,
    most,
    panel_columns,
    split_rows,
    strong_look,
    title_of,
)
from bench.report.figures.style import BLACK, GREY, MUTED, Drawing, Look, legend_below, number_marker, power_of_ten
from bench.report.frames.load import Frames
from bench.report.sweeps.domains import cross_domain as cross_domain_table
from bench.report.sweeps.tables import SCORES, VALIDATION_AUC
from bench.report.sweeps.tables import lambda_sweep as lambda_table
from bench.report.sweeps.tables import pooling as pooling_table
from bench.report.sweeps.tables import resolution as resolution_table
from bench.report.tables.notes import masks_note
from bench.report.tables.table import Column, TableData
from bench.statistics.intervals import Estimate
from bench.text.media import figure_text

_LINES = 3  # localisation metrics in one panel
_BARS = "Bands and bars: 95 % bootstrap intervals over groups."
_BEST = "best post-hoc"
_HEADS = 6  # inherent heads in one figure: as many as there are looks


def lambda_sweep(frames: Frames) -> Iterator[Drawing]:
    """Draws classification above localisation against λ, and marks the chosen λ."""
    table = lambda_table(frames)
    parts = split_rows(table, "dataset", "penalty")
    if not parts:
        return
    above, below = list(SCORES), _of_family(frames, table, "localisation")[:_LINES]
    looks = {column.name: strong_look(place) for place, column in enumerate([*above, *below])}
    looks[VALIDATION_AUC.name] = Look(GREY, (0, (3, 1.5)), "x")
    above.append(VALIDATION_AUC)
    groups = {"classification": above} | ({"localisation": below} if below else {})
    figure, stacks = panel_columns(len(parts), len(groups), 1.75)
    for axes, ((dataset, penalty), rows) in zip(stacks, parts.items(), strict=True):
        for axis, columns in zip(axes, groups.values(), strict=True):
            for column in columns:
                _sweep_line(axis, rows, column, looks[column.name])
            _mark_chosen(axis, rows, axis is axes[0])
        axes[0].set_title(f"{figure_text(dataset)} (n = {most(rows, above)} / {most(rows, below)})")
        axes[-1].set_xlabel(f"λ of the {penalty} penalty (0: none)")
    label_rows(stacks, [f"{name} ↑" for name in groups])
    legend_below(
        figure, {name: [handle(looks[one.name], title_of(one)) for one in columns] for name, columns in groups.items()}
    )
    caption = "Penalty weight λ against classification (above) and localisation of the heads' own maps (below)."
    reading = (
        "n: test images / explained diseased images. Dotted: the largest λ whose validation AUC is within 0.01 of that "
        f"without a penalty. Validation AUC: best epoch, mean over seeds. {_BARS}"
    )
    yield Drawing("lambda_sweep", figure, caption, reading)


def resolution(frames: Frames) -> Iterator[Drawing]:
    """Draws classification, localisation and faithfulness against the input side, a line per head."""
    table = resolution_table(frames)
    parts = split_rows(table, "source")
    if not parts:
        return
    maps = [*_of_family(frames, table, "localisation")[:2], *_of_family(frames, table, "faithfulness")[:1]]
    columns = [SCORES[1], *maps]
    heads = {row["head"]: head_look(frames.record, row["head"]) for row in table.rows}
    figure, stacks = panel_columns(len(parts), len(columns), 1.35)
    for axes, ((source,), rows) in zip(stacks, parts.items(), strict=True):
        sides = sorted({row["input side"] for row in rows})
        for axis, column in zip(axes, columns, strict=True):
            for head, look in heads.items():
                mine = [row for row in rows if row["head"] == head and column.name in row]
                if mine:
                    draw_curve(axis, [row["input side"] for row in mine], [row[column.name] for row in mine], look)
            axis.set_xticks(sides, [""] * len(sides))
        axes[0].set_title(f"{figure_text(source)} (n = {most(rows, columns[:1])} / {most(rows, maps)})")
        axes[-1].set_xticks(sides, [_side_label(rows, side) for side in sides])
        axes[-1].set_xlabel("input side [px], evidence grid")
    label_rows(stacks, [title_of(column) for column in columns])
    legend_below(figure, {"head": [handle(look, head) for head, look in heads.items()]})
    caption = "Test AUC and scores of the heads' own maps on the same data set at several input sides."
    reading = (
        f"Below each side is the grid of evidence that it gives. n: test images / explained diseased images. {_BARS}"
    )
    yield Drawing("resolution", figure, caption, reading)


def pooling(frames: Frames) -> Iterator[Drawing]:
    """Draws AUC, exactness, localisation and faithfulness by the pooling of the evidence."""
    table = pooling_table(frames)
    if not table.rows:
        return
    exactness = _of_family(frames, table, "exactness")[:1]
    maps = [*_of_family(frames, table, "localisation")[:2], *_of_family(frames, table, "faithfulness")[:1]]
    columns = [SCORES[1], *exactness, *maps]
    bases = dict.fromkeys(row["base"] for row in table.rows)
    values: dict[str, dict[tuple[str, str], Estimate]] = {title_of(column): {} for column in columns}
    series: dict[str, Look] = {}
    for row in table.rows:
        label = row["dataset"] if len(bases) == 1 else f"{row['dataset']}, {row['base']}"
        series.setdefault(label, strong_look(len(series)))
        for column in columns:
            if column.name in row:
                values[title_of(column)].setdefault((row["pooling"], label), row[column.name])
    figure, axes = draw_groups(values, {row["pooling"]: row["pooling"] for row in table.rows}, series)
    for axis, column in zip(axes, columns, strict=True):
        if column in exactness:
            _whole_decades(axis)
    legend_below(figure, {"data set": [handle(look, label, "none") for label, look in series.items()]})
    caption = f"Scores by the pooling of the evidence into the logit (head: {' and '.join(bases)})."
    reading = (
        "Test AUC, the relative gap between the logit and what the map adds up to (log scale; values below "
        f"{SMALLEST:g} are drawn there), and scores of the heads' own maps. n = {most(table.rows, columns[:1])} test, "
        f"{most(table.rows, maps)} explained diseased images. {_BARS}"
    )
    yield Drawing("pooling", figure, caption, reading)


def cross_domain(frames: Frames) -> Iterator[Drawing]:
    """Draws main metrics with a group of points per data set: heads, the best post-hoc method, controls."""
    table = cross_domain_table(frames)
    if not table.rows:
        return
    datasets = [column.name for column in table.columns]
    inherent = [head for head, facts in frames.record.heads.items() if facts.family == "inherent"]
    titles = {row["metric"]: _with_counts(table, row["metric"]) for row in table.rows}
    values: dict[str, dict[tuple[str, str], Estimate]] = {title: {} for title in titles.values()}
    series: dict[str, Look] = {}
    for row in table.rows:
        label, look = look_of(frames, row["explainer"], row["head"])
        if row["family"] == "post-hoc":
            series.setdefault(_BEST, Look(MUTED[0], marker="p"))
        elif row["head"] not in inherent[_HEADS:]:
            series.setdefault(label, look)
            values[titles[row["metric"]]].update({(name, label): row[name] for name in datasets if name in row})
    best = _best_post_hoc(table, datasets)
    chosen = dict.fromkeys(row["explainer"] for row in best.values())
    numbers = {name: str(place) for place, name in enumerate(chosen, start=1)}
    marks = {}
    for (metric, name), row in best.items():
        values[titles[metric]][name, _BEST] = row[name]
        marks[titles[metric], name, _BEST] = numbers[row["explainer"]]
    facts = frames.record.datasets
    labels = {name: f"{name}\n({facts[name].modality})" for name in datasets}
    figure, _ = draw_groups(values, labels, series, marks)
    methods = [handle(look, label, "none") for label, look in series.items()]
    legend_below(figure, {"method": methods, "best post-hoc, by number": [_numbered(*one) for one in numbers.items()]})
    caption = "Main scores of the heads, the best post-hoc method and the controls on every data set."
    reading = (
        f"n: images of each data set. {_BEST.capitalize()}: the method that is best on the data set, by number, chosen "
        "on these images, which flatters it. "
        f"{f'Shown are the first {_HEADS} inherent heads. ' if len(inherent) > _HEADS else ''}{_BARS} "
        f"{masks_note(frames, datasets)}"
    )
    yield Drawing("cross_domain", figure, caption, reading.strip())


def _numbered(label: str, number: str) -> Line2D:
    """Returns a legend entry with a number as its symbol."""
    size = 2.6 * len(number) + 2
    return Line2D([], [], label=label, marker=number_marker(number), ms=size, mew=0.2, color=BLACK, linestyle="none")


def _best_post_hoc(table: TableData, datasets: list[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Returns metric and data set -> row of the post-hoc method that is best there."""
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row, better in zip(table.rows, table.directions, strict=True):
        for name in [name for name in datasets if name in row and row["family"] == "post-hoc"]:
            known = best.setdefault((row["metric"], name), row)
            if (row[name].mean > known[name].mean) == better and row[name].mean != known[name].mean:
                best[row["metric"], name] = row
    return best


def _with_counts(table: TableData, metric: str) -> str:
    """Returns the title of a panel: the metric and its number of images per data set."""
    rows = [row for row in table.rows if row["metric"] == metric]
    counts = [max(row[one.name].n for row in rows if one.name in row) for one in table.columns if _any(rows, one)]
    least, most = min(counts), max(counts)
    return f"{metric.replace('auc ↑', 'test AUC ↑')}\n(n = {least if least == most else f'{least}–{most}'})"


def _any(rows: Rows, column: Column) -> bool:
    return any(column.name in row for row in rows)


def _of_family(frames: Frames, table: TableData, family: str) -> list[Column]:
    names = {facts.name for facts in frames.record.metrics if facts.family == family}
    return [column for column in table.columns if column.name.split("@")[0] in names]


def _sweep_line(axis: Axes, rows: Rows, column: Column, look: Look) -> None:
    """Draws a line over λ on a log axis; the head without a penalty is apart at the left, with a bar."""
    scored = {float(row["lambda"]): row[column.name] for row in rows if column.name in row}
    weights = [weight for weight in scored if weight > 0]
    if not weights:
        return
    zero = min(weights) / max(3.0, (max(weights) / min(weights)) ** 0.25)
    draw_curve(axis, weights, [scored[weight] for weight in weights], look)
    if 0 in scored:
        axis.plot([zero, zero], [scored[0].low, scored[0].high], color=look.color, linewidth=1, alpha=0.5)
        axis.plot(zero, scored[0].mean, look.marker, color=look.color, markersize=3.5)
    axis.set_xscale("log")
    exponents = range(math.ceil(math.log10(min(weights)) - 1e-9), math.floor(math.log10(max(weights)) + 1e-9) + 1)
    decades = {10.0**exponent: power_of_ten(exponent) for exponent in exponents}
    ticks = {zero: "0"} | (decades or {weight: f"{weight:g}" for weight in (min(weights), max(weights))})
    axis.set_xticks(list(ticks), list(ticks.values()))
    axis.set_xticks(weights, minor=True)
    axis.xaxis.set_minor_formatter(NullFormatter())


def _mark_chosen(axis: Axes, rows: Rows, named: bool) -> None:
    for weight in {float(row["lambda"]) for row in rows if row["chosen"]}:
        axis.axvline(weight, color=BLACK, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=0.5)
        place: dict[str, Any] = {
            "xycoords": ("data", "axes fraction"),
            "rotation": 90,
            "ha": "right",
            "va": "bottom",
            "fontsize": 7,
        }
        axis.annotate(f"chosen: {weight:g}" if named else "", (weight, 0.02), **place)


def _side_label(rows: Rows, side: int) -> str:
    grids = dict.fromkeys(row["evidence grid"] for row in rows if row["input side"] == side)
    return "\n".join([str(side), *(grid for grid in grids if grid != "–")])


def _whole_decades(axis: Axes) -> None:
    """Sets a log axis from one power of ten to another, with few ticks."""
    axis.set_xscale("log")
    low, high = (math.log10(limit) for limit in axis.get_xlim())
    first, last = math.floor(low), math.ceil(high)
    axis.set_xlim(10.0**first, 10.0**last)
    exponents = range(first, last + 1, max(1, (last - first) // 3))
    axis.set_xticks([10.0**exponent for exponent in exponents], list(map(power_of_ten, exponents)))
    axis.xaxis.set_minor_formatter(NullFormatter())
