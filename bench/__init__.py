"""The harness: contracts, data sets, training, metrics, store and report. It knows no method by name."""

from bench.contracts import Batch, Classifier, EvidenceClassifier, Explainer, Head, MissingData, Sample, UserError
from bench.registry import backbone, dataset, metric, register_explainer, register_head

__all__ = [
    "Batch",
    "Classifier",
    "EvidenceClassifier",
    "Explainer",
    "Head",
    "MissingData",
    "Sample",
    "UserError",
    "backbone",
    "dataset",
    "metric",
    "register_explainer",
    "register_head",
]
