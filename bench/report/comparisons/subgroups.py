"""Subgroups: the main comparisons on parts of the images, to see where a head gains or loses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.report.comparisons.choices import against_best
from bench.report.comparisons.verdicts import verdict_frame
from bench.report.frames.image_facts import image_facts
from bench.report.frames.load import Frames
from bench.report.frames.paired import asked, competing, levelled, main_metrics, paired_scores, possible, rows_of, title
from bench.report.frames.stored.scores import Scores
from bench.report.gaps import Missing
from bench.report.tables.table import FrameTable, frame_table
from bench.statistics.bootstrap.names import Names
from bench.statistics.bootstrap.paired import Paired, shares
from bench.statistics.comparison import columns_of_each, difference
from bench.statistics.intervals import FEWEST_GROUPS, Floats
from bench.store.records import MetricFacts

Bools = NDArray[np.bool_]
_THIRDS = ("lowest third", "middle third", "highest third")
_VALUES = ("ours", "theirs", "difference")
_CAPTION = "Subgroups: each head's own maps and the best post-hoc method, on parts of the images."


@lru_cache(maxsize=2)
def strata_frame(frames: Frames) -> pd.DataFrame:
    """Computes one row per subgroup of a comparison of a head with the best post-hoc method on the data set.

    Columns, for the main metric of each family and every metric of healthy images: ``ours``, ``theirs`` and
    ``difference`` with low and high, n images, groups and seeds. If neither direction is better there is no difference,
    and the other method is the one that is best in a metric of the same images.
    """
    healthy = [metric for metric in frames.record.metrics if metric.images == "healthy"]
    metrics = {title(metric): metric for metric in [*main_metrics(frames).values(), *healthy]}
    found: list[dict[str, Any]] = []
    keys = ["dataset", "backbone", "metric"]
    best = _opponents(verdict_frame(frames), metrics)
    for names, comparisons in best.groupby(keys, sort=False) if len(best) else ():
        found += _of_metric(frames, metrics[str(names[-1])], comparisons)
    strata_rows = pd.DataFrame(found)
    return strata_rows[strata_rows["n"] > 0].reset_index(drop=True) if found else strata_rows


def _of_metric(frames: Frames, metric: MetricFacts, comparisons: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yields the rows of a metric on one data set and backbone."""
    paired, about_images, called = _aligned(frames, metric, comparisons)
    dataset, backbone = (str(comparisons[key].iloc[0]) for key in ("dataset", "backbone"))
    facts = image_facts(frames, dataset, backbone, paired.images)
    known = list(strata(about_images, paired, facts))
    divided: dict[tuple[str, str], list[tuple[str, str, Bools]]] = {}

    def parts() -> Iterator[_Part]:
        for row in comparisons.to_dict("records"):
            about = {key: row[key] for key in ("dataset", "backbone", "metric", "method", "against")}
            values, about["floor"] = _values(frames, metric, paired, row)
            limits = possible(metric, about["floor"])
            heads = row["head"], row["their_head"]
            if heads not in divided:
                divided[heads] = [*shared(about_images, both_right(called, heads)), *known]
            for kind, stratum, inside in divided[heads]:
                yield about | {"by": kind, "stratum": stratum}, values, inside, limits

    yield from _means(parts(), paired)


def _values(frames: Frames, metric: MetricFacts, paired: Paired, row: dict[Any, Any]) -> tuple[Floats, str]:
    """Returns ours, theirs and difference (S,N,3) of a comparison, if all are defined, and the state of the floor."""
    methods = [(row["head"], row["explainer"]), (row["their_head"], row["their_explainer"])]
    scores, floor = levelled(frames, metric, paired, methods)
    first, second = np.moveaxis(scores, -1, 0)
    values = np.stack([first, second, difference(first, second)], axis=-1)
    values[~np.isfinite(values).all(axis=-1)] = np.nan
    if metric.higher_is_better is None:
        values[..., -1] = np.nan
    return values, floor


def _aligned(
    frames: Frames, metric: MetricFacts, comparisons: pd.DataFrame
) -> tuple[Paired, pd.DataFrame, dict[str, tuple[Bools, Bools]]]:
    """Returns the scores of the methods in comparisons, label and diseased of their images, and ``called_right``."""
    scores = _needed(frames, metric, comparisons)
    ((_, _, _, paired),) = paired_scores(scores, metric.name, partial(asked, metric))
    label, diseased = np.zeros(len(paired.images), dtype=int), np.zeros(len(paired.images), dtype=bool)
    called: dict[str, tuple[Bools, Bools]] = {}
    for batch in scores.batches():
        if len(rows := rows_of(batch, metric)):
            image = Names.of(rows["image"]).places_in(paired.images)
            label[image], diseased[image] = rows["label"], rows["diseased"]
            for head, found in called_right(rows, paired, image).items():
                before = called.get(head, found)
                called[head] = before[0] | found[0], before[1] | found[1]
        del rows  # before the next ones are read
    return paired, pd.DataFrame({"label": label, "diseased": diseased}, paired.images), called


def _needed(frames: Frames, metric: MetricFacts, comparisons: pd.DataFrame) -> Scores:
    """Returns the scores of the methods in comparisons on one data set and backbone, and of controls."""
    names = {*comparisons["explainer"], *comparisons["their_explainer"]}
    names |= {name for name, facts in frames.record.explainers.items() if facts.family == "control"}
    places = {key: [str(comparisons[key].iloc[0])] for key in ("dataset", "backbone")}
    return competing(frames, metric).where(explainer=names, **places)


def _opponents(verdicts: pd.DataFrame, metrics: dict[str, MetricFacts]) -> pd.DataFrame:
    """Returns rows of ``against_best``; metrics without a direction take those of the first healthy-image metric."""
    best = against_best(verdicts, list(metrics))
    healthy = {name: metric for name, metric in metrics.items() if metric.images == "healthy"}
    undirected = [name for name, metric in healthy.items() if metric.higher_is_better is None]
    if not len(best):
        return best
    copied = best[best["metric"].isin(healthy)].drop_duplicates(["dataset", "backbone", "method"])
    return pd.concat([best, *(copied.assign(metric=name) for name in undirected)], ignore_index=True)


_Part = tuple[dict[str, Any], Floats, Bools, tuple[float, float]]


def _means(parts: Iterable[_Part], paired: Paired) -> Iterator[dict[str, Any]]:
    """Yields the means of subgroups: the names of each, its values (S,N,3), its images (S,N), and possible scores."""
    filled: list[tuple[dict[str, Any], tuple[float, float]]] = []

    def masked() -> Iterator[tuple[Iterator[Floats], Names]]:
        for about, values, inside, limits in parts:
            if inside.any():
                filled.append((about, limits))
                some = np.flatnonzero(inside.any(axis=0))
                yield (
                    (np.where(inside[:, some, None], one[:, some], np.nan) for one in shares(values)),
                    paired.groups[some],
                )

    for rows, (about, (lowest, highest)) in zip(columns_of_each(masked()), filled, strict=True):
        found: dict[str, Any] = {name: int(rows[name][0]) for name in ("n", "groups", "seeds")}
        apart = highest - lowest
        for name, mean, low, high in zip(_VALUES, rows["difference"], rows["low"], rows["high"], strict=True):
            least, most = (-apart, apart) if name == "difference" else (lowest, highest)
            found |= {name: mean, f"{name}_low": np.clip(low, least, most), f"{name}_high": np.clip(high, least, most)}
        yield about | found


def called_right(rows: pd.DataFrame, paired: Paired, image: NDArray[np.integer[Any]]) -> dict[str, tuple[Bools, Bools]]:
    """Returns head -> whether it has scored an image (S,N), and whether it then calls the image by its label.

    Args:
        rows: scores.
        paired: the same, aligned.
        image: place of the image of each row.
    """
    seed = np.searchsorted(paired.seeds, rows["seed"])
    head, right = Names.of(rows["head"]), (rows["predicted"] == rows["label"]).to_numpy()
    shape = (len(head.known), len(paired.seeds), len(paired.images))
    scored, called = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    scored[head.place, seed, image] = True
    called[head.place, seed, image] = right
    return {str(name): (scored[place], called[place]) for place, name in enumerate(head.known)}


def both_right(called: dict[str, tuple[Bools, Bools]], heads: tuple[str, str]) -> Bools:
    """Returns (S,N), True if the classifiers that have scored an image call it by its label."""
    known = [called[head] for head in heads if head in called]
    scored = np.any([one for one, _ in known], axis=0)
    right: Bools = scored & np.all([right | ~there for there, right in known], axis=0)
    return right


def shared(about: pd.DataFrame, right: Bools) -> Iterator[tuple[str, str, Bools]]:
    """Yields the parts (S,N) of diseased and of healthy images, and of those that two classifiers call ``right``."""
    everyone, diseased = np.ones_like(right), about["diseased"].to_numpy(dtype=bool)
    if diseased.any():
        yield "all", "all positives", everyone & diseased
        yield "all", "shared true positives", right & diseased
    if not diseased.all():
        yield "all", "healthy images", everyone & ~diseased
        yield "all", "shared true negatives", right & ~diseased


def strata(about: pd.DataFrame, paired: Paired, facts: pd.DataFrame) -> Iterator[tuple[str, str, Bools]]:
    """Yields the quantity that divides the images, the name of the part, and its images (S,N).

    Args:
        about: label of the images, in the order of ``paired``.
        paired: aligned scores.
        facts: of images, see ``image_facts``.
    """
    everyone = np.ones((len(paired.seeds), len(paired.images)), dtype=bool)
    classes = sorted(about["label"].unique())
    for label in classes if len(classes) > 1 else []:
        yield "class", f"class {label}", everyone & (about["label"] == label).to_numpy()
    for column in [name for name in ("lesion_area", "confidence") if name in facts]:
        for name, inside in thirds(facts[column]):
            yield column.replace("_", " "), name, everyone & inside
    if "lesion_count" in facts:
        for name, inside in counts(facts["lesion_count"]):
            yield "lesion count", name, everyone & inside


def thirds(values: pd.Series) -> Iterator[tuple[str, Bools]]:
    """Yields equally large parts of the images by a quantity, with their range; none if it varies too little."""
    defined = values[values > 0] if values.name == "lesion_area" else values.dropna()
    if defined.nunique() < len(_THIRDS):
        return
    place = pd.qcut(defined.rank(method="first"), len(_THIRDS), labels=False).reindex(values.index)
    for index, name in enumerate(_THIRDS):
        inside = (place == index).to_numpy()
        yield f"{name} ({values[inside].min():.3g}–{values[inside].max():.3g})", inside


def counts(values: pd.Series) -> Iterator[tuple[str, Bools]]:
    """Yields images with one, two, and more lesions; none if all have the same number."""
    parts = {"1": values == 1, "2": values == 2, "3 or more": values > 2}
    filled = {name: part.to_numpy() for name, part in parts.items() if part.any()}
    yield from filled.items() if len(filled) > 1 else ()


def strata_tables(frames: Frames) -> dict[str, FrameTable]:
    """Returns the table ``strata``, if the run has a comparison."""
    rows = strata_frame(frames)
    return {"strata": strata_table(frames, rows)} if len(rows) else {}


def missing_strata(frames: Frames) -> Iterator[Missing]:
    """Yields the subgroups whose facts a run of an earlier version did not store."""
    rows = strata_frame(frames)
    stores = (
        {
            "lesion area": [frames.store.lesions_file(dataset) for dataset in rows["dataset"].unique()],
            "confidence": [fold.explained for cell in frames.cells.itertuples() for fold in frames.cell(cell).folds],
        }
        if len(rows)
        else {}
    )
    absent = [name for name, files in stores.items() if not any(file.exists() for file in files)]
    if absent:
        what = f"subgroups by {' and '.join(absent)}"
        remedy = "Re-run the same command to add them; existing results are reused."
        yield Missing(f"strata: {what}", remedy, below={"strata": what})


def strata_table(frames: Frames, rows: pd.DataFrame) -> FrameTable:
    """Returns every subgroup."""
    reading = (
        "ours: each head's own maps; theirs: the post-hoc method that is best on that data set. Entries are means "
        f"(groups weighted alike) with 95 % intervals, from {FEWEST_GROUPS} groups on. floor: if subtracted, scores "
        "are relative to random maps on the same network. Shared true positives are images that both classifiers "
        "call right. Thirds are equally large; lesion area is a share of the image; confidence is the black box's "
        "probability of the right class. Largest evidence is in the unit of each map, so it has no difference. "
        "Intervals are exploratory: they are not adjusted for the number of subgroups."
    )
    rows = rows.assign(stratum=[named_stratum(frames, row) for row in rows.to_dict("records")])
    keys = ["dataset", "backbone", "metric", "method", "against", "by", "stratum", "floor"]
    table = frame_table(_CAPTION, rows, keys, {name: f"{name}_" for name in _VALUES}, [])
    table.reading = reading
    return table


def named_stratum(frames: Frames, row: dict[Any, Any]) -> str:
    """Returns the name of a subgroup, with classes by their names."""
    facts = frames.record.datasets[row["dataset"]]
    named = row["by"] == "class" and facts.classes
    return facts.label_name(int(row["stratum"].split()[1])) if named else str(row["stratum"])
