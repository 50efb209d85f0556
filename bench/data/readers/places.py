"""Where an unpacked archive has put its files: people's folders are nested in more ways than the publisher's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

#: What Windows leaves in folders of images. (What macOS leaves begins with a dot.)
CLUTTER = ("thumbs.db", "desktop.ini")
_DEPTH = 3


def home_of(root: Path, names: Sequence[str]) -> Path:
    """The first of these folders below ``root``, else ``root`` itself: it may have been given as the data root."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def first_below(folder: Path, pattern: str) -> Path | None:
    """The file or folder of this name, or glob pattern, that lies highest in ``folder``, at most three levels down.

    A pattern that ends with / finds folders only.
    """
    for depth in range(_DEPTH):
        found = sorted(folder.glob("*/" * depth + pattern))
        if found:
            return found[0]
    return None
