"""Output of ``check-data``: counts next to the published ones, which reveal an incomplete copy, then faults by kind."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.commands.check_data.reading import Reading, ReadSplit
from bench.contracts import SPLITS, DatasetInfo
from bench.data.readers.faults import Kind
from bench.files import Place
from bench.text.media import csv_rows

_NAMED = 10
_ALL = "all splits"


def print_counts(info: DatasetInfo, reading: Reading, compare: bool, console: Console) -> None:
    """Prints one row per split and class and one per split; all splits together, if totals were published.

    Args:
        info: the data set.
        reading: result of reading it.
        compare: show the numbers published for the authors' splits, not the publisher's totals.
        console: console that is written to.
    """
    splits, published = reading.splits, info.published if compare else {}
    if info.totals and not published:
        whole = _together(splits.values())
        splits = splits | {_ALL: whole}
        published = {_ALL: min(info.totals, key=lambda stated: abs(sum(stated) - len(whole.ids)))}
    columns = ("split", "class", "images", *(("published", "difference") if published else ()), "with mask", "groups")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < 2 else "right")
    for name, split in splits.items():
        for row in _rows(name, split, published):
            table.add_row(*row, style="yellow" if published and row[4] not in ("", "0") else "")
        table.add_section()
    console.print(table)
    if info.published and not compare:
        hint = "Published numbers refer to the authors' splits; to compare, give their folder with --splits."
        console.print(Text(hint), soft_wrap=True)
    if differing := [name for name, stated in published.items() if name in splits and _differs(splits[name], stated)]:
        console.print(Text(f"Number of images differs from the published one: {', '.join(differing)}", style="yellow"))


def _together(splits: Collection[ReadSplit]) -> ReadSplit:
    """Joins all splits into one without samples for the page."""
    whole = ReadSplit(next(iter(splits)).classes)
    for split in splits:
        whole.ids += split.ids
        whole.groups += split.groups
        whole.has_mask += split.has_mask
        whole.label_list += split.label_list
    return whole


def _differs(split: ReadSplit, stated: tuple[int, ...]) -> bool:
    counts = np.bincount(split.labels, minlength=len(split.classes)).tolist()
    return (counts if len(stated) == len(counts) else [sum(counts)]) != list(stated)


def _rows(name: str, split: ReadSplit, published: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, ...]]:
    """Yields the cells of one row per class of a split, then of one for the whole split."""
    stated = published.get(name, ())
    for label in (*range(len(split.classes)), None):
        chosen = split.has(label) if label is not None else np.full(len(split.ids), True)
        indices = np.flatnonzero(chosen).tolist()
        compared = ("", "")
        if stated and (label is None or len(stated) == len(split.classes)):
            expected = sum(stated) if label is None else stated[label]
            compared = (f"{expected:,}", f"{len(indices) - expected:+,}" if len(indices) != expected else "0")
        masks = sum(split.has_mask[index] for index in indices)
        groups = len({split.groups[index] for index in indices})
        title = "all" if label is None else split.classes[label]
        yield name, title, f"{len(indices):,}", *(compared if published else ()), f"{masks:,}", f"{groups:,}"


def print_notes(reading: Reading, console: Console) -> None:
    """Prints the number of unused images by reason, and what could not be checked."""
    for reason, number in reading.left_out.items():
        if number:
            console.print(Text(f"Left out: {reason}: {number:,}"), soft_wrap=True)
    for what in reading.doubts:
        console.print(Text(f"Please check: {what}", style="yellow"), soft_wrap=True)
    for what in reading.unchecked:
        console.print(Text(f"Not checked: {what}", style="yellow"), soft_wrap=True)


def write_copies(reading: Reading, place: Place) -> None:
    """Writes the CSV file file,group of all images that have a copy."""
    with place as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(csv_rows([("file", "group"), *reading.copies]))


def write_splits(reading: Reading, place: Place) -> None:
    """Writes the CSV file file,split,group of all usable images, which a folder of images can use as splits.csv.

    The group is empty where none is stated: the image then is a group of its own.
    """
    named = {name: split for name, split in reading.splits.items() if name in SPLITS}
    rows = [
        (id_, name, "" if group == id_ else group)
        for name, split in named.items()
        for id_, group in zip(split.ids, split.groups, strict=True)
    ]
    with place as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(csv_rows([("file", "split", "group"), *rows]))


def print_faults(reading: Reading, listed: Path, console: Console) -> None:
    """Prints the number and the first ten faults of every kind; ``listed`` is the file that contains all of them."""
    if not reading.faults:
        console.print(Text("No faults found.", style="bold green"))
        return
    console.print(Text(f"Faults: {len(reading.faults)}", style="bold red"))
    for kind in Kind:
        found = [fault for fault in reading.faults if fault.kind == kind]
        if found:
            console.print(Text(f"{kind}: {len(found)}", style="red"))
        for fault in found[:_NAMED]:
            console.print(Text(f"  {fault.file}: {fault.reason}"), soft_wrap=True)
        if len(found) > _NAMED:
            console.print(Text(f"  and {len(found) - _NAMED} more: see {listed}"), soft_wrap=True)


def write_faults(reading: Reading, place: Place) -> None:
    """Writes the CSV file kind,file,reason; it has no rows if there is no fault."""
    with place as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("kind", "file", "reason"))
        rows.writerows(csv_rows((fault.kind, fault.file, fault.reason) for fault in reading.faults))
