"""Shortcut test: whether the models use a planted tag, and which maps show it.

The tables and the figure are derived from the rows of two studies, of the models and of the maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from bench.report.figures.panels import draw_masses
from bench.report.figures.style import BLACK, STRONG, Drawing
from bench.report.frames.compared import row_order
from bench.report.frames.load import Frames
from bench.report.gaps import Missing
from bench.report.tables.table import Column, TableData
from bench.specs import STUDIES, parse_spec
from bench.statistics.agreement import spearman
from bench.statistics.bootstrap.resampling import image_replicates
from bench.statistics.classification import auc
from bench.statistics.comparison import mean_differences
from bench.statistics.intervals import Estimate, Floats, estimate_mean, limits_of_one
from bench.store.folders import file_name

#: Least loss of the target's probability on removing the tag that counts as use of it.
USE = 0.1
YES, NO, UNDECIDED = "yes", "no", "undecided"
DETECTS, MISSES, FALSE_ALARM, SILENT = "detects", "misses", "false alarm", "silent"
_OF_EFFECT, _OF_MAPS = STUDIES
_PAIR = ["seed", "image"]
_CELL, _METHOD = ["dataset", "backbone", "head"], ["dataset", "backbone", "explainer", "head"]
_DROPS = ("probability_drop", "logit_drop")
_ROUNDING = 1e-5  # shares that agree to this are the same: models differ in how their images are normalised
_ACCURACIES = ("accuracy_with_tag", "accuracy_without_tag", "accuracy_tag_agrees", "accuracy_tag_conflicts")
_CAPTION = "Share of each map's positive mass on the planted tag."
_DEFINITION = (
    f"A model uses the tag if removing it from the same scene takes at least {USE} of the target's probability on "
    'average (the 95 % interval lies above; "no": below; otherwise "undecided").'
)
_SOURCE = "After DeGrave et al. 2021, doi:10.1038/s42256-021-00338-7, and Adebayo et al. 2022, arXiv:2212.04629."
_USE_READING = (
    "Scenes are rendered with and without the tag. Columns: accuracy on either version, on the version whose tag "
    "agrees with the label as in training (diseased with, healthy without) and on the other; what the target loses "
    f"when the tag is removed; share of predictions that change. {_DEFINITION} Entries are means with 95 % bootstrap "
    f"intervals over groups. {_SOURCE}"
)
_MAPS_READING = (
    "Maps explain the disease. Tag and lesion mass: share of the positive mass there; lift: tag mass over the tag's "
    "share of the area. Above reference: tag mass minus that of the same method on the model trained without the "
    "shortcut, on the same scene, or minus the area if the run has no such model. Verdict: if the model uses the "
    'tag, "detects" (the interval lies above 0) or "misses"; if it does not, "false alarm" or "silent". Rank '
    'correlation: over scenes, of tag mass with the loss of logit when the tag is removed. AUROC: of "the tag is '
    f'used here" by tag mass, over the scenes of both models. {_DEFINITION} Entries are means with 95 % bootstrap '
    "intervals over groups; intervals of differences are widened for few groups and for seeds, as in verdicts, and "
    f"not adjusted for the number of rows. {_SOURCE}"
)


def shortcut_tables(frames: Frames) -> dict[str, TableData]:
    """Returns use by the models and mass on the maps, by file name, if the studies ran."""
    tables = {"shortcut": shortcut_table(frames), "shortcut_use": use_table(frames)}
    return {name: table for name, table in tables.items() if table.rows}


def missing_shortcut(frames: Frames) -> Iterator[Missing]:
    """Yields the data sets with a planted shortcut that the studies did not test."""
    tested = frames.studies.get(_OF_MAPS, pd.DataFrame({"dataset": []}))["dataset"].unique()
    for name in planted(frames):
        if name not in tested:
            yield Missing(f"shortcut and shortcut_use on {name}", studies=STUDIES)


def planted(frames: Frames) -> list[str]:
    """Returns the data sets with a planted shortcut."""
    return [name for name in frames.record.datasets if "shortcut" in parse_spec(name).parameters]


def reference(frames: Frames, dataset: str) -> str:
    """Returns the same data set without the shortcut; empty if the run does not have it."""

    def apart(name: str) -> tuple[str, dict[str, Any]]:
        spec = parse_spec(name)
        return spec.base, {key: value for key, value in spec.parameters.items() if key != "shortcut"}

    if "shortcut" not in parse_spec(dataset).parameters:
        return ""
    others = [name for name in frames.record.datasets if "shortcut" not in parse_spec(name).parameters]
    return next((name for name in others if apart(name) == apart(dataset)), "")


def use_table(frames: Frames) -> TableData:
    """Computes the accuracy with and without the tag, and the effect of the tag on the prediction."""
    rows = frames.studies.get(_OF_EFFECT, pd.DataFrame())
    count = rows["image"].nunique() if len(rows) else 0
    caption = "Use of the planted tag by the models."
    columns = [*(Column(name, True) for name in _ACCURACIES), *_plain(*_DROPS, "flips")]
    notes = [f"{count} test scenes, half of them diseased."]
    table = TableData(caption, [*_CELL, "uses the tag"], columns, notes=notes, reading=_USE_READING)
    for key, part in rows.groupby(_CELL, sort=False) if len(rows) else ():
        scored = _with_accuracies(part, frames.record.datasets[str(key[0])].healthy)
        found = {column.name: _mean(scored, column.name) for column in columns}
        found |= {name: mean_difference(scored, name) for name in _DROPS}
        table.rows.append(dict(zip(_CELL, key, strict=True)) | found | {"uses the tag": uses(part)})
        table.competes.append(False)
    return table


def _plain(*names: str) -> list[Column]:
    return [Column(name, None) for name in names]


def _mean(rows: pd.DataFrame, column: str) -> Estimate:
    return estimate_mean(rows[column], rows["image"], rows["group"])


def mean_difference(rows: pd.DataFrame, column: str) -> Estimate:
    """Averages paired differences of images; rows by image and seed."""
    wide = rows.pivot(index="seed", columns="image", values=column)
    groups = rows.groupby("image")["group"].first().reindex(wide.columns)
    values = wide.to_numpy(dtype=float)[..., None]
    one = mean_differences(values, groups.to_numpy(dtype=object)).iloc[0]
    return Estimate(one["difference"], one["low"], one["high"], int(one["n"]), int(one["undefined"]))


def _with_accuracies(rows: pd.DataFrame, healthy: int | None) -> pd.DataFrame:
    """Adds 1 or 0 for a right prediction of each version, and for a prediction that the tag changes."""
    with_tag, without = (rows[f"predicted_{version}"] == rows["label"] for version in ("with", "without"))
    diseased = rows["label"] != healthy
    right = (with_tag, without, with_tag.where(diseased, without), without.where(diseased, with_tag))
    changed = rows["predicted_with"] != rows["predicted_without"]
    return rows.assign(flips=changed * 1.0, **{name: hit * 1.0 for name, hit in zip(_ACCURACIES, right, strict=True)})


def uses(rows: pd.DataFrame) -> str:
    """Returns "yes", "no" or "undecided": use of the tag by the model of these rows."""
    drop = mean_difference(rows, "probability_drop")
    return YES if drop.low > USE else NO if drop.high < USE else UNDECIDED


def shortcut_table(frames: Frames) -> TableData:
    """Computes one row per map: its mass on the tag, the agreement of this with the tag's effect, and a verdict."""
    columns = _plain("tag_mass", "tag_lift", "lesion_mass", "above_reference", "rank_correlation", "auroc")
    table = TableData(_CAPTION, [*_METHOD, "uses the tag", "verdict"], columns, reading=_MAPS_READING)
    rows = frames.studies.get(_OF_MAPS, pd.DataFrame())
    if not len(rows):
        return table
    parts = {tuple(map(str, key)): part for key, part in rows.groupby(_METHOD, sort=False)}
    for key in sorted(parts, key=row_order(frames)):
        other = parts.get((reference(frames, key[0]), *key[1:]))
        values, model = measure(parts[key], other), _of_model(frames, key, parts[key])
        found = verdict(model, values["above_reference"])
        table.rows.append(dict(zip(_METHOD, key, strict=True)) | values | {"uses the tag": model, "verdict": found})
        table.competes.append(False)
    scenes = f"{rows['image'].nunique()} test scenes with a tag, half of them diseased."
    table.notes = [scenes, *_sentences(frames, table)]
    return table


def _over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Averages over seeds: one row per image."""
    kinds = dict.fromkeys(rows.select_dtypes("number").columns.drop("seed"), "mean")
    return rows.groupby("image", as_index=False).agg({**kinds, "group": "first"})


def _of_model(frames: Frames, key: tuple[Any, ...], rows: pd.DataFrame) -> str:
    """Returns the use of the tag by a model: on the scenes of its own study, otherwise on these."""
    effects = frames.studies.get(_OF_EFFECT, pd.DataFrame(columns=_CELL))
    dataset, backbone, _, head = key
    own = effects[(effects[_CELL] == [dataset, backbone, head]).all(axis=1)]
    return uses(own if len(own) else rows)


def measure(rows: pd.DataFrame, other: pd.DataFrame | None) -> dict[str, Estimate]:
    """Measures the maps of one method.

    Args:
        rows: by image and seed.
        other: the same of the model trained without the shortcut, if there is one.

    Returns:
        tag_mass, tag_lift (mass over area), lesion_mass; above_reference: tag mass minus that of ``other`` on the same
        image by the same seed, or minus the tag's area without it; rank_correlation: Spearman's over images between tag
        mass and the target's loss of logit; auroc: of "the tag is used on this image" by the tag mass, over the images
        of both. Seeds are averaged before the last two.
    """
    if other is None:
        above = rows["tag_mass"] - rows["tag_area"]
    else:
        theirs = rows[_PAIR].merge(other[[*_PAIR, "tag_mass"]], on=_PAIR, how="left")["tag_mass"]
        above = rows["tag_mass"] - theirs.to_numpy()
        above = above.mask(above.abs() <= _ROUNDING, 0.0)
    images = _over_seeds(rows)
    together = images if other is None else pd.concat([images, _over_seeds(other)], ignore_index=True)
    return {
        "tag_mass": _mean(rows, "tag_mass"),
        "tag_lift": _mean(rows.assign(tag_lift=rows["tag_mass"] / rows["tag_area"]), "tag_lift"),
        "lesion_mass": _mean(rows, "lesion_mass"),
        "above_reference": mean_difference(rows.assign(above=above), "above"),
        "rank_correlation": rank_correlation(images.dropna(subset="tag_mass")),
        "auroc": use_auroc(together.dropna(subset="tag_mass")),
    }


def rank_correlation(rows: pd.DataFrame) -> Estimate:
    """Computes Spearman's correlation between tag mass and loss of logit; nan where either is constant."""
    mass, drop = (rows[name].to_numpy(dtype=float)[None] for name in ("tag_mass", "logit_drop"))
    return _bootstrapped(rows, lambda weights: spearman(mass, drop, weights), (-1, 1))


def use_auroc(rows: pd.DataFrame) -> Estimate:
    """Computes the area under the ROC curve of "the tag is used on this image" by tag mass; nan for one class."""
    scores, used = rows["tag_mass"].to_numpy(), np.where(rows["probability_drop"] >= USE, 1, 0)
    return _bootstrapped(rows, lambda weights: auc(np.stack([-scores, scores], axis=1), used, weights), (0, 1))


def _bootstrapped(rows: pd.DataFrame, compute: Callable[[Floats], Floats], within: tuple[float, float]) -> Estimate:
    """Computes ``compute(weights (B,N)) -> (B,)`` on the images as they are, with an interval over groups."""
    if len(rows) < 2:
        return Estimate(np.nan, np.nan, np.nan, len(rows))
    value = float(compute(np.ones((1, len(rows))))[0])
    samples = np.concatenate([compute(block) for block in image_replicates(rows["group"])])
    return Estimate(value, *limits_of_one(value, samples, rows["group"], within), rows["image"].nunique())


def verdict(model: str, above: Estimate) -> str:
    """Compares the map with the truth about the model: more mass on the tag than the reference says "used"."""
    if model == UNDECIDED or not np.isfinite(above.low):
        return UNDECIDED
    if model == YES:
        return DETECTS if above.low > 0 else MISSES
    return FALSE_ALARM if above.low > 0 else SILENT


def _sentences(frames: Frames, table: TableData) -> list[str]:
    """Returns a line per model that uses the tag, with the explainers that show it; controls do not count."""
    found = []
    methods = {name for name, facts in frames.record.explainers.items() if facts.family != "control"}
    users = [row for row in table.rows if row["uses the tag"] == YES and row["explainer"] in methods]
    for cell in dict.fromkeys(tuple(row[key] for key in _CELL) for row in users):
        own = [row for row in users if tuple(row[key] for key in _CELL) == cell]
        showing = [row["explainer"] for row in own if row["verdict"] == DETECTS]
        names = f": {', '.join(showing)}" if showing else ""
        found.append(f"{' · '.join(cell)} uses the tag; {len(showing)} of {len(own)} explainers show it{names}.")
    return found


_COLORS = {DETECTS: STRONG[2], MISSES: STRONG[0], FALSE_ALARM: STRONG[3], SILENT: STRONG[1], UNDECIDED: BLACK}


def shortcut_forest(frames: Frames) -> Iterator[Drawing]:
    """Draws one figure per data set with a shortcut: a panel per head, a line per explainer."""
    table = shortcut_table(frames)
    for dataset in planted(frames):
        rows = [row for row in table.rows if row["dataset"] == dataset]
        if rows:
            plain = reference(frames, dataset)
            heads = [head for head in frames.record.heads if head in {row["head"] for row in rows}]
            others = {(row["head"], row["explainer"]): row for row in table.rows if row["dataset"] == plain}
            caption = f"{dataset}: share of each map's positive mass on the tag."
            reading = (
                "Bars are 95 % bootstrap intervals over groups. Coloured by verdict: the model trained with the "
                "shortcut. Hollow: the model trained without it, on the same scenes. Dotted: the tag's share of the "
                "area. The title of each panel says whether the model uses the tag."
            )
            figure = draw_masses(heads, rows, others, _COLORS)
            yield Drawing(f"shortcut_{file_name(dataset)}", figure, caption, reading)
