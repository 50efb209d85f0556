"""Implementations of one method in several libraries: differences of their maps, and ranks that they would give it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bench.report.frames.load import Frames
from bench.report.frames.paired import title
from bench.report.gaps import Missing, without_studies
from bench.report.tables.table import Column, TableData
from bench.statistics.intervals import Estimate, Floats

PROBE = "implementations"
_DIFFERENCES = {"max_difference": None, "mean_difference": None, "rank_correlation": None}
_CELL = ["dataset", "backbone", "head"]
_SETTING = ["implementation", "target", "upsampling"]
_KEYS = ["dataset", "backbone", "method", *_SETTING]


def implementation_tables(frames: Frames) -> dict[str, TableData]:
    """Returns differences and scores by implementation, and the ranks that they would give the method.

    All maps explain the black box. There are no tables without the study.
    """
    rows = frames.studies.get(PROBE, pd.DataFrame())
    if not len(rows):
        return {}
    directions = {title(one): one.higher_is_better for one in frames.record.metrics}
    metrics = [name for name in rows["measure"].dropna().unique() if name not in _DIFFERENCES]
    means = _means(rows)
    images = rows["image"].nunique()
    scores = TableData(
        "Difference and scores of the implementations of a method.",
        _KEYS,
        [Column(name, None, ("mean", "n")) for name in _DIFFERENCES],
    )
    scores.columns += [Column(name, directions[name], ("mean", "n")) for name in metrics]
    ranks = TableData(
        "Rank that each implementation would give its method.",
        _KEYS,
        [Column(name, None, ("mean", "n")) for name in metrics],
    )
    rivals = _rivals(frames, rows)
    for key, part in means.groupby([*_CELL, "explainer", *_SETTING], sort=False):
        dataset, backbone, head, method, *setting = map(str, key)
        place: dict[str, Any] = dict(zip(_KEYS, (dataset, backbone, method, *setting), strict=True))
        values = {row["measure"]: Estimate(row["mean"], np.nan, np.nan, row["n"]) for row in part.to_dict("records")}
        _add(scores, place | values)
        keys = {name: [(dataset, backbone, head, name, other) for other in _others(frames, method)] for name in values}
        theirs = {name: np.array([rivals.get(one, np.nan) for one in keys[name]]) for name in values}
        _add(ranks, place | dict(_ranks(values, theirs, directions)))
    about = f"Means over {images} diseased images, maps of the black box."
    scores.notes, ranks.notes = [about, *_skipped(rows)], [about, *_spread(ranks)]
    scores.reading, ranks.reading = _SCORES_READING, _RANKS_READING
    return {"implementations": scores, "implementations_ranks": ranks}


def missing_implementations(frames: Frames) -> list[Missing]:
    """Returns the tables as missing if the run did not ask for the study."""
    return without_studies(frames, PROBE, PROBE)


def _add(table: TableData, row: dict[str, Any]) -> None:
    table.rows.append(row)
    table.competes.append(False)


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    """Averages over seeds, then over images, and counts the images with a value, by setting and measure."""
    keys = [*_CELL, "explainer", *_SETTING, "measure"]
    by_image = rows[rows["reason"] == ""].groupby([*keys, "image"], sort=False)["value"].mean()
    return by_image.groupby(keys, sort=False).agg(mean="mean", n="count").reset_index()


def _rivals(frames: Frames, rows: pd.DataFrame) -> dict[Any, float]:
    """Returns data set, backbone, head, metric and explainer -> mean score of the run over the images of the study."""
    scores = frames.rows(list(rows["measure"].dropna().unique()))
    if not len(scores):
        return {}
    scores = scores[scores["image"].isin(rows["image"].unique())]
    return scores.groupby([*_CELL, "metric", "explainer"])["value"].mean().to_dict()


def _others(frames: Frames, method: str) -> list[str]:
    """Returns the post-hoc methods of the run that are not implementations of this one."""
    return [
        name
        for name, facts in frames.record.explainers.items()
        if facts.family == "post-hoc" and method not in (name, facts.variant_of)
    ]


def _ranks(
    values: dict[str, Estimate], theirs: dict[str, Floats], directions: dict[str, bool | None]
) -> Iterator[tuple[str, Estimate]]:
    """Ranks (1 = best) each score of an implementation among the other post-hoc methods on the same images.

    ``n`` is the number of ranked methods, including this one.

    Args:
        values: measure -> score.
        theirs: measure -> scores of the other methods, nan where a method has none.
        directions: measure -> True if higher is better, None if there is no direction.
    """
    for measure, score in values.items():
        better, means = directions.get(measure), theirs[measure][~np.isnan(theirs[measure])]
        if better is not None and np.isfinite(score.mean) and len(means):
            lead = (means - score.mean) * (1 if better else -1)
            rank = 1 + float((lead > 0).sum() + (lead == 0).sum() / 2)
            yield measure, Estimate(rank, np.nan, np.nan, len(means) + 1)


def _skipped(rows: pd.DataFrame) -> Iterator[str]:
    """Yields a line per implementation that could not run."""
    absent = rows.loc[rows["reason"] != "", ["implementation", "reason"]].drop_duplicates()
    for row in absent.itertuples():
        yield f"Not run: {row.implementation} ({row.reason})."


def _spread(ranks: TableData) -> Iterator[str]:
    """Yields the range of ranks of every method."""
    frame = pd.DataFrame(ranks.rows)
    for (dataset, backbone, method), part in frame.groupby(["dataset", "backbone", "method"], sort=False):
        texts = []
        for column in ranks.columns:
            found = [one for one in part.get(column.name, []) if isinstance(one, Estimate)]
            if found:
                places = sorted({one.mean for one in found})
                span = f"{places[0]:g}" if len(places) == 1 else f"{places[0]:g}–{places[-1]:g}"
                texts.append(f"{column.name.replace('_', ' ')} {span} of {found[0].n}")
        if texts:
            yield f"Rank of {method} on {dataset} ({backbone}): {'; '.join(texts)}."


_SETTINGS = (
    "The rows are all installed implementations of a method, explaining the run's target (if it is the contrast), the "
    "logit or the probability, and enlarged as stated (by the library: it enlarges maps itself). The first row of a "
    "method is what the other tables score: our own implementation, of the run's target, bicubic. receptive-field: "
    "each cell is drawn where it looks; all other enlargements draw cells evenly over the image."
)
_SCORES_READING = (
    f"{_SETTINGS} Columns: largest and mean absolute difference from that map, both in [0, 1] (as the library scales, "
    "otherwise cut at zero and scaled per image), Spearman's rank correlation of the pixels, and scores. Rows with the "
    "same numbers are the same map."
)
_RANKS_READING = (
    f"{_SETTINGS} Entries are the rank that a score would give the method among the post-hoc methods of the run (1 is "
    "the best, ties share their rank); n counts the ranked methods. The notes state the range."
)
