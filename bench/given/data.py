"""Images that a given model is evaluated on: in memory, or a data set by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contracts import DatasetInfo
from bench.errors import UserError
from bench.given.findings import FindingSamples, finding_dataset, finding_names
from bench.given.images import ImageSamples, class_names, given_targets, healthy_index, image_dataset, read_images
from bench.given.models.sources import named_dataset
from bench.given.pixels import IDENTITY, Normalisation, channels_of
from bench.outputs import LINEAR, SIGMOID, SOFTMAX, Outputs, outputs_of

TARGETS = ("label", "predicted")
TASKS = ("classification", "regression")


@dataclass(frozen=True)
class Data:
    """Images of an evaluation.

    Attributes:
        samples: those in memory; None for a folder or a registered data set.
        normalisation: mean and deviation per channel that the model needs.
        said: how they were read.
        outputs: meaning of the model's outputs for their labels.
        named: the data sets that were named, by name; empty for images in memory.
    """

    samples: ImageSamples | FindingSamples | None
    normalisation: Normalisation
    said: tuple[str, ...]
    outputs: Outputs
    named: dict[str, DatasetInfo]

    def described(
        self, classes: Sequence[str] | int | None, outputs: int, healthy: int | str | None, targets: Any
    ) -> dict[str, DatasetInfo]:
        """Returns the data sets by name; arguments as of ``evaluate``.

        Raises:
            UserError: labels, masks, targets or names do not fit the outputs of the model.
        """
        if self.samples is None:
            return self.named
        info = self._in_memory(self.samples, classes, outputs, healthy, targets)
        return {info.name: info}

    def _in_memory(
        self,
        samples: ImageSamples | FindingSamples,
        classes: Sequence[str] | int | None,
        outputs: int,
        healthy: int | str | None,
        targets: Any,
    ) -> DatasetInfo:
        if isinstance(samples, FindingSamples):
            names = class_names(finding_names(classes, samples), outputs)
            return finding_dataset(samples, names, healthy, targets)
        if self.outputs.relative:
            if outputs != 1:
                raise UserError(f"the model has {outputs} outputs, and a regression needs one; leave out task=")
            return image_dataset(samples, class_names(classes or ["output"], 1), None, regression=True)
        names = class_names(classes, outputs)
        info = image_dataset(samples, names, healthy_index(healthy, samples, names))
        samples.targets = {} if isinstance(targets, str) else given_targets(targets, samples, len(names))
        return info

    @property
    def values(self) -> dict[str, float]:
        """True value of the output of a regression by image; empty if unknown."""
        return self.samples.values if isinstance(self.samples, ImageSamples) else {}

    def side_of(self, asked: int | None, stated: int | None) -> int:
        """Returns the side in pixels: that which is asked for, of the images, or that the model states.

        Raises:
            UserError: it is unknown.
        """
        side = asked or self._side or stated
        if side is not None:
            return side
        if self.samples is None:
            raise UserError(
                "the size of the images is unknown; give size=…, the side in pixels that the model was trained on"
            )
        height, width = self.samples.images[0].shape[1:]
        what = f"the images are not squares of one size (the first one is {height}×{width})"
        raise UserError(f"{what}; give size=…, the side in pixels to which they are resized")

    @property
    def _side(self) -> int | None:
        """Side of the images in pixels; None if they are not squares of one size."""
        sizes = {tuple(one.shape[1:]) for one in self.samples.images} if self.samples else set()
        sides = {side for size in sizes for side in size}
        return int(sides.pop()) if len(sides) == 1 else None


def read_data(
    images: Any,
    beside: tuple[Any, Any],
    names: tuple[Any, Any],
    normalisation: tuple[Normalisation | None, Normalisation | None],
    task: str,
) -> Data:
    """Reads images with all that belongs to them, or names a data set that holds it.

    Args:
        images: as of ``evaluate``.
        beside: masks and labels.
        names: ids and groups.
        normalisation: the one that the user asks for, and the one that the model states.
        task: one of ``TASKS``.

    Raises:
        UserError: labels, masks or names do not fit the images, or there is no such data set.
    """
    asked, stated = normalisation
    if isinstance(images, str | Path):
        given = dict(zip(("masks", "labels", "ids", "groups"), (*beside, *names), strict=True))
        if double := [name for name, value in given.items() if value is not None]:
            leave = ", ".join(f"{one}=" for one in double)
            raise UserError(f"{images} holds its {', '.join(double)} itself; leave out {leave}")
        if task != TASKS[0]:
            raise UserError(f"a regression reads images in memory, not {images}; give arrays")
        datasets = dict([named_dataset(images, Path("data"))])
        return Data(None, asked or stated or IDENTITY, (), outputs_of(next(iter(datasets.values()))), datasets)
    regression = task == TASKS[1]
    read = read_images(images, *beside, names, normalisation, regression)
    outputs = LINEAR if regression else SIGMOID if isinstance(read.samples, FindingSamples) else SOFTMAX
    return Data(read.samples, read.normalisation, tuple(read.said), outputs, {})


def normalisation_of(mean: Any, std: Any) -> Normalisation | None:
    """Returns the normalisation that the user asks for; None if none.

    Raises:
        UserError: one of the two is missing, or not one number or three.
    """
    if (mean is None) != (std is None):
        raise UserError("mean and std belong together; give both, or neither")
    return None if mean is None else (channels_of(mean, "mean"), channels_of(std, "std"))


def check_choices(task: str, expected_auc: float | None, targets: Any = TARGETS[0]) -> None:
    """Checks what the user states.

    Raises:
        UserError: an unknown task or target, or an AUC outside [0, 1] or of a regression.
    """
    if task not in TASKS:
        raise UserError(f"unknown task {task!r}; give {' or '.join(TASKS)}")
    if expected_auc is not None and not 0 <= expected_auc <= 1:
        raise UserError(f"expected_auc={expected_auc!r} is not an AUC; give a number from 0 to 1")
    if expected_auc is not None and task != TASKS[0]:
        raise UserError("expected_auc does not apply to a regression; leave it out")
    if isinstance(targets, str) and targets not in TARGETS:
        raise UserError(f"unknown targets {targets!r}; give {', '.join(TARGETS)}, or one class index per image")
