"""Faults of the files of a data set and their kinds, which ``check-data`` lists and a run refuses."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """Headings under which ``check-data`` lists faults, in this order."""

    UNUSABLE = "files that cannot be used"
    ABSENT = "images that are listed but missing"
    OUTSIDE = "boxes outside their image"
    STRAY_MASK = "masks without an image of their own"
    MASK_SIZE = "masks whose size differs from that of their image"
    MASK_CODE = "masks whose values have no known meaning"
    IMPLAUSIBLE = "masks that are probably read wrongly"
    HEALTHY_LESION = "masks with lesions in the healthy class"
    ABSENT_FINDING = "masks of findings that their image does not have"
    MASK_AS_IMAGE = "images that look like masks"
    LAYOUT = "files in places where they are not used"
    EMPTY_MASK = "empty masks in a class with lesions"
    DUPLICATE = "images that appear twice"
    COPY = "one picture in two splits or classes"
    LEAK = "patients or images in more than one split"
    SPLIT = "splits that cannot be used"
    CONTRACT = "samples that break the contract of a data set"


class Fault(NamedTuple):
    """Fault of a file, patient or split: its name for the user, the reason, and the kind of fault.

    A builder may also list plain pairs (file, reason) in ``Samples.excluded``.
    """

    file: str
    reason: str
    kind: Kind = Kind.UNUSABLE
