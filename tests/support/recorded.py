"""Frames that record which kinds of inputs are read of them, to compare these with what a topic declares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.report.frames.load import Frames
from bench.report.incremental.inputs import OF_EXPLAINERS, OUTCOMES, UNREAD

#: Attribute of ``Frames`` -> kind of input.
_KIND_OF = {
    "source": "scores",
    "cost": "scores",
    "own_class": "own_class",
    "predictions": "predictions",
    "training": "training",
    "studies": "studies",
    "store": "files",
    **dict.fromkeys(OF_EXPLAINERS, "explainers"),
}


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
    outcome = noting(lambda name: "outcomes" if name in OUTCOMES else "", type(frames.cells["record"].iloc[0]))
    watched = noting(lambda name: _field(name) if name in fields else "", type(frames.record))
    frame = noting(lambda name: "cells" if name == "cells" else _KIND_OF.get(name, ""), Frames)
    cells = frames.cells.assign(record=[outcome.model_construct(**dict(one)) for one in frames.cells["record"]])
    known = {name: getattr(frames, name) for name in Frames.__dataclass_fields__}
    known |= {"record": watched.model_construct(**dict(frames.record)), "cells": cells}
    return frame(**known), lambda: set(kinds)


def _field(name: str) -> str:
    """Returns the kind of a field of run.json; that of a field which must not be read is its name."""
    return name if name in UNREAD else _KIND_OF.get(name, "record")
