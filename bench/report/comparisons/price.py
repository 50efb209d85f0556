"""Price of interpretability: the cost of each inherent head in classification, and the gain of its maps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.report.comparisons.choices import chosen
from bench.report.comparisons.verdicts import verdict_frame
from bench.report.figures.looks import head_look
from bench.report.figures.style import GREY, LIGHT, Drawing, by_backbone, legend_below, panels
from bench.report.frames.classification import POSSIBLE, HeadScores, head_scores, with_limits
from bench.report.frames.load import Frames
from bench.report.frames.paired import main_metrics, title
from bench.report.gaps import Missing
from bench.report.tables.notes import masks_note
from bench.report.tables.table import FrameTable, frame_table
from bench.statistics.classification import CLASSIFICATION_SCORES
from bench.statistics.comparison import non_inferiority
from bench.text.media import figure_text

MARGIN = 0.02
SCORES = ("auc", "accuracy", "kappa", "ece")
GAINS = ("localisation", "faithfulness")  # families whose main metric is compared with the price
_PLACES = [list(CLASSIFICATION_SCORES).index(score) for score in SCORES]


@lru_cache(maxsize=2)
def price_frame(frames: Frames) -> pd.DataFrame:
    """Computes one row per data set, backbone and inherent head.

    Columns: each score of ``SCORES``, head minus black box, with ``<score>_low``, ``<score>_high`` and
    ``<score>_verdict``; n images, groups and seeds; and for the main metric of each family of ``GAINS`` the head's maps
    minus those of the best post-hoc method (``gain_<family>`` with low, high and n), if there are such scores.
    """
    if not len(frames.predictions):
        return pd.DataFrame()
    gains = chosen(frames, verdict_frame(frames))
    found = []
    for (dataset, backbone), stored in frames.predictions.by("dataset", "backbone"):
        heads = list(dict.fromkeys(stored.files["head"]))
        families = {head: frames.record.heads[head].family for head in heads}
        inherent = [head for head in heads if families[head] == "inherent"]
        black_boxes = [head for head in heads if head not in inherent]
        if not inherent or not black_boxes:
            continue
        theirs = head_scores(frames, dataset, backbone, black_boxes[0])
        for head in inherent:
            about = {"dataset": dataset, "backbone": backbone, "head": head, "black_box": black_boxes[0]}
            ours = head_scores(frames, dataset, backbone, head)
            if theirs.of_seed.keys() & ours.of_seed.keys():
                found.append(about | _price(ours, theirs) | _gains(frames, gains, about))
    return pd.DataFrame(found)


def _price(ours: HeadScores, theirs: HeadScores) -> dict[str, Any]:
    """Computes the differences of ``SCORES`` over the seeds that both have, with intervals and verdicts."""
    seeds = [seed for seed in ours.of_seed if seed in theirs.of_seed]
    differences = np.concatenate([ours.of_seed[seed] - theirs.of_seed[seed] for seed in seeds], axis=1)
    mean, *ends = with_limits(differences[..., _PLACES], ours.groups)
    apart = np.diff(POSSIBLE, axis=0)[0, _PLACES]
    low, high = np.clip(ends, -apart, apart)
    price: dict[str, Any] = {"n": ours.images, "groups": ours.groups, "seeds": len(seeds)}
    for score, *values in zip(SCORES, mean, low, high, strict=True):
        price |= dict(zip((score, f"{score}_low", f"{score}_high"), values, strict=True))
        worst, best = values[1:] if CLASSIFICATION_SCORES[score] else (-values[2], -values[1])
        price[f"{score}_verdict"] = non_inferiority(worst, best, MARGIN)
    return price


def _gains(frames: Frames, gains: pd.DataFrame, about: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in GAINS:
        metric = main_metrics(frames).get(family)
        if metric is None or not len(gains):
            continue
        same = [gains[key] == about[key] for key in ("dataset", "backbone", "head")]
        rows = gains[np.logical_and.reduce([*same, gains["metric"] == title(metric)])]
        for row in rows.head(1).to_dict("records"):
            sign = 1 if row["higher_is_better"] else -1
            ends = sorted((sign * row["low"], sign * row["high"]))
            found |= {f"gain_{family}": sign * row["difference"]}
            found |= {f"gain_{family}_low": ends[0], f"gain_{family}_high": ends[1], f"gain_{family}_n": row["n"]}
    return found


def price_tables(frames: Frames) -> dict[str, FrameTable]:
    """Returns the table ``price``, if a head can be compared with its black box."""
    prices = price_frame(frames)
    return {"price": price_table(frames, prices)} if len(prices) else {}


def missing_price(frames: Frames) -> Iterator[Missing]:
    """Yields the table as missing if no head can be compared with its black box."""
    if not len(price_frame(frames)):
        yield Missing("price", "It needs an inherent head and its black box: add them to --heads.")


def price_table(frames: Frames, prices: pd.DataFrame) -> FrameTable:
    """Returns every inherent head against its black box."""
    gains = [f"gain_{family}" for family in GAINS if f"gain_{family}" in prices]
    mains = {f"gain_{family}": title(metric) for family, metric in main_metrics(frames).items()}
    explained = "; ".join(f"{name.replace('_', ' in ')}: {mains[name].replace('_', ' ')}" for name in gains)
    reading = (
        "Entries are means with 95 % intervals of a paired bootstrap over groups, on the same test images. Each "
        f"score has a verdict: non-inferior if the interval excludes a loss of {MARGIN}, inferior if it lies beyond "
        "that loss, and otherwise undecided. Gains compare the head's own maps with the post-hoc method that is best "
        "on that data set, positive if the head is better, as in verdicts."
    )
    verdicts = [_summary(row) for _, row in prices.iterrows()]
    shown = prices.assign(verdict=verdicts)
    table = frame_table(
        "Price of interpretability: classification scores of each head minus those of its black box.",
        shown,
        ["dataset", "backbone", "head", "verdict"],
        {name: f"{name}_" for name in (*SCORES, *gains)},
        [],
    )
    table.frame, table.reading = prices, reading
    table.notes = [f"Gains: {explained}."] if explained else []
    return table


def _summary(row: pd.Series) -> str:
    """Returns the verdicts of a row, such as ``non-inferior: auc, kappa; undecided: accuracy``."""
    words = ("non-inferior", "undecided", "inferior")
    named = {word: [score for score in SCORES if row[f"{score}_verdict"] == word] for word in words}
    return "; ".join(f"{word}: {', '.join(scores)}" for word, scores in named.items() if scores)


def price_pareto(frames: Frames) -> Iterator[Drawing]:
    """Yields one figure per backbone: AUC lost against localisation gained over the best post-hoc method."""
    yield from by_backbone(price_frame(frames), lambda prices: _pareto(frames, prices))


def _pareto(frames: Frames, prices: pd.DataFrame) -> Iterator[Drawing]:
    if "gain_localisation" not in prices:
        return
    rows = prices[np.isfinite(prices["gain_localisation"]) & np.isfinite(prices["auc"])]
    if not len(rows):
        return
    datasets = list(dict.fromkeys(rows["dataset"]))
    metric = title(main_metrics(frames)["localisation"]).replace("_", " ")
    figure, axes = panels(len(datasets), 2.3, "AUC lost against the black box", f"gain in {metric}", same_scale=False)
    for axis, dataset in zip(axes, datasets, strict=True):
        axis.axhline(0, color=GREY, linewidth=0.7, zorder=1)
        axis.axvline(0, color=GREY, linewidth=0.7, zorder=1)
        axis.axvline(MARGIN, color=LIGHT, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        _panel(axis, frames, rows[rows["dataset"] == dataset])
        axis.set_title(figure_text(dataset))
    heads = list(dict.fromkeys(rows["head"]))
    lines = [Line2D([], [], label=head, **_marker(frames, head)) for head in heads]
    margin = Line2D([], [], label=f"margin {MARGIN}", color=LIGHT, linestyle=(0, (4, 2)))
    legend_below(figure, {"": [*lines, margin]})
    caption = f"AUC lost against the black box, and gain in {metric} over the best post-hoc method."
    reading = (
        f"Bars are 95 % intervals. Lost AUC: the black box minus the head, on the same test images. Gain: {metric} "
        "of the head's own maps minus that of the post-hoc method that is best on the data set. Better is towards "
        "the top left; lines join heads that differ only in their parameters, from weak to strong. "
        f"{masks_note(frames, datasets)}"
    )
    yield Drawing("price_pareto", figure, caption, reading.strip())


def _panel(axis: Axes, frames: Frames, rows: pd.DataFrame) -> None:
    places = {}
    for row in rows.to_dict("records"):
        x, y = -row["auc"], row["gain_localisation"]
        bars: dict[str, Any] = {"color": _marker(frames, row["head"])["color"], "linewidth": 0.8, "alpha": 0.6}
        axis.plot([-row["auc_low"], -row["auc_high"]], [y, y], **bars)
        axis.plot([x, x], [row["gain_localisation_low"], row["gain_localisation_high"]], **bars)
        axis.plot(x, y, **_marker(frames, row["head"]), zorder=4)
        places[row["head"]] = (x, y)
    for first, second in _steps(frames, rows):
        axis.annotate(
            "", places[second], places[first], arrowprops={"arrowstyle": "-|>", "color": GREY, "linewidth": 0.8}
        )


def _marker(frames: Frames, head: str) -> dict[str, Any]:
    look = head_look(frames.record, head)
    hollow = {"markerfacecolor": "none", "markeredgewidth": 1.3}  # heads may coincide
    return {"marker": look.marker, "color": look.color, "linestyle": "none", "markersize": 5.5} | hollow


def _steps(frames: Frames, rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Returns neighbouring heads of one registered name, in the order of their numeric parameters."""
    cells = frames.cells[frames.cells["dataset"].isin(rows["dataset"]) & frames.cells["head"].isin(rows["head"])]
    paths: dict[str, dict[str, tuple[float, ...]]] = {}
    for head, record in zip(cells["head"], cells["record"], strict=True):
        if record.parameters is not None:
            numbers = tuple(float(value) for value in record.parameters.values() if isinstance(value, int | float))
            paths.setdefault(record.base, {})[head] = numbers
    return [step for path in paths.values() for step in pairwise(sorted(path, key=lambda head: path[head]))]
