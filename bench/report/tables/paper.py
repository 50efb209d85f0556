"""Tables in the arrangement of the paper (arXiv:2505.17748), with reported values next to ours where they are known.

All tables but that of the curves are views of the main tables, so that no number is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bench.report.frames.compared import RULE_WORDS, row_order, topk_variants
from bench.report.frames.curves import Curve, compared_means, hit_share
from bench.report.frames.load import Frames
from bench.report.tables.captions import MEANS, OVERALL, weights_notes
from bench.report.tables.main import all_tables
from bench.report.tables.reported import KINDS, Kind, Reported, joined, reported_values
from bench.report.tables.table import Column, TableData
from bench.specs import parse_spec
from bench.statistics.intervals import Estimate

FOLDER = "paper"
#: k -> column of the top-k precision by the first requested rule.
PRECISIONS = {k: Column(f"precision_at_{k}", True) for k in (1, 5, 10, 20, 30)}
_RATIOS = ("positive_ratio", "negative_ratio")
_METHOD = ["dataset", "backbone", "explainer", "head"]
_REPORTED = ("value", "spread", "source", "doubt")
_SUFFIXES = tuple(f"_{kind}" for kind in KINDS)
_SOURCES: dict[Kind, str] = {
    "reported": "Reported values ({sources}) belong to the paper's own settings; empty where unknown.",
    "draft": "Draft values ({sources}) are outputs of the authors' own code before the paper; never mix them with "
    "reported ones. λ₁ is the weight of their penalty.",
}
_CAPTIONS = {
    "classification": "Classification by backbone and head.",
    "topk_precision": "Top-k localisation precision on diseased images.",
    "activation": "Activation precision and sensitivity of inherent maps on diseased images.",
    "consistency": "Activation consistency of inherent maps: positive ratio r⁺ and negative ratio r⁻.",
    "audc": "Area under the deletion curve on diseased images.",
    "multiclass": "Classification with more than two classes.",
    "multiclass_deletion": "Area under the deletion curve of the true class, by class.",
}
_READINGS = {
    "topk_precision": "Share of the k most activated patches that contain lesion. If a map has fewer than k patches "
    "above 0, those that exist count. {rules}",
    "consistency": "r⁺ is the share of positive cells on diseased images, r⁻ that of negative cells on healthy images, "
    "both for the disease. sd: standard deviation across images, which is the paper's ±.",
    "audc": "An @ separates the metric from its variant: an occlusion operator, or the rule that ranks the patches, "
    "which are then filled with the training mean (zero), as the paper's.",
    "multiclass_deletion": "Every image is explained for its true class. An @ separates the metric from its variant.",
}


def paper_tables(frames: Frames) -> dict[str, TableData]:
    """Returns every table of the paper for which the run has rows, by file name."""
    tables = all_tables(frames)

    def inherent(row: dict[str, Any]) -> bool:
        return _family(frames, row) == "inherent"

    def compared(row: dict[str, Any]) -> bool:
        return _family(frames, row) != "control"

    def multiclass(row: dict[str, Any]) -> bool:
        return row["dataset"] in _multiclass(frames)

    audc = dict.fromkeys(f"audc@{facts.variant}" for facts in frames.record.metrics if facts.name == "audc")
    found = {
        "classification": _view(tables, "classification", lambda row: True, ("accuracy", "auc")),
        "topk_precision": _topk_precision(frames),
        "activation": _view(tables, "localisation", inherent, ("activation_precision", "activation_sensitivity")),
        "consistency": _with_spread(frames, _view(tables, "consistency", inherent, _RATIOS)),
        "audc": _view(tables, "faithfulness", compared, audc),
        "multiclass": _view(tables, "classification", multiclass, ("accuracy", "kappa", "auc")),
        "multiclass_deletion": _view(tables, "per_class", lambda row: compared(row) and multiclass(row), audc),
    }
    found = {name: table for name, table in found.items() if table.rows}
    for name, table in found.items():
        about = _add_reported(frames, table)
        scored = OVERALL if "explainer" not in table.keys else MEANS
        reading = _READINGS.get(name, "").format(rules=_rules(frames))
        table.caption, table.reading = _CAPTIONS[name], f"{reading} {scored}".strip()
        table.notes += [*about, *weights_notes(frames)]
    return {f"{FOLDER}/{name}": table for name, table in found.items()}


def _family(frames: Frames, row: dict[str, Any]) -> str:
    return str(frames.record.explainers[row["explainer"]].family)


def _multiclass(frames: Frames) -> set[str]:
    datasets = frames.record.datasets
    return {name for name, facts in datasets.items() if len(facts.classes) > 2 and not facts.multilabel}


def _view(
    tables: dict[str, TableData], name: str, keep: Callable[[dict[str, Any]], bool], columns: Iterable[str]
) -> TableData:
    """Returns some columns of a main table, with the rows that have a value in them."""
    if name not in tables:
        return TableData("", _METHOD, [])
    whole = tables[name]
    chosen = [column for wanted in columns for column in whole.columns if column.name == wanted]
    view = TableData("", whole.keys, chosen, within=whole.within)
    for row, competes in zip(whole.rows, whole.competes, strict=True):
        if keep(row) and any(column.name in row for column in chosen):
            view.rows.append({key: row[key] for key in [*whole.keys, *(one.name for one in chosen if one.name in row)]})
            view.competes.append(competes)
    return view


def _with_spread(frames: Frames, table: TableData) -> TableData:
    """Adds the standard deviation across images after each mean; values of several seeds are averaged first."""
    for column in list(table.columns):
        spread = Column(f"{column.name}_sd", None)
        table.columns.insert(table.columns.index(column) + 1, spread)
        of_row = {tuple(row[key] for key in _METHOD): row for row in table.rows if column.name in row}
        for batch in frames.source.batches():
            scores = batch.rows([column.name])
            for method, mine in scores.groupby(_METHOD) if len(scores) else ():
                images = mine.groupby("image")["value"].mean().dropna()
                of_row.get(method, {})[spread.name] = Estimate(float(images.std()), np.nan, np.nan, len(images))
            del scores  # before the next ones are read
    return table


def _topk_precision(frames: Frames) -> TableData:
    """Computes the precision at several k from the stored patch hits, with columns of its own for each further rule."""
    order, rows_of = row_order(frames), dict[tuple[str, ...], dict[str, Any]]()
    table = TableData("", _METHOD, [])
    for place, variant in enumerate(topk_variants(frames)):
        means = compared_means(frames, "topk_hits", variant, hit_share, 1.0)
        curves = {key: curve for key, curve in means.items() if frames.record.explainers[key[2]].family != "control"}
        longest = max((len(curve.mean) for curve in curves.values()), default=0)
        columns = {k: Column(_at_k(k, variant if place else ""), True) for k in PRECISIONS if k <= longest}
        table.columns += columns.values()
        for key, curve in curves.items():
            row = rows_of.setdefault(key, dict(zip(_METHOD, key, strict=True)))
            row |= {column.name: _estimate(curve, k) for k, column in columns.items()}
    table.rows = [rows_of[key] for key in sorted(rows_of, key=order)]
    table.competes = [True] * len(table.rows)
    return table


def _at_k(k: int, variant: str) -> str:
    return f"{PRECISIONS[k].name}@{variant}" if variant else PRECISIONS[k].name


def _estimate(curve: Curve, k: int) -> Estimate:
    mean, low, high = (float(values[k - 1]) for values in (curve.mean, curve.low, curve.high))
    return Estimate(mean, low, high, curve.n, curve.undefined)


def _rules(frames: Frames) -> str:
    """Returns a sentence that names the rules by which the run ranks patches for the top-k precision."""
    first, *others = topk_variants(frames)
    words = [f"ranked by: {RULE_WORDS[first]}", *(f"@{variant}: {RULE_WORDS[variant]}" for variant in others)]
    return f"Patches are {'; '.join(words)}."


def _add_reported(frames: Frames, table: TableData) -> list[str]:
    """Adds columns of reported and of draft values after each metric that has any; returns notes about them."""
    notes: list[str] = []
    for kind in reversed(KINDS):  # each is put right behind its metric, so the last one comes first
        found: dict[str, Reported] = {}
        for column in [one for one in table.columns if not one.name.endswith(_SUFFIXES)]:
            added = Column(f"{column.name}_{kind}", None, _REPORTED)
            for row in table.rows:
                if value := _reported(frames, row, column.name, kind):
                    row[added.name] = value
                    found[f"{row['dataset']}, {row['backbone']}, {row['head']}, {column.name}"] = value
            if any(added.name in row for row in table.rows):
                table.columns.insert(table.columns.index(column) + 1, added)
        if found:
            sources = "; ".join(sorted({value.source for value in found.values()}))
            doubts = [f"? {where}: {value.doubt}." for where, value in found.items() if value.doubt]
            notes = [_SOURCES[kind].format(sources=sources), *doubts, *notes]
    return notes or ["No reported value is known for these rows."]


def _reported(frames: Frames, row: dict[str, Any], metric: str, kind: Kind) -> Reported | None:
    """Looks a value up by registered names; of a head that names its λ₁, the value at this weight."""
    if "class" in row:
        return None
    record = frames.record
    source = record.datasets[row["dataset"]].base
    head = record.heads[row["head"]].base
    of_head = "explainer" not in row or _family(frames, row) == "inherent"
    values = reported_values().get((kind, source, row["backbone"], head if of_head else row["explainer"], metric), [])
    weight = parse_spec(row["head"]).parameters.get("l1") if of_head else None
    if weight is not None:
        values = [one for one in values if not one.l1 or float(one.l1) == float(weight)]
    return joined(values) if values else None
