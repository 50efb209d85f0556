"""``bench.evaluate``: explanations of a given model by the scorer, metrics, statistics and report of a run."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from bench.contracts import Classifier, DatasetInfo
from bench.devices import choose_device
from bench.errors import UserError
from bench.evaluation.predictor import checked_precision
from bench.given.findings import FindingSamples, finding_dataset, finding_names
from bench.given.images import AUTO, ImageSamples, class_names, given_targets, healthy_index, image_dataset, read_images
from bench.given.models.adapt import adapt, device_of
from bench.given.models.sources import Build, Source, named_dataset, open_model
from bench.given.pixels import IDENTITY, Normalisation, channels_of
from bench.given.plan import DEFAULT, Wanted, make_config, make_given_plan
from bench.given.results.result import Result
from bench.outputs import LINEAR, SIGMOID, SOFTMAX, Outputs, outputs_of
from bench.progress import shows_bars
from bench.run.dataset_run import RunOptions
from bench.run.runner import run
from bench.store.folders import RunStore

if TYPE_CHECKING:
    from torch import nn

_TARGETS = ("label", "predicted")
TASKS = ("classification", "regression")
_PREFIX = "bench-evaluate-"


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
    check_choices(task, expected_auc)
    source = open_model(model, builder)
    asked = _normalisation(mean, std)
    if isinstance(images, str | Path):
        _refuse_beside(images, masks=masks, labels=labels, groups=groups, ids=ids)
        datasets = dict([named_dataset(images, Path("data"))])
        data = Data(None, asked or source.normalisation or IDENTITY, (), outputs_of(next(iter(datasets.values()))))
    else:
        data = _in_memory((images, masks, labels), (ids, groups), (asked, source.normalisation), task)
    side = size or data.side or source.size
    if side is None:
        raise UserError(data.why_no_side)
    classifier = adapt(source.model, feature_layer, side, data.outputs)
    kind = targets if isinstance(targets, str) else _TARGETS[0]
    if kind not in _TARGETS:
        raise UserError(f"unknown targets {targets!r}; give {', '.join(_TARGETS)}, or one class index per image")
    if data.samples is not None:
        info = data.described(classes or source.classes, classifier.num_classes, healthy, targets)
        datasets = {info.name: info}
    settings = dict(explain or {}) | ({} if batch_size is None else {"batch_size": batch_size})
    evaluation = Evaluation(
        replace(source, said=(vars(classifier)["found"], *source.said, *data.said)),
        classifier,
        data.normalisation,
        datasets,
        Wanted(explainers, metrics, studies, side, kind, settings),
    )
    chosen = device_of(source.model) if device is None else choose_device(str(device))
    folder = Path(out) if out else Path(tempfile.mkdtemp(prefix=_PREFIX))
    options = RunOptions(
        Path("data"), folder, chosen, cache=folder / "cache", precision=checked_precision(precision), workers=workers
    )
    try:
        result = evaluation.run(options, _console(), temporary=out is None)
    except BaseException:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    result.expected_auc = expected_auc
    result.values = data.samples.values if isinstance(data.samples, ImageSamples) else {}
    for line in result.warnings:
        warnings.warn(line, stacklevel=2)
    return result


@dataclass(frozen=True)
class Data:
    """Images of an evaluation.

    Attributes:
        samples: those in memory; None for a folder or a registered data set.
        normalisation: mean and deviation per channel that the model needs.
        said: how they were read.
        outputs: meaning of the model's outputs for their labels.
    """

    samples: ImageSamples | FindingSamples | None
    normalisation: Normalisation
    said: tuple[str, ...]
    outputs: Outputs

    def described(
        self, classes: Sequence[str] | int | None, outputs: int, healthy: int | str | None, targets: Any
    ) -> DatasetInfo:
        """Returns the data set of the images in memory; arguments as of ``evaluate``.

        Raises:
            UserError: labels, masks, targets or names do not fit the outputs of the model.
        """
        if isinstance(self.samples, FindingSamples):
            names = class_names(finding_names(classes, self.samples), outputs)
            return finding_dataset(self.samples, names, healthy, targets)
        assert self.samples is not None
        if self.outputs.relative:
            if outputs != 1:
                raise UserError(f"the model has {outputs} outputs, and a regression needs one; leave out task=")
            return image_dataset(self.samples, class_names(classes or ["output"], 1), None, regression=True)
        names = class_names(classes, outputs)
        info = image_dataset(self.samples, names, healthy_index(healthy, self.samples, names))
        self.samples.targets = {} if isinstance(targets, str) else given_targets(targets, self.samples, len(names))
        return info

    @property
    def side(self) -> int | None:
        """Side of the images in pixels; None if they are not squares of one size."""
        sizes = {tuple(one.shape[1:]) for one in self.samples.images} if self.samples else set()
        sides = {side for size in sizes for side in size}
        return int(sides.pop()) if len(sides) == 1 else None

    @property
    def why_no_side(self) -> str:
        """Error of an evaluation whose size is unknown."""
        if self.samples is None:
            return "the size of the images is unknown; give size=…, the side in pixels that the model was trained on"
        height, width = self.samples.images[0].shape[1:]
        what = f"the images are not squares of one size (the first one is {height}×{width})"
        return f"{what}; give size=…, the side in pixels to which they are resized"


@dataclass(frozen=True)
class Evaluation:
    """A given model, what it is evaluated on, and what is computed.

    Attributes:
        source: the model, its names, and how it was read.
        classifier: adapted from it.
        normalisation: mean and deviation per channel that it needs.
        datasets: name in the cells -> registered facts.
        wanted: explainers, metrics and settings.
    """

    source: Source
    classifier: Classifier
    normalisation: Normalisation
    datasets: dict[str, DatasetInfo]
    wanted: Wanted

    def run(self, options: RunOptions, console: Console, temporary: bool = False) -> Result:
        """Computes what the run folder does not hold.

        Raises:
            UserError: an unknown name, a folder that holds something else, or a model that failed on every data set.
        """
        config = make_config(self.wanted, self.source, list(self.datasets))
        plan, left_out = make_given_plan(
            config, self.source, self.classifier, self.normalisation, self.datasets, self.wanted.explainers
        )
        outcome = run(config, plan, options, console, [])
        store = RunStore(options.out)
        records = [store.cell(key).record for key in plan.cells if key.head == self.source.head]
        if all(record.status != "ok" for record in records):
            raise UserError(records[0].reason)
        return Result(options.out, [*self.source.said, *left_out], outcome.problems, temporary)


def register_all() -> None:
    """Registers everything that can be named; by name, because the program is above its packages."""
    import_module("run_benchmark").register()


def _console() -> Console:
    """Returns the console of the progress: nothing is printed where no bar can be shown, as in a script's log."""
    console = Console(highlight=False)
    return console if shows_bars(console) else Console(quiet=True)


def check_choices(task: str, expected_auc: float | None) -> None:
    """Checks what the user states.

    Raises:
        UserError: an unknown task, or an AUC outside [0, 1] or of a regression.
    """
    if task not in TASKS:
        raise UserError(f"unknown task {task!r}; give {' or '.join(TASKS)}")
    if expected_auc is not None and not 0 <= expected_auc <= 1:
        raise UserError(f"expected_auc={expected_auc!r} is not an AUC; give a number from 0 to 1")
    if expected_auc is not None and task != TASKS[0]:
        raise UserError("expected_auc does not apply to a regression; leave it out")


def _in_memory(
    given: tuple[Any, Any, Any],
    names: tuple[Any, Any],
    normalisation: tuple[Normalisation | None, Normalisation | None],
    task: str,
) -> Data:
    """Reads images, masks and labels."""
    regression = task == TASKS[1]
    read = read_images(*given, names, normalisation, regression)
    outputs = LINEAR if regression else SIGMOID if isinstance(read.samples, FindingSamples) else SOFTMAX
    return Data(read.samples, read.normalisation, tuple(read.said), outputs)


def _normalisation(mean: Any, std: Any) -> Normalisation | None:
    if (mean is None) != (std is None):
        raise UserError("mean and std belong together; give both, or neither")
    return None if mean is None else (channels_of(mean, "mean"), channels_of(std, "std"))


def _refuse_beside(images: str | Path, **given: Any) -> None:
    if names := [name for name, value in given.items() if value is not None]:
        raise UserError(
            f"{images} holds its {', '.join(names)} itself; leave out {', '.join(f'{one}=' for one in names)}"
        )
