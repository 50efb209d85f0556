"""Data set of the user's own images in memory: arrays, tensors, a Dataset or a DataLoader; all of it is explained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.contracts import DatasetInfo, Sample
from bench.errors import UserError
from bench.given.findings import FindingSamples, is_multilabel, read_findings
from bench.given.in_memory import dataset_in_memory
from bench.given.masks import mask_of
from bench.given.pixels import Normalisation, as_tensor, read_pixels

#: The class without lesions is found by ``find_healthy``.
AUTO = "auto"


@dataclass
class ImageSamples:
    """Images with their labels, masks and names, as a data set builder returns them.

    Attributes:
        images: one (C,H,W) uint8 per image.
        labels: N class indices.
        masks: (H,W) bool per image; None for an image that was not annotated.
        ids, group_of: N names each.
        targets: id -> class that its map explains, in the place of the usual one.
        values: id -> true value of the output of a regression; empty if unknown.
    """

    images: list[Tensor]
    labels: list[int]
    masks: list[Tensor | None]
    ids: list[str]
    group_of: list[str]
    targets: dict[str, int] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)

    @property
    def groups(self) -> dict[str, str]:
        """Group of each image by its id."""
        return dict(zip(self.ids, self.group_of, strict=True))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.images[index], self.labels[index], self.masks[index], self.ids[index], self.group_of[index])


@dataclass(frozen=True)
class Given:
    """What the user gives, read but not yet compared with the model.

    Attributes:
        samples: all images.
        normalisation: mean and deviation that the model needs.
        said: how the images were read, one entry per fact.
    """

    samples: ImageSamples | FindingSamples
    normalisation: Normalisation
    said: list[str]


def read_images(
    images: Any,
    masks: Any,
    labels: Any,
    names: tuple[Sequence[Any] | None, Sequence[Any] | None],
    normalisation: tuple[Normalisation | None, Normalisation | None],
    regression: bool = False,
) -> Given:
    """Reads the user's images with their masks and labels.

    Args:
        images: see ``read_pixels``; or a Dataset or DataLoader of (image, label) or (image, label, mask).
        masks: (N,H,W), or a sequence of (H,W) or None; None without masks. True, or above 0, inside the lesion.
        labels: N integers, or (N,F) findings; None if ``images`` holds them.
        names: ids and groups of the images; None = numbered, and each image a group of its own.
        normalisation: the one that the user asks for, and the one that the model states.
        regression: labels are the true values of the output, or None.

    Raises:
        UserError: labels, masks or names do not fit the images.
    """
    if isinstance(images, Dataset | DataLoader):
        if masks is not None or labels is not None:
            raise UserError(f"a {type(images).__name__} holds labels and masks itself; leave out masks= and labels=")
        images, labels, masks = _collected(images)
    pixels = read_pixels(images, *normalisation)
    count = len(pixels.images)
    multilabel = not regression and is_multilabel(labels, masks)
    values = _values(labels, count) if regression else None
    read = [] if multilabel else [0] * count if regression else _labels(labels, count)
    ids, groups = (_names(one, count, what) for one, what in zip(names, ("ids", "groups"), strict=True))
    ids = ids or [f"image {place}" for place in range(count)]
    if len(set(ids)) < count:
        raise UserError("ids must be unique; two images have the same one")
    said = [pixels.said] if pixels.said else []
    if multilabel:
        found = read_findings(pixels.images, labels, masks, ids, groups or ids)
        said.append("the labels are findings, so each output is read by a sigmoid of its own")
        return Given(found, pixels.normalisation, said)
    samples = ImageSamples(pixels.images, read, _masks(masks, pixels.images), ids, groups or ids)
    samples.values = dict(zip(ids, values, strict=True)) if values is not None else {}
    return Given(samples, pixels.normalisation, said)


def _collected(data: Iterable[Any] | Any) -> tuple[list[Any], list[Any], list[Any] | None]:
    """Reads every item of a Dataset or batch of a DataLoader."""
    images: list[Any] = []
    labels: list[Any] = []
    masks: list[Any] = []
    for item in _items(data):
        parts = [item.get(key) for key in ("image", "label", "mask")] if isinstance(item, Mapping) else item
        if not isinstance(parts, tuple | list) or len(parts) not in (2, 3) or parts[0] is None or parts[1] is None:
            raise UserError(f"{type(data).__name__}: items must be (image, label) or (image, label, mask)")
        image, label, mask = parts if len(parts) == 3 else (*parts, None)
        batched = isinstance(data, DataLoader)
        images += list(image) if batched else [image]
        labels += list(as_tensor(label)) if batched else [label]
        masks += ([None] * len(image) if mask is None else list(mask)) if batched else [mask]
    return images, labels, masks if any(one is not None for one in masks) else None


def _items(data: Any) -> Iterator[Any]:
    yield from data if isinstance(data, DataLoader) else (data[place] for place in range(len(data)))


def _labels(labels: Any, count: int, what: str = "labels") -> list[int]:
    if labels is None:
        raise UserError("labels are missing; give one class index per image: labels=[0, 1, …]")
    read = np.asarray([np.asarray(as_tensor(one)) for one in labels])
    if read.ndim == 2 and read.shape[1] == 1:
        read = read[:, 0]
    if read.ndim != 1:
        raise UserError(f"{what} have the shape {read.shape}; give one class index per image (of one-hot rows, argmax)")
    if len(read) != count:
        raise UserError(f"there are {len(read)} {what} for {count} images; give one per image")
    if not np.array_equal(read, read.astype(np.int64)):
        raise UserError(f"{what} must be integers, the class index of each image")
    return [int(one) for one in read]


def _values(values: Any, count: int) -> list[float] | None:
    if values is None:
        return None
    read = np.asarray([np.asarray(as_tensor(one)) for one in values], dtype=float).reshape(len(values), -1)
    if read.shape != (count, 1) or not np.isfinite(read).all():
        raise UserError(f"labels of a regression are one finite number per image ({count}), not {read.shape}")
    return [float(one) for one in read[:, 0]]


def _names(names: Sequence[Any] | None, count: int, what: str) -> list[str] | None:
    if names is None:
        return None
    read = [str(one.item() if isinstance(one, Tensor) else one) for one in names]
    if len(read) != count:
        raise UserError(f"there are {len(read)} {what} for {count} images; give one per image")
    return read


def _masks(masks: Any, images: list[Tensor]) -> list[Tensor | None]:
    if masks is None:
        return [None] * len(images)
    found = list(masks)
    if len(found) != len(images):
        raise UserError(f"there are {len(found)} masks for {len(images)} images; give one per image, None without")
    return [
        None if mask is None else mask_of(mask, image, place)
        for place, (mask, image) in enumerate(zip(found, images, strict=True))
    ]


def find_healthy(samples: ImageSamples, classes: Sequence[str]) -> int | None:
    """Finds the class without lesions: the only one none of whose images has a mask with a lesion.

    None if there are no masks, or several such classes: every image is then explained for its label.
    """
    marked = {
        label for label, mask in zip(samples.labels, samples.masks, strict=True) if mask is not None and mask.any()
    }
    without = sorted(set(samples.labels) - marked)
    return without[0] if marked and len(without) == 1 and len(classes) > 1 else None


def healthy_index(asked: int | str | None, samples: ImageSamples, classes: Sequence[str]) -> int | None:
    """Returns the index of the class without lesions from its index or name, or finds it (``AUTO``).

    Raises:
        UserError: there is no such class.
    """
    if asked == AUTO:
        return find_healthy(samples, classes)
    if asked is None or asked in range(len(classes)):
        return None if asked is None else int(asked)
    if asked not in classes:
        raise UserError(
            f"healthy={asked!r} is not a class; known: {', '.join(classes)}, their indices, None or {AUTO!r}"
        )
    return list(classes).index(str(asked))


def given_targets(targets: Any, samples: ImageSamples, outputs: int) -> dict[str, int]:
    """Returns id -> class that its map explains, from one class index per image.

    Raises:
        UserError: there is another number of them, or one is not an output of the model.
    """
    read = _labels(targets, len(samples), "targets")
    if wrong := sorted({one for one in read if not 0 <= one < outputs}):
        raise UserError(f"target {wrong[0]} is not an output of the model (0…{outputs - 1})")
    return dict(zip(samples.ids, read, strict=True))


def class_names(classes: Sequence[str] | int | None, outputs: int) -> tuple[str, ...]:
    """Returns one name per output.

    Raises:
        UserError: there is another number of names.
    """
    names = tuple(map(str, classes)) if isinstance(classes, Sequence) else tuple(f"class {at}" for at in range(outputs))
    if len(names) != outputs or (isinstance(classes, int) and classes != outputs):
        asked = classes if isinstance(classes, int) else len(names)
        raise UserError(
            f"the model has {outputs} outputs, but {asked} classes are named; give one per output, in order"
        )
    return names


def image_dataset(
    samples: ImageSamples, classes: tuple[str, ...], healthy: int | None, regression: bool = False
) -> DatasetInfo:
    """Returns the data set of images in memory; empty masks of diseased images count as not annotated.

    Raises:
        UserError: a label has no class.
    """
    if any(not 0 <= label < len(classes) for label in samples.labels):
        raise UserError(
            f"labels reach from {min(samples.labels)} to {max(samples.labels)}, but the {len(classes)} outputs of the "
            f"model are 0…{len(classes) - 1}; renumber the labels in the order of the outputs"
        )
    for place, (label, mask) in enumerate(zip(samples.labels, samples.masks, strict=True)):
        if mask is not None and not mask.any() and healthy not in (None, label):
            samples.masks[place] = None

    def builder(root: Path, split: str) -> ImageSamples:
        return samples

    return dataset_in_memory(builder, classes, samples.masks, healthy=healthy, regression=regression)
