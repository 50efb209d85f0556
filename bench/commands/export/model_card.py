"""Model card of an exported classifier: intended use, data, recipe, scores and how to load it.

Exported weights leave the run folder, so everything that their use requires is written next to them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.config import Config
from bench.contracts import Classifier, EvidenceClassifier
from bench.report.frames.load import Frames
from bench.report.tables.classification import classification_table
from bench.report.tables.main import metric_table
from bench.report.tables.table import TableData
from bench.report.tables.writers import entry
from bench.seeds import generator
from bench.store.code_digest import digest
from bench.store.records import CellKey, CellRecord, RunOrigin
from bench.text.media import markdown


def model_card(frames: Frames, config: Config, about: dict[str, Any], classifier: Classifier, onnx: str) -> str:
    """Renders the model card as Markdown.

    Args:
        frames: data frames of the one cell.
        config: config, resolved for the cell's data set and backbone.
        about: metadata of the weights file.
        classifier: the trained classifier.
        onnx: sentence on the comparison of the ONNX file with PyTorch; empty without ONNX file.
    """
    cell = frames.cells.iloc[0]
    key = CellKey(cell["dataset"], cell["backbone"], cell["head"], int(cell["seed"]))
    head = frames.record.heads[key.head]
    weights = sum(weight.numel() for weight in classifier.parameters())
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["escaped"] = markdown
    return environment.get_template("card.md").render(
        key=key,
        about=about,
        data=frames.record.datasets[key.dataset],
        logits=_logits_clause(classifier, cell["record"].evidence_grid),
        model=_model_facts(frames.record.origin(key), config, about, cell["record"])
        | {"weights": f"{weights:,}", "paper": head.paper},
        classification=_score_list(classification_table(frames), "Test images"),
        explanations=_explanation_scores(frames),
        onnx=onnx,
    )


def _logits_clause(classifier: Classifier, grid: tuple[int, int] | None) -> str:
    """Returns the end of a sentence on how the logits are pooled from the evidence, as tested on random evidence."""
    if not isinstance(classifier, EvidenceClassifier) or grid is None:
        return ""
    evidence = torch.randn(1, classifier.num_classes, *grid, generator=generator("model card"))
    if torch.allclose(classifier.pool(evidence), evidence.mean(dim=(2, 3)), atol=1e-5):
        return ", which are the spatial average of its class evidence"
    return ", a spatial pooling of its class evidence that is not the average: the evidence does not add up to them"


def _model_facts(run: RunOrigin, config: Config, about: dict[str, Any], cell: CellRecord) -> dict[str, str]:
    """Returns row title -> text: architecture, recipe and provenance."""
    git = run.git
    recipe = config.training.model_dump() | {"pretrained": config.run.pretrained}
    epoch = cell.best_epoch
    return {
        "backbone": about["backbone"],
        "head": _arguments(about["head"], about["parameters"]),
        "cells of the feature map": _geometry(about["geometry"]),
        "starts from": cell.weights_from,
        "recipe": "SGD, " + ", ".join(f"{name} {value}" for name, value in recipe.items())
        if epoch is not None
        else "none",
        "kept epoch": "–" if epoch is None else f"{epoch + 1} (best validation AUC)",
        "seed": str(about["seed"]) + (f", fold {about['fold']}" if "fold" in about else ""),
        "training fingerprint": about["training"],
        "config hash": digest(run.config),
        "code": f"{git.commit}{', with local changes' if git.dirty else ''}" if git else "unknown",
        "versions": ", ".join(f"{name} {run.packages[name]}" for name in ("python", "torch", "torchvision")),
    }


def _geometry(facts: dict[str, Any] | None) -> str:
    """Returns where the cells look, for whoever draws the evidence."""
    if facts is None:
        return "places unknown: draw them evenly over the image"
    (y, x), (down, right), field = facts["start"], facts["stride"], facts["receptive_field"]
    return (
        f"cell (i, j) looks at (y, x) = ({y:g} + {down:g} i, {x:g} + {right:g} j), in pixels from the image's corner; "
        f"receptive field {field[0]:g}×{field[1]:g} pixels"
    )


def _arguments(name: str, parameters: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in parameters.items())})"


def _explanation_scores(frames: Frames) -> str:
    """Returns the scores of the inherent explainers, one list per family of metrics."""
    own = frames.source.where(family=["inherent"])
    if not len(own):
        return "None were scored. Scores of other methods describe the method, and are in the tables of the run."
    families = dict.fromkeys(metric.family for metric in frames.record.metrics)
    tables = {family.capitalize(): metric_table(frames, family, own) for family in families}
    return "\n\n".join(_score_list(table, title) for title, table in tables.items() if table.rows)


def _score_list(table: TableData, title: str) -> str:
    """Transposes a table of few rows: one line per score."""
    scores = [(row, column) for row in table.rows for column in table.columns if row.get(column.name)]
    several = len({row.get("explainer") for row in table.rows}) > 1
    lines = [f"| {title} | mean [95 % interval] | n |", "|---|---|---|"]
    for row, column in scores:
        name = f"{row['explainer']}: {column.title}" if several else column.title
        lines.append(f"| {markdown(name)} | {entry(row[column.name])} | {row[column.name].n} |")
    return "\n".join(lines)
