"""Captions of the main tables."""

from __future__ import annotations

from bench.report.frames.load import Frames
from bench.store.records import MachineFacts

#: Families of which there is a table by class, and its name.
PER_CLASS = {"faithfulness": "per_class", "localisation": "per_class_localisation"}
_BOLD = "best in bold; arrows point to the better end."
MEANS = f"Mean over images [95 % bootstrap interval over groups]; {_BOLD}"
OVERALL = (
    "Scores of all test images together (AUC, κ and calibration error are no means over images), mean over seeds "
    f"[95 % bootstrap interval over groups, widened for few groups and for seeds]; {_BOLD}"
)


def _chance(frames: Frames) -> str:
    known = {name: facts for name, facts in frames.record.datasets.items() if facts.prevalence is not None}
    texts = [f"{name} {facts.prevalence:.3f} / {facts.topk_chance:.3f}" for name, facts in known.items()]
    return f"Chance of a random pixel / patch to hit lesion: {'; '.join(texts)}." if texts else ""


def table_caption(frames: Frames, family: str) -> str:
    machine = frames.record.machine
    notes = {
        "classification": OVERALL,
        "localisation": "Diseased images. Controls are the floor (random, centre) and the ceiling (the mask itself). "
        f"{_chance(frames)}",
        "faithfulness": "The first diseased images, occluded patch by patch; the operator stands behind the @.",
        "per_class": "Faithfulness by true class: every image is explained, and occluded, for its own class. Controls "
        "that read masks find none on healthy images and delete in random order.",
        "per_class_localisation": "Diseased images by true class, each explained for its own class.",
        "consistency": "Positive ratio on diseased, the others on healthy images; largest evidence in a map's unit. "
        "Unsigned maps, positive by construction, do not compete.",
        "exactness": "Inherent methods only.",
        "complexity": "Neither direction is better.",
        "cost": f"Mean cost of one map on {machine.gpu if machine.gpu != 'none' else machine.cpu}, "
        f"{_threads(machine)}; memory above that of the model and the images.",
    }
    body = notes.get(family, "") + ("" if family in ("classification", "cost") else f" {MEANS}")
    return f"{family.replace('_', ' ').capitalize()}. {body} {weights_note(frames)}".replace("  ", " ")


def _threads(machine: MachineFacts) -> str:
    """What a map was computed by, and beside how many others."""
    threads, processes = machine.threads, machine.processes
    text = f"{threads} thread{'s' * (threads > 1)}"
    return f"{text} of each of {processes} processes at work beside each other" if processes > 1 else text


def weights_note(frames: Frames) -> str:
    """Where the backbones' weights come from, for captions."""
    origins = sorted({record.weights_from for record in frames.cells["record"] if record.best_epoch is not None})
    return f"Backbones start from: {'; '.join(origins)}."
