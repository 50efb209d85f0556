"""The command ``check-data``: it lists all faults of a data set at once, where a run would stop at the first ones."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from bench.commands.check_data.copies_page import write_copies_page
from bench.commands.check_data.page import write_page
from bench.commands.check_data.printing import print_counts, print_faults, print_notes, write_copies, write_faults
from bench.commands.check_data.reading import read_dataset
from bench.contracts import DatasetInfo
from bench.data.loading import Request
from bench.errors import UserError
from bench.store.manifest import Manifest


def check_dataset(info: DatasetInfo, request: Request, page: Path, console: Console) -> bool:
    """Reads a data set, prints its contents and faults, and writes a page of samples.

    Args:
        info: the data set.
        request: how to read it, with ``skip_bad``.
        page: PNG file of samples; all faults are listed in ``<its name>-faults.csv`` in the same folder, and copies in
            ``<its name>-copies.csv`` and ``.png``.
        console: console that is written to.

    Returns:
        True if there is no fault.

    Raises:
        UserError: files without which nothing can be read are missing; ``page`` is not a PNG file or cannot be written;
            or one of the files exists and was not written by this command.
    """
    if page.suffix != ".png":
        raise UserError(f"--out {page}: the page of samples is a PNG file; give a name that ends with .png")
    listed = page.with_name(f"{page.stem}-faults.csv")
    files = Manifest(page.parent)
    copies = page.with_name(f"{page.stem}-copies.csv")
    picture = copies.with_suffix(".png")
    files.require(page.name, listed.name, copies.name, picture.name)
    console.print(Text(f"{info.name}: reading every image of every split (source: {info.source})"), soft_wrap=True)
    reading = read_dataset(info, request, console)
    try:
        write_faults(reading, files.replacing(listed.name))
        if reading.copies:
            write_copies(reading, files.replacing(copies.name))
            write_copies_page(reading, files.replacing(picture.name))
        if reading.splits:
            print_counts(info, reading, request.splits is not None, console)
            write_page(info, reading, request.size, files.replacing(page.name))
    except OSError as error:
        raise UserError(f"cannot write {page} and {listed.name}: {error.strerror or error}") from error
    print_notes(reading, console)
    print_faults(reading, listed, console)
    if reading.copies:
        where = f"by group in {copies}, as a picture in {picture}"
        console.print(Text(f"Images with a copy: {len(reading.copies)}, {where}"), soft_wrap=True)
    samples = f"samples with their masks: {page}" if reading.splits else "no samples"
    console.print(Text(f"All faults: {listed}; {samples}"), soft_wrap=True)
    return not reading.faults
