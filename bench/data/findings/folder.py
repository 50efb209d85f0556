"""Data set of the user's own images with several labels each: ``folder:PATH`` with ``labels.csv``.

PATH/labels.csv                    file, group, split (optional), one column per finding: 1, 0, -1 or empty
PATH/images/…                      the files that labels.csv names
PATH/masks/<finding>/<stem>.png    one mask per image and finding; or boxes.csv or boxes.json (COCO)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from bench.contracts import DatasetInfo, Sample
from bench.data.findings.boxes import box_mask
from bench.data.findings.files import find_images
from bench.data.findings.pairs import SPLIT, FindingPairs, Regions
from bench.data.readers.faults import Kind
from bench.data.readers.images import BadFile, Window, read_image
from bench.data.readers.masks import read_regions_of, require_plausible
from bench.data.splitting import require_split, subsample
from bench.specs import parse_mask_values


def findings_dataset(table: Path) -> DatasetInfo:
    """Returns the facts and the builder of the folder of a table, which is usually called ``labels.csv``.

    Raises:
        UserError: as ``find_images``.
    """
    found = find_images(table, seed=0)

    def builder(
        root: Path,
        split: str,
        count: int | None = None,
        seed: int = 0,
        mask_values: Sequence[int | str] = (),
        window: Window | None = None,
    ) -> FolderFindings | FindingPairs:
        images = FolderFindings(table, "test" if split == SPLIT else split, count, seed, (mask_values, window))
        return FindingPairs(images) if split == SPLIT else images

    masks: Literal["pixel", "box", "none"] = "none"
    if found.boxes or any(one.masks for one in found.images):
        masks = "box" if found.boxes else "pixel"
    return DatasetInfo(
        name=f"folder:{table.parent}",
        builder=builder,
        modality="other",
        classes=found.table.findings,
        masks=masks,
        source=str(table.parent),
        licence="the user's own",
        citation="",
        healthy=None,
        explain_split=SPLIT,
        in_all=False,
        multilabel=True,
    )


class FolderFindings:
    """Sequence of the images of one split in their original sizes; an image's id is its name in ``labels.csv``.

    Raises:
        UserError: unknown split, or as ``find_images``.
    """

    def __init__(
        self,
        table: Path,
        split: str,
        count: int | None,
        seed: int,
        reading: tuple[Sequence[int | str], Window | None] = ((), None),
    ) -> None:
        require_split(f"folder:{table.parent}", split)
        found = find_images(table, seed)
        self._values, self._window = parse_mask_values(reading[0]), reading[1]
        self.classes, self._boxes, self._table = found.table.findings, found.boxes, table.name
        images = [one for one in found.images if one.split == split]
        self.groups = {one.row.file: one.row.group for one in images}
        unstated = f"which images are of one person: {table.name} has no column group"
        self.unchecked = "" if found.table.has_groups else unstated
        chosen = subsample([one.row.labels for one in images], [one.row.file for one in images], count, seed)
        self.images = [images[index] for index in chosen]
        masks = [mask for one in self.images for some in one.masks.values() for mask in some]
        tables = [found.table.file, *([found.boxes.file] if found.boxes else [])]
        self.files = [*tables, *(one.file for one in self.images), *masks]
        self.excluded = found.bad if split == "train" else []  # files outside of the splits are counted once
        self.unused_faults = found.unused

    @cached_property
    def id_rows(self) -> list[str]:
        """Names of all images."""
        return [one.row.file for one in self.images]

    @cached_property
    def group_rows(self) -> list[str]:
        """Patients of all images."""
        return [one.row.group for one in self.images]

    @cached_property
    def label_rows(self) -> list[tuple[int, ...]]:
        """Labels of all images."""
        return [one.row.labels for one in self.images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """Reads an image with its labels.

        Raises:
            BadFile: a mask or box marks a finding that the image does not have.
        """
        listed = self.images[index]
        image = read_image(listed.file, self._window)
        for finding, value in enumerate(listed.row.labels):
            mask = None if value == 1 else self.finding_regions(index, finding, image)[0]
            if mask is not None and mask.any():
                file = self._boxes.file if self._boxes else listed.masks[finding][0]
                label = f"line {listed.row.line}, says that it is {'absent' if value == 0 else 'unknown'}"
                reason = (
                    f"marks {self.classes[finding]!r} on {listed.row.file}, but {self._table}, {label}; correct one"
                )
                raise BadFile(file, reason, Kind.ABSENT_FINDING)
        return Sample(image, listed.row.labels, None, listed.row.file, listed.row.group)

    def finding_regions(self, index: int, finding: int, image: Tensor) -> Regions:
        """Returns the mask of a finding and its ignored pixels, each (H,W) bool; None if it was not annotated.

        Raises:
            BadFile: a mask or box cannot be used.
        """
        listed = self.images[index]
        if self._boxes is not None:
            boxes = self._boxes.of.get((listed.row.file, self.classes[finding]), [])
            size = (image.shape[1], image.shape[2])
            return box_mask(boxes, size, self._boxes.file) if boxes else None, None
        regions = [self._read(file, image, listed.file.name) for file in listed.masks.get(finding, [])]
        if not regions:
            return None, None
        mask = torch.stack([lesion for lesion, _ in regions]).any(dim=0)
        undecided = [ignored for _, ignored in regions if ignored is not None]
        return mask, torch.stack(undecided).any(dim=0) & ~mask if undecided else None

    def _read(self, file: Path, image: Tensor, name: str) -> tuple[Tensor, Tensor | None]:
        regions = read_regions_of(image, file, self._values, name)
        if not self._values:
            require_plausible(regions[0], file)
        return regions
