"""Counterfactual faithfulness: scores of maps against the true effect of each lesion, and metrics that agree with them.

The scores join the others as the first ones of their family, so that every table of faithfulness begins with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bench.report.figures.looks import Method, averaging_note, methods_in
from bench.report.figures.style import GREY, Drawing, panels
from bench.report.frames.compared import compared_rows
from bench.report.frames.load import Frames
from bench.report.frames.paired import title
from bench.report.frames.stored.reader import CELL
from bench.report.gaps import Missing, has_counterfactuals, without_studies
from bench.report.tables.captions import MEANS
from bench.report.tables.main import metric_table
from bench.report.tables.table import Column, TableData
from bench.statistics.agreement import rank_agreement
from bench.statistics.bootstrap.paired import pair
from bench.statistics.intervals import Estimate, Floats, estimate_mean, estimate_means, mean_over
from bench.statistics.lesion_ranking import effect_share, lesion_rank_correlation
from bench.store.records import MetricFacts
from bench.store.scores import SCORE_COLUMNS
from bench.text.definition import definition
from bench.text.media import figure_text

PROBE = "counterfactual"
FAMILY = "faithfulness"
SCORES: dict[str, Callable[[Floats, Floats], float]] = {
    "counterfactual_tau": lesion_rank_correlation,
    "counterfactual_share": effect_share,
}
# The mass on a lesion is that of the positive part of the map.
_FACTS = [
    MetricFacts(
        name=name,
        family=FAMILY,
        higher_is_better=True,
        value_range=(-1, 1),
        uses_zero=True,
        paper="arXiv:2308.06248",
        about=definition(score),
    )
    for name, score in SCORES.items()
]
_BY_AREA = "share_by_area"
_FEWEST_METHODS = 4
_METHOD = ["dataset", "backbone", "head"]


def with_counterfactual(frames: Frames) -> Frames:
    """Adds the ``SCORES`` of every image and map to the frames; returns the same frames if nothing was measured."""
    rows = frames.studies.get(PROBE, pd.DataFrame())
    if not len(rows) or not len(frames.explained):
        return frames
    source = frames.source.with_derived(lesion_scores(rows, "mass", SCORES))
    record = frames.record
    return replace(frames, source=source, record=record.changed(metrics=[*_FACTS, *record.metrics]))


def counterfactual_rows(frames: Frames) -> pd.DataFrame:
    """Returns the rows that ``with_counterfactual`` added."""
    return frames.source.derived


def lesion_scores(
    rows: pd.DataFrame, weight: str, scores: dict[str, Callable[[Floats, Floats], float]]
) -> pd.DataFrame:
    """Turns one row per lesion into long rows of scores, one per image and map.

    Args:
        rows: of the study.
        weight: the column by which the lesions are ranked.
        scores: name -> function of the weights (L,) and the effects (L,) of an image's lesions.
    """
    values = rows[[weight, "effect"]].to_numpy(dtype=float)
    number = rows.groupby([*CELL, "explainer", "image"], sort=False).ngroup().to_numpy()
    order, known = np.argsort(number, kind="stable"), dict[bytes, list[float]]()
    first = np.flatnonzero(np.diff(number[order], prepend=-1))
    found = []
    for places in np.split(order, first[1:]):
        lesions = values[places].T
        key = lesions.tobytes()
        if key not in known:
            known[key] = [score(*lesions) for score in scores.values()]
        found += known[key]
    about = rows.iloc[np.repeat(order[first], len(scores))].reset_index(drop=True)
    about = about.assign(metric=[*scores] * len(first), variant="", step=-1, value=found)
    return about[[*SCORE_COLUMNS, *CELL, "explainer", "family"]]


def counterfactual_tables(frames: Frames) -> dict[str, TableData]:
    """Returns the scores on every classifier, and the agreement of the other faithfulness metrics with them.

    Args:
        frames: with these scores, see ``with_counterfactual``.
    """
    rows = frames.studies.get(PROBE, pd.DataFrame())
    if not len(rows) or not len(frames.explained):
        return {}
    return {PROBE: _score_table(frames, rows), f"{PROBE}_agreement": agreement_table(frames)}


def missing_counterfactual(frames: Frames) -> list[Missing]:
    """Returns the tables as missing if a data set allows the study and the run did not ask for it."""
    below = {"faithfulness": "the counterfactual columns"}
    return without_studies(frames, PROBE, PROBE, below=below) if has_counterfactuals(frames) else []


def _score_table(frames: Frames, rows: pd.DataFrame) -> TableData:
    record = frames.record.changed(metrics=_FACTS)
    table = metric_table(replace(frames, record=record), FAMILY, frames.source)
    by_area = lesion_scores(rows, "pixels", {_BY_AREA: effect_share})
    found = estimate_means(by_area, table.keys)
    for row in table.rows:
        row[_BY_AREA] = found[tuple(row[key] for key in table.keys)].within(-1, 1)
    table.columns.append(Column(_BY_AREA, None))
    table.caption = "Counterfactual faithfulness: rank agreement of the lesions' mass with the effect of removing them."
    table.reading = (
        "Each lesion is removed from the scene; the effect is what the explained logit loses. tau: Kendall's τ-b "
        "between the positive mass of the map on the lesions and their effects (0 if all masses are equal). share: "
        "area under the cumulative effect of the lesions by falling mass, 0 = random order, 1 = ideal order. share "
        "by area: the same for an order by lesion size, which is what an even map would reach. Scores are undefined "
        f"where all effects are equal. {MEANS}"
    )
    table.notes.append(_images(rows))
    return table


def _images(rows: pd.DataFrame) -> str:
    """Returns a sentence with the number of images and lesions of each data set."""
    counts = rows.drop_duplicates(["dataset", "image", "lesion"]).groupby("dataset", sort=False)["image"]
    texts = [f"{name} {images.nunique()} images, {len(images)} lesions" for name, images in counts]
    return f"Diseased images with at least two visible lesions: {'; '.join(texts)}."


def agreement_table(frames: Frames) -> TableData:
    """Computes Kendall's τ between the rankings of the methods on one classifier by a metric and by a true score."""
    metrics = [one for one in frames.record.metrics if one.family == FAMILY and one.name not in SCORES]
    keys = [*_METHOD, "score"]
    table = TableData("", keys, [Column(title(one), None) for one in metrics])
    truths = {name: dict(_by_method(frames, name)) for name in SCORES}
    others = {title(one): dict(_by_method(frames, one.name, one.variant)) for one in metrics}
    directions = {title(one): bool(one.higher_is_better) for one in metrics}
    for key in dict.fromkeys(map(tuple, frames.explained[_METHOD].to_numpy())):
        for name in SCORES:
            truth = truths[name].get(key)
            found = {one: _tau(truth, rows.get(key), directions[one]) for one, rows in others.items()}
            if any(found.values()):
                table.rows.append(dict(zip(_METHOD, key, strict=True)) | {"score": name} | found)
                table.competes.append(False)
    table.caption = "Agreement of faithfulness metrics with the counterfactual on the ranking of the methods."
    table.reading = (
        "Kendall's τ-b between the methods' means with 95 % bootstrap intervals over groups, both from the better "
        "direction; 1 = same ranking, 0 = no agreement. n is the number of methods, without controls; there must be at "
        f"least {_FEWEST_METHODS}."
    )
    table.notes.append(_images(frames.studies[PROBE]))
    return table


_Aligned = tuple[pd.DataFrame, pd.Series]  # mean over seeds by image and explainer; group by image


def _by_method(frames: Frames, name: str, variant: str = "") -> Iterator[tuple[tuple[str, ...], _Aligned]]:
    """Yields data set, backbone and head, and the scores of their maps without the controls."""
    rows = frames.rows([name])
    rows = rows[(rows["family"] != "control") & (rows["variant"] == variant)] if len(rows) else rows
    for key, part in rows.groupby(_METHOD, sort=False) if len(rows) else ():
        paired = pair(part)
        scores = pd.DataFrame(mean_over(paired.values, axis=0), paired.images, [one for _, one in paired.methods])
        yield tuple(map(str, key)), (scores, pd.Series(paired.groups.to_numpy(), paired.images))


def _tau(truth: _Aligned | None, metric: _Aligned | None, higher_is_better: bool) -> Estimate | None:
    """Computes the agreement over the methods that have both scores; None for too few methods."""
    if truth is None or metric is None:
        return None
    groups = pd.concat([truth[1], metric[1]])
    groups = groups[~groups.index.duplicated()].sort_index()
    tables = [one.dropna(axis=1, how="all") for one, _ in (truth, metric)]
    methods = tables[0].columns.intersection(tables[1].columns)
    if len(methods) < _FEWEST_METHODS:
        return None
    first, second = (one.reindex(groups.index)[methods].to_numpy() for one in tables)
    return replace(rank_agreement(first, second if higher_is_better else -second, groups), n=len(methods))


_SHARE = "counterfactual_share"


def counterfactual(frames: Frames) -> Iterator[Drawing]:
    """Draws the share of the effect that the mass-ranked lesions explain: a line per method, a panel per data set."""
    rows = compared_rows(frames, _SHARE)
    methods = methods_in(frames, rows)[::-1]
    datasets = list(rows["dataset"].unique())
    if not datasets:
        return
    figure, axes = panels(len(datasets), 0.16 * len(methods) + 0.6, "explained effect of the lesions ↑", "")
    for axis, name in zip(axes, datasets, strict=True):
        part = rows[rows["dataset"] == name]
        found = {}
        for place, method in enumerate(methods):
            own = part[(part["explainer"] == method.explainer) & (part["head"] == method.head)]
            found[place] = estimate_mean(own["value"], own["image"], own["group"])
        _panel(axis, methods, found)
        axis.set_title(f"{figure_text(name)} (n = {max(one.n for one in found.values())})")
    caption = "Share of the lesions' effect on the logit that a map explains, for each method."
    reading = (
        "The score is how fast the lesions of an image, by falling mass of the map, add up to the effect on the logit "
        "of removing them one by one: 1 = ideal order, 0 = random order (line). Points are means over images with at "
        f"least two lesions, bars are 95 % bootstrap intervals over groups. {averaging_note(frames, methods)}"
    )
    yield Drawing("counterfactual", figure, caption, reading.strip())


def _panel(axis: Axes, methods: list[Method], found: dict[int, Estimate]) -> None:
    axis.axvline(0, color=GREY, linewidth=0.7)
    for place, one in found.items():
        look = methods[place].look
        axis.plot([one.low, one.high], [place, place], color=look.color, linewidth=1.0)
        axis.plot([one.mean], [place], look.marker, color=look.color, markersize=4)
    axis.set_xlim(-1.05, 1.05)
    axis.set_yticks(range(len(methods)), [method.label for method in methods])
