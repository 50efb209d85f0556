"""Every figure that a run's data allow, as PNG and PDF."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from bench.manifest import Manifest
from bench.report.class_maps import class_maps
from bench.report.classifier_figures import accuracy_by_head, training_curves
from bench.report.counterfactual_figure import counterfactual
from bench.report.curve_figures import deletion_curves, insertion_curves, topk_precision
from bench.report.frames import Frames
from bench.report.gallery_figure import galleries
from bench.report.metric_agreement import metric_agreement
from bench.report.rank_figures import fair_resolution_ranks, operator_ranks
from bench.report.sanity_figure import randomisation
from bench.report.scatter import precision_sensitivity
from bench.report.shortcut_figure import shortcut_forest
from bench.report.study_figures import cross_domain, lambda_sweep, pooling, resolution
from bench.report.style import paper_style, save
from bench.store import file_name

FIGURES = (
    topk_precision,
    precision_sensitivity,
    deletion_curves,
    insertion_curves,
    operator_ranks,
    fair_resolution_ranks,
    counterfactual,
    metric_agreement,
    galleries,
    class_maps,
    training_curves,
    accuracy_by_head,
    lambda_sweep,
    resolution,
    pooling,
    cross_domain,
    shortcut_forest,
    randomisation,
)


def draw_figures(frames: Frames, files: Manifest) -> dict[str, str]:
    """Write ``<stem>.png`` (200 dpi) and ``<stem>.pdf`` of every figure; one set a backbone where there are several.

    Returns:
        stem -> caption, in the order of the page. What a run has no data for is not in it.
    """
    captions: dict[str, str] = {}
    backbones = list(dict.fromkeys(frames.cells["backbone"]))
    with paper_style():
        for backbone in backbones:
            several = len(backbones) > 1
            part = _of_backbone(frames, backbone) if several else frames
            for draw in FIGURES:
                for drawing in draw(part):
                    stem = f"{drawing.stem}_{file_name(backbone)}" if several else drawing.stem
                    save(drawing.figure, files, stem)
                    captions[stem] = f"{backbone}. {drawing.caption}" if several else drawing.caption
    return captions


def _of_backbone(frames: Frames, backbone: str) -> Frames:
    names = ("cells", "scores", "own_class", "cost", "predictions", "training")

    def chosen(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[rows["backbone"] == backbone] if len(rows) else rows

    changes: dict[str, Any] = {name: chosen(getattr(frames, name)) for name in names}
    changes["probes"] = {name: chosen(rows) for name, rows in frames.probes.items()}
    return replace(frames, **changes)
