"""The command ``check-data``: it lists all faults of a data set at once, where a run would stop at the first ones."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from bench.commands.check_data.copies_page import write_copies_page
from bench.commands.check_data.page import write_page
from bench.commands.check_data.printing import (
    print_counts,
    print_faults,
    print_notes,
    write_copies,
    write_faults,
    write_splits,
)
from bench.commands.check_data.reading import read_dataset
from bench.contracts import DatasetInfo
from bench.data.loading import Request
from bench.errors import UserError
from bench.store.manifest import Manifest

#: Files of a check, in its folder.
SAMPLES, FAULTS, COPIES, PAIRS, SPLITS_FILE = "samples.png", "faults.csv", "copies.csv", "copies.png", "splits.csv"


def check_dataset(info: DatasetInfo, request: Request, folder: Path, console: Console) -> bool:
    """Reads a data set, prints its contents and faults, and writes a page of samples and tables.

    Args:
        info: the data set.
        request: how to read it, with ``skip_bad``.
        folder: folder of the results: ``samples.png``, all faults in ``faults.csv``, the usable images with split and
            group in ``splits.csv``, and copies in ``copies.csv`` and ``copies.png``.
        console: console that is written to.

    Returns:
        True if there is no fault.

    Raises:
        UserError: files without which nothing can be read are missing; the folder cannot be written to; or one of the
            files exists and was not written by this command.
    """
    files = Manifest(folder)
    files.require(SAMPLES, FAULTS, COPIES, PAIRS, SPLITS_FILE)
    console.print(Text(f"{info.name}: reading every image of every split (source: {info.source})"), soft_wrap=True)
    reading = read_dataset(info, request, console)
    try:
        write_faults(reading, files.replacing(FAULTS))
        if reading.copies:
            write_copies(reading, files.replacing(COPIES))
            write_copies_page(reading, files.replacing(PAIRS))
        if reading.splits:
            print_counts(info, reading, request.splits is not None, console)
            write_splits(reading, files.replacing(SPLITS_FILE))
            write_page(info, reading, request.size, files.replacing(SAMPLES))
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
    print_notes(reading, console)
    print_faults(reading, folder / FAULTS, console)
    if reading.copies:
        where = f"by group in {folder / COPIES}, as a picture in {folder / PAIRS}"
        console.print(Text(f"Images with a copy: {len(reading.copies)}, {where}"), soft_wrap=True)
    samples = f"samples with their masks: {folder / SAMPLES}; splits: {folder / SPLITS_FILE}"
    console.print(Text(f"All faults: {folder / FAULTS}; {samples if reading.splits else 'no samples'}"), soft_wrap=True)
    return not reading.faults
