"""``bench.evaluate``: explanations of a given model by the scorer, metrics, statistics and report of a run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.contracts import Classifier
from bench.devices import choose_device
from bench.evaluation.predictor import checked_precision
from bench.given.data import TARGETS, TASKS, check_choices, normalisation_of, read_data
from bench.given.evaluation import Evaluation, register_all
from bench.given.images import AUTO
from bench.given.models.adapt import adapt, device_of
from bench.given.models.sources import Build, open_model
from bench.given.plan import DEFAULT, Wanted
from bench.given.results.predictions import Known
from bench.given.results.result import Result

if TYPE_CHECKING:
    from torch import nn


def evaluate(
    model: nn.Module | Classifier | str | Path,
    images: Any,
    masks: Any = None,
    labels: Any = None,
    explainers: Sequence[Any] | Any | None = None,
    metrics: Sequence[str] | str = DEFAULT,
    *,
    groups: Sequence[Any] | None = None,
    ids: Sequence[Any] | None = None,
    mean: Any = None,
    std: Any = None,
    size: int | None = None,
    classes: Sequence[str] | int | None = None,
    healthy: int | str | None = AUTO,
    targets: Any = "label",
    feature_layer: str | None = None,
    builder: Build | None = None,
    studies: Sequence[str] = (),
    explain: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    workers: int | None = None,
    out: str | Path | None = None,
    task: str = TASKS[0],
    expected_auc: float | None = None,
) -> Result:
    """Scores explanations of a trained model on images with masks; nothing is trained, and the model is not changed.

    Args:
        model: images (N,C,H,W) -> logits (N,classes); a file of weights with ``builder``, or one that ``export`` wrote.
        images: (N,C,H,W), (N,H,W,C) or (N,H,W), as uint8, floats in [0, 1], or as the model reads them; a Dataset or
            DataLoader of (image, label) or (image, label, mask); a folder, or the name of a registered data set.
        masks: (N,H,W), above 0 inside the lesion; None for an image that was not annotated. With several labels per
            image, a dict finding -> (N,H,W), or (N,F,H,W).
        labels: (N,) class indices, in the order of the outputs; or (N,F) findings: 1 present, 0 absent, -1 or nan
            unknown. The outputs are then read by sigmoids, and explained are the findings that are present.
        explainers: registered names, explainers, or functions (model, images, targets) -> maps (N,h,w). The controls
            that are the floor and the ceiling of every score are added.
        metrics: registered names, ``all`` or ``default``.
        groups: (N,) patients or other clusters; comparisons average the images of one group.
        ids: (N,) unique names of the images.
        mean: of pixels in [0, 1], per channel, as the model was trained; None = as the model states it.
        std: standard deviation, as ``mean``.
        size: side in pixels to which images are resized; None = that of the images.
        classes: names in the order of the outputs.
        healthy: index or name of the class without lesions; None = there is none. The default finds it: the only class
            without masks.
        targets: the class that each map explains: "label" (for healthy images the likeliest disease), "predicted", or
            one index per image.
        feature_layer: name of the layer whose output is the feature map; None = found.
        builder: makes the model that the weights in the file belong to.
        studies: additional measurements, by name.
        explain: other values for the config's section ``[explain]``, such as ``{"steps": 10, "faithful": 50}``.
        batch_size: images per forward pass.
        device: device to compute on; None = the one that the model is on.
        precision: under occlusion: float32, bf16 or auto.
        workers: processes, one per data set at most, so that one data set runs in this process.
        out: run folder, in which an interrupted evaluation continues; None = a temporary one.
        task: "classification", or "regression" for a model with one output that is a number, such as an age; labels are
            then its true values, or None, and deletion measures the fall of the output.
        expected_auc: AUC that the model is known to have on such images; a warning says if it is not reached.

    Returns:
        Scores, comparisons, figures and report.

    Raises:
        UserError: the input cannot be used; one line that says what is wrong and what to do.
    """
    register_all()
    check_choices(task, expected_auc, targets)
    source = open_model(model, builder)
    normalisation = normalisation_of(mean, std), source.normalisation
    data = read_data(images, (masks, labels), (ids, groups), normalisation, task)
    side = data.side_of(size, source.size)
    classifier = adapt(source.model, feature_layer, side, data.outputs)
    datasets = data.described(classes or source.classes, classifier.num_classes, healthy, targets)
    settings = dict(explain or {}) | ({} if batch_size is None else {"batch_size": batch_size})
    kind = targets if isinstance(targets, str) else TARGETS[0]
    evaluation = Evaluation(
        replace(source, said=(vars(classifier)["found"], *source.said, *data.said)),
        classifier,
        data.normalisation,
        datasets,
        Wanted(explainers, metrics, studies, side, kind, settings),
        Known(expected_auc, data.values),
    )
    chosen = device_of(source.model) if device is None else choose_device(str(device))
    result = evaluation.run_in(out, chosen, checked_precision(precision), workers)
    for line in result.warnings:
        warnings.warn(line, stacklevel=2)
    return result
