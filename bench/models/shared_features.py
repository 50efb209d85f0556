"""What the feature map and the head of a classifier give for one batch, shared by the batch's explainers."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import Batch, Classifier, EvidenceClassifier, Explainer
from bench.memory import PeakMemory
from bench.models.eval_mode import evaluating

Value = TypeVar("Value")


class _Kept(NamedTuple):
    value: Any
    forwards: int
    seconds: float
    memory_mib: float


class SharedFeatures:
    """Features, gradients, evidence and whatever else of a batch, computed when first asked for and then kept.

    Everything is computed in evaluation mode and lives as long as this object. What a reader is given from before costs
    it nothing, though it would alone: the harness calls ``charge_anew`` before an explainer and afterwards adds the
    charge to what it saw that explainer spend.

    Args:
        classifier: as it was, mode included, after every call.
        images: (N,3,H,W) normalised.

    Attributes:
        charged_forwards, charged_seconds: cost of all that was asked for since ``charge_anew`` and computed before it;
            forwards are images through the feature extractor.
        charged_memory_mib: highest memory use of anything that was asked for since, computed before it or not.
    """

    def __init__(self, classifier: Classifier, images: Tensor) -> None:
        self.classifier = classifier
        self.images = images
        self._parts: dict[Hashable, _Kept] = {}
        self.charge_anew()

    @classmethod
    def of(cls, classifier: Classifier, batch: Batch) -> SharedFeatures:
        """The batch's own where it is of this classifier and these images, else a new one."""
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
        """Signed class evidence (N,C,h,w), without gradient; raises TypeError where the classifier has none."""
        classifier, features = self.classifier, self.features
        if not isinstance(classifier, EvidenceClassifier):
            raise TypeError(f"{type(classifier).__name__} does not predict from class evidence")
        return self.keep("evidence", lambda: classifier.evidence_of(features))

    def gradients(self, targets: Tensor) -> Tensor:
        """Targets (N,) -> gradient (N,D,h,w) of each target logit with respect to the features, through the head alone.

        The head runs once for all targets that are asked for, and backwards once for each.
        """
        leaf, logits = self._head()

        def differentiate() -> Tensor:
            with torch.enable_grad():
                score = logits.gather(1, targets[:, None]).sum()
            return torch.autograd.grad(score, leaf, retain_graph=True)[0]

        return self.keep(("gradients", *targets.tolist()), differentiate)

    def _head(self) -> tuple[Tensor, Tensor]:
        """Features (N,D,h,w) that require a gradient, and the logits (N,C) that hang on them."""
        features = self.features

        def run() -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                leaf = features.detach().requires_grad_()
                return leaf, self.classifier.forward_head(leaf.clone())  # a head may work in place

        return self.keep("head", run)

    def charge_anew(self) -> None:
        """Forget the charge of one reader before the next."""
        self._charged: set[Hashable] = set()
        self.charged_forwards, self.charged_seconds = 0, 0.0
        self.charged_memory_mib = float("nan")

    def keep(self, part: Hashable, compute: Callable[[], Value]) -> Value:
        """What ``compute`` returned when this part was first asked for; it runs in evaluation mode without gradient.

        Args:
            part: names it among all that the explainers of a batch keep.
            compute: asks for no other part, so that none is charged twice.
        """
        if part not in self._parts:
            self._parts[part] = self._measure(compute)
        elif part not in self._charged:
            self.charged_forwards += self._parts[part].forwards
            self.charged_seconds += self._parts[part].seconds
        self.charged_memory_mib = float(np.fmax(self.charged_memory_mib, self._parts[part].memory_mib))
        self._charged.add(part)
        return self._parts[part].value

    def _measure(self, compute: Callable[[], Any]) -> _Kept:
        passed: list[int] = []

        def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            passed.append(len(output))

        hook = self.classifier.features.register_forward_hook(count)
        started = self._now()
        memory = PeakMemory(self.images.device)
        try:
            # Tensors of the inference mode could take part in no gradient later.
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
    """Base of explainers that read a ``SharedFeatures``, and so share it with each other and between classes."""

    def maps(self, shared: SharedFeatures, targets: Tensor) -> Tensor:
        """Pass of N images, targets (N,) -> raw maps (N,h,w)."""
        raise NotImplementedError

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Images (N,3,H,W), targets (N,) -> raw maps (N,h,w)."""
        return self.maps(SharedFeatures(classifier, images), targets)

    def explain_batch(self, classifier: Classifier, batch: Batch) -> Tensor:
        """As ``explain``, from the batch's own pass where it has one."""
        return self.maps(SharedFeatures.of(classifier, batch), batch.targets)

    def explain_classes(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Raw maps (N,C,h,w) of every class from one pass."""
        return super().explain_classes(classifier, replace(batch, shared=SharedFeatures.of(classifier, batch)))
