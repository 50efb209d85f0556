"""Captions of the main tables, the text on how to read them, and the facts of the run that they need."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.frames.load import Frames
from bench.report.machines import hardware
from bench.report.tables.table import Column, TableData

#: Families of which there is a table by class, and its name.
PER_CLASS = {"faithfulness": "per_class", "localisation": "per_class_localisation"}
_BOLD = "The best entry is bold, and arrows point to the better direction."
_OTHER_MEANS = ("classification", "classification_findings", "macro", "cost")
MEANS = f"Entries are means over images with 95 % bootstrap intervals over groups. {_BOLD}"
OVERALL = (
    "Scores are of all test images together, because AUC, κ and calibration error are not means over images. Entries "
    "are means over seeds with 95 % bootstrap intervals over groups, widened for few groups and for seeds. With more "
    f"than two classes, κ is quadratic and AUC is one against the rest. {_BOLD}"
)
_CAPTIONS = {
    "classification": "Classification scores on the test images.",
    "localisation": "Localisation of the lesions on diseased images.",
    "faithfulness": "Faithfulness of the maps on the first diseased images, which are occluded patch by patch.",
    "per_class": "Faithfulness by true class, with every image explained for its own class.",
    "per_class_localisation": "Localisation by true class, with every diseased image explained for its own class.",
    "classification_findings": "Classification scores of each finding on the test images whose label is known.",
    "macro": "Scores of the maps on diseased images: means over findings, which all count alike.",
    "consistency": "Agreement of the evidence with the label.",
    "exactness": "Gap between the logit and the prediction that an inherent map adds up to.",
    "complexity": "Complexity of the maps, for which neither direction is better.",
    "cost": "Mean cost of one map; memory is that of a batch.",
}
_READINGS = {
    "classification": OVERALL,
    "localisation": "The controls are the floor (a random map, a centred Gaussian), an edge map that ignores the "
    "model, and the ceilings (the mask itself, and the mask averaged over the cells of the feature map).",
    "faithfulness": "An @ separates a metric from its occlusion operator. _curve and _right are other estimands of the "
    "same scores, explained in the table estimands; verdicts use _right. Two networks must not be compared by AUDC or "
    "AUIC alone, because the network's own curve sets the level; the table verdicts subtracts it.",
    "per_class": "Every image is explained, and occluded, for its own class. Controls that read masks find none on "
    "healthy images and delete in random order.",
    "classification_findings": "A finding is predicted if its probability exceeds 0.5; the table classification has "
    f"the means over findings. {OVERALL}",
    "macro": "A score is averaged over the pairs of image and finding in which a finding is present, then over "
    "findings. Intervals are 95 % bootstrap intervals over groups (patients), which are drawn with all their images. "
    f"The tables by family average over all pairs. {_BOLD}",
    "consistency": "Positive ratio is computed on diseased images; negative ratio, false-alarm area and largest "
    "evidence on healthy images, for the disease. Largest evidence is in the unit of the map, so it cannot be compared "
    "across methods. Unsigned maps are positive by construction and are not ranked.",
    "exactness": "Only inherent maps are measured; 0 up to rounding means that the map is the prediction.",
    "complexity": "The metrics describe a map; they do not judge it.",
    "cost": "A pass is one image through the feature extractor, forward or backward; passes that methods share are "
    "charged to each. Seconds are measured while other data sets may be running on other cores; use --workers 1 for a "
    "table of costs. Memory, on a GPU only, is that of a whole batch of maps and not of "
    "one: the peak over all batches, above the model and the images. It grows with [explain] batch_size.",
}

#: Main tables whose texts are here; the tables by class are explained with their family.
FAMILIES = tuple(name for name in _CAPTIONS if name not in PER_CLASS.values())


def captioned(frames: Frames, name: str, keys: list[str], columns: Sequence[Column] = (), within: int = 1) -> TableData:
    """Returns an empty main table with its texts.

    Args:
        frames: the run.
        name: of the table, or of the family of metrics that it shows.
        keys: see ``TableData``.
        columns: see ``TableData``.
        within: see ``TableData``.
    """
    scored = [] if name in _OTHER_MEANS else [MEANS]
    facts = {"localisation": _chance(frames), "cost": hardware(frames.record)}
    return TableData(
        caption=_CAPTIONS.get(name, f"Scores of the family {name.replace('_', ' ')}."),
        keys=keys,
        columns=[*columns],
        within=within,
        notes=[*filter(None, [facts.get(name, ""), folds_note(frames, name)]), *weights_notes(frames)],
        reading=" ".join([*filter(None, [_READINGS.get(name, "")]), *scored]),
    )


def _chance(frames: Frames) -> str:
    known = {name: facts for name, facts in frames.record.datasets.items() if facts.prevalence is not None}
    texts = [f"{name} {facts.prevalence:.3f} / {facts.topk_chance:.3f}" for name, facts in known.items()]
    return f"Chance that a random pixel / patch hits a lesion: {'; '.join(texts)}." if texts else ""


def folds_note(frames: Frames, table: str) -> str:
    """Returns sentences on cross-validation, for a table of this name; empty without it."""
    known = {name: facts.folds for name, facts in frames.record.datasets.items() if facts.folds}
    if not known or table == "cost":
        return ""
    folds = "; ".join(f"{name}: {count}" for name, count in known.items())
    text = (
        f"Cross-validation (folds of {folds}): each image is scored by the classifier that was not trained on its fold."
    )
    if not table.startswith("classification"):
        return text
    return (
        f"{text} AUC compares images within a fold (mean over folds, weighted by pairs), because outputs of different "
        "classifiers are not on one scale; the other scores count the decisions on all images."
    )


def weights_notes(frames: Frames) -> list[str]:
    """Returns a sentence that names the weights that the backbones start from; nothing before any was trained."""
    origins = sorted({record.weights_from for record in frames.cells["record"] if record.best_epoch is not None})
    return [f"Backbones start from: {'; '.join(origins)}."] if origins else []
