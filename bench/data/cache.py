"""Cache of decoded splits on disk: decoding is slow, so that a run must survive a kill and share its work with others.

<data set>/<split>-<identity>/       a finished split; never changed
<data set>/.tmp-<split>-<identity>/  an unfinished one, locked by its run; after an interruption the next run resumes it
<data set>/.tmp-<random>/            an unfinished one without identity, or while another process holds that lock
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import lock_descriptor

from bench.contracts import DatasetInfo, Sample, Samples
from bench.data.checks import checked
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import resized
from bench.data.split import Split
from bench.data.splitting import subsample
from bench.data.writer import META, WRITTEN, SplitWriter, content_digest, starts_blank
from bench.errors import UserError
from bench.files import json_digest, tell_damage
from bench.store.code_digest import code_digest

_ABANDONED_AFTER = 7 * 24 * 3600.0
_UNFINISHED, _LOCK = ".tmp-", "lock"
#: Windows refuses to rename a folder while a file in it is open.
_RENAMES_OPEN_FILES = os.name != "nt"
#: Packages whose versions decide the pixels that a file is decoded to, or those of a drawing.
_PACKAGES = ("pillow", "torch", "torchvision", "numpy", "scipy", "pydicom")
_DICOM_DECODERS = ("pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm", "pyjpegls")


def identity_of(info: DatasetInfo, samples: Sequence[Sample] | Samples, request: Sequence[object]) -> str | None:
    """Returns a name for the result of decoding these samples: it depends on the request, the files and the code.

    Files that the builder has left out do not count: they are not decoded, and every run looks for them again.

    Args:
        info: the data set.
        samples: the samples that its builder returned.
        request: the values that decide what is decoded.

    Returns:
        16 hex digits. None if ``samples`` does not list its ``files``, because changes of them would go unnoticed: such
        a split is decoded anew in every run.

    Raises:
        UserError: one of the files cannot be read.
    """
    if not hasattr(samples, "files"):
        return None
    asked = [value.resolve() if isinstance(value, Path) else value for value in request]
    code = code_digest(info.builder, subsample, checked, resized, SplitWriter)
    content = hashlib.sha256(repr((info.name, asked, code, decoder_versions())).encode())
    for file in sorted(samples.files):
        try:
            facts = file.stat()
        except OSError as error:
            raise UserError(f"data set {info.name}: {error.strerror}: {file}") from error
        content.update(repr((str(file.resolve()), facts.st_size, facts.st_mtime_ns)).encode())
    return content.hexdigest()[:16]


def decoder_versions() -> list[str]:
    """Returns the versions of the packages that decide the pixels of a decoded image; empty for one that is absent."""

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
    """Writes a split under a temporary name and renames it, so that a folder with its final name is complete.

    Args:
        parent: folder of the data set.
        split: name of the split.
        identity: as returned by ``identity_of``. With one, an interrupted split is resumed where it stopped.
        classes: C names.
        decode: yields the samples that the writer does not have yet, and the faults of those that cannot be used.

    Returns:
        The folder with its final name.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        with _workplace(parent, f"{_UNFINISHED}{split}-{identity}" if identity else None) as (folder, lock):
            writer = SplitWriter(folder, classes)
            digest = writer.write(decode(writer))
            if lock and not _RENAMES_OPEN_FILES:
                lock.close()
            return _publish(folder, parent / f"{split}-{identity or digest[:16]}")
    except OSError as error:
        raise UserError(f"cannot write the cache of decoded images in {parent}: {error}") from error


@contextmanager
def _workplace(parent: Path, name: str | None) -> Iterator[tuple[Path, IO[bytes] | None]]:
    """Provides a folder that no other run works in, and the open file that locks it.

    That is the folder called ``name`` with its content, otherwise a new one without a lock, which is removed
    afterwards. The one with a name remains when a run is interrupted, but not when it cannot be written: the disk may
    be full.
    """
    lock = _claim(parent / name) if name else None
    if name is None or lock is None:
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=parent, ignore_cleanup_errors=True) as folder:
            yield Path(folder), None
        return
    with lock:
        try:
            yield parent / name, lock
        except OSError:
            shutil.rmtree(parent / name, ignore_errors=True)
            raise


def _claim(folder: Path) -> IO[bytes] | None:
    """Locks the folder for this run -> the open file that holds the lock; None if another run holds it.

    The operating system releases the lock when the file is closed or the process ends, however it ends. The file is
    compared with the one on disk, because another run may have finished and renamed the folder in the meantime.
    """
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        with ExitStack() as opened:
            lock = opened.enter_context((folder / _LOCK).open("ab"))
            is_held = lock_descriptor(lock.fileno(), blocking=False)
            if is_held and os.path.samestat(os.fstat(lock.fileno()), (folder / _LOCK).stat()):
                opened.pop_all()
                return lock
    return None


def _publish(temporary: Path, folder: Path) -> Path:
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another run was faster with the same content
            raise
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _sweep(parent: Path) -> None:
    """Removes old folders of interrupted runs; younger ones may belong to a run that is still working."""
    for folder in parent.glob(f"{_UNFINISHED}*"):
        with suppress(FileNotFoundError):  # another run has just finished it
            files = list(folder.iterdir())
            is_old = time.time() - max(file.stat().st_mtime for file in (folder, *files)) > _ABANDONED_AFTER
            if is_old and {file.name for file in files} <= WRITTEN | {_LOCK}:  # never a file that no run writes
                shutil.rmtree(folder, ignore_errors=True)


def open_sound(folder: Path, split: str) -> Split | None:
    """Opens the folder of a finished split if it holds what was written; None if it is absent or damaged.

    A damaged folder is moved out of the way, so that the split can be decoded again.

    Raises:
        UserError: it cannot be moved.
    """
    if not os.path.lexists(folder):
        return None
    why = _damage(folder)
    if not why:
        return open_split(folder, split)
    tell_damage(folder, why)
    try:
        aside = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder.parent))
        with suppress(FileNotFoundError):  # another run was faster
            folder.rename(aside / "damaged")
    except OSError as error:
        raise UserError(f"cannot remove {folder}, which is damaged ({why}): {error.strerror}; remove it") from error
    shutil.rmtree(aside, ignore_errors=True)
    return None


def _damage(folder: Path) -> str:
    """Returns the damage of a finished split in words; empty if its content has the digest that was noted."""
    try:
        meta = _meta(folder)
        facts = meta["facts"]
        if content_digest(folder, facts, meta["first"]) != meta["digest"]:
            return "its images were changed since they were written"
        sizes = {"images": 3, **dict.fromkeys(meta["first"], 1)} if facts["ids"] else {}
        area = len(facts["ids"]) * facts["side"] ** 2
        lengths = {name: (folder / name).stat().st_size for name in sizes}
        if lengths != {name: size * area for name, size in sizes.items()}:
            return "a file has another length"
        return "" if starts_blank(folder, meta["first"], facts["side"]) else "a region was changed"
    except OSError as error:
        return f"{error.filename and Path(error.filename).name}: {error.strerror}"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return f"{META} is not what was written"


def _meta(folder: Path) -> dict[str, Any]:
    """Reads the facts about a split.

    Raises:
        ValueError: they are not what was written.
    """
    meta: dict[str, Any] = json.loads((folder / META).read_text())
    if meta.pop("sha256") != json_digest(meta):
        raise ValueError(f"{folder / META} was changed since it was written")
    return meta


def open_split(folder: Path, split: str) -> Split:
    """Opens the folder of a finished split -> ``Split`` of read-only memory maps."""
    meta = _meta(folder)
    facts = meta["facts"]
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
        excluded=tuple(Fault(file, reason, Kind(kind)) for file, reason, kind in meta["excluded"]),
        digest=meta["digest"],
    )


def _region(path: Path, count: int, side: int) -> Any:
    """Returns (N,H,W) bool, or None if no image of the split has such a region."""
    return _mapped(path, np.bool_, (count, side, side)) if path.exists() else None


def _mapped(path: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    """Returns a memory map, or an empty array, because an empty file cannot be mapped."""
    return np.memmap(path, dtype, "r", shape=shape) if shape[0] else np.zeros(shape, dtype)
