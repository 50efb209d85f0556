"""Choice of the healthy class of a folder of the user, by names of classes and by masks."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import BadFile
from bench.data.readers.masks import read_mask
from bench.data.sources.layout.files import Found, class_of

#: Words at the start of a class name that mean "without lesions", the most likely first.
_NAMES = ("healthy", "normal", "negative", "control", "functional", "good", "no", "none", "non", "0", "benign")
#: Those of them that no class with lesions is called.
_CERTAIN = ("healthy", "normal", "negative", "control", "functional", "good")
_SAMPLED = 50


def healthy_class(found: Found) -> int | None:
    """Finds the class without lesions.

    It is the class called healthy, normal, … unless at least half of its images have a mask that marks a lesion (fewer
    are faults of these masks), otherwise the only class without masks. None if there is no such class: every class then
    counts as diseased, and there are no results on healthy images. A class called healthy that has lesions is added to
    ``found.unused``.
    """
    masks = _masks_by_class(found)
    for word in _NAMES:
        for index, name in enumerate(found.classes):
            if not re.fullmatch(rf"{word}([\s_.-].*)?", name.lower()):
                continue
            if not _mostly_lesions(masks[name]):
                return index
            if word in _CERTAIN:
                reason = "has masks with lesions on at least half of its images, and is not taken as the healthy class"
                found.unused.append(Fault(f"class {name!r}", f"{reason}; check its masks", Kind.HEALTHY_LESION))
    without = [index for index, name in enumerate(found.classes) if not any(masks[name])]
    return without[0] if len(without) == 1 and len(found.classes) > 1 else None


def note_lesions(found: Found, healthy: int) -> bool:
    """Tells whether masks mark lesions on at least half of the images of a class that is stated to be healthy.

    Such a class is the negative one of a task, such as benign lesions; it is then added to ``found.unused``.
    """
    name = found.classes[healthy]
    if not _mostly_lesions(_masks_by_class(found)[name], unread=True):  # their coding may be stated in a config
        return False
    reason = "is stated to be healthy, and masks mark lesions on at least half of its images"
    remedy = "measures on healthy images are those on its images, so read them as measures on the negative class"
    found.unused.append(Fault(f"class {name!r}", f"{reason}; {remedy}", Kind.HEALTHY_LESION))
    return True


def _masks_by_class(found: Found) -> dict[str, list[list[Path]]]:
    """Returns class -> mask files of each of its images."""
    masks: dict[str, list[list[Path]]] = defaultdict(list)
    for image, files in found.masks.items():
        masks[class_of(image)].append(files)
    return masks


def _mostly_lesions(masks: list[list[Path]], unread: bool = False) -> bool:
    """Tells whether at least half of the images of a class have lesions; large classes are sampled.

    Args:
        masks: mask files of each image.
        unread: what counts for a mask that cannot be read.
    """
    sample = masks[:: -(-len(masks) // _SAMPLED)] if masks else []
    return (
        bool(sample) and sum(any(_marks_something(one, unread) for one in files) for files in sample) >= len(sample) / 2
    )


def _marks_something(mask: Path, unread: bool) -> bool:
    """Tells whether a mask has two values; a constant one may be background in a coding that is stated later."""
    try:
        lesion = read_mask(mask)
    except BadFile:  # reported when its image is read
        return unread
    return bool(lesion.any() and not lesion.all())
