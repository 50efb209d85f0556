"""CODRAS: the IDRiD part, 516 fundus photographs from Nanded, India, on which one clinician drew boxes around lesions.

A photograph ``images/<number>.jpg`` comes with ``<number>.txt`` in the format of YOLO: class, centre and size of a box
in shares of the image. The other 89 photographs of the repository (DIARETDB1) were taken by another camera, so that a
classifier could tell the two parts apart instead of the classes; they are left out.
"""

from __future__ import annotations

import filecmp
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bench.contracts import Sample
from bench.data.findings.boxes import Box, box_mask
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import BadFile, read_image
from bench.data.sources.eyepacs import PREPROCESSING, cropped
from bench.data.sources.open.repositories import CODRAS
from bench.data.splitting import grouped_split, require_split, subsample
from bench.errors import MissingData, UserError
from bench.registry import dataset

_FOLDER = "images"
#: Classes of the boxes: optic disc (no lesion), hard exudates, haemorrhages and microaneurysms.
_CLASSES, _DISC = 3, 0
#: Photograph of an eye -> an earlier one of the same eye with another exposure, found by the search for copies.
_SAME_EYE = {"0447": "0179"}
#: Width and height of the photographs of DIARETDB1.
_DIARETDB1 = (1500, 1152)
#: Share of the image by which a box may exceed it; three boxes of the repository do so by 0.3 %.
_TOLERANCE = 0.01

#: Box in shares of the image: left, top, right, bottom.
Shares = tuple[float, float, float, float]


@dataclass(frozen=True)
class Photograph:
    """Photograph with the boxes of its lesions; ``table`` holds them."""

    file: Path
    table: Path
    boxes: tuple[Shares, ...]

    @property
    def id(self) -> str:
        """Stem of the file, for example ``0001``."""
        return self.file.stem

    @property
    def group(self) -> str:
        """Earliest photograph of the same eye, as far as that is known."""
        return _SAME_EYE.get(self.id, self.id)

    @property
    def label(self) -> int:
        """1 if the annotator drew a box around a lesion."""
        return int(bool(self.boxes))


def read_boxes(table: Path) -> tuple[Shares, ...]:
    """Reads the boxes of lesions of one photograph; those of the optic disc are left out.

    Raises:
        UserError: a line is not a class and four numbers, or a box is beyond its image; names the line.
    """
    boxes = []
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{table}, line {number}"
        try:
            kind, (x, y, width, height) = int(line.split()[0]), map(float, line.split()[1:])
        except ValueError:
            raise UserError(f"{where}: {line.strip()!r} is not a class and four numbers") from None
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        if not 0 <= kind < _CLASSES or not all(map(math.isfinite, box)) or min(width, height) <= 0:
            raise UserError(f"{where}: {line.strip()!r} is no box of a class from 0 to {_CLASSES - 1}")
        if min(box) < -_TOLERANCE or max(box) > 1 + _TOLERANCE:
            raise UserError(f"{where}: the box is beyond its image")
        if kind != _DISC:
            left, top, right, bottom = (min(max(side, 0.0), 1.0) for side in box)
            boxes.append((left, top, right, bottom))
    return tuple(boxes)


def _size(file: Path) -> tuple[int, int] | None:
    """Returns width and height by the file's header; None if it cannot be read, which reading the image reports."""
    try:
        with Image.open(file) as image:
            return image.size
    except OSError:
        return None


def _copies(files: Sequence[Path]) -> set[Path]:
    """Returns the files that are byte by byte equal to an earlier one."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    copies: set[Path] = set()
    for file in files:
        earlier = by_size[file.stat().st_size]
        if any(filecmp.cmp(file, other, shallow=False) for other in earlier):
            copies.add(file)
        else:
            earlier.append(file)
    return copies


def _find(folder: Path) -> tuple[list[Photograph], list[Fault], dict[str, int]]:
    """Returns the usable photographs of IDRiD, faults, and the number of unused photographs by reason."""
    files = sorted(folder.glob("*.jpg"))
    own = [file for file in files if _size(file) != _DIARETDB1]
    annotated = [file for file in own if file.with_suffix(".txt").is_file()]
    copies = _copies(annotated)
    photographs: list[Photograph] = []
    bad: list[Fault] = []
    for file in annotated:
        if file in copies:
            continue
        table = file.with_suffix(".txt")
        try:
            photographs.append(Photograph(file, table, read_boxes(table)))
        except UserError as error:
            bad.append(Fault(file.name, f"cannot be used: {error}", Kind.OUTSIDE))
    left_out = {
        "photographs of DIARETDB1, which another camera took": len(files) - len(own),
        "photographs without a file of boxes": len(own) - len(annotated),
        "copies of an earlier photograph, which the annotator boxed twice": len(copies),
    }
    return photographs, bad, left_out


class Photographs:
    """Sequence of the photographs of a split, cropped to the square around the disc; splits are drawn by the seed.

    Patients are not published, so that each photograph counts as a patient of its own, apart from two of one eye. Six
    photographs are there twice under other numbers, with other boxes; the earlier one is used.
    """

    def __init__(self, root: Path, split: str, count: int | None, seed: int) -> None:
        require_split("fundus-boxes", split)
        if problem := missing(root):
            raise MissingData(problem)
        every, bad, self.left_out = _find(CODRAS.home(root) / _FOLDER)
        parts = grouped_split([one.label for one in every], [one.group for one in every], seed)
        chosen = [one for one, part in zip(every, parts, strict=True) if part == split]
        kept = subsample([one.label for one in chosen], [one.id for one in chosen], count, seed)
        self.photographs = [chosen[index] for index in kept]
        self.groups = {one.id: one.group for one in chosen}
        self.excluded = bad if split == "train" else []  # in no split, so counted once
        self.unchecked = (
            "whether splits share a patient, or the two eyes of one: the publisher does not link photographs to people"
        )
        self.files = [*(one.table for one in every), *(one.file for one in self.photographs)]

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, index: int) -> Sample:
        one = self.photographs[index]
        image = read_image(one.file)
        height, width = image.shape[1:]
        mask = box_mask(list(_in_pixels(one.boxes, width, height, one.table)), (height, width), one.table)
        sample = cropped(image, one.label, mask, one.id, one.group)
        if one.label and (sample.mask is None or not sample.mask.any()):
            raise BadFile(one.table, "all its boxes are outside of the field of view", Kind.OUTSIDE)
        return sample


def _in_pixels(boxes: Iterable[Shares], width: int, height: int, table: Path) -> Iterable[Box]:
    for left, top, right, bottom in boxes:
        yield Box(left * width, top * height, (right - left) * width, (bottom - top) * height, table.name)


def missing(root: Path) -> str:
    """Returns an empty text, or which files are missing."""
    return CODRAS.absent(root, f"{_FOLDER}/*.jpg", f"{_FOLDER}/*.txt")


@dataset(
    "fundus-boxes",
    modality="fundus",
    classes=("no box", "lesion box"),
    masks="box",
    mask_is="boxes around lesions or groups of lesions, with healthy retina in them",
    source=f"IDRiD part of CODRAS, {CODRAS.url} at {CODRAS.commit[:7]}",
    licence="photographs CC BY 4.0, boxes CC BY-SA 4.0",
    citation="von Csefalvay, CODRAS, 2019, https://github.com/chrisvoncsefalvay/codras; photographs: Porwal et al., "
    "Data 3(3):25, 2018, doi:10.3390/data3030025",
    missing=missing,
    in_all=False,
    totals=((222, 286),),
    preprocessing=PREPROCESSING,
)
def fundus_boxes(root: Path, split: str, count: int | None = None, seed: int = 0) -> Photographs:
    """Returns a split of photographs with and without boxes; see ``Photographs``.

    "No box" is the word of one annotator and not grade 0 of retinopathy: such a photograph may have cotton-wool spots,
    new vessels, or lesions that the annotator did not box.
    """
    return Photographs(root, split, count, seed)
