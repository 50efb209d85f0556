"""Features, evidence and gradients of one batch, shared by the explainers of the batch.

Many explainers read the same quantities; each is computed once, and its cost is charged to every explainer that uses
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import Batch, Classifier, EvidenceClassifier, Explainer, MapGrid
from bench.memory import PeakMemory
from bench.models.eval_mode import evaluating

Value = TypeVar("Value")


class _Kept(NamedTuple):
    value: Any
    forwards: int
    seconds: float
    memory_mib: float


class SharedFeatures:
    """Features, gradients, evidence and other quantities of a batch, computed on first use and then cached.

    Everything is computed in evaluation mode and cached as long as this object exists. A cached quantity costs an
    explainer nothing, although it would cost it something alone. The harness therefore calls ``charge_anew`` before an
    explainer and afterwards adds the charge to the measured cost.

    Args:
        classifier: unchanged by every call, including its mode.
        images: (N,3,H,W) normalised.

    Attributes:
        charged_forwards: images through the feature extractor for all quantities that were used since ``charge_anew``
            and computed before it.
        charged_seconds: time for the same quantities.
        charged_memory_mib: peak memory of any quantity that was used since, whenever it was computed.
    """

    def __init__(self, classifier: Classifier, images: Tensor) -> None:
        self.classifier = classifier
        self.images = images
        self._parts: dict[Hashable, _Kept] = {}
        self.charge_anew()

    @classmethod
    def of(cls, classifier: Classifier, batch: Batch) -> SharedFeatures:
        """Returns the batch's shared features if they fit classifier and images, otherwise new ones."""
        shared = batch.shared
        if isinstance(shared, cls) and shared.classifier is classifier and shared.images is batch.images:
            return shared
        return cls(classifier, batch.images)

    @property
    def features(self) -> Tensor:
        """Feature map (N,D,h,w), without gradient."""
        return self.keep("features", lambda: self.classifier.forward_features(self.images))

    @property
    def evidence(self) -> Tensor:
        """Signed class evidence (N,C,h,w), without gradient; raises TypeError if the classifier has none."""
        classifier, features = self.classifier, self.features
        if not isinstance(classifier, EvidenceClassifier):
            raise TypeError(f"{type(classifier).__name__} does not predict from class evidence")
        return self.keep("evidence", lambda: classifier.evidence_of(features))

    def gradients(self, targets: Tensor) -> Tensor:
        """Returns the gradient (N,D,h,w) of the logits of targets (N,) with respect to the features.

        The head runs forwards once for all targets, and backwards once per set of targets.
        """
        leaf, logits = self._head()

        def differentiate() -> Tensor:
            with torch.enable_grad():
                score = logits.gather(1, targets[:, None]).sum()
            return torch.autograd.grad(score, leaf, retain_graph=True)[0]

        return self.keep(("gradients", *targets.tolist()), differentiate)

    def _head(self) -> tuple[Tensor, Tensor]:
        """Returns features (N,D,h,w) that require a gradient, and the logits (N,C) that depend on them."""
        features = self.features

        def run() -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                leaf = features.detach().requires_grad_()
                return leaf, self.classifier.forward_head(leaf.clone())  # a head may work in place

        return self.keep("head", run)

    def charge_anew(self) -> None:
        """Resets the charge before the next explainer."""
        self._charged: set[Hashable] = set()
        self.charged_forwards, self.charged_seconds = 0, 0.0
        self.charged_memory_mib = float("nan")

    def keep(self, part: Hashable, compute: Callable[[], Value]) -> Value:
        """Returns the cached value of a part; computes it on first use, in evaluation mode and without gradient.

        Args:
            part: unique key among the parts of the explainers of a batch.
            compute: computes the value; it must not use other parts, which would be charged twice.
        """
        if part not in self._parts:
            self._parts[part] = self._measure(compute)
        elif part not in self._charged:
            self.charged_forwards += self._parts[part].forwards
            self.charged_seconds += self._parts[part].seconds
        self.charged_memory_mib = float(np.fmax(self.charged_memory_mib, self._parts[part].memory_mib))
        self._charged.add(part)
        value: Value = self._parts[part].value
        return value

    def _measure(self, compute: Callable[[], Any]) -> _Kept:
        passed: list[int] = []

        def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            passed.append(len(output))

        hook = self.classifier.features.register_forward_hook(count)
        started = self._now()
        memory = PeakMemory(self.images.device)
        try:
            # Tensors created in inference mode could not take part in a gradient later.
            with memory, evaluating(self.classifier), torch.inference_mode(mode=False), torch.no_grad():
                value = compute()
        finally:
            hook.remove()
        return _Kept(value, sum(passed), self._now() - started, memory.mebibytes)

    def _now(self) -> float:
        if self.images.device.type == "cuda":
            torch.cuda.synchronize(self.images.device)
        return time.perf_counter()


class FeatureExplainer(Explainer):
    """Base of explainers that read ``SharedFeatures``, which they share with each other and between classes.

    Their maps live on the feature grid; a method whose maps do not states ``grid = "pixels"``.
    """

    grid: ClassVar[MapGrid] = "features"

    def maps(self, shared: SharedFeatures, targets: Tensor) -> Tensor:
        """Computes the raw maps (N,h,w) of the shared images for targets (N,)."""
        raise NotImplementedError

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the raw maps (N,h,w) of images (N,3,H,W) for targets (N,)."""
        return self.maps(SharedFeatures(classifier, images), targets)

    def explain_batch(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Computes the raw maps (N,h,w) of a batch from its shared features, if it has them."""
        return self.maps(SharedFeatures.of(classifier, batch), batch.targets)

    def explain_classes(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Computes the raw maps (N,C,h,w) of every class from one forward pass."""
        return super().explain_classes(classifier, replace(batch, shared=SharedFeatures.of(classifier, batch)))
