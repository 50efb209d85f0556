"""Copies of undamaged stored files, each noted with its digest as a file that a run wrote."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from bench.files import file_digest, tell_damage
from bench.store.stored_files import StoredFiles


def copy_first(sources: Iterable[StoredFiles], to: StoredFiles, name: Path) -> None:
    """Makes a file equal to the first undamaged one of this name.

    It is removed where there is none: an earlier merge may have left it. A damaged file is told to the listener
    (``bench.files.telling``).

    Args:
        sources: folders that may have the file.
        to: folder of the copy.
        name: of the file in all these folders.
    """
    for source in sources:
        fault = source.fault(source.folder / name)
        if fault == "":
            _copy(source.folder / name, to, to.folder / name)
            return
        if fault is not None:
            tell_damage(source.folder / name, fault)
    to.remove(to.folder / name)


def _copy(source: Path, to: StoredFiles, target: Path) -> None:
    if to.state(target) == "good" and file_digest(target) == file_digest(source):
        return
    with to.writing(target) as temporary:
        try:
            os.link(source, temporary)  # files are replaced and never written to, so that two names may share one
        except OSError:  # another file system, or one without such links
            shutil.copy2(source, temporary)
