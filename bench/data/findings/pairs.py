"""Pairs of an image and a finding that is present in it: the samples that are explained where images have several.

A pair is a sample of its own with the mask of its finding. Its id names image and finding, and its group is that of the
image, so that statistics treat all pairs of an image, and of a patient, as one cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from torch import Tensor

from bench.contracts import NO_FINDING, Sample

#: Split of the pairs.
SPLIT = "findings"
_NONE = "no finding"
#: Mask (H,W) bool, None if the finding was not annotated; and ignored pixels (H,W) bool, None if there are none.
Regions = tuple[Tensor | None, Tensor | None]


class FindingImages(Protocol):
    """Images of a split with several labels each; a sequence of samples without masks, which are read by finding.

    It has the optional attributes of ``bench.contracts.Samples`` that concern files.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """F names of findings."""

    @property
    def id_rows(self) -> Sequence[str]:
        """Name of each image."""

    @property
    def group_rows(self) -> Sequence[str]:
        """Group of each image."""

    @property
    def label_rows(self) -> Sequence[tuple[int, ...]]:
        """F labels per image: 1 present, 0 absent, -1 unknown."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...

    def finding_regions(self, index: int, finding: int, image: Tensor) -> Regions:
        """Returns the mask of a finding in an image (3,H,W), and the pixels where its annotation is undecided."""


def pair_id(image: str, finding: str = _NONE) -> str:
    """Names the pair of an image and a finding.

    Example:
        >>> pair_id("a.png", "effusion")
        'a.png [effusion]'
    """
    return f"{image} [{finding}]"


def image_of(pair: str, finding: str = _NONE) -> str:
    """Returns the image of a pair whose finding is known.

    Example:
        >>> image_of("a.png [effusion]", "effusion")
        'a.png'
    """
    return pair.removesuffix(f" [{finding}]")


def present(labels: Sequence[int]) -> list[int]:
    """Returns the findings that are present.

    ``[NO_FINDING]`` if all are absent, and nothing if none is present but a label is unknown: such an image may have a
    finding.

    Example:
        >>> present((0, 1, 1)), present((0, 0)), present((0, -1))
        ([1, 2], [-1], [])
    """
    found = [at for at, value in enumerate(labels) if value == 1]
    return found or ([NO_FINDING] if all(value == 0 for value in labels) else [])


class FindingPairs:
    """Sequence of the pairs of some images, in their order.

    Args:
        images: the images, usually those of the test split.
    """

    def __init__(self, images: FindingImages) -> None:
        self.images, self.classes = images, images.classes
        self.pairs = [(index, one) for index, labels in enumerate(images.label_rows) for one in present(labels)]
        for name in ("files", "excluded", "unused_faults"):
            if hasattr(images, name):
                setattr(self, name, getattr(images, name))

    @property
    def groups(self) -> dict[str, str]:
        """Group of each pair by its id."""
        return {self._id(place, finding): self.images.group_rows[place] for place, finding in self.pairs}

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        place, finding = self.pairs[index]
        sample = self.images[place]
        if finding == NO_FINDING:
            return replace(sample, label=finding, id=self._id(place, finding))
        mask, ignored = self.images.finding_regions(place, finding, sample.image)
        return replace(sample, label=finding, mask=mask, ignored=ignored, id=self._id(place, finding))

    def _id(self, place: int, finding: int) -> str:
        name = self.images.id_rows[place]
        return pair_id(name) if finding == NO_FINDING else pair_id(name, self.classes[finding])
