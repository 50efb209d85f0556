"""EyePACS: graded fundus photographs of the Kaggle competition Diabetic Retinopathy Detection.

The competition has grades only; Retinal-Lesions adds lesion masks to 1,593 of its photographs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bench.contracts import SPLITS, Sample
from bench.data.readers.faults import Fault
from bench.data.readers.images import SUFFIXES, read_image
from bench.data.readers.places import first_below, home_of
from bench.data.readers.released import Released, read_released, unlisted
from bench.data.readers.tables import read_labels
from bench.data.sources.fov import field_of_view, square_around
from bench.data.sources.retinal_lesions import IMAGES, MASKS, find_annotated, missing_part, read_lesions
from bench.data.splitting import grouped_split, require_split, subsample
from bench.errors import MissingData, UserError
from bench.registry import dataset

GRADES = ("no DR", "mild DR", "moderate DR", "severe DR", "proliferative DR")
_HOMES = ("eyepacs", "diabetic-retinopathy-detection")
_PHOTOGRAPH = re.compile(r"(\d+)_(left|right)")
#: Kaggle's label files for its training images and for its test images; the latter was published afterwards.
_LABELS, _SOLUTION = "trainLabels.csv", "retinopathy_solution.csv"
#: Number of images per grade in Kaggle's training set, and of all images in its training and test sets.
_TRAINING_SET, _WITH_TEST_SET = (25810, 2443, 5292, 873, 708), 88702
PREPROCESSING = "cropped to the square around the bright disc, padded with black where the camera cut the disc off"
_GET = "https://www.kaggle.com/c/diabetic-retinopathy-detection"


@dataclass(frozen=True)
class Task:
    """Classification task on the grades.

    Attributes:
        column: column of the released split files that holds the class.
        onset: the lowest grade that counts as diseased; None = the five grades are the classes.
        train: names of the released training file, the preferred one first.
    """

    column: str
    onset: int | None
    train: tuple[str, ...]

    def label(self, grade: int) -> int:
        """Returns the class of a grade."""
        return grade if self.onset is None else int(grade >= self.onset)

    @property
    def classes(self) -> int:
        """C, the number of classes."""
        return len(GRADES) if self.onset is None else 2

    @property
    def released(self) -> dict[str, tuple[str, ...]]:
        """Names of the released file of each split, the preferred one first."""
        return {"train": self.train} | {split: (f"kaggle_gradable_{split}.csv",) for split in ("val", "test")}


_FULL, _REDUCED = "kaggle_gradable_train.csv", "kaggle_gradable_train_reduce.csv"
ONSET1 = Task("onset1", 1, (_REDUCED, _FULL))
ONSET2 = Task("onset2", 2, (_REDUCED, _FULL))
FIVE_GRADES = Task("level", None, (_FULL,))


def _photographs(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yields (key, file) of all photographs anywhere in ``folder``; a key is Kaggle's name, for example ``13_left``."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in (IMAGES, MASKS))
        for name in sorted(names):
            stem, suffix = os.path.splitext(name.lower())
            if suffix in SUFFIXES and _PHOTOGRAPH.fullmatch(stem):
                yield stem, Path(place, name)


def find_photographs(folder: Path) -> dict[str, Path]:
    """Finds all photographs anywhere in ``folder``: key -> file.

    Raises:
        UserError: a photograph appears twice, for example in its original size and resized.
    """
    found: dict[str, Path] = {}
    for key, file in _photographs(folder):
        if key in found:
            raise UserError(f"{key} appears twice, as {found[key]} and {file}; keep one of them")
        found[key] = file
    return found


def missing(root: Path) -> str:
    """Returns an empty text, or which files are missing: photographs, or those with lesion masks."""
    home = home_of(root, _HOMES)
    if not any(True for _ in _photographs(home)) and not find_annotated(root).images:
        return f"no <number>_left.jpeg or <number>_right.jpeg in {home} or below; unpack train.zip from {_GET} there"
    return missing_part(root)


def read_grades(home: Path) -> tuple[dict[str, int], list[Path]]:
    """Reads Kaggle's label files -> image key -> grade 0 to 4, and the files that were read.

    Raises:
        MissingData: there is no label file.
        UserError: a file cannot be used, or contains another grade.
    """
    files = [file for name in (_LABELS, _SOLUTION) if (file := first_below(home, name))]
    if not files:
        raise MissingData(f"no {_LABELS} in {home}; unpack trainLabels.csv.zip from {_GET} there, or give --splits")
    grades: dict[str, int] = {}
    for file in files:
        grades |= read_labels(file, "image", "level", len(GRADES))
    return grades, files


def _listed(home: Path, task: Task, seed: int, splits: Path | None) -> tuple[dict[str, Released], list[Path]]:
    """Assigns photographs to splits -> split -> photographs with their classes, and Kaggle's label files.

    Without ``splits``, 70/15/15 of the patients. This split is stratified by grade for every task, so that all tasks
    share it.
    """
    if splits is not None:
        return read_released(splits, ("kaggle",), task.released, task.column, task.classes), []
    grades, files = read_grades(home)
    assigned = grouped_split(list(grades.values()), [_patient(key) for key in grades], seed)
    chosen: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
    for (key, grade), split in zip(grades.items(), assigned, strict=True):
        chosen[split][key] = task.label(grade)
    return {split: Released(files[0], labels) for split, labels in chosen.items()}, files


def _left_out(unlisted: Collection[str], tables: Collection[Path]) -> dict[str, int]:
    """Counts unused photographs by reason; without Kaggle's label files, the splits are the released ones."""
    if not tables:
        return {"photographs that are in none of the released splits": len(unlisted)}
    names = {file.name for file in tables}
    hint = "" if _SOLUTION in names else f" (the grades of Kaggle's test images are in {_SOLUTION})"
    return {f"photographs without a grade in {' or '.join(sorted(names))}{hint}": len(unlisted)}


def _patient(key: str) -> str:
    return key.split("_")[0]


class Photographs:
    """Sequence of photographs of original size, cropped to the square around the disc; ids are Kaggle's names.

    A photograph that Retinal-Lesions annotated is read from that release, with its lesions. The pixels that its
    annotators marked as excluded (grey value 127) are ignored. If no lesion remains on a photograph that Kaggle grades
    as diseased, annotation and grade disagree, and the photograph counts as not annotated.
    """

    def __init__(self, root: Path, task: Task, split: str, count: int | None, seed: int, splits: Path | None) -> None:
        require_split("fundus", split)
        if problem := missing_part(root):
            raise MissingData(problem)
        home = home_of(root, _HOMES)
        self._annotated = find_annotated(root)
        self._found: Mapping[str, Path] = find_photographs(home) | self._annotated.images
        every_split, tables = _listed(home, task, seed, splits)
        self.left_out = _left_out(unlisted(self._found, every_split), tables)
        listed = every_split[split]
        keys = listed.present(self._found)
        self.groups = {key: _patient(key) for key in keys}
        kept = subsample([listed.labels[key] for key in keys], keys, count, seed)
        self._labels = {keys[index]: listed.labels[keys[index]] for index in kept}
        self._keys = list(self._labels)
        self.excluded: list[Fault] = listed.absent(self._found) + (self._annotated.bad if split == "train" else [])
        masks = [file for key in self._keys for file in self._annotated.masks.get(key, ())]
        self.files = [*(tables or [listed.file]), *(self._found[key] for key in self._keys), *masks]

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Sample:
        key = self._keys[index]
        image = read_image(self._found[key])
        lesion = ignored = None
        if key in self._annotated.images:
            lesion, ignored = read_lesions(self._annotated.masks[key], image)
            lesion = lesion if lesion.any() or self._labels[key] == 0 else None
        return cropped(image, self._labels[key], lesion, key, _patient(key), ignored)


def cropped(
    image: Tensor, label: int, lesion: Tensor | None, id_: str, group: str, ignored: Tensor | None = None
) -> Sample:
    """Crops a fundus photograph (3,H,W), its lesions and ignored pixels (H,W) to the square around its disc."""
    disc = field_of_view(image)
    square = square_around(disc)
    mask, unknown = (None if region is None else square.crop(region) for region in (lesion, ignored))
    return Sample(square.crop(image), label, mask, id_, group, square.crop(disc), unknown)


def _by_class(task: Task) -> tuple[int, ...]:
    """Counts the images of each class in Kaggle's training set."""
    images = [0] * task.classes
    for grade, number in enumerate(_TRAINING_SET):
        images[task.label(grade)] += number
    return tuple(images)


def _register(name: str, task: Task, classes: tuple[str, ...], published: Mapping[str, tuple[int, ...]]) -> None:
    @dataset(
        name,
        modality="fundus",
        classes=classes,
        masks="pixel",
        source=f"Kaggle Diabetic Retinopathy Detection, {_GET}; masks: https://github.com/WeiQijie/retinal-lesions",
        licence="Kaggle competition rules; Retinal-Lesions on request, for research",
        citation="Kaggle and EyePACS, Diabetic Retinopathy Detection, 2015; masks: Wei et al., arXiv:1912.11619",
        missing=missing,
        mean=(0.4133, 0.2724, 0.1859),
        std=(0.2935, 0.2003, 0.1547),
        in_all=name == "fundus",
        published=published,
        totals=(_by_class(task), (_WITH_TEST_SET,)),
        preprocessing=PREPROCESSING,
        ordered=task.onset is None,
    )
    def build(
        root: Path, split: str, count: int | None = None, seed: int = 0, splits: Path | None = None
    ) -> Photographs:
        return Photographs(root, task, split, count, seed, splits)


_register(
    "fundus", ONSET1, ("no DR", "DR"),
    {"train": (6000, 9105), "val": (3420, 1197), "test": (5118, 1838)},
)  # fmt: skip
_register(
    "fundus@onset2", ONSET2, ("no or mild DR", "moderate DR or worse"),
    {"train": (8701, 6404), "val": (3780, 837), "test": (5655, 1301)},
)  # fmt: skip
_register(
    "fundus@grades", FIVE_GRADES, GRADES,
    {
        "train": (25245, 2701, 5060, 888, 456),
        "val": (3420, 360, 654, 125, 58),
        "test": (5118, 537, 1051, 173, 77),
    },
)  # fmt: skip
