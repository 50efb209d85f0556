"""Digests of what tables and figures read, by kind, so that only those are made again whose inputs have changed.

Every topic of the report declares its kinds; a test records what its functions really read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.report.frames.load import Frames
from bench.report.studies.counterfactual import PROBE
from bench.store.code_digest import digest

#: Fields of run.json that no table and no figure reads; the page and the terminal do.
UNREAD = {"started", "finished", "problems", "absent", "git", "packages"}
#: Fields of run.json that change with the explainers of a run.
_OF_EXPLAINERS = {"explainers", "explained_by", "plan"}
_OUTCOMES = {"explainers", "studies", "plan"}
#: Attribute of ``Frames`` -> kind of input.
KIND_OF = {
    "source": "scores",
    "cost": "scores",
    "own_class": "own_class",
    "predictions": "predictions",
    "training": "training",
    "studies": "studies",
    "store": "files",
    "explainers": "explainers",
    "explained_by": "explainers",
    "plan": "explainers",
}
_PATTERNS = {
    "scores": ("cells/*/*/scores/*", f"cells/*/*/studies/{PROBE}/*"),
    "own_class": ("cells/*/*/own_class/scores/*", "cells/*/*/own_class/cell.json"),
    "predictions": ("cells/*/*/predictions.parquet",),
    "training": ("cells/*/*/training.csv",),
    "studies": ("cells/*/*/studies/*/*",),
    "files": ("data/*", "cells/*/*/explained.parquet", "cells/*/*/gallery/*", "cells/*/*/every_class/**/*"),
}
#: All kinds of inputs.
KINDS = (*_PATTERNS, "record", "explainers", "cells", "outcomes")


def input_digests(frames: Frames) -> dict[str, str]:
    """Returns kind of input -> digest of everything of that kind in a run."""
    folder, record = frames.store.folder, frames.record
    facts = record.model_dump(exclude=UNREAD | _OF_EXPLAINERS)
    facts["config"] = {name: section for name, section in facts["config"].items() if name != "run"}
    names = ["dataset", "backbone", "head", "seed", "status"]
    cells = list(frames.cells[names].astype(str).itertuples(index=False, name=None))
    trained = [one.model_dump(exclude=_OUTCOMES) for one in frames.cells["record"]]
    outcomes = [one.model_dump(include=_OUTCOMES) for one in frames.cells["record"]]
    found = {kind: digest(stamps(folder, patterns)) for kind, patterns in _PATTERNS.items()}
    return found | {
        "record": digest(facts),
        "explainers": digest(record.model_dump(include=_OF_EXPLAINERS)),
        "cells": digest(cells, trained),
        "outcomes": digest(outcomes),
    }


def stamps(folder: Path, patterns: Iterable[str]) -> list[tuple[str, int, int]]:
    """Returns name, size and time of the files in a folder; a file that is replaced has another stamp."""
    found = []
    for path in sorted(one for pattern in patterns for one in folder.glob(pattern)):
        facts = path.lstat()
        if not path.is_dir():
            found.append((path.relative_to(folder).as_posix(), facts.st_size, facts.st_mtime_ns))
    return found


def recorded(frames: Frames) -> tuple[Frames, Callable[[], set[str]]]:
    """Returns frames that record what is read of them, and a function that returns the kinds so far.

    Frames that are derived from them record too. Results that are cached for other frames are not seen, so that a
    topic must be given frames of its own.
    """
    kinds: set[str] = set()

    def noting(kind: Callable[[str], str], base: type[Any]) -> type[Any]:
        def read(self: object, name: str) -> Any:
            if found := kind(name):
                kinds.add(found)
            return object.__getattribute__(self, name)

        return type(base.__name__, (base,), {"__getattribute__": read})

    fields = type(frames.record).model_fields
    outcome = noting(lambda name: "outcomes" if name in _OUTCOMES else "", type(frames.cells["record"].iloc[0]))
    watched = noting(lambda name: _field(name) if name in fields else "", type(frames.record))
    frame = noting(lambda name: "cells" if name == "cells" else KIND_OF.get(name, ""), Frames)
    cells = frames.cells.assign(record=[outcome.model_construct(**dict(one)) for one in frames.cells["record"]])
    known = {name: getattr(frames, name) for name in Frames.__dataclass_fields__}
    known |= {"record": watched.model_construct(**dict(frames.record)), "cells": cells}
    return frame(**known), lambda: set(kinds)


def _field(name: str) -> str:
    """Returns the kind of a field of run.json; that of a field which must not be read is its name."""
    return name if name in UNREAD else KIND_OF.get(name, "record")
