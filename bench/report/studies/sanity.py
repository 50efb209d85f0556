"""Sanity and robustness: results of the studies sanity, random_labels and agreement in one table and one figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.figures.curve_figures import distinct_looks
from bench.report.figures.looks import Method, averaging_note, methods_in, of_family
from bench.report.figures.style import GREY, LIGHT, MUTED, Drawing, Look, legend_below, panels
from bench.report.frames.compared import only_compared, row_order
from bench.report.frames.load import Frames
from bench.report.frames.stored.reader import CELL
from bench.report.gaps import Missing, without_studies
from bench.report.tables.table import Column, TableData
from bench.statistics.intervals import FEWEST_GROUPS, Estimate, estimate_means
from bench.text.media import figure_text

#: Above it, more than half of the variance of the ranks remains when no learned weight is left.
FAILS = 0.5**0.5
TOP = 0.1
_FEWEST_DRAWS = 2
_CHECK = "randomisation"
_KEYS = ["dataset", "backbone", "explainer", "head", _CHECK]
_HEAD, _ALL = "correlation, head fresh", "correlation, all fresh"
_CORRELATION, _OVERLAP = "{}s: correlation", "{}s: IoU of top"
_COLUMNS = (
    Column(_HEAD, None),  # the features alone may determine a map
    Column(_ALL, False),
    Column("complexity rise", True),
    Column("correlation, random labels", False),
    Column("max sensitivity", False),
    Column("class sensitivity", True),
    *(Column(name.format(over), True) for over in ("seed", "backbone") for name in (_CORRELATION, _OVERLAP)),
)
#: Name of a study -> columns that are missing without it.
_PARTS = {
    "sanity": "randomised weights, noise and classes",
    "random_labels": "the model trained on permuted labels (one more training per cell)",
    "agreement": "agreement between seeds and between backbones",
}


def sanity_tables(frames: Frames) -> dict[str, TableData]:
    """Returns ``sanity``, one row per explainer and head, if one of the studies ran."""
    values = sanity_values(frames)
    return {"sanity": _table(frames, values)} if len(values) else {}


def _table(frames: Frames, values: pd.DataFrame) -> TableData:
    table = TableData(_CAPTION, _KEYS, [], reading=_READING)
    place = row_order(frames)
    names = _KEYS[:-1]
    draws = int(frames.record.studies.get("sanity", {}).get("weight_draws", 1))
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for (*key, name), estimate in estimate_means(values, [*names, "column"]).items():
        found.setdefault(tuple(key), dict(zip(names, key, strict=True)))[name] = estimate
    for method in sorted(found, key=place):
        row = found[method]
        table.rows.append(row | {_CHECK: _judged(row.get(_ALL), draws)})
        table.competes.append(False)  # a check is passed or failed; the lowest correlation is that of noise
    table.columns = [column for column in _COLUMNS if any(column.name in row for row in table.rows)]
    table.notes = [*_facts(frames, values), *_failing(table)]
    return table


def _judged(remaining: Estimate | None, draws: int) -> str:
    """Returns the verdict on a mean correlation under fresh weights; none from few images or a single draw of weights.

    One draw may leave a map alike by chance, and every image shares it.
    """
    if remaining is None or np.isnan(remaining.mean):
        return "–"
    if remaining.n < FEWEST_GROUPS or draws < _FEWEST_DRAWS:
        return "not judged"
    return "fails" if remaining.mean > FAILS else "passes"


def sanity_values(frames: Frames) -> pd.DataFrame:
    """Returns long rows of every check: columns of a cell, explainer, image, group, column of the table and value."""
    found = pd.DataFrame(columns=[*CELL, "explainer", "image", "group", "column", "value"])
    parts = []
    if "sanity" in frames.studies:
        rows = frames.studies["sanity"]
        stages = rows[rows["check"] == "cascade"]
        last = stages["stage"] == stages.groupby([*CELL, "explainer"])["stage"].transform("max")
        parts += [stages[stages["stage"] == 1].assign(column=_HEAD), stages[last].assign(column=_ALL)]
        others = rows[rows["check"] != "cascade"]
        parts.append(others.assign(column=others["check"].str.replace("_", " ")))
    if "random_labels" in frames.studies:
        parts.append(frames.studies["random_labels"].assign(column="correlation, random labels"))
    for over in ("seed", "backbone") if "agreement" in frames.studies else ():
        rows = agreement(frames.studies["agreement"], over)
        for name, column in (("correlation", _CORRELATION), ("overlap", _OVERLAP)):
            parts.append(rows.assign(column=column.format(over), value=rows[name]))
    return pd.concat([found, *(part[found.columns] for part in parts if len(part))], ignore_index=True)


def agreement(rows: pd.DataFrame, over: str) -> pd.DataFrame:
    """Compares each map with that of the same image and class from every other seed or backbone.

    Args:
        rows: of the study ``agreement``.
        over: "seed" or "backbone", the only key in which two rows of a pair differ.
    """
    shared = [*(name for name in CELL if name != over), "explainer", "image", "target"]
    pairs = rows.merge(rows[[*shared, over, "map"]], on=shared, suffixes=("", "_other"))
    pairs = pairs[pairs[over] != pairs[f"{over}_other"]]
    if not len(pairs):
        return pairs.assign(correlation=[], overlap=[])
    from bench.metrics.similarity import rank_correlation, top_overlap  # not at the top: metrics import torch

    ours, theirs = (np.stack(pairs[name].to_list()).astype(float)[:, None] for name in ("map", "map_other"))
    return pairs.assign(correlation=rank_correlation(ours, theirs), overlap=top_overlap(ours, theirs, TOP))


def _failing(table: TableData) -> list[str]:
    """Returns a line per data set and backbone that names the maps that do not depend on the weights."""
    failing: dict[tuple[str, str], list[str]] = {}
    for row in table.rows:
        if row[_CHECK] == "fails":
            failing.setdefault((row["dataset"], row["backbone"]), []).append(f"{row['explainer']} on {row['head']}")
    return [
        f"{dataset}, {backbone}: these maps hardly depend on the learned weights: {', '.join(names)}."
        for (dataset, backbone), names in failing.items()
    ]


_CAPTION = "Sanity and robustness of the maps."
_READING = (
    "Correlations are Spearman's, between raw maps of the same image; entries are means with 95 % bootstrap "
    "intervals over groups. Fresh: correlation of the intact map with that of the same method after the head's "
    "weights, then all weights, are drawn anew (arXiv:1810.03292; batch norms are measured again). A map fails if "
    f"more than {FAILS:.2f} remains on average, which is half of the ranks' variance; no map is "
    f"judged from fewer than {FEWEST_GROUPS} images or "
    f"{_FEWEST_DRAWS} draws of weights. Passing is necessary but not "
    "sufficient: noise passes. Complexity rise: relative growth of the entropy of the map's values under fresh "
    "weights (eMPRT, arXiv:2401.06465), about 0 for noise. Random labels: correlation with the map of a second model "
    "trained on permuted labels. Max sensitivity: largest relative change of the map under uniform noise on the "
    "image (arXiv:1901.09392). Class sensitivity: 1 − correlation with the map for the most likely other class; 0 = "
    "same map, 2 = reversed, as expected of two classes with opposite evidence. Seeds, backbones: correlation with "
    f"the maps of the others on one grid; top: overlap of the highest {100 * TOP:g} % of the area. Methods with "
    "random numbers draw new ones for every map. Nothing is bold, because a check is passed or failed."
)


def _facts(frames: Frames, values: pd.DataFrame) -> list[str]:
    """Returns the facts of this run that the entries depend on, one line per study."""
    counts = values.groupby(["dataset", "column"])["image"].nunique()
    lines = [f"Images: the first {counts.max()} explained images, diseased ones first."]
    if "sanity" in frames.studies:
        settings = frames.record.studies["sanity"]
        lines.append(
            f"Fresh weights: the images share {settings['weight_draws']} sets of them, which the intervals do not "
            f"cover. Noise: ±{settings['radius']:g} of the pixel range, {settings['noise_draws']} draws."
        )
    if "random_labels" in frames.studies:
        rows = frames.studies["random_labels"]
        epochs = "/".join(str(count) for count in sorted(rows["epochs"].unique()))
        low, high = rows["train_accuracy"].min(), rows["train_accuracy"].max()
        lines.append(f"Random labels: {epochs} epochs; accuracy on the permuted labels {low:.2f} to {high:.2f}.")
    return lines


def missing_sanity(frames: Frames) -> list[Missing]:
    """Returns the table as missing if the run asked for none of its studies, otherwise the parts that it lacks."""
    if absent := without_studies(frames, "sanity", *_PARTS):
        return [replace(absent[0], studies=("sanity", "agreement"))]
    found = [
        Missing(f"{what} (sanity)", studies=(name,), below={"sanity": what})
        for name, what in _PARTS.items()
        if name not in frames.studies
    ]
    for over in ("seed", "backbone") if "agreement" in frames.studies else ():
        if frames.cells[over].nunique() < 2:
            what = f"agreement between {over}s"
            remedy = f"It needs a second {over}: name one more under --{over}s; existing results are reused."
            found.append(Missing(f"{what} (sanity)", remedy, below={"sanity": what}))
    return found


Cascades = dict[str, dict[Method, dict[str, Estimate]]]
_BORDER, _OTHER = Look(GREY, width=0.7), Look(LIGHT, width=0.7)


def randomisation(frames: Frames) -> Iterator[Drawing]:
    """Draws the rank correlation with the intact map, stage by stage, a panel per data set."""
    if "sanity" not in frames.studies:
        return
    rows = frames.studies["sanity"]
    rows = only_compared(frames, rows[rows["check"] == "cascade"])
    methods = methods_in(frames, rows)
    cascades = _cascades(rows, methods)
    looks = _looks(cascades, methods)
    stages = list(rows.sort_values("stage")["fresh"].unique())
    figure, axes = panels(len(cascades), 2.1, "fresh weights", "rank correlation with intact map")
    for axis, (dataset, lines) in zip(axes, cascades.items(), strict=True):
        _panel(axis, lines, looks, stages)
        count = max(value.n for line in lines.values() for value in line.values())
        axis.set_title(f"{figure_text(dataset)} (n = {count})")
    axes[0].set_ylim(-1.05, 1.05)
    _legend(figure, methods, looks)
    caption = (
        "Rank correlation of each map with the intact one while weights are drawn anew from the head to the input."
    )
    reading = (
        "Cascading randomisation (arXiv:1810.03292): Spearman's correlation, mean over images. Low is necessary but "
        f"not sufficient: noise has 0. The thin line is the limit {FAILS:.2f}, half of the ranks' variance. "
        f"Coloured: the post-hoc methods that keep most; grey: the others. {averaging_note(frames, methods)}"
    )
    yield Drawing("randomisation", figure, caption, reading.strip())


def _cascades(rows: pd.DataFrame, methods: list[Method]) -> Cascades:
    """Returns data set -> method -> name of the stage -> mean over images."""
    found: Cascades = {}
    by_name = {(method.explainer, method.head): method for method in methods}
    names = ["dataset", "explainer", "head", "fresh"]
    estimates = estimate_means(rows, names)
    for key in rows[names].drop_duplicates().itertuples(index=False, name=None):
        dataset, explainer, head, fresh = key
        found.setdefault(dataset, {}).setdefault(by_name[explainer, head], {})[fresh] = estimates[key]
    return found


def _looks(cascades: Cascades, methods: list[Method]) -> dict[Method, Look]:
    """Returns the looks of the post-hoc methods whose maps change least on average over data sets."""

    def left(method: Method) -> float:
        ends = pd.Series([[*lines[method].values()][-1].mean for lines in cascades.values() if method in lines])
        return float(ends.fillna(-1).mean())

    return distinct_looks(sorted(of_family(methods, "post-hoc"), key=left, reverse=True)[: len(MUTED)])


def _panel(axis: Axes, lines: dict[Method, dict[str, Estimate]], looks: dict[Method, Look], stages: list[str]) -> None:
    axis.axhline(FAILS, **_BORDER.line(), zorder=0.5)
    for method, line in lines.items():
        look, layer = method.look, {"inherent": 4.0, "post-hoc": 3.0, "control": 2.5}[method.family]
        if method.family == "post-hoc":
            look, layer = (looks[method], layer) if method in looks else (_OTHER, 1.0)
        places = [stages.index(fresh) for fresh in line]
        if method.family == "inherent":
            low, high = [value.low for value in line.values()], [value.high for value in line.values()]
            axis.fill_between(places, low, high, color=look.color, alpha=0.13, linewidth=0, zorder=2)
        axis.plot(places, [value.mean for value in line.values()], **look.line(), zorder=layer)
    axis.set_xticks(range(len(stages)), [stage.removeprefix("head ") for stage in stages])


def _legend(figure: Figure, methods: list[Method], looks: dict[Method, Look]) -> None:
    def line(look: Look, label: str) -> Line2D:
        return Line2D([], [], label=label, **look.line())

    post_hoc = [line(look, method.label) for method, look in looks.items()]
    others = len(of_family(methods, "post-hoc")) - len(looks)
    if others > 0:
        post_hoc.append(line(_OTHER, f"{others} other post-hoc"))
    inherent = [line(method.look, method.label) for method in of_family(methods, "inherent")]
    controls = [line(method.look, method.label) for method in of_family(methods, "control")]
    legend_below(figure, {"inherent": inherent, "post-hoc, most alike first": post_hoc, "control": controls})
