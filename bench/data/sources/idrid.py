"""IDRiD: fundus photographs from Nanded, India, 516 with grades and 81 with outlines of four lesion types.

It tests whether results on EyePACS hold for another camera and population. The 81 photographs have no grades, and the
publisher does not state which of them are among the 516 (whether ``IDRiD_01`` is ``IDRiD_001``), so that photographs in
both parts are found by their content.
"""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.contracts import Sample
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import SUFFIXES, read_image
from bench.data.readers.masks import read_mask_of
from bench.data.readers.places import first_below, home_of
from bench.data.readers.tables import key_of, read_labels
from bench.data.sources.eyepacs import GRADES, PREPROCESSING, cropped
from bench.data.splitting import require_split, split_off_validation, subsample
from bench.errors import MissingData
from bench.registry import dataset

_SEGMENTATION, _GRADING = "A. Segmentation", "B. Disease Grading"
_IMAGES, _OUTLINES, _GRADES = "1. Original Images", "2. All Segmentation Groundtruths", "2. Groundtruths"
_PARTS = {"train": "a. Training Set", "test": "b. Testing Set"}
_TABLES = {"train": "*Training Labels.csv", "test": "*Testing Labels.csv"}
#: Folders of the lesion types, without their numbers. The optic disc is outlined too, but it is not a lesion.
_LESIONS = ("Microaneurysms", "Haemorrhages", "Hard Exudates", "Soft Exudates")
_GET = "https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid"


@dataclass(frozen=True)
class Photograph:
    """Photograph with its class, 1 for grades of 1 or more, and its masks; None if it was not outlined."""

    file: Path
    id: str
    label: int
    masks: tuple[Path, ...] | None


def missing(root: Path) -> str:
    """Returns an empty text, or which of the two parts is missing."""
    home = home_of(root, ("idrid", "IDRiD"))
    absent = [f"{part}/{_IMAGES}" for part in (_SEGMENTATION, _GRADING) if _part(home, part) is None]
    return (
        f"no folder {' nor '.join(map(repr, absent))} in {home}; unpack the parts from {_GET} there" if absent else ""
    )


def _part(home: Path, part: str) -> Path | None:
    """Returns the folder of a part that contains its images; unpacking may have nested folders of the same name."""
    images = first_below(home, f"{part}/{_IMAGES}/")
    return images.parent if images else None


def _folder(home: Path, part: str) -> Path:
    folder = _part(home, part)
    if folder is None:
        raise MissingData(missing(home))
    return folder


def _pictures(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*") if file.suffix.lower() in SUFFIXES)


def _graded(folder: Path, part: str) -> tuple[list[Photograph], list[Fault], Path, int]:
    """Returns a part of the grading set: photographs, faults of missing ones, the table, number of ungraded ones."""
    table = first_below(folder / _GRADES, _TABLES[part])
    if table is None:
        raise MissingData(f"no {_TABLES[part]} in {folder / _GRADES}")
    grades = read_labels(table, "Image name", "Retinopathy grade", len(GRADES))
    found = {key_of(file.name): file for file in _pictures(folder / _IMAGES / _PARTS[part])}
    reason = f"is in {table.name}, but its image is missing"
    bad = [Fault(key, reason, Kind.ABSENT) for key in grades if key not in found]
    kept = [
        Photograph(found[key], f"grading-{part}/{found[key].stem}", int(grade >= 1), None)
        for key, grade in grades.items()
        if key in found
    ]
    return kept, bad, table, len(found.keys() - grades.keys())


def _outlined(folder: Path) -> tuple[list[Photograph], list[Fault]]:
    """Returns the photographs of the segmentation set, all diseased, and faults of masks without a photograph.

    Raises:
        MissingData: there is no photograph, or none has a mask.
    """
    outlines: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for part in _PARTS.values():
        for lesion in _LESIONS:
            for file in sorted((folder / _OUTLINES / part).glob(f"*{lesion}/*.tif")):
                outlines[part, file.stem.rpartition("_")[0].lower()].append(file)
    photographs = []
    for part in _PARTS.values():
        for file in _pictures(folder / _IMAGES / part):
            masks = outlines.pop((part, file.stem.lower()), [])
            photographs.append(Photograph(file, f"segmentation/{file.stem}", 1, tuple(masks)))
    if not any(one.masks for one in photographs):
        raise MissingData(
            f"{folder}: {len(photographs)} photographs in {_IMAGES!r}, none with a mask of its name in {_OUTLINES!r}; "
            f"unpack the part {_SEGMENTATION!r} from {_GET} there"
        )
    stray = [str(file) for files in outlines.values() for file in files]
    reason = "belongs to no image, because no image has this name; rename or remove it"
    return photographs, [Fault(file, reason, Kind.STRAY_MASK) for file in stray]


def same_content(files: Iterable[Path], others: Iterable[Path]) -> set[Path]:
    """Returns the members of ``files`` that are byte by byte equal to one of ``others``."""
    by_size = defaultdict(list)
    for other in others:
        by_size[other.stat().st_size].append(other)
    return {
        file for file in files if any(filecmp.cmp(file, other, shallow=False) for other in by_size[file.stat().st_size])
    }


class Photographs:
    """Sequence of photographs cropped to the square around the disc.

    Split "test" is the publisher's grading test set and the whole segmentation set. "train" and "val" are the grading
    training set without photographs of the segmentation set, divided by the seed. Patients are not published, so that
    each photograph counts as a patient of its own.
    """

    def __init__(self, root: Path, split: str, count: int | None, seed: int) -> None:
        require_split("fundus-idrid", split)
        home = home_of(root, ("idrid", "IDRiD"))
        outlined, stray = _outlined(_folder(home, _SEGMENTATION))
        graded, absent, table, ungraded = _graded(_folder(home, _GRADING), "test" if split == "test" else "train")
        in_both = same_content((one.file for one in graded), (one.file for one in outlined))
        self.left_out = {
            f"photographs of {_GRADING} that are also in {_SEGMENTATION} ({table.name})": len(in_both),
            f"photographs without a grade in {table.name}": ungraded,
        }
        self.unchecked = "whether splits share a patient: the publisher does not link photographs to patients"
        chosen = [one for one in graded if one.file not in in_both]
        if split == "test":
            chosen += outlined
        else:
            parts = split_off_validation([one.label for one in chosen], [one.id for one in chosen], seed)
            chosen = [one for one, part in zip(chosen, parts, strict=True) if part == split]
        kept = subsample([one.label for one in chosen], [one.id for one in chosen], count, seed)
        self._photographs = [chosen[index] for index in kept]
        self.excluded = {"train": absent, "val": [], "test": absent + stray}[split]
        masks = [file for one in self._photographs for file in one.masks or ()]
        self.files = [table, *(one.file for one in self._photographs), *masks]

    def __len__(self) -> int:
        return len(self._photographs)

    def __getitem__(self, index: int) -> Sample:
        one = self._photographs[index]
        image = read_image(one.file)
        lesion = None if one.masks is None else _united(one.masks, image)
        return cropped(image, one.label, lesion, one.id, one.id)


def _united(masks: Iterable[Path], image: Tensor) -> Tensor:
    """Reads the lesions of all types of an image (3,H,W) -> (H,W) bool."""
    lesion = torch.zeros(image.shape[1:], dtype=torch.bool)
    for file in masks:
        lesion |= read_mask_of(image, file)
    return lesion


@dataset(
    "fundus-idrid",
    modality="fundus",
    classes=("no DR", "DR"),
    masks="pixel",
    source=f"Indian Diabetic Retinopathy Image Dataset, {_GET}",
    licence="CC BY 4.0",
    citation="Porwal et al., Data 3(3):25, 2018, doi:10.3390/data3030025",
    missing=missing,
    in_all=False,
    totals=((516 + 81,),),
    preprocessing=PREPROCESSING,
)
def idrid(root: Path, split: str, count: int | None = None, seed: int = 0) -> Photographs:
    """Returns a split for the binary task, grade 1 or more against grade 0; see ``Photographs``."""
    return Photographs(root, split, count, seed)
