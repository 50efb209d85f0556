"""Definitions of the words that the page uses, for readers who meet them here first."""

from __future__ import annotations

from collections.abc import Iterable

from bench.report.page.section import Content, Section
from bench.store.records import MetricFacts

#: Name of the anchor -> term and its definition in one or two sentences.
TERMS = {
    "inherent": (
        "inherent map",
        "The explanation that a model brings with it: its prediction is the sum of its evidence map.",
    ),
    "post-hoc": ("post-hoc map", "An explanation computed afterwards, for a model that was not built to explain."),
    "black-box": (
        "black box",
        "The ordinary classifier: post-hoc maps explain it, and inherent models are judged by it.",
    ),
    "head": ("head", "Last part of a classifier, which turns features into predictions. Inherent ones show evidence."),
    "localisation": ("localisation", "Whether a map points at the lesions that experts outlined in a mask."),
    "faithfulness": (
        "faithfulness",
        "Whether a map shows what the model uses: its prediction should change if the marked patches are removed.",
    ),
    "floor": ("floor", "Score of random maps. A method at the floor (0 %) tells nothing."),
    "ceiling": (
        "ceiling",
        "Score of the lesion mask itself, used as a map (100 %). No map points at lesions better. A map can be more "
        "faithful than the mask, because a model may use other parts of an image.",
    ),
    "grid-ceiling": (
        "best map on the grid",
        "Score of the lesion mask averaged over the cells of the network's features: what a map of that resolution can "
        "reach. Maps with one value per pixel can score higher.",
    ),
    "interval": (
        "95 % interval",
        "Range of values that agree with these images. It is computed by drawing the groups of images again.",
    ),
    "group": ("group", "Images that belong together, such as those of one patient. Only groups are independent."),
    "metric": (
        "metric",
        "Rule that scores a map. An @ names the occlusion operator: the pixels that replace a removed patch.",
    ),
    "margin": ("margin", "Smallest difference that matters. Smaller ones count as equally good."),
    "better": (
        "the inherent map is better",
        "The interval of the difference excludes 0 and favours the inherent map.",
    ),
    "worse": ("the post-hoc map is better", "The interval of the difference excludes 0 and favours the post-hoc map."),
    "no-relevant-difference": ("equally good", "The whole interval of the difference lies within the margin."),
    "not-decided": (
        "not decided",
        "Interval and rank test do not agree on a difference that matters. More images would help.",
    ),
    "too-few-images": ("too few images", "No result on so few groups of images could be significant."),
    "alone": ("nothing to compare with", "The run has an inherent map or a post-hoc map for this question, not both."),
    "price": ("price", "What an inherent model loses in accuracy compared with its black box, and the time per map."),
    "non-inferior": (
        "non-inferior",
        "The interval excludes a loss beyond the margin. Inferior: it lies beyond the margin. Undecided: neither.",
    ),
    "auc": ("AUC", "Area under the ROC curve: chance that a diseased image scores higher than a healthy one."),
}


def glossary_section(content: Content) -> Section:
    """Returns the definitions, of the metrics too, which terms of other sections link to."""
    metrics = defined(content.frames.record.metrics)
    return Section("glossary", "Definitions", "glossary.html", {"terms": TERMS, "metrics": metrics})


def defined(metrics: Iterable[MetricFacts]) -> dict[str, MetricFacts]:
    """Returns name -> facts of every metric whose definition is known."""
    return {one.name: one for one in metrics if one.about}
