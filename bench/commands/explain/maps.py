"""Maps of one image by the explainers of a run, computed as the run computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.commands.export.command import Exported
from bench.contracts import Batch, Classifier, Explainer, Sample
from bench.data.readers.images import read_image, resized
from bench.data.split import normalise
from bench.errors import UserError, is_stop, one_line
from bench.evaluation.guests import check_maps
from bench.evaluation.predictor import explained_as
from bench.maps import drawn_by
from bench.models.shared_features import SharedFeatures
from bench.outputs import outputs_of
from bench.registry import EXPLAINERS, closest, resolve_names
from bench.run.plan import construct
from bench.seeds import seed_of
from bench.statistics.intervals import Floats
from bench.store.cell_facts import GeometryFacts
from bench.store.records import CellKey, DatasetFacts


@dataclass(frozen=True)
class Map:
    """A raw map (h,w) and the facts by which it is drawn."""

    name: str
    values: Floats
    signed: bool
    family: str
    geometry: GeometryFacts | Any | None


@dataclass(frozen=True)
class Explained:
    """One image, its prediction and its maps.

    Attributes:
        image: (3,H,W) in [0, 1], at the input size of the classifier.
        title: lines about the prediction and the explained class.
        maps: in the order of the explainers.
        lines: a line for every explainer that gave no map.
    """

    image: Floats
    title: list[str]
    maps: list[Map]
    lines: list[str]


def explain(
    file: Path, cell: Exported, key: CellKey, target: str | None, explainers: Sequence[str] | None
) -> Explained:
    """Explains an image file.

    Args:
        file: the image.
        cell: the trained classifier, rebuilt.
        key: names the cell.
        target: explained class by name or index; None = the predicted one.
        explainers: names; None = those of the run without controls.

    Raises:
        UserError: the file cannot be read, a name is unknown, or no explainer gives a map.
    """
    if not file.is_file():
        raise UserError(f"no image {file}; give a PNG, JPEG, TIFF or BMP file")
    facts, side = cell.frames.record.datasets[key.dataset], cell.about["size"]
    sample = resized(Sample(read_image(file, cell.config.data.window), 0, None, file.name, ""), side)
    images = normalise(sample.image[None], tuple(cell.about["mean"]), tuple(cell.about["std"]))
    with torch.no_grad():
        logits = cell.classifier(images).double().numpy()
    outputs = outputs_of(facts)
    wanted = _class_index(target, facts) if target is not None else int(logits[0].argmax())
    title = [file.name, *_said(outputs.probabilities(logits)[0], wanted, facts)]
    network = explained_as(outputs.explained(cell.config.explain.target), cell.classifier)
    found, lines = _maps(cell, key, network, Batch(images, torch.tensor([wanted]), None, ()), file.name, explainers)
    if not found:
        raise UserError(f"no explainer gives a map of {file.name}: {'; '.join(lines)}")
    return Explained(sample.image.numpy() / 255.0, title, found, lines)


def _maps(
    cell: Exported, key: CellKey, network: Classifier, image: Batch, name: str, asked: Sequence[str] | None
) -> tuple[list[Map], list[str]]:
    """Returns the maps of an image, called ``name``, and a line for every explainer that gave none."""
    found, lines, others = list[Map](), list[str](), list[str]()
    base, shared = cell.frames.record.datasets[key.dataset].base, SharedFeatures(network, image.images)
    for explainer_name, explainer in _explainers(cell, asked).items():
        try:
            reason = "it needs a mask" if explainer.needs_masks else explainer.applies_to(cell.classifier)
            if reason:
                others.append(explainer_name)
                lines += [f"{explainer_name} skipped: {reason}"] * (asked is not None)
                continue
            seeds = (seed_of(base, key.backbone, cell.about["head"], key.seed, explainer_name, name),)
            batch = replace(image, seeds=seeds, shared=shared)
            found.append(_map_of(explainer_name, explainer, network, batch, cell))
        except Exception as error:  # a plugin may raise anything
            if is_stop(error):
                raise
            lines.append(f"{explainer_name} failed: {one_line(error)}")
    if others and asked is None:
        lines.append(f"not for this classifier: {', '.join(others)} (--explainers NAME says why)")
    return found, lines


def _explainers(cell: Exported, asked: Sequence[str] | None) -> dict[str, Explainer]:
    """Returns the explainers with the parameters of the run."""
    if asked is None:
        names = [one for one, facts in cell.frames.record.explainers.items() if facts.family != "control"]
    else:
        names = resolve_names(asked, EXPLAINERS)
    return {name: construct(EXPLAINERS, name, cell.config.explainers)[0] for name in names}


def _map_of(name: str, explainer: Explainer, network: Classifier, batch: Batch, cell: Exported) -> Map:
    maps = check_maps(name, explainer.explain_batch(network, batch), 1)
    size = batch.images.shape[2], batch.images.shape[3]
    geometry = drawn_by(explainer.grid, cell.classifier.geometry(size), cell.config.explain.align)
    return Map(name, maps[0].detach().double().numpy(), explainer.signed, explainer.family, geometry)


def _class_index(target: str, facts: DatasetFacts) -> int:
    if target in facts.classes:
        return facts.classes.index(target)
    if target.isdecimal() and int(target) < len(facts.classes):
        return int(target)
    raise UserError(f"--target {target}: no class of this name; {closest(target, facts.classes)}")


def _said(probabilities: Floats, target: int, facts: DatasetFacts) -> list[str]:
    """Returns lines about the prediction of an image, from probabilities (C,), and about the explained class."""
    if facts.regression:
        return [f"{facts.classes[0]} = {probabilities[0]:.3g}"]
    best = int(np.argmax(probabilities))
    shown = dict.fromkeys((best, target))
    return [
        *(f"p({facts.classes[one]}) = {probabilities[one]:.2f}" for one in shown),
        f"maps explain {facts.classes[target]}",
    ]
