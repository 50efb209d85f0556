"""What can be wrong with the files of a data set, by kind."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """Headings under which ``check-data`` lists faults, in its order."""

    UNUSABLE = "files that cannot be used"
    ABSENT = "images that are named but not there"
    OUTSIDE = "boxes outside their image"
    STRAY_MASK = "masks without an image of their own"
    MASK_SIZE = "masks of another size than their image"
    EMPTY_MASK = "empty masks in a class with lesions"
    DUPLICATE = "images that are there twice"
    LEAK = "patients or images in more than one split"
    SPLIT = "splits that cannot be used"
    CONTRACT = "samples that the loader should not have made"


class Fault(NamedTuple):
    """Something wrong: what to call the file (or patient, or split) to the user, the reason, and its kind.

    A builder may also give plain pairs (file, reason) in ``Samples.excluded``.
    """

    file: str
    reason: str
    kind: Kind = Kind.UNUSABLE
