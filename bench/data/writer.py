"""Writer of decoded images: appends them to the files of a folder, so that an interrupted run can be resumed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.contracts import Sample
from bench.data.readers.faults import Fault
from bench.files import json_digest

META = "meta.json"
#: One line per finished sample, written after its pixels: pixels without a line do not count.
JOURNAL = "journal"
#: File of each region -> pixel value for images without such a region.
_BLANK = {"masks": b"\0", "fov": b"\1", "ignored": b"\0"}
#: Names of all files that a writer creates.
WRITTEN = {META, JOURNAL, "images", *_BLANK}


class SplitWriter:
    """Writes square images of one size, their regions and facts, and the bad files, in the order of the samples.

    It writes to files and not to a memory map, because a full disk is then an error; with a map it would kill the
    process.

    Attributes:
        done: number of samples that are written or known to be bad, which is the index of the next one.
        ids: id -> group of the images.
        side: side of the images in pixels; 0 before the first image.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.folder, self.classes = folder, tuple(classes)
        try:
            self._resume()
        except (ValueError, TypeError, KeyError, OSError):  # no journal, or one that a crash of the machine damaged
            self._forget()
            for name in (JOURNAL, "images", *_BLANK):
                (folder / name).unlink(missing_ok=True)

    def _forget(self) -> None:
        self.done, self.side = 0, 0
        self.ids: dict[str, str] = {}  # id -> group, in the order of the images
        self._labels: list[int | list[int]] = []
        self._has_mask: list[bool] = []
        self._excluded: list[Any] = []
        self._first: dict[str, int] = {}  # file of a region -> the image that it begins with

    def write(self, decoded: Iterable[Sample | Fault]) -> str:
        """Writes the remaining samples and then the facts -> digest of the content."""
        for one in decoded:
            self._note({"bad": one} if isinstance(one, Fault) else self._append(one))
        facts = {
            "classes": self.classes,
            "side": self.side,
            "labels": self._labels,
            "has_mask": self._has_mask,
            "ids": list(self.ids),
            "groups": list(self.ids.values()),
        }
        digest = content_digest(self.folder, facts, self._first)
        meta = {"facts": facts, "first": self._first, "excluded": self._excluded, "digest": digest}
        meta = json.loads(json.dumps(meta))
        (self.folder / META).write_text(json.dumps(meta | {"sha256": json_digest(meta)}))
        return digest

    def _append(self, sample: Sample) -> dict[str, Any]:
        """Writes the pixels of an image -> its line of the journal."""
        side = sample.image.shape[-1]
        # An empty region is not written: the digest of a split without ignored pixels does not depend on None or empty.
        ignored = sample.ignored if sample.ignored is not None and bool(sample.ignored.any()) else None
        regions = {"masks": sample.mask, "fov": sample.fov, "ignored": ignored}
        self._write("images", sample.image.contiguous().numpy().tobytes())
        for name, region in regions.items():
            if region is not None:
                for _ in () if name in self._first else range(len(self.ids)):
                    self._write(name, _BLANK[name] * side**2)
                self._write(name, region.contiguous().numpy().tobytes())
            elif name in self._first:
                self._write(name, _BLANK[name] * side**2)
        return {
            "id": sample.id,
            "group": sample.group,
            "label": sample.label,
            "side": side,
            "regions": [name for name, region in regions.items() if region is not None],
        }

    def _write(self, name: str, content: bytes) -> None:
        with (self.folder / name).open("ab") as file:
            file.write(content)

    def _note(self, line: dict[str, Any]) -> None:
        self._write(JOURNAL, json.dumps(line).encode() + b"\n")
        self._enter(line)

    def _enter(self, line: dict[str, Any]) -> None:
        self.done += 1
        if "bad" in line:
            self._excluded.append(line["bad"])
            return
        for name in line["regions"]:
            self._first.setdefault(name, len(self.ids))
        self.ids[line["id"]], self.side = line["group"], line["side"]
        self._labels.append(line["label"])
        self._has_mask.append("masks" in line["regions"])

    def _resume(self) -> None:
        """Takes over the samples in the journal, and cuts off data that was being written when the run stopped.

        Raises:
            ValueError: a file is shorter than the journal says.
        """
        self._forget()
        *lines, torn = (self.folder / JOURNAL).read_bytes().split(b"\n")
        for line in lines:
            self._enter(json.loads(line))
        _cut(self.folder / JOURNAL, (self.folder / JOURNAL).stat().st_size - len(torn))
        _cut(self.folder / "images", len(self.ids) * 3 * self.side**2)
        for name in _BLANK:
            _cut(self.folder / name, len(self.ids) * self.side**2 if name in self._first else 0)


def content_digest(folder: Path, facts: Mapping[str, Any], first: Mapping[str, int]) -> str:
    """Computes the SHA-256 of the images, of their regions from the first image that has one, and of the facts.

    Args:
        folder: of the split.
        facts: side, ids and everything else about the images.
        first: file of a region -> the image that it begins with.
    """
    content, area, count = hashlib.sha256(), facts["side"] ** 2, len(facts["ids"])
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("rb")) for name in first}
        images = stack.enter_context((folder / "images").open("rb")) if count else None
        for name, start in first.items():
            files[name].seek(start * area)
        for index in range(count):
            content.update(images.read(3 * area) if images else b"")
            for name in (name for name in _BLANK if index >= first.get(name, count)):
                content.update(name.encode() + files[name].read(area))
    content.update(json.dumps(facts).encode())
    return content.hexdigest()


def starts_blank(folder: Path, first: Mapping[str, int], side: int) -> bool:
    """Returns whether every region is blank before the image that it begins with, where no digest looks."""
    for name, start in first.items():
        with (folder / name).open("rb") as file:
            if any(file.read(side**2) != _BLANK[name] * side**2 for _ in range(start)):
                return False
    return True


def _cut(path: Path, size: int) -> None:
    """Shortens a file to ``size`` bytes; 0 removes it."""
    if size == 0:
        path.unlink(missing_ok=True)
    elif path.stat().st_size < size:
        raise ValueError(f"{path} is shorter than {size} bytes")
    else:
        os.truncate(path, size)
