"""Check and lock of a run folder: any folder may be named as ``--out``, and others may be at work there.

A lock of the operating system ends with its process, but not every network file system passes it on to other machines.
A second file therefore names the owner, and its date is renewed as long as the owner lives.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.errors import UserError
from bench.files import DamagedFile
from bench.store.record_files import CELL_FILE, RUN_FILE, read_record
from bench.store.records import CellRecord, RunRecord

LOCK_FILE, OWNER_FILE = "lock", "owner.json"
#: Seconds between two renewals, and after which an owner on another machine counts as gone.
_RENEWED, _GONE = 10.0, 60.0
#: Keys of a run.json, whatever its layout.
_RECORD = {"config", "cells", "datasets"}


def check_run_folder(folder: Path, merging: bool = False) -> str:
    """Checks that a folder is new, empty, or one that a run of this version was written to.

    Args:
        folder: of ``--out``.
        merging: whether runs are merged into it; neither a run nor a merge may write to the folder of the other.

    Returns:
        The damage of its run.json, which the run writes again; empty if there is none.

    Raises:
        UserError: it is something else, cannot be read, or holds records of another version.
    """
    if not folder.exists():
        return ""
    if not folder.is_dir():
        raise UserError(f"--out {folder} is a file; name a folder that is new, empty or holds a run")
    try:
        if (folder / RUN_FILE).is_file():
            return _damage_of_record(folder, merging)
        if not all(_is_of_a_stopped_run(path) for path in folder.iterdir()) and not any(_cells(folder)):
            raise UserError(f"--out {folder} is not a run folder and not empty; use --out {folder / 'new-name'}")
        if merging and any(_cells(folder)):
            raise _taken(folder)
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}; choose another --out") from error
    return ""


def _damage_of_record(folder: Path, merging: bool) -> str:
    record = _json(folder / RUN_FILE)
    if not (isinstance(record, dict) and (record.keys() >= _RECORD or "format" in record)) and not any(_cells(folder)):
        advice = f"use --out {folder / 'new-name'}"
        raise UserError(f"--out {folder} holds a run.json that no run wrote and is not a run folder; {advice}")
    is_merged = isinstance(record, dict) and bool(record.get("merged"))
    if merging and not is_merged:
        raise _taken(folder)
    if is_merged and not merging:
        raise UserError(
            f"--out {folder} holds merged runs; repeat the command in the folder of one of them and merge again, or "
            "choose another --out"
        )
    try:
        read_record(folder / RUN_FILE, RunRecord)
    except DamagedFile as error:
        return error.why
    return ""


def _taken(folder: Path) -> UserError:
    return UserError(f"--out {folder} holds a run that was not merged from others; use --out {folder / 'new-name'}")


def _is_of_a_stopped_run(path: Path) -> bool:
    """Returns whether a run that was killed at its very start leaves such a file."""
    is_lock = path.name == LOCK_FILE and path.stat().st_size == 0
    is_temporary = path.match(f".{RUN_FILE}.*.tmp") or path.match(f".{OWNER_FILE}.*.tmp")
    is_owner = path.name == OWNER_FILE and names_owner(path)
    return path.is_file() and not path.is_symlink() and (is_lock or is_owner or is_temporary)


def _cells(folder: Path) -> Iterator[Path]:
    """Yields records of cells, by which a run folder is known that has lost its run.json.

    Raises:
        UserError: another version wrote them.
    """
    for file in folder.glob(f"cells/*/*/{CELL_FILE}"):
        record = _json(file)
        if isinstance(record, dict) and "status" in record:
            with suppress(DamagedFile):
                read_record(file, CellRecord)
            yield file


def _json(file: Path) -> Any:
    """Reads a file; None where it is not JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None


@contextmanager
def run_lock(folder: Path) -> Iterator[str]:
    """Keeps other runs and reports out of a run folder; yields a word that no other owner has.

    Raises:
        UserError: another run or report works here, or the folder cannot be written to.
    """
    file = folder / LOCK_FILE
    if file.is_symlink():
        raise UserError(f"{file} is a link, which a lock must not be; remove it")
    lock = FileLock(file, timeout=0)
    token = uuid.uuid4().hex
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise UserError(f"another run or report is working in {folder}; wait for it") from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        try:
            _claim(folder, token)
        except OSError as error:
            raise _unwritable(folder, error) from error
        ended = threading.Event()
        threading.Thread(target=_renew, args=(folder, token, ended), daemon=True).start()
        try:
            yield token
        finally:
            ended.set()
            if owns(folder, token):
                (folder / OWNER_FILE).unlink(missing_ok=True)
    finally:
        lock.release()


def owns(folder: Path, token: str) -> bool:
    """Returns whether the owner with this word still has the folder."""
    return _owner(folder / OWNER_FILE).get("token") == token


def names_owner(file: Path) -> bool:
    """Returns whether a run or report wrote this file to name itself."""
    return _owner(file).keys() == {"token", "host", "process"}


def _claim(folder: Path, token: str) -> None:
    """Creates the file that names the owner, which only one of several machines can.

    Raises:
        UserError: another machine has it.
    """
    file, host = folder / OWNER_FILE, socket.gethostname()
    owner = _owner(file)
    if os.path.lexists(file):
        if owner.get("host") not in (None, host) and _age(file) < _GONE:
            raise UserError(
                f"another run or report is working in {folder} on {owner['host']}; wait for it, or for a minute if "
                "that machine was switched off"
            )
        with suppress(FileNotFoundError):  # another machine has taken it over at the same moment
            file.rename(folder / f".{OWNER_FILE}.{token}.tmp")
            (folder / f".{OWNER_FILE}.{token}.tmp").unlink()
    try:
        with file.open("x", encoding="utf-8") as stream:
            json.dump({"token": token, "host": host, "process": os.getpid()}, stream)
    except FileExistsError as error:
        raise UserError(f"another run or report is working in {folder}; wait for it") from error


def _owner(file: Path) -> dict[str, object]:
    """Reads who owns a folder; empty if nobody does, or the file is damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _age(file: Path) -> float:
    """Returns the seconds since a file was renewed, by the clock of its file system."""
    probe = file.with_name(f".{file.name}.{uuid.uuid4().hex}.tmp")
    probe.touch()
    try:
        return probe.stat().st_mtime - file.stat().st_mtime
    finally:
        probe.unlink()


def _renew(folder: Path, token: str, ended: threading.Event) -> None:
    while not ended.wait(_RENEWED):
        with suppress(OSError):
            if owns(folder, token):
                os.utime(folder / OWNER_FILE)


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"cannot write to {folder}: {error.strerror}; choose another --out")
