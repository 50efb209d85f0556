"""Search for the files of an unpacked archive: users nest folders in more ways than the publisher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

#: Files that Windows adds to folders of images. (The names of those of macOS begin with a dot.)
CLUTTER = ("thumbs.db", "desktop.ini")
_DEPTH = 3


def home_of(root: Path, names: Sequence[str]) -> Path:
    """Returns the first of these folders below ``root``, otherwise ``root``, which may be the data set's own folder."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def first_below(folder: Path, pattern: str) -> Path | None:
    """Finds the topmost file or folder with this name or glob pattern in ``folder``, at most three levels down.

    A pattern that ends with / finds folders only. None if there is no match.
    """
    for depth in range(_DEPTH):
        found = sorted(folder.glob("*/" * depth + pattern))
        if found:
            return found[0]
    return None
