"""Methods in figures: an explainer on a head, with its look.

Families come from the record, never from a name.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from bench.report.figures.style import BLACK, GREY, MUTED, STRONG, Look
from bench.report.frames.load import Frames
from bench.store.records import RunRecord

_DASHES = ((0, (4, 1.6)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (9, 3)))
_CONTROL_DASHES = ((0, (1, 1.2)), (0, (3, 1.2, 1, 1.2)), (0, (5, 2)), (0, (1, 3)), (0, (7, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "D", "^", "v", "P")
_CONTROL_MARKERS = ("x", "+", "1", "*", "2", "3")


@dataclass(frozen=True)
class Method:
    """An explainer on the classifiers of one head.

    Attributes:
        family: inherent, post-hoc or control.
        label: name in legends: the head of an inherent map, otherwise the explainer.
        signed: True if its maps have a sign.
    """

    explainer: str
    head: str
    family: str
    label: str
    signed: bool
    look: Look


def methods_in(frames: Frames, rows: pd.DataFrame) -> list[Method]:
    """Returns the methods that have rows: inherent ones by head, post-hoc ones, controls, in the run's order."""
    present = set(rows[["explainer", "head"]].drop_duplicates().itertuples(index=False, name=None))
    heads, explainers = frames.record.heads, frames.record.explainers
    return [
        _method(frames, explainer, head)
        for family in ("inherent", "post-hoc", "control")
        for head in heads
        for explainer in explainers
        if explainers[explainer].family == family and (explainer, head) in present
    ]


def of_family(methods: list[Method], family: str) -> list[Method]:
    """Returns the methods of one family."""
    return [method for method in methods if method.family == family]


def head_look(record: RunRecord, head: str) -> Look:
    """Returns the look of a head's scores and own maps: strong and solid, black if it has no maps of its own."""
    inherent = [name for name, facts in record.heads.items() if facts.family == "inherent"]
    if head not in inherent:
        return Look(BLACK, marker=">", width=1.5)
    place = inherent.index(head)
    return Look(STRONG[place % len(STRONG)], marker=_MARKERS[place % len(_MARKERS)], width=1.8)


def _method(frames: Frames, explainer: str, head: str) -> Method:
    record = frames.record
    facts = record.explainers[explainer]
    family = facts.family
    siblings = [name for name, other in record.explainers.items() if other.family == family]
    if family == "inherent":  # explainers of other kinds of model are not siblings
        own = set(frames.explained.loc[frames.explained["head"] == head, "explainer"])
        siblings = [name for name in siblings if name in own | {explainer}]
    place, label = siblings.index(explainer), explainer
    if family == "inherent":
        look = head_look(record, head)
        look = Look(look.color, ("-", *_DASHES)[place % 5], look.marker, look.width)
        label = head if len(siblings) == 1 else f"{explainer} on {head}"
    elif family == "post-hoc":
        look = Look(MUTED[place % len(MUTED)], _DASHES[place // len(MUTED) % len(_DASHES)], width=1.1)
    else:
        dash, marker = _CONTROL_DASHES[place % 5], _CONTROL_MARKERS[place % 6]
        look = Look(BLACK if place % 2 == 0 else GREY, dash, marker, 1.0)
    return Method(explainer, head, family, label, facts.signed, look)


def look_of(frames: Frames, explainer: str, head: str) -> tuple[str, Look]:
    """Returns label and look of an explainer on a head, or of the head itself if there is no such explainer."""
    if explainer not in frames.record.explainers:
        return head, head_look(frames.record, head)
    method = _method(frames, explainer, head)
    return method.label, method.look


def averaging_note(frames: Frames, methods: list[Method], averaged: bool = True) -> str:
    """Returns sentences about the classifiers that the methods explain, and about seeds."""
    seeds = sorted(set(frames.cells["seed"]))
    others = sorted({method.head for method in methods if method.family != "inherent"})
    notes = [f"Post-hoc methods and controls explain {' and '.join(others)}."] if others else []
    if len(seeds) > 1:
        notes.append(
            f"Each image is averaged over {len(seeds)} seeds first." if averaged else "Maps of the first seed."
        )
    return " ".join(notes)
