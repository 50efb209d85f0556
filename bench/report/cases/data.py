"""Data of the case browser, which the page holds as JSON and ``cases.js`` reads; ``json_block`` escapes its text."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from bench.cases.choice import chosen, lesion_sizes
from bench.cases.pictures import Pictures
from bench.report.cases.numbers import curve_data, curve_rows, map_data, packed, scores_of, scores_of_set
from bench.report.cases.predictions import OUTCOMES, Predictions, predictions_of
from bench.report.cases.stored import MethodMaps, lesion_areas, load_maps, load_pictures
from bench.report.figures.gallery import SCALE, SIGNED, UNSIGNED, short_name
from bench.report.figures.looks import Method, methods_in
from bench.report.frames.compared import compared
from bench.report.frames.estimands import named
from bench.report.frames.load import Frames
from bench.report.frames.paired import directed, questions_first
from bench.report.frames.parts import only_backbone
from bench.report.gaps import merged_too
from bench.report.tables.notes import alignment_note, masks_note
from bench.statistics.intervals import Floats
from bench.store.records import CellKey, MetricFacts

_BEST = 3  # post-hoc methods that are shown at first
_DEFAULT = 200  # of a run whose config does not state ``page_images``
_ADD = "Only the images of the figures. Re-run the same command to add the others; no model is trained again."


def render_cases(frames: Frames) -> dict[str, Any]:
    """Returns the data of the case browser; ``sets`` is empty if the run kept no images, or asks for none.

    Arrays are packed (``bench.report.cases.numbers.packed``): int8 maps, float32 scales and scores, uint8 curves.
    """
    backbones = list(dict.fromkeys(frames.cells["backbone"]))
    sets = []
    for backbone in backbones:
        part = only_backbone(frames, backbone) if len(backbones) > 1 else frames
        for dataset in dict.fromkeys(part.cells["dataset"]):
            if (cases := _load(part, dataset)) is not None:
                name = f"{dataset} · {backbone}" if len(backbones) > 1 else dataset
                sets.append({"name": name} | cases.data())
    colours = {kind: _colours(name) for kind, name in (("signed", SIGNED), ("unsigned", UNSIGNED))}
    return {"colours": colours, "quantile": SCALE, "outcomes": OUTCOMES, "sets": sets}


def _colours(name: str) -> str:
    """Returns the 256 colours (256,3) of a colour map, packed."""
    return packed((matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8))


@dataclass
class _Cases:
    """Cases of one data set and backbone.

    Attributes:
        frames: the run, with this backbone only.
        pictures: every case that the run kept.
        is_gallery: whether it kept the images of the figures alone.
        maps: method -> its maps, in the order of the run; not empty.
        metrics: metrics with a direction.
        rows: their scores.
        areas: of the lesions, as share of the image.
    """

    frames: Frames
    dataset: str
    pictures: Pictures
    is_gallery: bool
    maps: dict[Method, MethodMaps]
    metrics: list[MetricFacts]
    rows: pd.DataFrame
    areas: Floats

    @cached_property
    def predictions(self) -> dict[CellKey, Predictions]:
        """Cell whose maps are shown -> predictions on all pictures; first the one that post-hoc methods explain."""
        ids, labels = self.pictures.ids, self.pictures.labels
        order = sorted(self.maps, key=lambda method: method.family == "inherent")
        keys = dict.fromkeys(self.maps[method].key for method in order)
        return {key: predictions_of(self.frames, key, ids, labels) for key in keys}

    @cached_property
    def shown(self) -> list[int]:
        """Places of the shown pictures, by class, lesion size and outcome of the first cell."""
        asked = self.frames.record.config.get("report", {}).get("page_images", _DEFAULT)
        outcomes = next(iter(self.predictions.values())).outcomes.tolist()
        kinds = zip(self.pictures.labels.tolist(), lesion_sizes(self.areas).tolist(), outcomes, strict=True)
        return chosen(list(kinds), asked)

    @cached_property
    def ids(self) -> list[str]:
        """Names of the shown images."""
        return [self.pictures.ids[place] for place in self.shown]

    @cached_property
    def scores(self) -> dict[Method, Floats]:
        """Method -> scores (metrics,n) of the shown images."""
        names = [(found.key.head, found.key.seed, method.explainer) for method, found in self.maps.items()]
        return dict(zip(self.maps, scores_of(self.rows, names, self.metrics, self.ids), strict=True))

    @cached_property
    def used(self) -> list[int]:
        """Places of the metrics that have a score."""
        return [index for index in range(len(self.metrics)) if any(_known(one[index]) for one in self.scores.values())]

    def data(self) -> dict[str, Any]:
        """Returns everything but the name of the set."""
        variant, facts = self._variant(), self.frames.record.datasets[self.dataset]
        metrics = [self.metrics[index] for index in self.used]
        add = _ADD + merged_too(self.frames.record) if self.is_gallery else ""
        notes = [add, masks_note(self.frames, [self.dataset]), alignment_note(self.frames), self._level_note(metrics)]
        scores = {method: values[self.used] for method, values in self.scores.items()}
        first = first_shown(list(self.maps), metrics[:1], scores)
        return {
            "notes": [note for note in notes if note],
            "kept": len(self.pictures.ids),
            "relative": facts.regression,
            "classes": facts.classes,
            **self._images(),
            "heads": [self._head(key) for key in self.predictions],
            "metrics": [{"name": named(one, ""), "higher": one.higher_is_better} for one in metrics],
            "operator": variant,
            "methods": [self._method(method, variant) | {"shown": method in first} for method in self.maps],
        }

    def _level_note(self, metrics: list[MetricFacts]) -> str:
        """Returns which scores must not be compared between classifiers; empty if there is no such comparison."""
        names = [named(one, "").replace("_", " ") for one in metrics if one.of_network]
        if not names or len(self.predictions) == 1:
            return ""
        return (
            f"The classifier sets the level of {', '.join(names)}: compare these scores between maps of one classifier "
            "only. Verdicts subtract the score of random maps on each classifier first."
        )

    def _images(self) -> dict[str, Any]:
        """Returns the shown images, their masks and lesions."""
        facts, pictures, at = self.frames.record.datasets[self.dataset], self.pictures, self.shown
        return {
            "size": pictures.size,
            "ids": self.ids,
            "titles": [short_name(name, self.dataset) for name in self.ids],
            "labels": [facts.label_name(label) for label in pictures.labels[at].tolist()],
            "areas": [_number(area) for area in self.areas[at].tolist()],
            "sizes": lesion_sizes(self.areas)[at].tolist(),
            "images": [base64.b64encode(pictures.images[place]).decode() for place in at],
            "masks": [base64.b64encode(pictures.masks[place]).decode() for place in at],
        }

    def _head(self, key: CellKey) -> dict[str, Any]:
        """Returns the predictions of a cell, whose name has its seed if maps of several seeds are shown."""
        found, at = self.predictions[key], self.shown
        several = sum(other.head == key.head for other in self.predictions) > 1
        return {
            "name": f"{key.head}, seed {key.seed}" if several else key.head,
            "targets": found.targets[at].tolist(),
            "outcomes": found.outcomes[at].tolist(),
            "probabilities": [_number(value) for value in found.probabilities[at].tolist()],
        }

    def _method(self, method: Method, variant: str) -> dict[str, Any]:
        found = self.maps[method]
        curves = self._curves(method, variant) if variant else pd.DataFrame()
        return {
            "label": method.label,
            "family": method.family,
            "signed": method.signed,
            "head": list(self.predictions).index(found.key),
            "start": found.start,
            "stride": found.stride,
            **map_data(found.grids, self.ids),
            "values": packed(self.scores[method][self.used].astype("<f4")),
            **curve_data(curves, self.ids),
        }

    def _variant(self) -> str:
        """Returns the first requested variant with deletion curves, of scores of such curves first; empty without."""
        requested = sorted(self.frames.record.metrics, key=lambda facts: not facts.of_curve)  # stable
        asked = dict.fromkeys(facts.variant for facts in requested if facts.variant)
        method = next(iter(self.maps))
        return next((one for one in asked if len(self._curves(method, one))), "")

    def _curves(self, method: Method, variant: str) -> pd.DataFrame:
        return curve_rows(self.frames, self.maps[method].key, method.explainer, variant, self.ids)


def _load(frames: Frames, dataset: str) -> _Cases | None:
    """Reads the cases of a data set of one backbone; None without images or maps."""
    if not frames.record.config.get("report", {}).get("page_images", _DEFAULT):
        return None
    pictures, is_gallery = load_pictures(frames, dataset)
    if pictures is None:
        return None
    methods = methods_in(frames, compared(frames).where(dataset=[dataset]).methods)
    maps = {method: found for method in methods if (found := load_maps(frames, dataset, method, pictures))}
    if not maps:
        return None
    metrics = questions_first(directed(frames))
    rows = scores_of_set(frames, dataset, metrics, pictures.ids)
    areas = lesion_areas(frames, dataset, pictures.ids)
    return _Cases(frames, dataset, pictures, is_gallery, maps, metrics, rows, areas)


def first_shown(methods: list[Method], leading: list[MetricFacts], scores: dict[Method, Floats]) -> list[Method]:
    """Returns the methods that are shown at first: inherent ones, the best post-hoc ones, and the first control.

    Args:
        methods: in the order of the run.
        leading: the metric in row 0 of ``scores``; empty without any.
        scores: method -> (metrics,n).
    """

    def rank(method: Method) -> float:
        known = scores[method][0][np.isfinite(scores[method][0])] if leading else np.zeros(1)
        sign = -1 if leading and leading[0].higher_is_better else 1
        return sign * float(known.mean()) if len(known) else np.inf

    families = {family: [one for one in methods if one.family == family] for family in ("inherent", "post-hoc")}
    controls = [one for one in methods if one.family == "control"]
    return [*families["inherent"], *sorted(families["post-hoc"], key=rank)[:_BEST], *controls[:1]]


def _known(values: Floats) -> bool:
    return bool(np.isfinite(values).any())


def _number(value: float) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None
