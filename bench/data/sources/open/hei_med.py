"""HEI-MED: 169 fundus photographs from Memphis, USA, on which one ophthalmologist outlined the lesions.

A photograph ``DMED/<name>.jpg`` comes with ``<name>.map.gz`` (the number of a lesion in each pixel), ``<name>.GND``
(the names of the lesions) and ``<name>.meta`` (facts about the person). Most lesions are bright: exudates, and
drusen and the like as "other bright lesions". Dark ones are outlined on a few photographs only.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.contracts import Sample
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import BadFile, read_image, require_size_of
from bench.data.sources.eyepacs import PREPROCESSING, cropped
from bench.data.sources.open.repositories import HEI_MED
from bench.data.splitting import grouped_split, require_split, subsample
from bench.errors import MissingData
from bench.registry import dataset

_FOLDER = "DMED"
_FACT = re.compile(r"^~(\w+):?~([^\r\n]*)", re.MULTILINE)
#: Facts that together tell persons apart; the file names do not.
_PERSON = ("PatientDOB", "PatientGender", "PatientRace")
_HEADER = 3
_VERSION_2 = "GNDVERSION2"


@dataclass(frozen=True)
class Photograph:
    """Photograph with its map of lesions, its class (1 = an ophthalmologist outlined a lesion) and its person."""

    file: Path
    map: Path
    label: int
    group: str

    @property
    def id(self) -> str:
        """Stem of the file, for example ``(00000052)``."""
        return self.file.stem


def read_map(file: Path, image: Tensor) -> Tensor:
    """Reads the lesions of an image (3,H,W) -> (H,W) bool.

    The file is gzip of little-endian int32: a mark, the number of columns, the number of rows, then the pixels row by
    row, which are above 0 inside a lesion.

    Raises:
        BadFile: it is truncated or damaged, or has another size than the image.

    Source: ``Dmed.getGT`` in ``misc/Dmed.m`` of the repository.
    """
    try:
        values = np.frombuffer(gzip.decompress(file.read_bytes()), "<i4")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise BadFile(file, f"cannot be read as a compressed map ({error})") from error
    if len(values) < _HEADER or len(values) - _HEADER != int(values[1]) * int(values[2]):
        raise BadFile(file, f"holds {len(values)} numbers, which do not fit the size that it states")
    columns, rows = int(values[1]), int(values[2])
    lesion = torch.from_numpy(values[_HEADER:].reshape(rows, columns) > 0)
    require_size_of(image, lesion, file)
    return lesion


def _counted(file: Path) -> int:
    """Returns the number of lesions that a ``.GND`` file lists.

    Raises:
        BadFile: its first line is not a number.
    """
    lines = file.read_text(encoding="latin-1").splitlines()
    text = next((line for line in lines if not line.upper().startswith(_VERSION_2)), "")
    try:
        return int(float(text))
    except ValueError:
        raise BadFile(file, f"begins with {text!r}, the number of its lesions is expected") from None


def _person(file: Path) -> tuple[str, ...] | None:
    """Returns the facts that tell a person apart; None without a date of birth."""
    found = dict(_FACT.findall(file.read_text(encoding="latin-1"))) if file.is_file() else {}
    facts = tuple(found.get(name, "").strip() for name in _PERSON)
    return facts if facts[0] else None


def _find(folder: Path) -> tuple[list[Photograph], list[Fault]]:
    """Returns all photographs, and faults of those that cannot be used."""
    photographs: list[Photograph] = []
    bad: list[Fault] = []
    first: dict[tuple[str, ...], str] = {}
    for file in sorted(folder.glob("*.jpg")):
        lesions, listed = file.with_suffix(".map.gz"), file.with_suffix(".GND")
        if absent := next((one.name for one in (lesions, listed) if not one.is_file()), ""):
            bad.append(Fault(file.name, f"has no {absent}, so that its lesions are unknown", Kind.ABSENT))
            continue
        try:
            label = int(_counted(listed) > 0)
        except BadFile as error:
            bad.append(Fault(error.file, error.reason, error.kind))
            continue
        person = _person(file.with_suffix(".meta"))
        group = first.setdefault(person, file.stem) if person else file.stem
        photographs.append(Photograph(file, lesions, label, group))
    return photographs, bad


class Photographs:
    """Sequence of the photographs of a split, cropped to the square around the disc; splits are drawn by the seed.

    The publisher states that no patient is there twice, but 27 pairs of photographs share date of birth, sex and race,
    most of them under consecutive numbers. Such a pair is one group.
    """

    def __init__(self, root: Path, split: str, count: int | None, seed: int) -> None:
        require_split("fundus-hei", split)
        if problem := missing(root):
            raise MissingData(problem)
        every, bad = _find(HEI_MED.home(root) / _FOLDER)
        parts = grouped_split([one.label for one in every], [one.group for one in every], seed)
        chosen = [one for one, part in zip(every, parts, strict=True) if part == split]
        self.groups = {one.id: one.group for one in chosen}
        kept = subsample([one.label for one in chosen], [one.id for one in chosen], count, seed)
        self.photographs: Sequence[Photograph] = [chosen[index] for index in kept]
        self.excluded = bad if split == "train" else []  # in no split, so counted once
        self.unchecked = "whether photographs with different dates of birth in .meta are of one person"
        self.files = [file for one in every for file in (one.file.with_suffix(".GND"), one.file.with_suffix(".meta"))]
        self.files = [file for file in self.files if file.is_file()]
        self.files += [file for one in self.photographs for file in (one.file, one.map)]

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, index: int) -> Sample:
        one = self.photographs[index]
        image = read_image(one.file)
        lesion = read_map(one.map, image)
        if bool(lesion.any()) != bool(one.label):
            reason = f"{'marks no lesion' if one.label else 'marks a lesion'}, unlike {one.file.stem}.GND"
            raise BadFile(one.map, reason, Kind.IMPLAUSIBLE)
        return cropped(image, one.label, lesion, one.id, one.group)


def missing(root: Path) -> str:
    """Returns an empty text, or which files are missing."""
    return HEI_MED.absent(root, f"{_FOLDER}/*.jpg", f"{_FOLDER}/*.map.gz", f"{_FOLDER}/*.GND")


@dataset(
    "fundus-hei",
    modality="fundus",
    classes=("no lesion", "lesion"),
    masks="pixel",
    source=f"Hamilton Eye Institute Macular Edema Dataset, {HEI_MED.url} at {HEI_MED.commit[:7]}",
    licence="non-commercial research only; cite Giancardo et al. 2012",
    citation="Giancardo et al., Medical Image Analysis 16(1):216-226, 2012, doi:10.1016/j.media.2011.07.004",
    missing=missing,
    in_all=False,
    totals=((68, 101),),
    preprocessing=PREPROCESSING,
)
def hei_med(root: Path, split: str, count: int | None = None, seed: int = 0) -> Photographs:
    """Returns a split of photographs with and without outlined lesions; see ``Photographs``."""
    return Photographs(root, split, count, seed)
