"""Decoded splits on disk: written once, sample by sample, and safe from a kill at any moment or a second run.

<data set>/<split>-<identity>/       a finished split; never changed
<data set>/.tmp-<split>-<identity>/  one at work, locked by its run; after an interruption the next goes on with it
<data set>/.tmp-<random>/            the same while another process holds that lock, or without an identity
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import numpy as np

from bench.contracts import DatasetInfo, Sample, Samples, UserError
from bench.data.checks import checked
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import resized
from bench.data.split import Split
from bench.data.splitting import subsample
from bench.data.writer import META, WRITTEN, SplitWriter
from bench.store.code_digest import code_digest

_ABANDONED_AFTER = 7 * 24 * 3600.0
_UNFINISHED, _LOCK = ".tmp-", "lock"
#: Packages whose versions decide what a file is decoded to, or what a drawing looks like.
_PACKAGES = ("pillow", "torch", "torchvision", "numpy", "scipy", "pydicom")
_DICOM_DECODERS = ("pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm", "pyjpegls")


def identity_of(info: DatasetInfo, samples: Sequence[Sample] | Samples, request: Sequence[object]) -> str | None:
    """Name for what decoding these samples would give: the request, the files read, the code that reads them.

    Files that the builder has left out are none of it: they are not decoded, and looked for in every run.

    Returns:
        16 hex digits. None where ``samples`` does not list its ``files``, so that no one can tell whether they have
        changed: such a split is decoded anew in every run.
    """
    if not hasattr(samples, "files"):
        return None
    asked = [value.resolve() if isinstance(value, Path) else value for value in request]
    code = code_digest(info.builder, subsample, checked, resized, SplitWriter)
    content = hashlib.sha256(repr((info.name, asked, code, _versions())).encode())
    for file in sorted(samples.files):
        try:
            facts = file.stat()
        except OSError as error:
            raise UserError(f"data set {info.name}: {error.strerror}: {file}") from error
        content.update(repr((str(file.resolve()), facts.st_size, facts.st_mtime_ns)).encode())
    return content.hexdigest()[:16]


def _versions() -> list[str]:
    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return ""

    return [installed(package) for package in (*_PACKAGES, *_DICOM_DECODERS)]


def store(
    parent: Path,
    split: str,
    identity: str | None,
    classes: Sequence[str],
    decode: Callable[[SplitWriter], Iterable[Sample | Fault]],
) -> Path:
    """Write a split under a temporary name and rename it: what has its final name is complete.

    Args:
        parent: folder of the data set.
        split: its name.
        identity: as ``identity_of``. With one, a split that was interrupted goes on where it stopped.
        classes: C names.
        decode: gives the samples, and the faults of those that cannot be used, which the writer has not got yet.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        with _workplace(parent, f"{_UNFINISHED}{split}-{identity}" if identity else None) as folder:
            writer = SplitWriter(folder, classes)
            digest = writer.write(decode(writer))
            return _publish(folder, parent / f"{split}-{identity or digest[:16]}")
    except OSError as error:
        raise UserError(f"cannot write the cache of decoded images in {parent}: {error}") from error


@contextmanager
def _workplace(parent: Path, name: str | None) -> Iterator[Path]:
    """A folder that no other run works in: the one called ``name``, with what is in it, else a new one, removed after.

    The one with a name stays when a run is interrupted, but not when it cannot be written: the disk may be full.
    """
    lock = _claim(parent / name) if name else None
    if name is None or lock is None:
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=parent, ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    with lock:
        try:
            yield parent / name
        except OSError:
            shutil.rmtree(parent / name, ignore_errors=True)
            raise


def _claim(folder: Path) -> IO[bytes] | None:
    """The open file by which this run holds the folder; None where another does. The lock goes with the process."""
    try:
        folder.mkdir(exist_ok=True)
        lock = (folder / _LOCK).open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock.fileno()), (folder / _LOCK).stat()):
                return lock
        except OSError:
            lock.close()
            raise
        lock.close()
    except OSError:  # held; or finished and renamed since we looked
        pass
    return None


def _publish(temporary: Path, folder: Path) -> Path:
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.exists():  # else another run was faster with the same content
            raise
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _sweep(parent: Path) -> None:
    """Remove what interrupted runs have left long ago; younger folders may belong to a run at work."""
    for folder in parent.glob(f"{_UNFINISHED}*"):
        with suppress(FileNotFoundError):  # another run has just finished it
            files = list(folder.iterdir())
            is_old = time.time() - max(file.stat().st_mtime for file in (folder, *files)) > _ABANDONED_AFTER
            if is_old and {file.name for file in files} <= WRITTEN | {_LOCK}:  # nothing that no run writes
                shutil.rmtree(folder, ignore_errors=True)


def open_split(folder: Path, split: str) -> Split:
    """Folder of a finished split -> ``Split`` of read-only memory maps."""
    facts = json.loads((folder / META).read_text())
    count, side = len(facts["ids"]), facts["side"]
    return Split(
        name=split,
        images=_mapped(folder / "images", np.uint8, (count, 3, side, side)),
        labels=np.asarray(facts["labels"], dtype=np.int64),
        masks=_mapped(folder / "masks", np.bool_, (count, side, side)) if any(facts["has_mask"]) else None,
        has_mask=np.asarray(facts["has_mask"], dtype=np.bool_),
        fov=_region(folder / "fov", count, side),
        ignored=_region(folder / "ignored", count, side),
        ids=tuple(facts["ids"]),
        groups=tuple(facts["groups"]),
        classes=tuple(facts["classes"]),
        excluded=tuple(Fault(file, reason, Kind(kind)) for file, reason, kind in facts["excluded"]),
        digest=facts["digest"],
    )


def _region(path: Path, count: int, side: int) -> Any:
    """(N,H,W) bool, or None where no image of the split has such a region."""
    return _mapped(path, np.bool_, (count, side, side)) if path.exists() else None


def _mapped(path: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    """A memory map, or an empty array: there is no memory map of nothing."""
    return np.memmap(path, dtype, "r", shape=shape) if shape[0] else np.zeros(shape, dtype)
