"""Checks of samples and splits before any training: files and plugins with faults would still give results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from operator import index as as_integer
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.contracts import NO_FINDING, DatasetInfo, Sample
from bench.data.findings.faults import lacking_findings
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import BadFile
from bench.errors import UserError
from bench.text.media import is_printable

_NAMED = 5


class BadFiles(UserError):
    """Error that lists all unusable files of a data set in one line, the first five by name.

    Args:
        dataset: name of the data set.
        files: the files, each with its reason.
    """

    def __init__(self, dataset: str, files: Sequence[Fault]) -> None:
        self.files = tuple(dict.fromkeys(files))
        named = listing([f"{fault.file} ({fault.reason})" for fault in self.files])
        count = "1 bad file" if len(self.files) == 1 else f"{len(self.files)} bad files"
        super().__init__(f"data set {dataset}: {count}: {named}; repair them, or leave them out with --skip-bad")


def listing(items: Sequence[str], between: str = ", ") -> str:
    """Joins the first five items and states how many more there are."""
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return between.join(items[:_NAMED]) + more


def checked(sample: Any, where: str, info: DatasetInfo, classes: Sequence[str]) -> Sample:
    """Validates what a builder returned -> a sample with an image (3,H,W) uint8.

    Args:
        sample: any object.
        where: data set and sample, the start of the error line.
        info: states which class is healthy.
        classes: C names.

    Raises:
        UserError: the object breaks the contract of ``Sample``.
        BadFile: the mask is empty although the class has lesions.
    """
    if not isinstance(sample, Sample):
        raise UserError(f"{where}: a {type(sample).__name__} is not a bench.contracts.Sample")
    where = f"{where} ({sample.id!r})"
    if hidden := next((one for one in (sample.id, sample.group) if not is_printable(str(one))), None):
        raise UserError(f"{where}: {hidden!r} has hidden characters; ids and groups are shown and must be printable")
    image = _checked_image(sample.image, where)
    _require_region(sample.mask, "mask", image, where)
    _require_region(sample.fov, "field of view", image, where)
    _require_region(sample.ignored, "ignored region", image, where)
    if sample.mask is not None and sample.ignored is not None and (sample.mask & sample.ignored).any():
        raise UserError(f"{where}: the ignored region overlaps the mask; a pixel is lesion or ignored, not both")
    label = _checked_label(sample.label, len(classes), where, info.multilabel)
    if sample.mask is not None and not sample.mask.any() and info.lesion_free not in (None, label):
        name = classes[label] if isinstance(label, int) else ""
        reason = f"its mask is empty, but its class {name!r} has lesions"
        raise BadFile(sample.id, reason, Kind.EMPTY_MASK)
    return replace(sample, image=image, label=label, id=str(sample.id), group=str(sample.group))


def _checked_image(image: Any, where: str) -> Tensor:
    if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] not in (1, 3) or 0 in image.shape:
        shape = tuple(image.shape) if hasattr(image, "shape") else type(image).__name__
        raise UserError(f"{where}: the image is {shape}, a tensor (3,H,W) or (1,H,W) is expected")
    if image.is_floating_point():
        lowest, highest = image.aminmax()
        if not (math.isfinite(lowest) and math.isfinite(highest)) or lowest < 0 or highest > 1:
            raise UserError(f"{where}: a float image must lie in [0, 1], this one in [{lowest:.4g}, {highest:.4g}]")
        image = (image.float() * 255).round().to(torch.uint8)
    if image.dtype != torch.uint8:
        raise UserError(f"{where}: the image is {image.dtype}, torch.uint8 or a float type is expected")
    rgb: Tensor = image.detach().cpu().expand(3, -1, -1)
    return rgb


def _require_region(region: Any, what: str, image: Tensor, where: str) -> None:
    if region is None:
        return
    if not isinstance(region, Tensor) or region.dtype != torch.bool:
        raise UserError(f"{where}: the {what} is {getattr(region, 'dtype', type(region).__name__)}, not torch.bool")
    if region.shape != image.shape[1:]:
        raise UserError(f"{where}: the {what} is {tuple(region.shape)}, its image {tuple(image.shape[1:])} (H,W)")


def _checked_label(label: Any, num_classes: int, where: str, multilabel: bool) -> int | tuple[int, ...]:
    if multilabel and isinstance(label, tuple | list):
        if len(label) != num_classes or not all(type(one) is int and one in (-1, 0, 1) for one in label):
            raise UserError(f"{where}: the labels {label!r} are not 1, 0 or -1 for each of {num_classes} classes")
        return tuple(label)
    lowest = NO_FINDING if multilabel else 0
    try:
        number = as_integer(label)
    except TypeError:
        raise UserError(f"{where}: the label {label!r} is not an integer") from None
    if not lowest <= number < num_classes:
        raise UserError(f"{where}: the label {number} is outside {lowest}…{num_classes - 1}")
    return number


class Listed(Protocol):
    """The facts about the N images of a split that ``check_splits`` needs, whether or not the images are in memory."""

    @property
    def ids(self) -> Sequence[str]:
        """N names of images."""

    @property
    def groups(self) -> Sequence[str]:
        """N names of groups, such as patients."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) indices into ``classes``, or (N,C) of 1, 0 and -1 with several labels per image."""

    @property
    def classes(self) -> Sequence[str]:
        """C names."""


def check_splits(info: DatasetInfo, splits: Mapping[str, Listed]) -> None:
    """Refuses splits that cannot be trained on or scored, or that share images or patients.

    Args:
        info: the data set.
        splits: split by name.

    Raises:
        UserError: one line with the first five faults.
    """
    refuse(info, split_faults(info, splits))


def refuse(info: DatasetInfo, wrong: Sequence[Fault]) -> None:
    """Raises UserError with the first five faults in one line, if there are any."""
    if wrong:
        raise UserError(f"data set {info.name}: " + listing([f"{fault.file} {fault.reason}" for fault in wrong], "; "))


def split_faults(info: DatasetInfo, splits: Mapping[str, Listed]) -> list[Fault]:
    """Finds classes that a split lacks, and images or groups that are in two splits.

    The explained split may consist of test images (mosaics), so it may share groups with the test split, but no ids.
    """
    trains = "train" in info.splits  # a trained classifier can be evaluated on images of one class
    lacking = [(name, reason) for name in splits if trains for reason in _lacks(info, name, splits[name])]
    faults = [Fault(f"split {name!r}", reason, Kind.SPLIT) for name, reason in lacking]
    return faults + _leaks(info, {name: dict(zip(one.ids, one.groups, strict=True)) for name, one in splits.items()})


def check_leaks(info: DatasetInfo, listed: Mapping[str, Mapping[str, str]]) -> None:
    """Refuses splits that share images or patients, before any of them is subsampled or decoded.

    Args:
        info: the data set.
        listed: split -> id -> group of all images that belong to the split.

    Raises:
        UserError: one line with the first five faults.
    """
    refuse(info, _leaks(info, listed))


def _leaks(info: DatasetInfo, splits: Mapping[str, Mapping[str, str]]) -> list[Fault]:
    """Finds images and groups that are in two splits; exceptions as in ``split_faults``."""
    faults = []
    for (first, one), (second, other) in combinations(splits.items(), 2):
        both = f"is in both {first!r} and {second!r}"
        shared = set(one) & set(other)
        faults += [Fault(id_, f"{both}; keep each image in one split", Kind.LEAK) for id_ in sorted(shared)]
        if {first, second} == {"test", info.explain_split}:
            continue
        for group, images in _shared_groups(one, other).items():
            if not shared.issuperset(images):
                reason = f"{both} ({listing(images)}); keep each group in one split"
                faults.append(Fault(f"group {group}", reason, Kind.LEAK))
    return faults


def _lacks(info: DatasetInfo, name: str, split: Listed) -> list[str]:
    if info.multilabel:
        return lacking_findings(info, name, split.labels, split.classes)
    found = sorted(set(split.labels.tolist()))
    absent = [split.classes[label] for label in range(len(split.classes)) if label not in found]
    if not found:
        return ["has no usable image"]
    if len(found) == 1:
        return [f"has images of class {split.classes[found[0]]!r} only; add images of another class"]
    if name == "train" and absent:
        return [f"has no training image of class {listing(absent)}; add some, or remove the class"]
    return []


def _shared_groups(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, list[str]]:
    """Returns the groups that are in both splits -> their images."""
    shared = set(one.values()) & set(other.values())
    images: dict[str, list[str]] = {group: [] for group in sorted(shared)}
    for split in (one, other):
        for id_, group in split.items():
            if group in shared:
                images[group].append(id_)
    return images
