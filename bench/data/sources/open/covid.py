"""COVID-19 chest radiographs: 100 images from publications, with outlines of ground glass and consolidation.

No image is of a healthy person. ``cxr-covid`` therefore only tests where a classifier that was trained elsewhere looks,
and ``cxr-covid@findings`` asks which of the two findings an image shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.contracts import Sample
from bench.data.findings.pairs import SPLIT, FindingPairs, Regions
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import BadFile, read_image
from bench.data.sources.open.covid_tables import FACTS, FINDINGS, OUTLINES, Outline, Radiograph, read_tables
from bench.data.sources.open.repositories import COVID
from bench.data.splitting import grouped_split, require_split, subsample
from bench.errors import MissingData
from bench.registry import dataset

_OPACITY = 1


def draw_outlines(outlines: Iterable[Outline], image: Tensor) -> Tensor:
    """Draws the union of outlines at their places in an image (3,H,W) -> (H,W) bool.

    A mask file holds the box of its outline only: black, and one colour inside the finding.

    Raises:
        BadFile: a mask file, or the image, has another size than its table states.
    """
    mask = torch.zeros(image.shape[1:], dtype=torch.bool)
    for one in outlines:
        inside = read_image(one.file).amax(dim=0) > 0
        for what, size, stated in (("", inside, (one.width, one.height)), ("its image ", mask, one.frame)):
            if size.shape != (stated[1], stated[0]):
                found = f"{what}is {size.shape[1]}×{size.shape[0]} pixels"
                raise BadFile(one.file, f"{found}, {stated[0]}×{stated[1]} in {OUTLINES}", Kind.MASK_SIZE)
        mask[one.top : one.top + one.height, one.left : one.left + one.width] |= inside
    return mask


def _present(radiographs: Iterable[Radiograph]) -> tuple[list[Radiograph], list[Fault]]:
    """Returns the radiographs whose image exists, and faults of the others."""
    present: list[Radiograph] = []
    bad: list[Fault] = []
    for one in radiographs:
        if one.file.is_file():
            present.append(one)
        else:
            bad.append(Fault(one.file.name, f"is in {OUTLINES}, but its image is missing", Kind.ABSENT))
    return present, bad


class _Radiographs:
    """Sequence of radiographs in their original sizes; an id is the name of a file, a group is a patient."""

    def __init__(self, home: Path, chosen: Sequence[Radiograph], count: int | None, seed: int) -> None:
        self.groups = {one.file.name: one.patient for one in chosen}
        kept = subsample([one.labels for one in chosen], [one.file.name for one in chosen], count, seed)
        self.radiographs = [chosen[index] for index in kept]
        outlines = [outline.file for one in self.radiographs for outline in one.outlines]
        self.files = [home / OUTLINES, home / FACTS, *(one.file for one in self.radiographs), *outlines]
        self.unchecked = "whether images of different publications are of one patient"
        self.excluded: list[Fault] = []
        self.left_out: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.radiographs)


class Opacities(_Radiographs):
    """Radiographs with an opacity whose row states a licence; they are all test images, and their mask is the union."""

    def __init__(self, root: Path, split: str, count: int | None, seed: int) -> None:
        require_split("cxr-covid", split, ("test",))
        home = _home(root)
        every = read_tables(home)
        with_opacity = [one for one in every if one.of(*range(len(FINDINGS)))]
        present, bad = _present(one for one in with_opacity if one.licence)
        super().__init__(home, present, count, seed)
        self.excluded = bad
        self.left_out = {
            "images without an outlined opacity": len(every) - len(with_opacity),
            f"images whose licence is not stated in {FACTS}": sum(not one.licence for one in with_opacity),
        }

    def __getitem__(self, index: int) -> Sample:
        one = self.radiographs[index]
        image = read_image(one.file)
        mask = draw_outlines(one.of(*range(len(FINDINGS))), image)
        return Sample(image, _OPACITY, mask, one.file.name, one.patient)


class Findings(_Radiographs):
    """All radiographs, with one label per finding; splits by patient, stratified by the findings, by the seed."""

    classes = FINDINGS

    def __init__(self, root: Path, split: str, count: int | None, seed: int) -> None:
        require_split("cxr-covid@findings", split)
        home = _home(root)
        every, bad = _present(read_tables(home))
        kinds = sorted({one.labels for one in every})
        parts = grouped_split([kinds.index(one.labels) for one in every], [one.patient for one in every], seed)
        super().__init__(home, [one for one, part in zip(every, parts, strict=True) if part == split], count, seed)
        self.excluded = bad if split == "train" else []  # in no split, so counted once

    @cached_property
    def id_rows(self) -> list[str]:
        """Names of all images."""
        return [one.file.name for one in self.radiographs]

    @cached_property
    def group_rows(self) -> list[str]:
        """Patients of all images."""
        return [one.patient for one in self.radiographs]

    @cached_property
    def label_rows(self) -> list[tuple[int, ...]]:
        """Labels of all images."""
        return [one.labels for one in self.radiographs]

    def __getitem__(self, index: int) -> Sample:
        one = self.radiographs[index]
        return Sample(read_image(one.file), one.labels, None, one.file.name, one.patient)

    def finding_regions(self, index: int, finding: int, image: Tensor) -> Regions:
        """Returns the mask (H,W) of a finding in an image (3,H,W); no pixel is undecided.

        Raises:
            BadFile: a mask file cannot be used.
        """
        return draw_outlines(self.radiographs[index].of(finding), image), None


def _home(root: Path) -> Path:
    if problem := missing(root):
        raise MissingData(problem)
    return COVID.home(root)


def missing(root: Path) -> str:
    """Returns an empty text, or which files are missing."""
    return COVID.absent(root, OUTLINES, FACTS, "images/*.*", "masks/*.png")


def _register(name: str, builder: Callable[..., Any], **facts: Any) -> None:
    dataset(
        name,
        modality="cxr",
        masks="pixel",
        mask_is="ground glass and consolidation" if "splits" in facts else "",
        source=f"COVID-19 Chest X-ray Segmentations, {COVID.url} at {COVID.commit[:7]}",
        citation=f"General Blockchain, COVID-19 Chest X-ray Segmentations Dataset, 2020, {COVID.url}; images: Cohen et "
        "al., arXiv:2006.11988",
        missing=missing,
        in_all=False,
        **facts,
    )(builder)


def opacities(root: Path, split: str, count: int | None = None, seed: int = 0) -> Opacities:
    """Returns the test images; see ``Opacities``."""
    return Opacities(root, split, count, seed)


def findings(root: Path, split: str, count: int | None = None, seed: int = 0) -> Findings | FindingPairs:
    """Returns a split of images with two labels each, or the pairs of test images and findings; see ``Findings``."""
    images = Findings(root, "test" if split == SPLIT else split, count, seed)
    return FindingPairs(images) if split == SPLIT else images


_register(
    "cxr-covid",
    opacities,
    classes=("normal", "opacity"),
    licence="outlines CC BY 4.0; images as their rows state: CC BY, CC BY-SA or CC BY-NC-SA",
    splits=("test",),
    totals=((0, 44),),
)
_register(
    "cxr-covid@findings",
    findings,
    classes=FINDINGS,
    healthy=None,
    licence="outlines CC BY 4.0; 56 images without a stated licence: do not publish them",
    explain_split=SPLIT,
    multilabel=True,
)
