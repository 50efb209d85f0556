"""Digests of what tables and figures read, by kind, so that only those are made again whose inputs have changed.

Every topic of the report declares its kinds; a test records what its functions really read.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.report.contents import STUDY
from bench.report.current import stamps
from bench.report.frames.load import Frames
from bench.report.studies.counterfactual import PROBE
from bench.store.code_digest import digest

#: Fields of run.json that no table and no figure reads; the page and the terminal do.
UNREAD = {"started", "finished", "problems", "absent", "git", "packages"}
#: Fields of run.json that change with the explainers of a run.
OF_EXPLAINERS = {"explainers", "explained_by", "plan"}
#: Fields of cell.json that say what came of explainers and studies, and which machine computed it.
OUTCOMES = {"explainers", "studies", "plan", "work"}
#: Kind of input -> files of that kind.
PATTERNS = {
    "scores": ("cells/*/*/scores/*", f"cells/*/*/studies/{PROBE}/*"),
    "own_class": ("cells/*/*/own_class/scores/*", "cells/*/*/own_class/cell.json"),
    "predictions": ("cells/*/*/predictions.parquet",),
    "training": ("cells/*/*/training.csv",),
    "images": ("data/*", "cells/*/*/explained.parquet"),
    "maps": ("cells/*/*/gallery/*", "cells/*/*/every_class/**/*"),
}
#: All kinds of inputs but those of studies (``bench.report.contents.study``).
KINDS = (*PATTERNS, "record", "explainers", "cells")


def input_digests(frames: Frames, kinds: Iterable[str]) -> dict[str, str]:
    """Returns kind of input -> digest of everything of that kind in a run."""
    folder, record = frames.store.folder, frames.record
    facts = record.model_dump(exclude=UNREAD | OF_EXPLAINERS)
    facts["config"] = {name: section for name, section in facts["config"].items() if name != "run"}
    names = ["dataset", "backbone", "head", "seed", "status"]
    cells = list(frames.cells[names].astype(str).itertuples(index=False, name=None))
    trained = [one.model_dump(exclude=OUTCOMES) for one in frames.cells["record"]]
    found = {
        "record": digest(facts),
        "explainers": digest(record.model_dump(include=OF_EXPLAINERS)),
        "cells": digest(cells, trained),
    }
    for kind in set(kinds) - set(found):
        patterns = PATTERNS.get(kind) or [f"cells/*/*/studies/{kind.removeprefix(STUDY)}/*"]
        found[kind] = digest(stamps(folder, patterns))
    return found
