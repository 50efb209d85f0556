"""Tables of the RSNA challenge: boxes, class and patient of each image, with all faults that such tables can have."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.readers.faults import Fault, Kind
from bench.data.readers.tables import Row, key_of, read_rows
from bench.errors import UserError

#: Side in pixels of the challenge's images; boxes are in these pixels, whatever the size of exported images.
FRAME = 1024
LABELS, CLASSES = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
#: Class index by the name in ``CLASSES``. An image that is neither normal nor shows an opacity is left out.
NEITHER = "No Lung Opacity / Not Normal"
_CLASS_OF = {"Normal": 0, "Lung Opacity": 1, NEITHER: None}
_COLUMNS = ("x", "y", "width", "height")

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Annotation:
    """Labels of one image.

    Attributes:
        boxes: (x, y, width, height) of each opacity, in pixels of 1024×1024; x, y is the upper left corner.
        fault: why the boxes cannot be used; None if they can.
    """

    boxes: tuple[Box, ...]
    fault: Fault | None


def read_annotations(file: Path) -> dict[str, Annotation]:
    """Reads ``stage_2_train_labels.csv``, which has one row per box: image key -> all rows of the image.

    Raises:
        UserError: a column is missing, or a Target is not a whole number.
    """
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in read_rows(file, ("patientId", *_COLUMNS, "Target")):
        rows[key_of(row.values["patientId"])].append(row)
    return {key: _annotation(key, own) for key, own in rows.items()}


def _annotation(key: str, rows: Sequence[Row]) -> Annotation:
    faults = [fault for row in rows if (fault := _row_fault(key, row))]
    boxes = tuple(_box(row) for row in rows if row.integer("Target") == 1)
    lines = f"is in lines {', '.join(str(row.line) for row in rows)} of {rows[0].file.name}"
    if len(boxes) < len(rows) > 1:
        faults.append(Fault(key, f"{lines}, in one of them without an opacity", Kind.DUPLICATE))
    if len(set(boxes)) < len(boxes):
        faults.append(Fault(key, f"{lines}, with one box twice", Kind.DUPLICATE))
    return Annotation(boxes, faults[0] if faults else None)


def _box(row: Row) -> Box:
    """Returns the box of a row, with nan for text that is not a number."""
    x, y, width, height = (_number(row.values[column]) for column in _COLUMNS)
    return x, y, width, height


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _row_fault(key: str, row: Row) -> Fault | None:
    """Returns the fault of the Target or the box of one row, or None."""
    target, box = row.integer("Target"), _box(row)
    x, y, width, height = box
    where = f"{row.file.name}, line {row.line}"
    described = f"{where}: box " + " ".join(f"{column}={row.values[column]}" for column in _COLUMNS)
    if target not in (0, 1):
        return Fault(key, f"{where}: Target is {target}, 0 or 1 is expected")
    if target == 0:
        return None if all(map(math.isnan, box)) else Fault(key, f"{described} is given although Target is 0")
    if not all(map(math.isfinite, box)) or width <= 0 or height <= 0:
        return Fault(key, f"{described}: four numbers are expected, width and height above 0")
    if x < 0 or y < 0 or x + width > FRAME or y + height > FRAME:
        return Fault(key, f"{described} extends beyond the border of the {FRAME}×{FRAME} image", Kind.OUTSIDE)
    return None


def read_classes(file: Path) -> dict[str, int | None]:
    """Reads ``stage_2_detailed_class_info.csv``: image key -> 0 normal, 1 opacity, None neither.

    Raises:
        UserError: a column is missing, a class is unknown, or an image has two classes.
    """
    names: dict[str, str] = {}
    for row in read_rows(file, ("patientId", "class")):
        key, name = key_of(row.values["patientId"]), row.values["class"]
        where = f"{file}, line {row.line}: {row.values['patientId']}"
        if name not in _CLASS_OF:
            raise UserError(f"{where} has the class {name!r}, which is not one of {', '.join(_CLASS_OF)}")
        if names.setdefault(key, name) != name:  # the row is repeated for each box
            raise UserError(f"{where} has the class {name!r}, but {names[key]!r} in an earlier line")
    return {key: _CLASS_OF[name] for key, name in names.items()}


def read_patients(file: Path) -> dict[str, str]:
    """Reads RSNA's mapping file, which links each image to an image of the NIH's collection: image key -> patient.

    The NIH names an image by patient and number: ``00019124_104.png`` belongs to patient 00019124.

    Raises:
        UserError: the file is not a list of objects with ``subset_img_id`` and ``img_id``, or an image appears twice.
    """
    try:
        pairs = [(key_of(entry["subset_img_id"]), entry["img_id"]) for entry in json.loads(file.read_bytes())]
        patients = {key: name[: name.index("_")] for key, name in pairs}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        expected = "a list of objects with subset_img_id and img_id (<patient>_<number>.png) is expected"
        raise UserError(f"{file}: {expected} ({type(error).__name__}: {error})") from error
    if len(patients) < len(pairs):
        raise UserError(f"{file}: {len(pairs) - len(patients)} images appear twice")
    return patients
