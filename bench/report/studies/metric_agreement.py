"""Agreement of metrics, and of images, on which method is better.

Metrics that do not agree do not measure the same thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.report.figures.style import WIDTH, Drawing
from bench.report.frames.compared import compared
from bench.report.frames.load import Frames
from bench.report.frames.paired import main_variants, paired_scores, title
from bench.report.tables.table import Column, TableData
from bench.statistics.agreement import krippendorff_alpha, spearman_of_ranks
from bench.statistics.intervals import Estimate, Floats, mean_over

ALPHA = "alpha_over_images"
#: Images of a data set that are ranked at most, drawn by a hash of their names.
MOST_IMAGES = 20_000
_FAMILIES = ("localisation", "faithfulness")
_CAPTION = "Agreement of the images, and of pairs of metrics, on the ranking of the methods."
_READING = (
    "alpha over images: Krippendorff's ordinal α, with the images as raters that rank the methods; 1 = every image "
    "ranks them alike, 0 = agreement by chance (arXiv:1912.01451). The other columns are Spearman's ρ between two "
    "metrics over the methods within an image, from the better direction, averaged over the images that have both "
    "metrics. Methods are those of the main tables without controls; images are diseased, at most "
    f"{MOST_IMAGES:,} of a data set, drawn by their names."
)


def agreement(frames: Frames) -> Iterator[tuple[str, str, dict[str, pd.DataFrame]]]:
    """Yields data set, backbone, and metric -> values (images, methods) from the better direction, mean over seeds.

    Methods are those of the main tables without the controls, which would make any two metrics agree.
    """
    found: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}
    scores = compared(frames).where(family=["inherent", "post-hoc"])
    for one in [one for one in main_variants(frames) if one.family in _FAMILIES and one.higher_is_better is not None]:

        def chosen(rows: pd.DataFrame, variant: str = one.variant) -> pd.DataFrame:
            inside = (rows["diseased"].astype(bool) & (rows["variant"] == variant)).to_numpy()
            return rows if inside.all() else rows[inside]

        for dataset, backbone, _, paired in paired_scores(scores, one.name, chosen):
            drawn = _drawn(paired.images)
            values = np.stack([column[:, drawn] for column in paired.columns.values()], axis=-1)
            means = mean_over(values, axis=0) * (1 if one.higher_is_better else -1)
            methods = pd.MultiIndex.from_tuples([(explainer, head) for head, explainer in paired.methods])
            found.setdefault((dataset, backbone), {})[title(one)] = pd.DataFrame(means, paired.images[drawn], methods)
    for dataset, backbone in frames.explained[["dataset", "backbone"]].drop_duplicates().itertuples(index=False):
        if (dataset, backbone) in found:
            yield dataset, backbone, found[dataset, backbone]


def _drawn(images: pd.Index) -> NDArray[np.intp]:
    """Returns the places of the images that are ranked, the same for every metric: those of all are in memory."""
    if len(images) <= MOST_IMAGES:
        return np.arange(len(images))
    starts = range(0, len(images), MOST_IMAGES)
    parts = [images[start : start + MOST_IMAGES].to_numpy(dtype=object) for start in starts]
    hashes = np.concatenate([pd.util.hash_array(part) for part in parts])
    return np.sort(np.argpartition(hashes, MOST_IMAGES)[:MOST_IMAGES])


def metric_agreement_tables(frames: Frames) -> dict[str, TableData]:
    """Returns the table ``metric_agreement``."""
    return {"metric_agreement": metric_agreement_table(frames)}


def metric_agreement_table(frames: Frames) -> TableData:
    """Returns the table; the caller may add marks and notes to it."""
    return _table(frames).copy()


@lru_cache(maxsize=2)
def _table(frames: Frames) -> TableData:
    """Computes α of every metric over images, and its mean Spearman correlation with every other metric."""
    table = TableData(_CAPTION, ["dataset", "backbone", "metric"], [], reading=_READING)
    names: dict[str, None] = {}
    for dataset, backbone, found in agreement(frames):
        names |= dict.fromkeys(found)
        ranks, scored = _ranks(found)
        both = {
            frozenset((one, other)): _correlation(*(ranks[name][scored[one] & scored[other]] for name in (one, other)))
            for one, other in combinations(found, 2)
        }
        for name in found:
            known = int(np.isfinite(ranks[name]).any(axis=1).sum())
            alpha = Estimate(krippendorff_alpha(ranks[name]), np.nan, np.nan, known)
            others = {other: both[frozenset((name, other))] for other in found if other != name}
            key = {"dataset": dataset, "backbone": backbone, "metric": name}
            table.rows.append(key | {ALPHA: alpha} | others)
            table.competes.append(False)
    table.columns = [Column(ALPHA, True), *(Column(name, None) for name in names)]
    return table


def _ranks(found: dict[str, pd.DataFrame]) -> tuple[dict[str, Floats], dict[str, NDArray[np.bool_]]]:
    """Returns metric -> ranks of all methods within all images (N,M), and metric -> images (N,) that have rows."""
    tables = list(found.values())
    images = tables[0].index.append([one.index for one in tables[1:]]).unique()
    methods = tables[0].columns.append([one.columns for one in tables[1:]]).unique()
    aligned = {name: one.reindex(index=images, columns=methods) for name, one in found.items()}
    scored = {name: images.isin(one.index) for name, one in found.items()}
    return {name: one.rank(axis=1).to_numpy() for name, one in aligned.items()}, scored


def _correlation(first: Floats, second: Floats) -> Estimate:
    """Averages Spearman's ρ of ranks (n,M), over the methods that have both metrics, over the images."""
    values = spearman_of_ranks(first, second)
    count = int(np.isfinite(values).sum())
    mean = float(np.nanmean(values)) if count else np.nan
    return Estimate(mean, np.nan, np.nan, count, len(values) - count)


def metric_agreement(frames: Frames) -> Iterator[Drawing]:
    """Draws a heat map of the correlations, averaged over data sets."""
    import seaborn as sns  # not at the top: the figure is drawn on request, and the import takes a second

    rows = metric_agreement_table(frames).rows
    pairs = [(row["metric"], name, one.mean) for row in rows for name, one in row.items() if isinstance(one, Estimate)]
    long = pd.DataFrame(pairs, columns=["metric", "other", "correlation"])
    names = list(long["metric"].unique())
    if len(names) < 3:
        return
    means = long.groupby(["metric", "other"])["correlation"].mean().unstack().reindex(index=names, columns=names)
    figure = Figure(figsize=(WIDTH, 0.29 * len(names) + 1.6), layout="constrained")
    axis = figure.subplots()
    labels = [name.replace("_", " ") for name in names]
    sns.heatmap(
        means, ax=axis, vmin=-1, vmax=1, cmap="PuOr_r", annot=True, fmt=".2f", xticklabels=labels,
        yticklabels=labels, annot_kws={"size": 7}, cbar_kws={"label": "Spearman's ρ"}, linewidths=0.4,
    )  # fmt: skip
    axis.grid(False)
    axis.set(xlabel="", ylabel="")
    caption = "Spearman's ρ between two metrics over the methods within an image."
    reading = (
        "Both metrics are taken from the better direction. ρ is averaged over diseased images and then over data sets; "
        "the table metric_agreement has each data set."
    )
    yield Drawing("metric_agreement", figure, caption, reading)
