"""The harness: contracts, data sets, training, metrics, store and report.

It knows no method by name, so that every method is added and evaluated in the same way.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.contracts import Batch, Classifier, EvidenceClassifier, Explainer, Head, Sample
    from bench.errors import MissingData, UserError
    from bench.given.evaluate import evaluate
    from bench.given.models.adapt import adapt
    from bench.models.factory import load_classifier
    from bench.models.shared_features import FeatureExplainer
    from bench.models.two_classes import as_two_classes
    from bench.registry import backbone, dataset, metric, register_explainer, register_head
else:
    _CONTRACTS = ("Batch", "Classifier", "EvidenceClassifier", "Explainer", "Head", "Sample")
    _ERRORS = ("MissingData", "UserError")
    _REGISTRY = ("backbone", "dataset", "metric", "register_explainer", "register_head")
    #: Public name -> module that defines it.
    _HOME = {
        **dict.fromkeys(_CONTRACTS, "bench.contracts"),
        **dict.fromkeys(_ERRORS, "bench.errors"),
        **dict.fromkeys(_REGISTRY, "bench.registry"),
        "adapt": "bench.given.models.adapt",
        "evaluate": "bench.given.evaluate",
        "FeatureExplainer": "bench.models.shared_features",
        "as_two_classes": "bench.models.two_classes",
        "load_classifier": "bench.models.factory",
    }

    def __getattr__(name: str) -> object:
        """Imports a public name on first use (PEP 562), because ``--help`` must not wait for torch."""
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOME[name]), name)


__all__ = [
    "Batch",
    "Classifier",
    "EvidenceClassifier",
    "Explainer",
    "FeatureExplainer",
    "Head",
    "MissingData",
    "Sample",
    "UserError",
    "adapt",
    "as_two_classes",
    "backbone",
    "dataset",
    "evaluate",
    "load_classifier",
    "metric",
    "register_explainer",
    "register_head",
]
