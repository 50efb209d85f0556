"""Data set of the user's own images, ``folder:PATH``, which needs a layout of folders and no code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from bench.contracts import SPLITS, DatasetInfo, Sample
from bench.data.findings.files import has_findings
from bench.data.findings.folder import findings_dataset
from bench.data.findings.table import NAME as LABELS
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.groups import columns_of, unchecked_groups
from bench.data.readers.images import BadFile, Window, read_image
from bench.data.readers.masks import read_regions_of, require_plausible
from bench.data.readers.tables import read_records
from bench.data.sources.layout.files import Found, class_of, find_files
from bench.data.sources.layout.healthy import healthy_class, note_lesions
from bench.data.sources.layout.names import normal
from bench.data.sources.layout.stated import NAME as STATED
from bench.data.sources.layout.stated import Stated, ordered_as_stated, read_stated, require_findings_only
from bench.data.splitting import grouped_split, require_split, split_off_validation, subsample
from bench.errors import UserError
from bench.specs import parse_mask_values

TABLE = "splits.csv"


@dataclass(frozen=True)
class Row:
    """Image with its split ("" = not stated) and its group."""

    file: Path
    split: str
    group: str
    place: str = ""

    @property
    def id(self) -> str:
        """Class and name of the file, after its split if folders assign splits."""
        return f"{self.place}{self.file.parent.name}/{self.file.name}"


def _find(folder: Path, grades: Sequence[str], stated: Stated) -> Found:
    """Finds the files of a folder; classes are in the order of ``grades``, otherwise as ``dataset.toml`` states."""
    found = find_files(folder, grades)
    if not grades and stated.classes:
        found.classes = ordered_as_stated(found.classes, stated, folder / STATED)
        found.ordered = stated.ordered
    return found


def assign_splits(folder: Path, found: Found, seed: int, stated: Stated | None = None) -> list[Row]:
    """Assigns every image that is used to a split: by ``splits.csv``, otherwise 70/15/15 of the groups by the seed.

    Rows of missing files are added to ``found.bad``.

    Raises:
        UserError: ``splits.csv`` cannot be used; names the line.
    """
    table = folder / TABLE
    if table.is_file():
        rows = _read_table(table, folder, found)
    else:
        rows = [Row(file, "", "") for file in found.masks]
        found.bad += [_derived_fault(file, base) for file, base in found.derived.items()]
    if stated is not None and stated.groups:
        found_groups = [stated.group_of(row.id, folder / STATED) for row in rows]
        if any(row.group not in ("", group) for row, group in zip(rows, found_groups, strict=True)):
            raise UserError(f"{table} and {folder / STATED} both state groups, which differ; keep one of them")
        rows = [replace(row, group=group) for row, group in zip(rows, found_groups, strict=True)]
    if found.splits:
        rows = _by_folders(rows, found, table, seed)
    rows = [replace(row, group=row.group or row.id) for row in rows]
    unsaid = [row.id for row in rows if not row.split]
    if not unsaid:
        return rows
    if len(unsaid) < len(rows):
        raise UserError(
            f"{table}: {unsaid[0]} has no split although other files have one; fill the column for all files or none"
        )
    found.drawn = True
    labels = [found.classes.index(class_of(row.file)) for row in rows]
    splits = grouped_split(labels, [row.group for row in rows], seed)
    return [replace(row, split=split) for row, split in zip(rows, splits, strict=True)]


def _by_folders(rows: Sequence[Row], found: Found, table: Path, seed: int) -> list[Row]:
    """Takes the splits from folders; without one for validation, 15 % of the training groups are split off."""
    splits = [found.splits[row.file] for row in rows]
    if "val" not in splits and all(row.split for row in rows):  # the table states what would be drawn
        moved = [row.split == "val" and split == "train" for row, split in zip(rows, splits, strict=True)]
        splits = ["val" if is_moved else split for is_moved, split in zip(moved, splits, strict=True)]
    if any(row.split not in ("", split) for row, split in zip(rows, splits, strict=True)):
        raise UserError(f"{table}: folders assign other splits; keep only the columns file,group")
    rows = [replace(row, split=s, place=f"{found.splits[row.file]}/") for row, s in zip(rows, splits, strict=True)]
    rows = [replace(row, group=row.group or row.id) for row in rows]
    if "val" in splits:
        return rows
    train = [row for row in rows if row.split == "train"]
    labels = [found.classes.index(class_of(row.file)) for row in train]
    drawn = split_off_validation(labels, [row.group for row in train], seed)
    chosen = dict(zip((row.file for row in train), drawn, strict=True))
    return [replace(row, split=chosen.get(row.file, row.split)) for row in rows]


def _read_table(table: Path, folder: Path, found: Found) -> list[Row]:
    """Reads ``splits.csv``; a file is relative to ``images/`` or to the folder, and split or group may be missing."""
    header, records = read_records(table)
    columns, found.unread = columns_of(table, header)
    lines = [
        (number, {key: record.get(columns.get(key, ""), "") for key in ("file", "split", "group")})
        for number, record in records
    ]
    rows: dict[Path, Row] = {}
    by_name = {normal(str(file)): file for file in (*found.masks, *found.derived)}
    for number, line in lines:
        name = line["file"].replace("\\", "/")
        asked = [normal(str(folder / "images" / name)), normal(str(folder / name))]
        path = next((by_name[one] for one in asked if one in by_name), None)
        if line["split"] not in (*SPLITS, ""):
            raise UserError(f"{table}, line {number}: split {line['split']!r} is not one of {', '.join(SPLITS)}")
        if path is None:
            reason = f"is in {table.name}, line {number}, but not in {folder / 'images'}"
            found.bad.append(Fault(line["file"], reason, Kind.ABSENT))
        elif path in found.derived:
            found.bad.append(_derived_fault(path, found.derived[path]))
        elif path in rows:
            raise UserError(f"{table}, line {number}: {line['file']} appears twice")
        else:
            rows[path] = Row(path, line["split"], line["group"])
    if lines and not rows and all(fault.kind == Kind.ABSENT for fault in found.bad[-len(lines) :]):
        raise UserError(
            f"{table}: none of its {len(lines)} files is in {folder / 'images'}, such as {lines[0][1]['file']!r}; "
            "write paths below images/, such as lesion/a.png, in the column file"
        )
    return list(rows.values())


def _derived_fault(file: Path, base: str) -> Fault:
    reason = f"has the name of the image {base!r} with a word added, as masks and drawings have"
    reason += "; move it to masks/ or remove it, or rename it if it is an image of its own"
    return Fault(str(file), reason, Kind.MASK_AS_IMAGE)


def folder_dataset(
    path: Path, grades: Sequence[str] = (), healthy: str | bool | None = None, positive: str = ""
) -> DatasetInfo:
    """Returns the facts and the builder of the data set ``folder:PATH``; with ``labels.csv``, ``findings_dataset``.

    Args:
        path: the folder.
        grades: as in ``ordered_classes``.
        healthy: the class without lesions, as in ``ReadingSection``; it replaces what ``dataset.toml`` states.
        positive: instead, with two classes, the other one.

    Raises:
        MissingData: there is no class folder in ``path/images``.
        UserError: there is no class ``healthy`` or ``positive``, ``grades`` are not exactly the class folders, or
            ``dataset.toml`` cannot be used.
    """
    stated = read_stated(path)
    if has_findings(path):
        require_findings_only(stated, path)
        for key in [key for key, value in (("grades", grades), ("healthy", healthy), ("positive", positive)) if value]:
            raise UserError(f"data.{key} does not apply to {path}: its labels.csv states findings, without classes")
        return _described(findings_dataset(path / LABELS), stated)
    found = _find(path, grades, stated)
    where: object = path / STATED
    if healthy is not None or positive:
        where, stated = f"data set folder:{path}", stated.model_copy(update={"healthy": healthy, "positive": positive})
    is_stated = stated.healthy is not None or bool(stated.positive)
    negative = stated.healthy_index(found.classes, where) if is_stated else healthy_class(found)
    has_lesions = is_stated and negative is not None and note_lesions(found, negative)
    doubtful = tuple(one for one in found.unused if one.kind == Kind.HEALTHY_LESION)

    def builder(
        root: Path,
        split: str,
        count: int | None = None,
        seed: int = 0,
        mask_values: Sequence[int | str] = (),
        window: Window | None = None,
    ) -> FolderImages:
        reading = Reading(mask_values, window, None if has_lesions else negative, tuple(grades), doubtful, stated)
        return FolderImages(path, split, count, seed, reading)

    info = DatasetInfo(
        name=f"folder:{path}",
        builder=builder,
        modality="other",
        classes=found.classes,
        masks="pixel" if any(found.masks.values()) else "none",
        source=str(path),
        licence="the user's own",
        citation="",
        healthy=negative,
        in_all=False,
        ordered=found.ordered,
    )
    return _described(info, stated)


def _described(info: DatasetInfo, stated: Stated) -> DatasetInfo:
    """Returns the facts with those that ``dataset.toml`` states."""
    return replace(
        info,
        modality=stated.modality or info.modality,
        source=stated.source or info.source,
        licence=stated.licence or info.licence,
        citation=stated.citation or info.citation,
        mask_values=tuple(stated.mask_values),
        window=stated.window,
    )


@dataclass(frozen=True)
class Reading:
    """Settings by which the files of a folder are read.

    Attributes:
        mask_values, window: as in ``bench.data.loading.Request``.
        healthy: index of the class whose masks must be empty; None if there is no such class.
        grades: as in ``ordered_classes``.
        doubtful: faults of whole classes, which do not stop a run.
        stated: content of ``dataset.toml``.
    """

    mask_values: Sequence[int | str] = ()
    window: Window | None = None
    healthy: int | None = None
    grades: tuple[str, ...] = ()
    doubtful: tuple[Fault, ...] = ()
    stated: Stated = field(default_factory=Stated)


class FolderImages:
    """Sequence of the images of one split in their original sizes; an image's id is its path below ``images/``.

    Attributes:
        rows: the image files with their groups.
        drawn: whether the seed assigned the splits, and not the user's files.

    Raises:
        UserError: unknown split, or ``splits.csv`` cannot be used.
    """

    def __init__(self, folder: Path, split: str, count: int | None, seed: int, reading: Reading) -> None:
        require_split(f"folder:{folder}", split)
        found = _find(folder, reading.grades, reading.stated)
        self.classes, self._masks, self._reading = found.classes, found.masks, reading
        self._values = parse_mask_values(reading.mask_values)
        assigned = assign_splits(folder, found, seed, reading.stated)
        self.drawn = found.drawn
        rows = [row for row in assigned if row.split == split]
        self.groups = {row.id: row.group for row in rows}
        self.unchecked = unchecked_groups({row.id: row.group for row in assigned}, found.unread)
        kept = subsample([self.label(row) for row in rows], [row.id for row in rows], count, seed)
        self.rows = [rows[index] for index in kept]
        self.files = [file for row in self.rows for file in (row.file, *found.masks[row.file])]
        self.files += [file for file in (folder / STATED,) if file.is_file()]
        self.excluded = found.bad if split == "train" else []  # files outside of the splits are counted once
        self.unused_faults = [*found.unused, *reading.doubtful]
        listed = {row.file for row in assigned}
        self.left_out = {f"not listed in {TABLE}": sum(file not in listed for file in found.masks)}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        row = self.rows[index]
        image = read_image(row.file, self._reading.window)
        regions = [self._regions(file, image, row.file.name) for file in self._masks[row.file]]
        if not regions:
            return Sample(image, self.label(row), None, row.id, row.group)
        mask = torch.stack([lesion for lesion, _ in regions]).any(dim=0)
        if self.label(row) == self._reading.healthy and mask.any():
            reason = f"marks a lesion, but the class {self.classes[self.label(row)]!r} has none"
            raise BadFile(self._masks[row.file][0], reason, Kind.HEALTHY_LESION)
        undecided = [ignored for _, ignored in regions if ignored is not None]
        ignored = torch.stack(undecided).any(dim=0) & ~mask if undecided else None
        return Sample(image, self.label(row), mask, row.id, row.group, ignored=ignored)

    def _regions(self, file: Path, image: Tensor, name: str) -> tuple[Tensor, Tensor | None]:
        regions = read_regions_of(image, file, self._values, name)
        if not self._values:
            require_plausible(regions[0], file)
        return regions

    def label(self, row: Row) -> int:
        """Returns the index of the class of an image."""
        return self.classes.index(class_of(row.file))
