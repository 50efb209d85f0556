"""Copies of undamaged stored files, each noted with its digest as a file that a run wrote."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from bench.files import read_json
from bench.store.maps import read_arrays
from bench.store.stored_files import StoredFiles, stored_digest
from bench.training.tensor_files import read_tensors


def _weights(file: Path) -> object:
    """Reads weights, whose digest is inside the file."""
    if (found := read_tensors(file)) is None:  # it has told why
        raise ValueError("damaged")
    return found


#: Ending of a file -> function that raises an error if the file is damaged.
_READERS: dict[str, Callable[[Path], object]] = {
    ".parquet": pd.read_parquet,
    ".npz": read_arrays,
    ".csv": pd.read_csv,
    ".json": read_json,
    ".safetensors": _weights,
}


def copy_first(sources: Iterable[StoredFiles], to: StoredFiles, name: Path) -> None:
    """Makes a file equal to the first undamaged one of this name.

    It is removed where there is none: an earlier merge may have left it. A damaged file is told to the listener
    (``bench.files.telling``). A file without a digest is read first, because its copy gets one.

    Args:
        sources: folders that may have the file.
        to: folder of the copy.
        name: of the file in all these folders.
    """
    for source in sources:
        file = source.folder / name
        if source.is_good(file, Path.stat if source.is_noted(file) else _READERS[file.suffix]):
            _copy(file, to, to.folder / name)
            return
    to.remove(to.folder / name)


def _copy(source: Path, to: StoredFiles, target: Path) -> None:
    if to.state(target) == "good" and stored_digest(target) == stored_digest(source):
        return
    with to.writing(target) as temporary:
        try:
            os.link(source, temporary)  # files are replaced and never written to, so that two names may share one
        except OSError:  # another file system, or one without such links
            shutil.copy2(source, temporary)
