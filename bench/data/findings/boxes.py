"""Readers of boxes of findings: ``boxes.csv``, or ``boxes.json`` in COCO's format."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import BadFile
from bench.data.readers.tables import read_rows
from bench.data.sources.layout.names import normal
from bench.errors import UserError

CSV, COCO = "boxes.csv", "boxes.json"
_COLUMNS = ("file", "finding", "x", "y", "width", "height")
#: Pixels by which a rounded box may exceed its image.
_ROUNDING = 1.0


@dataclass(frozen=True)
class Box:
    """Rectangle in pixels of the image file, from its upper left corner (x, y); ``where`` names it in errors."""

    x: float
    y: float
    width: float
    height: float
    where: str


@dataclass
class Boxes:
    """Boxes of a folder.

    Attributes:
        file: that they were read from.
        of: (name of the image as written, finding) -> boxes.
        faults: what cannot be used.
    """

    file: Path
    of: dict[tuple[str, str], list[Box]] = field(default_factory=lambda: defaultdict(list))
    faults: list[Fault] = field(default_factory=list)


def read_boxes(folder: Path, findings: tuple[str, ...]) -> Boxes | None:
    """Reads the boxes of a folder; None if it has no such file.

    Raises:
        UserError: there are both files, or one cannot be read.
    """
    csv, coco = folder / CSV, folder / COCO
    if csv.is_file() and coco.is_file():
        raise UserError(f"{folder} holds both {CSV} and {COCO}; keep one")
    if not csv.is_file() and not coco.is_file():
        return None
    boxes = Boxes(csv if csv.is_file() else coco)
    for image, finding, box in _csv(csv) if csv.is_file() else _coco(coco):
        if normal(finding) not in findings:
            reason = f"{box.where} is of {finding!r}, which is no finding of labels.csv ({', '.join(findings)})"
            boxes.faults.append(Fault(boxes.file.name, reason, Kind.LAYOUT))
        else:
            boxes.of[image, normal(finding)].append(box)
    return boxes


def _csv(file: Path) -> list[tuple[str, str, Box]]:
    found = []
    for row in read_rows(file, _COLUMNS):
        numbers = [row.values[name] for name in _COLUMNS[2:]]
        found.append((row.values["file"], row.values["finding"], _box(file, f"line {row.line}", numbers)))
    return found


def _coco(file: Path) -> list[tuple[str, str, Box]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        images = {one["id"]: str(one["file_name"]) for one in content["images"]}
        names = {one["id"]: str(one["name"]) for one in content["categories"]}
        return [
            (images[one["image_id"]], names[one["category_id"]], _box(file, f"annotation {place}", one["bbox"]))
            for place, one in enumerate(content["annotations"])
        ]
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{file}: not in COCO's format, with images, annotations and categories ({reason})") from error


def _box(file: Path, place: str, numbers: Any) -> Box:
    try:
        x, y, width, height = (float(one) for one in numbers)
    except (TypeError, ValueError):
        raise UserError(f"{file}, {place}: the box {numbers!r} is not x, y, width, height in pixels") from None
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        raise UserError(f"{file}, {place}: the box has the size {width:g}×{height:g}; both must be above 0")
    return Box(x, y, width, height, place)


def box_mask(boxes: list[Box], size: tuple[int, int], file: Path) -> Tensor:
    """Fills boxes -> mask (H,W) bool: pixels whose centre is inside one, at least one pixel each.

    Raises:
        BadFile: a box is not within the image, by more than rounding.
    """
    height, width = size
    mask = torch.zeros(size, dtype=torch.bool)
    for box in boxes:
        right, bottom = box.x + box.width, box.y + box.height
        if min(box.x, box.y) < -_ROUNDING or right > width + _ROUNDING or bottom > height + _ROUNDING:
            reason = f"{box.where}: the box reaches to ({right:g}, {bottom:g}) from ({box.x:g}, {box.y:g})"
            raise BadFile(file, f"{reason} in an image of {width}×{height} pixels", Kind.OUTSIDE)
        left, top = min(max(round(box.x), 0), width - 1), min(max(round(box.y), 0), height - 1)
        mask[top : max(round(bottom), top + 1), left : max(round(right), left + 1)] = True
    return mask
