"""The user's own images in memory with several labels each: one mask per image and finding, explained in pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from bench.contracts import DatasetInfo, Sample
from bench.data.findings.pairs import SPLIT, FindingPairs, Regions, present
from bench.errors import UserError
from bench.given.in_memory import dataset_in_memory
from bench.given.masks import mask_of
from bench.given.pixels import as_tensor

_GIVE = "give a dict finding -> (N,H,W), or (N,F,H,W)"


@dataclass
class FindingSamples:
    """Images with several labels each, as a data set builder returns them; see ``FindingImages``.

    Attributes:
        images: one (C,H,W) uint8 per image.
        label_rows: F labels per image: 1 present, 0 absent, -1 unknown.
        masks: per image, finding -> (H,W) bool; a finding without a mask was not annotated.
        id_rows, group_rows: N names each.
        named: findings that the masks name, in their order; empty if masks come in the order of the labels.
        classes: F names.
    """

    images: list[Tensor]
    label_rows: list[tuple[int, ...]]
    masks: list[dict[int, Tensor]]
    id_rows: list[str]
    group_rows: list[str]
    named: tuple[str, ...] = ()
    classes: tuple[str, ...] = field(default=())

    @property
    def groups(self) -> dict[str, str]:
        """Group of each image by its id."""
        return dict(zip(self.id_rows, self.group_rows, strict=True))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.images[index], self.label_rows[index], None, self.id_rows[index], self.group_rows[index])

    def finding_regions(self, index: int, finding: int, image: Tensor) -> Regions:
        """Returns the mask of a finding; an empty one counts as not annotated."""
        mask = self.masks[index].get(finding)
        return (mask if mask is not None and mask.any() else None), None


def is_multilabel(labels: Any, masks: Any) -> bool:
    """Returns whether labels are one row of findings per image.

    Rows with one 1 each, and no masks per finding, are one-hot rows of one class per image.
    """
    try:
        read = np.asarray([np.asarray(as_tensor(one)) for one in labels])
    except (TypeError, ValueError):
        return False
    if read.ndim != 2 or (read.shape[1] == 1 and not isinstance(masks, Mapping)):
        return False
    one_hot = bool(np.isin(read, (0, 1)).all() and (read.sum(axis=1) == 1).all())
    return not one_hot or isinstance(masks, Mapping) or _is_per_finding(masks, read.shape[1])


def _is_per_finding(masks: Any, findings: int) -> bool:
    first = next((one for one in masks if one is not None), None) if masks is not None else None
    return first is not None and as_tensor(first).ndim == 3 and len(as_tensor(first)) == findings


def read_findings(images: list[Tensor], labels: Any, masks: Any, ids: list[str], groups: list[str]) -> FindingSamples:
    """Reads labels and masks of images with several labels each.

    Args:
        images: one (C,H,W) uint8 per image.
        labels: (N,F) of 1, 0, and -1 or nan.
        masks: finding -> (N,H,W), or (N,F,H,W); None instead of a mask that was not drawn.
        ids: N names.
        groups: N names of patients or other clusters.

    Raises:
        UserError: labels or masks do not fit the images or each other.
    """
    rows = _labels(labels, len(images))
    count = len(rows[0])
    named: tuple[str, ...] = ()
    if isinstance(masks, Mapping):
        named = tuple(map(str, masks))
        by_finding = [_sequence(one, len(images), f"masks of {name!r}") for name, one in masks.items()]
        by_image: list[Any] = [list(some) for some in zip(*by_finding, strict=True)]
    else:
        by_image = [None] * len(images) if masks is None else _sequence(masks, len(images), "masks")
    samples = FindingSamples(images, rows, [], ids, groups, named)
    for place, (some, image) in enumerate(zip(by_image, images, strict=True)):
        samples.masks.append(_masks(some, image, place, len(named) or count))
    return samples


def _labels(labels: Any, count: int) -> list[tuple[int, ...]]:
    read = np.asarray([np.asarray(as_tensor(one)) for one in labels], dtype=float)
    if len(read) != count:
        raise UserError(f"there are {len(read)} labels for {count} images; give one row per image")
    read = np.where(np.isnan(read), -1, read)
    if wrong := sorted(set(read.ravel().tolist()) - {-1.0, 0.0, 1.0}):
        raise UserError(f"the labels hold {wrong[0]:g}; give 1 (present), 0 (absent), and -1 or nan (unknown)")
    return [tuple(map(int, row)) for row in read]


def _sequence(values: Any, count: int, what: str) -> list[Any]:
    found = list(values)
    if len(found) != count:
        raise UserError(f"there are {len(found)} {what} for {count} images; {_GIVE}, with None without a mask")
    return found


def _masks(values: Any, image: Tensor, place: int, findings: int) -> dict[int, Tensor]:
    if values is None:
        return {}
    some = list(values)
    if len(some) != findings or any(one is not None and as_tensor(one).ndim != 2 for one in some):
        raise UserError(f"the masks of image {place} are not one (H,W) for each of {findings} findings; {_GIVE}")
    return {at: mask_of(one, image, place) for at, one in enumerate(some) if one is not None}


def finding_names(classes: Sequence[str] | int | None, samples: FindingSamples) -> Sequence[str] | int | None:
    """Returns the stated names of the findings, otherwise those of the masks if there is one per label."""
    if classes is None and len(samples.named) == len(samples.label_rows[0]):
        return samples.named
    return classes


def finding_dataset(samples: FindingSamples, findings: tuple[str, ...], healthy: Any, targets: Any) -> DatasetInfo:
    """Returns the data set of images in memory with several labels each.

    Args:
        samples: the images; their masks are put in the order of the findings.
        findings: one name per output of the model.
        healthy: as given; there is no healthy class.
        targets: as given; pairs are explained for their finding.

    Raises:
        UserError: labels, masks and outputs do not fit, a mask marks a finding that the image does not have, no finding
            is present, or there is a choice that does not apply.
    """
    _require_applicable(healthy, targets)
    _require_fitting(samples, findings)
    if samples.named:
        samples.masks = [
            {findings.index(samples.named[at]): mask for at, mask in some.items()} for some in samples.masks
        ]
        samples.named = ()
    _require_consistent(samples, findings)
    samples.classes = findings

    def builder(root: Path, split: str) -> FindingSamples | FindingPairs:
        return FindingPairs(samples) if split == SPLIT else samples

    masks = [mask for some in samples.masks for mask in some.values()]
    return dataset_in_memory(builder, findings, masks, healthy=None, explain_split=SPLIT, multilabel=True)


def _require_applicable(healthy: Any, targets: Any) -> None:
    if healthy not in (None, "auto"):
        raise UserError(f"healthy={healthy!r} does not apply to several labels per image; leave it out")
    if not isinstance(targets, str) or targets != "label":
        raise UserError("targets does not apply to several labels per image: findings are explained; leave it out")


def _require_fitting(samples: FindingSamples, findings: tuple[str, ...]) -> None:
    if len(samples.label_rows[0]) != len(findings):
        raise UserError(
            f"there are {len(samples.label_rows[0])} labels per image, but the model has {len(findings)} outputs; give "
            "one label per output, in order, and -1 where it is unknown"
        )
    if unknown := [name for name in samples.named if name not in findings]:
        raise UserError(
            f"masks of {unknown[0]!r}, which is no finding; known: {', '.join(findings)} (name by classes=)"
        )


def _require_consistent(samples: FindingSamples, findings: tuple[str, ...]) -> None:
    for place, (labels, masks) in enumerate(zip(samples.label_rows, samples.masks, strict=True)):
        for at, mask in masks.items():
            if labels[at] != 1 and mask.any():
                label = "absent (0)" if labels[at] == 0 else "unknown (-1)"
                raise UserError(
                    f"the mask of image {place} marks {findings[at]!r}, but its label is {label}; correct one"
                )
    if not any(one >= 0 for labels in samples.label_rows for one in present(labels)):
        raise UserError("no finding is present in any image, so there is nothing to explain; check the labels")
