"""Sanity and robustness: what the probes found, and how maps of several seeds or backbones agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.metrics.similarity import rank_correlation, top_overlap
from bench.report.figures.curve_figures import distinct_looks
from bench.report.figures.looks import Method, averaging_note, methods_in, of_family
from bench.report.figures.style import GREY, LIGHT, MUTED, Drawing, Look, legend_below, panels
from bench.report.frames.compared import main_rows, row_order
from bench.report.frames.load import CELL, Frames
from bench.report.gaps import Missing, without_studies
from bench.report.tables.table import Column, TableData
from bench.statistics.intervals import Estimate, estimate_means

#: Above it more than half of the variance of the ranks is still there when no learned weight is left.
FAILS = 0.5**0.5
TOP = 0.1
_CHECK = "randomisation"
_KEYS = ["dataset", "backbone", "explainer", "head", _CHECK]
_HEAD, _ALL = "correlation, head fresh", "correlation, all fresh"
_CORRELATION, _OVERLAP = "{}s: correlation", "{}s: IoU of top"
_COLUMNS = (
    Column(_HEAD, None),  # features alone may tell a map, and the head nothing
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
    """``sanity``: one row an explainer on a head; nothing where no probe has run."""
    values = sanity_values(frames)
    return {"sanity": _table(frames, values)} if len(values) else {}


def _table(frames: Frames, values: pd.DataFrame) -> TableData:
    table = TableData(_caption(frames, values), _KEYS, [])
    place = row_order(frames)
    names = _KEYS[:-1]
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for (*key, name), estimate in estimate_means(values, [*names, "column"]).items():
        found.setdefault(tuple(key), dict(zip(names, key, strict=True)))[name] = estimate
    for method in sorted(found, key=place):
        row = found[method]
        last = row[_ALL].mean if _ALL in row else np.nan
        table.rows.append(row | {_CHECK: "–" if np.isnan(last) else "fails" if last > FAILS else "passes"})
        table.competes.append(False)  # a check is passed or failed; the lowest correlation is that of noise
    table.columns = [column for column in _COLUMNS if any(column.name in row for row in table.rows)]
    table.notes = _failing(table)
    return table


def sanity_values(frames: Frames) -> pd.DataFrame:
    """Long rows of every check: the columns of a cell, explainer, image, group, column of the table and value."""
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
    """Each map with that of the same image and class from every other seed, or backbone: correlation and overlap.

    Args:
        rows: of the probe ``agreement``.
        over: "seed" or "backbone", in which two rows of a pair differ while they share all else.
    """
    shared = [*(name for name in CELL if name != over), "explainer", "image", "target"]
    pairs = rows.merge(rows[[*shared, over, "map"]], on=shared, suffixes=("", "_other"))
    pairs = pairs[pairs[over] != pairs[f"{over}_other"]]
    if not len(pairs):
        return pairs.assign(correlation=[], overlap=[])
    ours, theirs = (np.stack(pairs[name].to_list()).astype(float)[:, None] for name in ("map", "map_other"))
    return pairs.assign(correlation=rank_correlation(ours, theirs), overlap=top_overlap(ours, theirs, TOP))


def _failing(table: TableData) -> list[str]:
    """A line a data set and backbone that names the maps which outlive the weights."""
    failing: dict[tuple[str, str], list[str]] = {}
    for row in table.rows:
        if row[_CHECK] == "fails":
            failing.setdefault((row["dataset"], row["backbone"]), []).append(f"{row['explainer']} on {row['head']}")
    return [
        f"{dataset}, {backbone}: these maps hardly depend on the learned weights: {', '.join(names)}."
        for (dataset, backbone), names in failing.items()
    ]


def _caption(frames: Frames, values: pd.DataFrame) -> str:
    counts = values.groupby(["dataset", "column"])["image"].nunique()
    images = f"the first {counts.max()} explained images (diseased ones first)"
    return (
        f"Sanity and robustness, on {images}: means [95 % bootstrap interval over groups]. Correlation is Spearman's, "
        "between raw maps of the same image. Fresh: of the intact map with that of the same method after the head's "
        "weights, then all weights, are drawn anew (arXiv:1810.03292; batch norms measured again); a map "
        f"fails where more than {FAILS:.2f} is left in the mean, which is half of the ranks' variance. {_draws(frames)}"
        "To pass is necessary and not enough: noise passes. Complexity rise: relative growth of the "
        "entropy of the map's values under fresh weights (eMPRT, arXiv:2401.06465), about 0 for noise. Random labels: "
        f"with the map of a twin trained on permuted labels{_twins(frames)}. Max sensitivity: largest relative change "
        f"of the map under uniform noise{_noise(frames)} (arXiv:1901.09392). Class sensitivity: 1 − correlation with "
        "the map for the most likely other class; 0 = same map, 2 = reversed, as expected of two classes whose "
        f"evidence is opposite. Seeds, backbones: with the maps of the others on one grid; top: the highest "
        f"{100 * TOP:g} % of the area. Methods with random numbers draw new ones for every map. Nothing is bold: a "
        "check is passed or failed."
    )


def _settings(frames: Frames, study: str) -> dict[str, Any]:
    """Parameters of a probe that has rows; empty where it has none."""
    return frames.record["probes"][study] if study in frames.studies else {}


def _draws(frames: Frames) -> str:
    settings = _settings(frames, "sanity")
    if not settings:
        return ""
    return f"The images share {settings['weight_draws']} sets of fresh weights, which the intervals do not speak of. "


def _noise(frames: Frames) -> str:
    settings = _settings(frames, "sanity")
    if not settings:
        return ""
    return f" of ±{settings['radius']:g} of the pixel range, over {settings['noise_draws']} draws"


def _twins(frames: Frames) -> str:
    if "random_labels" not in frames.studies:
        return ""
    rows = frames.studies["random_labels"]
    epochs = "/".join(str(count) for count in sorted(rows["epochs"].unique()))
    low, high = rows["train_accuracy"].min(), rows["train_accuracy"].max()
    return f" ({epochs} epochs; accuracy on its own labels {low:.2f} to {high:.2f})"


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
    """Rank correlation with the intact map, stage by stage, a panel a data set."""
    if "sanity" not in frames.studies:
        return
    rows = frames.studies["sanity"]
    rows = main_rows(replace(frames, scores=rows[rows["check"] == "cascade"]))
    methods = methods_in(frames, rows)
    cascades = _cascades(rows, methods)
    looks = _looks(cascades, methods)
    stages = list(rows.sort_values("stage")["fresh"].unique())
    figure, axes = panels(len(cascades), 2.1, "fresh weights", "rank correlation with intact map")
    for axis, (dataset, lines) in zip(axes, cascades.items(), strict=True):
        _panel(axis, lines, looks, stages)
        count = max(value.n for line in lines.values() for value in line.values())
        axis.set_title(f"{dataset} (n = {count})")
    axes[0].set_ylim(-1.05, 1.05)
    _legend(figure, methods, looks)
    caption = (
        "Cascading randomisation (arXiv:1810.03292): Spearman correlation of each map with the intact one while "
        "weights are drawn anew, first the head's, then the features' from the top down; mean over images. Low is "
        f"necessary and not enough: noise has 0. Thin line: {FAILS:.2f}, half of the ranks' variance. Coloured: the "
        f"post-hoc methods that keep most; grey: the others. {averaging_note(frames, methods)}"
    )
    yield Drawing("randomisation", figure, caption.strip())


def _cascades(rows: pd.DataFrame, methods: list[Method]) -> Cascades:
    """Data set -> method -> name of the stage -> mean over images."""
    found: Cascades = {}
    by_name = {(method.explainer, method.head): method for method in methods}
    names = ["dataset", "explainer", "head", "fresh"]
    estimates = estimate_means(rows, names)
    for key in rows[names].drop_duplicates().itertuples(index=False, name=None):
        dataset, explainer, head, fresh = key
        found.setdefault(dataset, {}).setdefault(by_name[explainer, head], {})[fresh] = estimates[key]
    return found


def _looks(cascades: Cascades, methods: list[Method]) -> dict[Method, Look]:
    """Looks of the post-hoc methods whose maps stay most alike, in the mean over data sets."""

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
