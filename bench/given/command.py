"""Execution of the command ``evaluate``, by the same parts as ``bench.evaluate``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bench.contracts import DatasetInfo
from bench.devices import choose_device
from bench.errors import UserError
from bench.evaluation.predictor import checked_precision
from bench.given.data import TASKS, check_choices
from bench.given.evaluation import Evaluation
from bench.given.models.adapt import adapt
from bench.given.models.sources import Source, load_weights, model_builder, named_dataset, open_model
from bench.given.pixels import IDENTITY, Normalisation, channels_of
from bench.given.plan import DEFAULT, Wanted
from bench.given.results.predictions import Known
from bench.outputs import outputs_of
from bench.report.build import build_report
from bench.run.options import RunOptions

_SIDE = 224


@dataclass(frozen=True)
class Asked:
    """Flags of the command; None = not given."""

    model: str
    weights: Path | None
    classes: int | None
    datasets: list[str]
    root: Path
    mean: list[float] | None
    std: list[float] | None
    size: int | None
    feature_layer: str | None
    explainers: list[str] | None
    metrics: list[str] | None
    expected_auc: float | None
    images: int | None
    out: Path
    device: str
    batch_size: int | None
    precision: str
    labels: str | None = None


def run_evaluation(asked: Asked, console: Console) -> int:
    """Evaluates and reports -> exit code: 0, or 1 if something failed.

    Raises:
        UserError: a flag, the model or a data set cannot be used.
    """
    check_choices(TASKS[0], asked.expected_auc)
    datasets = dict(named_dataset(name, asked.root) for name in asked.datasets)
    source = _source(asked)
    normalisation = _normalisation(asked) or source.normalisation or IDENTITY
    side = asked.size or source.size or _SIDE
    _check_labels(asked.labels, datasets)
    outputs = outputs_of(next(iter(datasets.values())))
    classifier = adapt(source.model, asked.feature_layer, side, outputs)
    values = {"batch_size": asked.batch_size, "diseased": asked.images, "healthy": asked.images}
    settings = {name: value for name, value in values.items() if value is not None}
    wanted = Wanted(asked.explainers, asked.metrics or DEFAULT, (), side, "label", settings)
    evaluation = Evaluation(
        replace(source, said=(vars(classifier)["found"], *source.said)),
        classifier,
        normalisation,
        datasets,
        wanted,
        Known(asked.expected_auc),
    )
    device, precision = choose_device(asked.device), checked_precision(asked.precision)
    console.print(f"{vars(classifier)['found']}; on {device}, writing to {asked.out}", soft_wrap=True, markup=False)
    result = evaluation.run(RunOptions(asked.root, asked.out, device, precision=precision), console)
    left = build_report(result.folder, console)
    console.print(Text(str(result)), soft_wrap=True)
    for line in result.warnings:
        console.print(Text(line, style="yellow"), soft_wrap=True)
    return 1 if result.problems or left else 0


def _check_labels(asked: str | None, datasets: dict[str, DatasetInfo]) -> None:
    if asked not in (None, "single", "multi"):
        raise UserError(f"--labels {asked}: give single or multi")
    for name, info in datasets.items() if asked else ():
        if info.multilabel != (asked == "multi"):
            remedy = "one column per finding in labels.csv" if asked == "multi" else "one folder per class"
            raise UserError(
                f"--labels {asked}: {name} has other labels; give data with {remedy}, or leave --labels out"
            )
    if len({info.multilabel for info in datasets.values()}) > 1:
        raise UserError("some data sets have one label per image, others findings; evaluate them one after the other")


def _source(asked: Asked) -> Source:
    """Returns the model that the flags name, with its weights."""
    if ":" not in asked.model:
        return open_model(asked.model)
    build, usual = model_builder(asked.model, asked.classes)
    model = build()
    if asked.weights is not None:
        load_weights(model, asked.weights)
    elif not asked.model.partition(":")[0].endswith(".py"):
        raise UserError(f"--model {asked.model} has no trained weights; give their file: --weights FILE")
    return open_model(model, normalisation=usual)


def _normalisation(asked: Asked) -> Normalisation | None:
    if (asked.mean is None) != (asked.std is None):
        raise UserError("--mean and --std belong together; give both, or neither")
    return None if asked.mean is None else (channels_of(asked.mean, "mean"), channels_of(asked.std, "std"))
