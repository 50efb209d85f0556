"""Tables of the COVID-19 chest radiographs: outlines with their places, patients, and the licence of each image."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bench.data.readers.tables import Row, read_rows
from bench.errors import UserError

OUTLINES, FACTS = "structure.csv", "metadata.csv"
FINDINGS = ("ground glass", "consolidation")
_TEMPLATES = {"Ground Glass Opacities": 0, "Consolidation": 1}
_COLUMNS = ("Template Name", "Filename", "Mask", "Resolution", "Top", "Left", "Width", "Height")
_RESOLUTION = re.compile(r"(\d+)x(\d+)")
#: An outline whose box is below this share of its image is a slip of the hand. The two of the repository have 2e-4 at
#: most, the smallest other one 1e-2.
_SPECK = 1e-3


@dataclass(frozen=True)
class Outline:
    """Mask file of a finding, which covers the box (``left``, ``top``, ``width``, ``height``) of its image in pixels.

    Attributes:
        frame: width and height of the image.
    """

    file: Path
    finding: int
    left: int
    top: int
    width: int
    height: int
    frame: tuple[int, int]

    @property
    def is_speck(self) -> bool:
        """Whether the outline is too small to be meant."""
        return self.width * self.height < _SPECK * self.frame[0] * self.frame[1]


@dataclass(frozen=True)
class Radiograph:
    """Radiograph with its outlines, specks included; ``licence`` is empty if its row states none."""

    file: Path
    patient: str
    licence: str
    outlines: tuple[Outline, ...]

    @property
    def labels(self) -> tuple[int, ...]:
        """One label per finding: 1 outlined, 0 not outlined, -1 if a speck is all there is."""
        return tuple(
            max((-1 if one.is_speck else 1 for one in self.outlines if one.finding == finding), default=0)
            for finding in range(len(FINDINGS))
        )

    def of(self, *findings: int) -> list[Outline]:
        """Returns the outlines of these findings without specks."""
        return [one for one in self.outlines if one.finding in findings and not one.is_speck]


def read_tables(home: Path) -> list[Radiograph]:
    """Reads both tables -> all radiographs that ``structure.csv`` names, in the order of their names.

    Raises:
        MissingData: a table is missing.
        UserError: a table cannot be used, or does not name an image of the other one.
    """
    outlines: dict[str, list[Outline]] = {}
    for row in read_rows(home / OUTLINES, _COLUMNS):
        found = outlines.setdefault(row.values["Filename"], [])
        if row.values["Template Name"] in _TEMPLATES:
            found.append(_outline(home, row))
    facts = {
        row.values["filename"]: row.values for row in read_rows(home / FACTS, ("filename", "patientid", "license"))
    }
    if unknown := next((name for name in outlines if not facts.get(name, {}).get("patientid")), ""):
        raise UserError(f"{home / FACTS}: {unknown} of {OUTLINES} has no patientid")
    return [
        Radiograph(home / "images" / name, facts[name]["patientid"], facts[name]["license"], tuple(outlines[name]))
        for name in sorted(outlines)
    ]


def _outline(home: Path, row: Row) -> Outline:
    frame = _RESOLUTION.fullmatch(row.values["Resolution"])
    left, top, width, height = (row.integer(name) for name in ("Left", "Top", "Width", "Height"))
    if not frame or not row.values["Mask"]:
        raise UserError(f"{row.file}, line {row.line}: a mask and a resolution such as 943x751 are expected")
    size = int(frame[1]), int(frame[2])
    if min(left, top) < 0 or min(width, height) < 1 or left + width > size[0] or top + height > size[1]:
        raise UserError(f"{row.file}, line {row.line}: the box of {row.values['Mask']} is beyond its image")
    return Outline(home / row.values["Mask"], _TEMPLATES[row.values["Template Name"]], left, top, width, height, size)
