"""Names of files and folders that have a meaning in a folder of the user."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator

_MASK = r"masks?|segmentations?|segm?|ground[ _-]?truths?|gt|labels?|annotations?|annot|roi|contours?"
#: A separator is needed, otherwise ``agt`` would be a mask of ``a``; a number may follow.
_AFTER = re.compile(rf"(.+?)(?:[ _.-]+(?:{_MASK})|(?<=[a-z0-9])Mask)(?:[ _.-]*\d+)?", re.IGNORECASE)
_BEFORE = re.compile(rf"(?:{_MASK})[ _.-]+(.+)", re.IGNORECASE)
_PLAIN = re.compile(r"(.+)_mask(_\d+)?")
_MASK_FOLDER = re.compile(rf"(?:.+[ _-])?(?:{_MASK})", re.IGNORECASE)
_GAP = re.compile(r"[ _.-]+")
_WORD = re.compile(r"[^\W\d_]")
_VIEWS = ("left", "right", "l", "r", "od", "os", "ap", "pa", "lat", "lateral", "cc", "mlo", "a", "b", "c", "d")
_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


def normal(name: str) -> str:
    """Returns a name with composed letters (NFC): ``é`` may be stored as one character or as e and an accent."""
    return unicodedata.normalize("NFC", name)


def split_of(name: str) -> str:
    """Returns the split that a folder is named after, in any case; empty if it is not the name of one."""
    return next((split for split, words in _SPLITS.items() if name.lower() in words), "")


def bases_of(stem: str) -> Iterator[str]:
    """Yields the names of the images that a mask with this name may belong to, the most likely first."""
    for pattern in (_PLAIN, _AFTER, _BEFORE):
        if match := pattern.fullmatch(stem):
            yield match[1]


def derived_from(stem: str, known: Collection[str]) -> str:
    """Finds the name among ``known`` that a name consists of, apart from a word before or after it; otherwise empty.

    ``a_overlay`` and ``heatmap-a`` come from ``a``. Numbers and sides do not count: ``a_2`` and ``a_left`` are further
    images.
    """
    for gap in _GAP.finditer(stem):
        before, after = stem[: gap.start()], stem[gap.end() :]
        for base, word in ((before, after), (after, before)):
            if base in known and _WORD.search(word) and word.lower() not in _VIEWS:
                return base
    return ""


def is_plain_mask(stem: str) -> bool:
    """Tells whether a name has the form ``a_mask`` or ``a_mask_1``, which only masks have."""
    return _PLAIN.fullmatch(stem) is not None


def names_masks(folder: str) -> bool:
    """Tells whether a folder has a name that folders of masks have."""
    return _MASK_FOLDER.fullmatch(folder) is not None
