"""Contents of the report: one line per topic, with its tables, its figures and what a run lacks for them.

Tables, figures and gaps of a run are all made from this one list.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bench.report.comparisons import critical_difference, floor_ceiling, model_or_map, price, subgroups, verdicts
from bench.report.comparisons.verdict_figures import win_matrix
from bench.report.failures import Failures
from bench.report.figures.class_maps import class_maps
from bench.report.figures.classifier_figures import accuracy_by_head, training_curves
from bench.report.figures.curve_figures import deletion_curves, insertion_curves, topk_precision
from bench.report.figures.gallery_figure import galleries
from bench.report.figures.scatter import precision_sensitivity
from bench.report.figures.style import Caption, Drawing, of_backbone, paper_style, save
from bench.report.frames.load import Frames
from bench.report.frames.parts import only_backbone
from bench.report.gaps import Missing, gaps_table, missing_lines, note_missing
from bench.report.studies import (
    counterfactual,
    fair_resolution,
    implementations,
    metric_agreement,
    operators,
    sanity,
    shortcut,
    soundness,
)
from bench.report.sweeps import domains, figures, tables
from bench.report.sweeps import sparsity as sparse
from bench.report.tables.main import classification_tables, score_tables
from bench.report.tables.notes import mark_unidentified, note_alignment, note_masks
from bench.report.tables.paper import paper_tables
from bench.report.tables.table import TableData
from bench.store.manifest import Manifest

Tables = dict[str, TableData]
Draw = Callable[[Frames], Iterable[Drawing]]


#: Start of the kind of input that the results of a study are; its name follows.
STUDY = "study "


def study(name: str) -> str:
    """Returns the kind of input that the results of a study are."""
    return f"{STUDY}{name}"


#: Inputs of all that shows maps, and the study by which metrics are judged.
_MAPS, _SOUND = ("scores", "explainers", "record", "cells"), study(soundness.PROBE)


def _no_tables(frames: Frames) -> Tables:
    return {}


def _one(make: Callable[[Frames], TableData]) -> Callable[[Frames], Tables]:
    """Returns the maker of a single table, which has the name of the function."""
    return lambda frames: {make.__name__: make(frames)}


@dataclass(frozen=True)
class Topic:
    """A question that the report answers.

    Attributes:
        name: of the topic.
        tables: frames -> tables by file name; the page shows them in the order of ``TOPICS``.
        figures: frames -> drawings.
        missing: frames -> results that this run lacks.
        place: figures are shown by rising place, then in the order of ``TOPICS``.
        is_comparison: tables and figures need the comparisons. The figures are drawn last, of all backbones at once;
            other figures are drawn for each backbone.
        shown: figures that are drawn by default.
        reads: kinds of inputs (``bench.report.incremental.inputs``); tables and figures are kept while these are the
            same.
    """

    name: str
    tables: Callable[[Frames], Mapping[str, TableData]] = _no_tables
    figures: Sequence[Draw] = ()
    missing: Callable[[Frames], Iterable[Missing]] = lambda frames: ()
    place: int = 0
    is_comparison: bool = False
    shown: Sequence[Draw] = ()
    reads: Collection[str] = _MAPS

    def chosen(self, figures: str) -> Topic:
        """Returns the topic with the figures that are asked for: "shown", "all" or "none"."""
        return replace(self, figures={"shown": self.shown, "all": self.figures, "none": ()}[figures])


_CURVES = (topk_precision, precision_sensitivity, deletion_curves, insertion_curves)
_CD = critical_difference
# fmt: off
TOPICS = (
    Topic("classification", classification_tables, reads=("predictions", "record", "cells")),
    Topic("scores", score_tables, _CURVES, shown=_CURVES[:3], reads=(*_MAPS, "own_class", "images")),
    Topic("verdicts", verdicts.verdict_tables, (win_matrix,), verdicts.missing_verdicts, 1, is_comparison=True,
          shown=(win_matrix,), reads=(*_MAPS, _SOUND)),
    Topic("price", price.price_tables, (price.price_pareto,), price.missing_price, 3, is_comparison=True,
          shown=(price.price_pareto,), reads=(*_MAPS, _SOUND, "predictions")),
    Topic("model_or_map", model_or_map.model_or_map_tables, (model_or_map.model_or_map,),
          model_or_map.missing_model_or_map, 3, is_comparison=True, shown=(model_or_map.model_or_map,),
          reads=(*_MAPS, _SOUND)),
    Topic("strata", subgroups.strata_tables, missing=subgroups.missing_strata, is_comparison=True,
          reads=(*_MAPS, _SOUND, "images")),
    Topic("critical_difference", _CD.critical_difference_tables, (_CD.critical_difference_diagrams,),
          _CD.missing_critical_difference, 2, is_comparison=True),
    Topic("floor_ceiling", floor_ceiling.floor_ceiling_tables, missing=floor_ceiling.missing_floor_ceiling,
          is_comparison=True),
    Topic("paper", paper_tables, reads=(*_MAPS, "own_class", "images", "predictions")),
    Topic("maps", figures=(galleries, class_maps), place=3, shown=(galleries,),
          reads=(*_MAPS, "images", "maps", "predictions")),
    Topic("classifiers", figures=(training_curves, accuracy_by_head), place=3, shown=(training_curves,),
          reads=("training", "predictions", "record", "cells")),
    Topic("lambda_sweep", _one(tables.lambda_sweep), (figures.lambda_sweep,), place=3,
          reads=(*_MAPS, "images", "predictions", "training")),
    Topic("sparsity", _one(sparse.sparsity), (sparse.penalty_search,), place=3, reads=("record", "cells")),
    Topic("resolution", _one(tables.resolution), (figures.resolution,), place=3,
          reads=(*_MAPS, "images", "predictions")),
    Topic("pooling", _one(tables.pooling), (figures.pooling,), place=3, reads=(*_MAPS, "images", "predictions")),
    Topic("cross_domain", _one(domains.cross_domain), (figures.cross_domain,), place=3,
          reads=(*_MAPS, "own_class", "images", "predictions")),
    Topic("counterfactual", counterfactual.counterfactual_tables, (counterfactual.counterfactual,),
          counterfactual.missing_counterfactual, 2, reads=(*_MAPS, study(counterfactual.PROBE))),
    Topic("operators", operators.operator_tables, (operators.operator_ranks,), operators.missing_operators, 1),
    Topic("fair_resolution", fair_resolution.fair_resolution_tables, (fair_resolution.fair_resolution_ranks,),
          fair_resolution.missing_fair_resolution, 1, reads=(*_MAPS, study(fair_resolution.PROBE))),
    Topic("sanity", sanity.sanity_tables, (sanity.randomisation,), sanity.missing_sanity, 5,
          reads=(*_MAPS, *map(study, ("sanity", "random_labels", "agreement")))),
    Topic("shortcut", shortcut.shortcut_tables, (shortcut.shortcut_forest,), shortcut.missing_shortcut, 4,
          reads=(*_MAPS, *map(study, ("shortcut", "shortcut_use")))),
    Topic("implementations", implementations.implementation_tables, missing=implementations.missing_implementations,
          reads=(*_MAPS, study(implementations.PROBE))),
    Topic("metric_soundness", soundness.soundness_tables, missing=soundness.missing_soundness,
          reads=("record", "cells", _SOUND)),
    Topic("metric_agreement", metric_agreement.metric_agreement_tables, (metric_agreement.metric_agreement,), place=2),
)
# fmt: on


#: Errors of a table or figure end the report.
_RAISED = Failures(are_raised=True)


@dataclass(frozen=True)
class Part:
    """Tables of a topic before they are marked, and what the run lacks for them."""

    tables: Tables
    missing: list[Missing]


def part_of(frames: Frames, topic: Topic, failures: Failures = _RAISED) -> Part:
    """Returns the tables of a topic, without the marks that other topics put on them, and what the run lacks."""
    made: Tables = dict(failures.making(f"table {topic.name}", frames, topic.tables) or {})
    lacking: list[Missing] = []
    with failures.noting(f"list of what {topic.name} lacks"):
        lacking = list(topic.missing(frames))
    return Part(made, lacking)


def every_table(frames: Frames, failures: Failures = _RAISED) -> Tables:
    """Makes every table of a run -> ``joined_tables``.

    Args:
        frames: the run.
        failures: receives the topics whose tables fail; by default, their errors are raised.
    """
    return joined_tables(frames, {topic.name: part_of(frames, topic, failures) for topic in TOPICS}, failures)


def joined_tables(frames: Frames, parts: Mapping[str, Part], failures: Failures = _RAISED) -> Tables:
    """Returns every table by its path below the folder of tables, with marks and notes; empty ones are left out.

    Args:
        frames: the run.
        parts: topic -> its tables.
        failures: as of ``every_table``.
    """
    found: Tables = {}
    for topic in TOPICS:
        found |= parts[topic.name].tables
    lacking = [one for topic in TOPICS for one in parts[topic.name].missing]
    with failures.noting("marks of metrics that fail on maps of known quality"):
        soundness.mark_unsound(found, soundness.judgements(frames))
    with failures.noting("notes below tables"):
        mark_unidentified(frames, found)
        note_masks(frames, found)
        note_alignment(frames, found)
        note_missing(frames, found, lacking)
    with failures.noting("table gaps"):
        found["gaps"] = gaps_table(frames, missing_lines(frames, lacking))
    return {name: table for name, table in found.items() if table.rows}


def missing(frames: Frames, failures: Failures = _RAISED) -> list[Missing]:
    """Returns the results that the run lacks and could add."""
    return [one for topic in TOPICS for one in part_of(frames, topic, failures).missing]


def draw_figures(
    frames: Frames, files: Manifest, topics: Sequence[Topic] = TOPICS, failures: Failures = _RAISED
) -> dict[str, Caption]:
    """Writes ``<stem>.png`` (200 dpi) and ``<stem>.pdf`` of every figure; one set per backbone if there are several.

    Args:
        frames: the run.
        files: folder of the figures.
        topics: whose figures are drawn.
        failures: receives the figures that fail; by default, their errors are raised.

    Returns:
        stem -> texts below it, in the order of the page, without the figures that the run has no data for.
    """
    captions: dict[str, Caption] = {}
    with paper_style():
        for draw, part, backbone in _figures(frames, sorted(topics, key=lambda one: (one.is_comparison, one.place))):
            name = f"figure {getattr(draw, '__name__', draw)}{f' of {backbone}' if backbone else ''}"
            captions |= failures.making(name, part, partial(_save_all, draw, backbone, files)) or {}
    return captions


def _save_all(draw: Draw, backbone: str, files: Manifest, frames: Frames) -> dict[str, Caption]:
    """Saves the figures of one function -> stem -> texts."""
    captions: dict[str, Caption] = {}
    for plain in draw(frames):
        drawing = of_backbone(plain, backbone) if backbone else plain
        save(drawing.figure, files, drawing.stem)
        captions[drawing.stem] = Caption(drawing.caption, drawing.reading)
    return captions


def _figures(frames: Frames, topics: Sequence[Topic]) -> Iterator[tuple[Draw, Frames, str]]:
    """Yields what draws, the frames that it reads, and their backbone (empty for all backbones at once)."""
    backbones = list(dict.fromkeys(frames.cells["backbone"]))
    for backbone in backbones:
        part = only_backbone(frames, backbone) if len(backbones) > 1 else frames
        for draw in [draw for topic in topics if not topic.is_comparison for draw in topic.figures]:
            yield draw, part, backbone if len(backbones) > 1 else ""
    for draw in [draw for topic in topics if topic.is_comparison for draw in topic.figures]:
        yield draw, frames, ""
