"""Frames that record which kinds of inputs are read of them, to compare these with what a topic declares."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.report.contents import study
from bench.report.frames.load import Frames
from bench.report.incremental.inputs import OF_EXPLAINERS, OUTCOMES, PATTERNS, UNREAD
from bench.store.stored_files import StoredFiles

#: Attribute of ``Frames`` -> kind of input; files that are read later are recorded by their names.
_KIND_OF = {
    "source": "scores",
    "cost": "scores",
    "own_class": "own_class",
    "predictions": "predictions",
    "training": "training",
    "cells": "cells",
}
#: Modules that hand on what they do not look at.
_COPYING = ("dataclasses", "bench.report.frames.parts")


class _Studies(dict[str, pd.DataFrame]):
    """Studies that record which of them are asked for."""

    def __init__(self, studies: dict[str, pd.DataFrame], kinds: set[str]) -> None:
        super().__init__(studies)
        self.kinds = kinds

    def __contains__(self, name: object) -> bool:
        self.kinds.add(study(str(name)))
        return super().__contains__(name)

    def __getitem__(self, name: str) -> pd.DataFrame:
        self.kinds.add(study(name))
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.kinds.add(study(name))
        return super().get(name, default)


def recorded(frames: Frames, patch: pytest.MonkeyPatch) -> tuple[Frames, Callable[[], set[str]]]:
    """Returns frames that record what is read of them, and a function that returns the kinds so far.

    Frames that are derived from them record too. Results that are cached for other frames are not seen, so that a
    topic must be given frames of its own.
    """
    kinds: set[str] = set()

    def noting(kind: Callable[[str], str], base: type[Any]) -> type[Any]:
        def get(self: object, name: str) -> Any:
            found, value = kind(name), object.__getattribute__(self, name)
            if sys._getframe(1).f_globals["__name__"] in _COPYING:
                return value
            if found:
                kinds.add(found)
            return _Studies(value, kinds) if name == "studies" and isinstance(value, dict) else value

        return type(base.__name__, (base,), {"__getattribute__": get})

    def note(path: Path) -> None:
        name = Path(path.relative_to(frames.store.folder).as_posix())
        found = [kind for kind, patterns in PATTERNS.items() if any(name.match(one) for one in patterns)]
        kinds.update(found or {f"file {name}"})

    def seen(original: Callable[..., Any]) -> Callable[..., Any]:
        def read(self: StoredFiles, path: Path, parse: Callable[[Path], Any]) -> Any:
            note(path)
            return original(self, path, parse)

        return read

    for method in ("read", "is_good"):  # what is good is then read by its path
        patch.setattr(StoredFiles, method, seen(getattr(StoredFiles, method)))
    fields = type(frames.record).model_fields
    outcome = noting(lambda name: "outcomes" if name in OUTCOMES else "", type(frames.cells["record"].iloc[0]))
    watched = noting(lambda name: _field(name) if name in fields else "", type(frames.record))
    frame = noting(lambda name: _KIND_OF.get(name, ""), Frames)
    cells = frames.cells.assign(record=[outcome.model_construct(**dict(one)) for one in frames.cells["record"]])
    known = {name: getattr(frames, name) for name in Frames.__dataclass_fields__}
    known |= {"record": watched.model_construct(**dict(frames.record)), "cells": cells}
    return frame(**known), lambda: set(kinds)


def _field(name: str) -> str:
    """Returns the kind of a field of run.json; that of a field which must not be read is its name."""
    return name if name in UNREAD else "explainers" if name in OF_EXPLAINERS else "record"
