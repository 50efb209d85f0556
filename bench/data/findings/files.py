"""Search for the files of a folder with ``labels.csv``: images by the names in it, and masks by finding and name."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bench.data.findings.boxes import Boxes, read_boxes
from bench.data.findings.table import NAME, Row, Table, names_files, read_table
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import SUFFIXES
from bench.data.readers.places import CLUTTER
from bench.data.sources.layout.names import bases_of, normal
from bench.data.splitting import grouped_split
from bench.errors import UserError

_MASKS = "masks"


@dataclass(frozen=True)
class Listed:
    """Image of ``labels.csv``: its file, its split, its row, and the mask files of each finding."""

    file: Path
    split: str
    row: Row
    masks: dict[int, list[Path]] = field(default_factory=dict)


@dataclass
class Found:
    """Files of the folder.

    Attributes:
        table: ``labels.csv``.
        images: its images that exist.
        boxes: boxes of findings; None without a file of them.
        bad: files that cannot be used.
        unused: files that are not used although they may have been meant to be.
    """

    table: Table
    images: list[Listed]
    boxes: Boxes | None
    bad: list[Fault] = field(default_factory=list)
    unused: list[Fault] = field(default_factory=list)


def has_findings(folder: Path) -> bool:
    """Returns whether a folder has the layout of several labels per image.

    A ``labels.csv`` that names no files, next to folders of classes, is another table of the user.
    """
    table = folder / NAME
    return table.is_file() and (names_files(table) or bool(_pictures(folder / "images")))


def find_images(labels: Path, seed: int) -> Found:
    """Finds the files that ``labels.csv`` names, and their masks, by names only.

    Raises:
        UserError: ``labels.csv`` or the file of boxes cannot be used, none of the images exists, or there are masks and
            boxes.
    """
    table, folder = read_table(labels), labels.parent
    found = Found(table, [], read_boxes(folder, table.findings))
    splits = _splits(table, seed)
    for row, split in zip(table.rows, splits, strict=True):
        name = normal(row.file.replace("\\", "/"))
        file = next((one for one in (folder / "images" / name, folder / name) if one.is_file()), None)
        if file is None:
            reason = f"is in {labels.name}, line {row.line}, but not in {folder / 'images'}"
            found.bad.append(Fault(row.file, reason, Kind.ABSENT))
        else:
            found.images.append(Listed(file, split, row))
    if not found.images:
        raise UserError(f"{table.file}: none of its {len(table.rows)} files is in {folder / 'images'}")
    if found.boxes is not None:
        found.bad += [*found.boxes.faults, *_stray_boxes(found)]
        if (folder / _MASKS).is_dir():
            raise UserError(f"{folder} holds masks/ and {found.boxes.file.name}; keep one of them")
    _attach_masks(folder / _MASKS, found)
    known = {one.file for one in found.images}
    extra = [one for one in _pictures(folder / "images", deep=True) if one not in known]
    found.unused += [Fault(str(one), f"is not in {labels.name} and is not used", Kind.LAYOUT) for one in extra]
    return found


def _splits(table: Table, seed: int) -> list[str]:
    """Returns the split of every row: as stated, otherwise 70/15/15 of the groups, stratified by the rarest finding."""
    if table.rows[0].split:
        return [row.split for row in table.rows]
    counts = Counter(at for row in table.rows for at, value in enumerate(row.labels) if value == 1)
    rarest = [
        min((at for at, value in enumerate(row.labels) if value == 1), key=lambda at: (counts[at], at), default=-1)
        for row in table.rows
    ]
    return grouped_split(rarest, [row.group for row in table.rows], seed)


def _stray_boxes(found: Found) -> list[Fault]:
    assert found.boxes is not None
    names = {row.file for row in found.table.rows}
    stray = dict.fromkeys(name for name, _ in found.boxes.of if name not in names)
    reason = f"has boxes in {found.boxes.file.name}, but is not in {found.table.file.name}"
    return [Fault(name, reason, Kind.STRAY_MASK) for name in stray]


def _pictures(folder: Path, deep: bool = False) -> list[Path]:
    if not folder.is_dir():
        return []
    files = folder.rglob("*") if deep else folder.iterdir()
    return sorted(
        one
        for one in files
        if one.is_file()
        and one.suffix.lower() in SUFFIXES
        and not one.name.startswith((".", "~"))
        and one.name.lower() not in CLUTTER
    )


def _attach_masks(folder: Path, found: Found) -> None:
    """Adds the files of ``masks/<finding>/`` to their images."""
    stems: dict[str, list[Listed]] = {}
    for image in found.images:
        stems.setdefault(normal(image.file.stem), []).append(image)
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        finding = normal(place.name)
        if place.name.startswith((".", "~")) or place.name.lower() in CLUTTER:
            continue
        if finding not in found.table.findings:
            reason = f"is no finding of {found.table.file.name}; its columns are {', '.join(found.table.findings)}"
            found.bad.append(Fault(str(place), reason, Kind.LAYOUT))
            continue
        for mask in _pictures(place):
            stem = normal(mask.stem)
            images = next((stems[one] for one in (stem, *bases_of(stem)) if one in stems), [])
            if len(images) == 1:
                images[0].masks.setdefault(found.table.findings.index(finding), []).append(mask)
                continue
            both = " and ".join(one.row.file for one in images[:2])
            reason = f"belongs to both {both}; rename them" if images else "belongs to no image; rename or remove it"
            found.bad.append(Fault(str(mask), reason, Kind.STRAY_MASK))
