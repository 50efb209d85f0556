"""Lock of a run folder, which keeps other runs and reports out, also those of other machines.

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

from filelock import FileLock, Timeout

from bench.errors import UserError

LOCK_FILE, OWNER_FILE = "lock", "owner.json"
#: Seconds between two renewals, and after which an owner on another machine counts as gone.
_RENEWED, _GONE = 10.0, 60.0


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
