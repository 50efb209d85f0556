"""Data set of the user's own images, ``folder:PATH``, which needs a layout of folders and no code."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from bench.contracts import SPLITS, DatasetInfo, Sample
from bench.data.readers.class_order import ordered_classes
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.groups import columns_of, unchecked_groups
from bench.data.readers.images import SUFFIXES, BadFile, read_image, read_mask
from bench.data.readers.places import CLUTTER
from bench.data.splitting import grouped_split, require_split, subsample
from bench.errors import MissingData, UserError

_MASK_NAME = re.compile(r"(.+)_mask(_\d+)?")
#: Words at the start of a class name that mean "without lesions", the most likely first.
_HEALTHY_NAMES = ("healthy", "normal", "negative", "control", "functional", "good", "no", "none", "non", "0", "benign")
TABLE = "splits.csv"
_LAYOUT = "images/<class>/*, and optionally masks/ and splits.csv (docs/data.md)"


@dataclass
class Found:
    """Files of a data folder.

    Attributes:
        classes: names of the folders in ``images/``, by grade if they have an order, otherwise sorted.
        masks: image file -> its mask files, whose union is its mask; empty if it has none. The keys are all images.
        bad: files that cannot be used.
        unused: columns of ``splits.csv`` that nothing reads.
        ordered: a later class is a higher grade.
    """

    classes: tuple[str, ...]
    masks: dict[Path, list[Path]] = field(default_factory=dict)
    bad: list[Fault] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    ordered: bool = False


def find_files(folder: Path, grades: Sequence[str] = ()) -> Found:
    """Scans ``folder`` by file names only; ``grades`` are the classes in ascending order, if stated.

    Raises:
        MissingData: there is no class folder in ``folder/images``.
        UserError: ``grades`` are not exactly the classes.
    """
    images = folder / "images"
    classes = sorted(entry.name for entry in _visible(images) if entry.is_dir())
    if not classes:
        raise MissingData(f"no class folder in {images}; expected in {folder}: {_LAYOUT}")
    names, ordered = ordered_classes(classes, grades)
    found = Found(names, ordered=ordered)
    stems: dict[str, list[Path]] = defaultdict(list)  # "class/stem" and "stem" -> images
    beside: list[tuple[str, Path]] = []
    for name in classes:
        for file in _pictures(images / name, found.bad):
            if match := _MASK_NAME.fullmatch(file.stem):
                beside.append((f"{name}/{match[1]}", file))
                continue
            found.masks[file] = []
            stems[f"{name}/{file.stem}"].append(file)
            stems[file.stem].append(file)
    for key, file in [*beside, *_mask_folder(folder / "masks", stems, found.bad)]:
        _attach(file, stems.get(key, []), found)
    return found


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    hidden = (".", "~")
    return sorted(e for e in folder.iterdir() if not e.name.startswith(hidden) and e.name.lower() not in CLUTTER)


def _pictures(folder: Path, bad: list[Fault]) -> list[Path]:
    """Returns the image files of a folder; other files are added to ``bad``."""
    files = [entry for entry in _visible(folder) if entry.is_file()]
    bad += [Fault(str(file), "is not PNG, JPEG, TIFF or BMP") for file in files if file.suffix.lower() not in SUFFIXES]
    return [file for file in files if file.suffix.lower() in SUFFIXES]


def _mask_folder(folder: Path, stems: Mapping[str, object], bad: list[Fault]) -> Iterable[tuple[str, Path]]:
    """Yields the files of ``masks/`` and ``masks/<class>/``, each with the key of its image."""
    places = [("", folder)] + [(f"{entry.name}/", entry) for entry in _visible(folder) if entry.is_dir()]
    for prefix, place in places:
        for file in _pictures(place, bad):
            match = _MASK_NAME.fullmatch(file.stem)
            plain = f"{prefix}{file.stem}" in stems or match is None
            yield f"{prefix}{file.stem if plain or match is None else match[1]}", file


def _attach(mask: Path, images: Sequence[Path], found: Found) -> None:
    if len(images) == 1:
        found.masks[images[0]].append(mask)
    elif images:
        both = f"{images[0].parent.name}/{images[0].name} and {images[1].parent.name}/{images[1].name}"
        reason = f"belongs to both {both}; rename them, or put masks into masks/<class>/"
        found.bad.append(Fault(str(mask), reason, Kind.STRAY_MASK))
    else:
        found.bad.append(
            Fault(
                str(mask), "belongs to no image, because no image has this name; rename or remove it", Kind.STRAY_MASK
            )
        )


def healthy_class(found: Found) -> int | None:
    """Finds the class without lesions.

    It is the class called healthy, normal, … none of whose masks marks a lesion, otherwise the only class without
    masks. None if there is no such class: every class then counts as diseased, and there are no results on healthy
    images.
    """
    masks: dict[str, list[Path]] = defaultdict(list)
    for image, files in found.masks.items():
        masks[image.parent.name] += files
    for word in _HEALTHY_NAMES:
        for index, name in enumerate(found.classes):
            if re.fullmatch(rf"{word}([\s_.-].*)?", name.lower()) and not any(map(_marks_something, masks[name])):
                return index
    without = [index for index, name in enumerate(found.classes) if not masks[name]]
    return without[0] if len(without) == 1 and len(found.classes) > 1 else None


def _marks_something(mask: Path) -> bool:
    try:
        return bool(read_mask(mask).any())
    except BadFile:  # reported when its image is read
        return False


@dataclass(frozen=True)
class Row:
    """Image with its split ("" = not stated) and its group."""

    file: Path
    split: str
    group: str

    @property
    def id(self) -> str:
        """Path below ``images/``."""
        return f"{self.file.parent.name}/{self.file.name}"


def assign_splits(folder: Path, found: Found, seed: int) -> list[Row]:
    """Assigns every image that is used to a split: by ``splits.csv``, otherwise 70/15/15 of the groups by the seed.

    Rows of missing files are added to ``found.bad``.

    Raises:
        UserError: ``splits.csv`` cannot be used; names the line.
    """
    table = folder / TABLE
    rows = _read_table(table, folder, found) if table.is_file() else [Row(f, "", "") for f in found.masks]
    rows = [replace(row, group=row.group or row.id) for row in rows]
    unsaid = [row.id for row in rows if not row.split]
    if not unsaid:
        return rows
    if len(unsaid) < len(rows):
        raise UserError(
            f"{table}: {unsaid[0]} has no split although other files have one; fill the column for all files or none"
        )
    labels = [found.classes.index(row.file.parent.name) for row in rows]
    splits = grouped_split(labels, [row.group for row in rows], seed)
    return [replace(row, split=split) for row, split in zip(rows, splits, strict=True)]


def _read_table(table: Path, folder: Path, found: Found) -> list[Row]:
    """Reads ``splits.csv``; a file is relative to ``images/`` or to the folder, and split or group may be missing."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns, found.unused = columns_of(table, reader.fieldnames or ())
        lines = [
            (
                reader.line_num,
                {key: (line.get(columns.get(key, "")) or "").strip() for key in ("file", "split", "group")},
            )
            for line in reader
        ]
    rows: dict[Path, Row] = {}
    for number, line in lines:
        path = next((p for p in (folder / "images" / line["file"], folder / line["file"]) if p in found.masks), None)
        if line["split"] not in (*SPLITS, ""):
            raise UserError(f"{table}, line {number}: split {line['split']!r} is not one of {', '.join(SPLITS)}")
        if path is None:
            reason = f"is in {table.name}, line {number}, but not in {folder / 'images'}"
            found.bad.append(Fault(line["file"], reason, Kind.ABSENT))
        elif path in rows:
            raise UserError(f"{table}, line {number}: {line['file']} appears twice")
        else:
            rows[path] = Row(path, line["split"], line["group"])
    return list(rows.values())


def folder_dataset(path: Path, grades: Sequence[str] = ()) -> DatasetInfo:
    """Returns the facts and the builder of the data set ``folder:PATH``; ``grades`` as in ``find_files``.

    Raises:
        MissingData: there is no class folder in ``path/images``.
    """
    found = find_files(path, grades)

    def builder(root: Path, split: str, count: int | None = None, seed: int = 0) -> FolderImages:
        return FolderImages(path, split, count, seed, grades)

    return DatasetInfo(
        name=f"folder:{path}",
        builder=builder,
        modality="other",
        classes=found.classes,
        masks="pixel" if any(found.masks.values()) else "none",
        source=str(path),
        licence="the user's own",
        citation="",
        healthy=healthy_class(found),
        in_all=False,
        ordered=found.ordered,
    )


class FolderImages:
    """Sequence of the images of one split in their original sizes; an image's id is its path below ``images/``.

    Raises:
        UserError: unknown split, or ``splits.csv`` cannot be used.
    """

    def __init__(self, folder: Path, split: str, count: int | None, seed: int, grades: Sequence[str] = ()) -> None:
        require_split(f"folder:{folder}", split)
        found = find_files(folder, grades)
        self.classes, self._masks = found.classes, found.masks
        assigned = assign_splits(folder, found, seed)
        rows = [row for row in assigned if row.split == split]
        self.groups = {row.id: row.group for row in rows}
        self.unchecked = unchecked_groups({row.id: row.group for row in assigned}, found.unused)
        kept = subsample([self._label(row) for row in rows], [row.id for row in rows], count, seed)
        self.rows = [rows[index] for index in kept]
        self.files = [file for row in self.rows for file in (row.file, *found.masks[row.file])]
        self.excluded = found.bad if split == "train" else []  # files outside of the splits are counted once

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        row = self.rows[index]
        image = read_image(row.file)
        masks = [_fitting_mask(file, image, row.file) for file in self._masks[row.file]]
        mask = torch.stack(masks).any(dim=0) if masks else None
        return Sample(image, self._label(row), mask, row.id, row.group)

    def _label(self, row: Row) -> int:
        return self.classes.index(row.file.parent.name)


def _fitting_mask(file: Path, image: Tensor, image_file: Path) -> Tensor:
    mask = read_mask(file)
    if mask.shape != image.shape[1:]:
        sizes = [f"{width}×{height}" for height, width in (mask.shape, image.shape[1:])]
        reason = f"is {sizes[0]}, its image {image_file.name} {sizes[1]} pixels; they must be equal"
        raise BadFile(file, reason, Kind.MASK_SIZE)
    return mask
