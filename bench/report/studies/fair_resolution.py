"""Fair resolution: scores of the same maps drawn in two ways, on one grid, and blurred like that grid.

They show how much of a score is due to alignment, resolution or smoothness.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pandas as pd

from bench.report.figures.bump import Charts, bump_chart
from bench.report.figures.style import Drawing
from bench.report.frames.compared import only_compared, row_order
from bench.report.frames.load import Frames
from bench.report.frames.paired import range_of
from bench.report.gaps import Missing, without_studies
from bench.report.tables.rankings import TAU, Ranking, add_agreements, rank
from bench.report.tables.table import Column, TableData
from bench.statistics.intervals import estimate_means

PROBE = "fair_resolution"
TREATMENTS = ("receptive-field", "grid", "common", "blurred")
_KEYS = ["dataset", "backbone", "metric", "explainer", "head", "map grid", "common grid"]
_MEANING = (
    "receptive-field and grid: bicubically upsampled from the map's own grid, the cells of feature maps drawn where "
    "they look, or evenly over the image; other tables show what the config asks for (align). common: averaged over "
    "the cells of the classifier's feature map (the coarsest grid of the compared methods), then upsampled as the "
    "config asks. blurred: under a Gaussian that makes the map as smooth as that grid does (σ = 0.375 √(c² - b²) "
    "pixels for cells of c and b pixels: half the amplitude at the grid's highest frequency). A map that is no finer "
    "than the grid is neither averaged nor blurred."
)


def fair_resolution_tables(frames: Frames) -> dict[str, TableData]:
    """Returns ``fair_resolution`` and ``fair_resolution_agreement``, if the study ran."""
    tables = {PROBE: fair_resolution_table(frames), f"{PROBE}_agreement": agreement_table(frames)}
    return {name: table for name, table in tables.items() if table.rows}


def missing_fair_resolution(frames: Frames) -> list[Missing]:
    """Returns the tables as missing if the run did not ask for the study."""
    return without_studies(frames, PROBE, PROBE)


def fair_resolution_table(frames: Frames) -> TableData:
    """Computes scores and ranks by treatment, one row per metric and method of the main comparison."""
    caption = "Scores and ranks of the same maps drawn in two ways, on a common grid, and blurred to that grid."
    ranked = {treatment: f"rank {treatment}" for treatment in TREATMENTS}
    table = TableData(caption, [*_KEYS, *ranked.values()], [Column(name, None) for name in TREATMENTS], within=3)
    table.reading = (
        f"{_MEANING} Entries are means over the diseased images of the study with 95 % bootstrap intervals over "
        "groups. Arrows point to the better direction; rank 1 is the best of the methods without controls."
    )
    place = row_order(frames)
    for title, dataset, backbone, part, ranking in rankings(frames):
        ranks = {treatment: ranking.ranks(treatment) for treatment in ranking.values}
        scored = estimate_means(part, ["explainer", "head", "treatment"])
        possible = range_of(frames, *part[["metric", "variant"]].iloc[0])
        of_method: dict[Any, pd.DataFrame] = dict(iter(part.groupby(["explainer", "head"])))
        for explainer, head in sorted(of_method, key=lambda one: place((dataset, backbone, *one))):
            mine = of_method[explainer, head]
            grids = [", ".join(dict.fromkeys(mine[name])) for name in ("native_grid", "common_grid")]
            about = dict(zip(_KEYS, (dataset, backbone, title, explainer, head, *grids), strict=True))
            places = {
                name: f"{ranks[treatment][explainer, head]:g}" if (explainer, head) in ranks.get(treatment, {}) else ""
                for treatment, name in ranked.items()
            }
            scores = {
                way: score.within(*possible) for (*method, way), score in scored.items() if method == [explainer, head]
            }
            table.rows.append(about | places | scores)
            table.competes.append(mine["family"].iloc[0] != "control")
            table.directions.append(ranking.higher_is_better)
    return table


def agreement_table(frames: Frames) -> TableData:
    """Computes Kendall's τ between the rankings before and after each treatment."""
    caption = "Agreement of the rankings under any two treatments of the maps."
    keys = ["dataset", "backbone", "metric", "one", "other", "methods"]
    table = TableData(caption, keys, [Column(TAU, None)])
    table.reading = (
        "Kendall's τ-b between the orders of the methods of the main comparison without controls; 1 = the same order. "
        f"Intervals are 95 % bootstrap intervals over groups, and n counts the images of the study. {_MEANING}"
    )
    for title, dataset, backbone, _, ranking in rankings(frames):
        add_agreements(table, {"dataset": dataset, "backbone": backbone, "metric": title}, ranking)
    return table


@lru_cache(maxsize=2)
def rankings(frames: Frames) -> tuple[tuple[str, str, str, pd.DataFrame, Ranking], ...]:
    """Returns title of the metric, data set, backbone, rows and ranking by treatment."""
    return tuple(_rankings(frames))


def _rankings(frames: Frames) -> Iterator[tuple[str, str, str, pd.DataFrame, Ranking]]:
    if PROBE not in frames.studies:
        return
    rows = only_compared(frames, frames.studies[PROBE])
    for (metric, variant), of_metric in rows.groupby(["metric", "variant"], sort=False):
        better = bool(of_metric["higher_is_better"].iloc[0])
        title = Column(f"{metric}@{variant}" if variant else str(metric), better).title
        for (dataset, backbone), part in of_metric.groupby(["dataset", "backbone"], sort=False):
            ranking = rank(part, "treatment", TREATMENTS, better)
            if ranking.values:
                yield title, str(dataset), str(backbone), part, ranking


def fair_resolution_ranks(frames: Frames) -> Iterator[Drawing]:
    """Yields the ranks by treatment of resolution."""
    found: Charts = {}
    for title, dataset, _, _, ranking in rankings(frames):
        found.setdefault(title, {})[dataset] = ranking
    ends = list(found)[:1] + list(found)[1:][-1:]  # the study lists a localisation metric first and AUDC last
    caption = "Rank of every method by alignment and resolution of its map."
    reading = (
        f"Rank 1 is the best; controls are left out. {_MEANING} τ: mean of Kendall's τ over pairs of treatments; n: "
        "the images of the study."
    )
    yield from bump_chart(frames, "fair_resolution", {title: found[title] for title in ends}, caption, reading)
