"""The harness: contracts, data sets, training, metrics, store and report. It knows no method by name."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.contracts import Batch, Classifier, EvidenceClassifier, Explainer, Head, MissingData, Sample, UserError
    from bench.registry import backbone, dataset, metric, register_explainer, register_head
else:

    def __getattr__(name: str) -> object:
        """A public name, imported when it is first asked for (PEP 562): ``--help`` must not wait for torch."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        contracts, registry = import_module("bench.contracts"), import_module("bench.registry")
        return getattr(contracts if hasattr(contracts, name) else registry, name)


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
