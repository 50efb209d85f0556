"""Values of flags that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bench.errors import UserError


def names_of(text: str | None) -> list[str] | None:
    """Splits names at commas; None without a flag.

    Raises:
        UserError: there is no name.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"empty list of names: {text!r}; name at least one, or omit the flag")
    return names


def workers_of(text: str | None, cluster: str | None) -> int | Literal["gpus"] | None:
    """Reads ``--workers``.

    Raises:
        UserError: it is neither a positive number nor ``gpus``, or there is a cluster, which has its own workers.
    """
    if text is not None and cluster:
        raise UserError("--workers is for this machine; with --cluster, its file or scheduler says how many there are")
    if text is None:
        return None
    if text == "gpus":
        return "gpus"
    if not text.isdecimal() or not int(text):
        raise UserError(f"--workers {text}: give a number from 1, or gpus for one worker per GPU")
    return int(text)


def splits_of(folder: Path | None) -> Path | None:
    """Returns the folder of ``--splits``.

    Raises:
        UserError: it does not exist.
    """
    if folder is not None and not folder.is_dir():
        raise UserError(f"--splits {folder}: no such folder; give the folder of the released CSV files (docs/data.md)")
    return folder
