"""SoftCAM heads of the benchmark: an evidence layer, trained with different penalties or taken from a black box.

Each variant of the paper is one head, so that a run can name and compare them.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from bench.contracts import Classifier, Head
from bench.registry import register_head
from softcam.conversion import convert
from softcam.evidence import SoftCAM
from softcam.penalty import ElasticNet


class _SoftCAMHead(Head):
    """A ``SoftCAM`` trained with a penalty on its evidence.

    Args:
        pooling: of the evidence to logits, ``avg`` or another of ``softcam.pooling``.
        start: ``dense`` starts from the trained weights of the dense head with the same pooling; empty = as the others.
    """

    family: ClassVar[Literal["inherent", "black box"]] = "inherent"
    paper = "arXiv:2505.17748"

    def __init__(self, penalty: ElasticNet, pooling: str) -> None:
        self.elastic_net = penalty
        self.pooling = pooling

    def build(self, model: nn.Module, num_classes: int) -> SoftCAM:
        """Builds a ``SoftCAM`` of ``num_classes`` on a copy of the backbone of a plain image classifier."""
        return SoftCAM.from_classifier(model, num_classes, self.pooling, smallest_grid=1)  # see [explain] smallest_grid

    def penalty(self, evidence: Tensor | None) -> Tensor:
        """Returns the scalar added to the cross-entropy, from evidence (N,C,h,w).

        Raises:
            ValueError: there is no evidence, or a weight is still to be searched.
        """
        if evidence is None:
            raise ValueError(f"head {self.name!r} needs the evidence of its classifier, which returned none")
        if self.searched:
            raise ValueError(f"head {self.name!r}: {' and '.join(self.searched)} = auto must be searched first")
        penalty: Tensor = self.elastic_net(evidence)
        return penalty


@register_head
class Dense(_SoftCAMHead):
    """SoftCAM without a penalty.

    ``start="dense"`` trains it once more from its own trained weights: the control of a penalised head that starts from
    them, which has then been trained as long.
    """

    name = "softcam-dense"

    def __init__(self, pooling: str = "avg", start: str = "") -> None:
        super().__init__(ElasticNet(), pooling)
        self.starts = _start(start, pooling)


def _start(start: str, pooling: str) -> str:
    """Returns the name of the head whose trained weights a training starts from; empty if there is none."""
    if start not in ("", "dense"):
        raise ValueError(f"unknown start {start!r}; known: dense")
    return (Dense.name if pooling == "avg" else f"{Dense.name}@pooling={pooling}") if start else ""


class _Penalised(_SoftCAMHead):
    """A ``SoftCAM`` with a penalty: its weights (a number or "auto"), its schedule, and where its training starts.

    A searched weight needs the dense head to compare with, so ``auto`` starts from it as ``start="dense"`` does.

    Args:
        l1: weight λ of the L1 penalty; ``auto`` searches it on the validation images.
        l2: weight of the L2 penalty; ``auto`` searches it.
        ridge: ``norm``, the length of the evidence, or ``squared``, its square.
        scale: ``sum`` over the cells of the grid, as published, or ``mean``, so that one weight suits every grid.
        penalty_start: epochs before the penalty begins; not set = as in ``[training]``.
        penalty_ramp: epochs from there until it has its full weight; not set = as in ``[training]``.
    """

    def __init__(
        self,
        weights: dict[str, float | str],
        ridge: str,
        scale: str,
        pooling: str,
        start: str,
        penalty_start: float | None,
        penalty_ramp: float | None,
    ) -> None:
        for name, weight in weights.items():
            if weight != "auto" and (isinstance(weight, (str, bool)) or not weight >= 0):
                raise ValueError(f"{name} must be a number of at least 0, or auto, not {weight!r}")
        for name, epochs in (("penalty_start", penalty_start), ("penalty_ramp", penalty_ramp)):
            if epochs is not None and not epochs >= 0:
                raise ValueError(f"{name} must be at least 0 epochs, not {epochs}")
        known = {name: 0.0 if weight == "auto" else float(weight) for name, weight in weights.items()}
        super().__init__(ElasticNet(**known, ridge=ridge, scale=scale), pooling)
        self.searched = tuple(name for name, weight in weights.items() if weight == "auto")
        self.starts = _start("dense" if self.searched else start, pooling)
        self.penalty_start, self.penalty_ramp = penalty_start, penalty_ramp


@register_head
class Sparse(_Penalised):
    """SoftCAM with an L1 penalty; the default weight is the paper's for ResNet on fundus images."""

    name = "softcam-sparse"

    def __init__(
        self,
        l1: float | str = 5e-5,
        pooling: str = "avg",
        scale: str = "sum",
        start: str = "",
        penalty_start: float | None = None,
        penalty_ramp: float | None = None,
    ) -> None:
        super().__init__({"l1": l1}, "norm", scale, pooling, start, penalty_start, penalty_ramp)


@register_head
class Ridge(_Penalised):
    """SoftCAM with an L2 penalty; the default weight is the paper's for ResNet on X-rays."""

    name = "softcam-ridge"

    def __init__(
        self,
        l2: float | str = 7e-5,
        ridge: str = "norm",
        pooling: str = "avg",
        scale: str = "sum",
        start: str = "",
        penalty_start: float | None = None,
        penalty_ramp: float | None = None,
    ) -> None:
        super().__init__({"l2": l2}, ridge, scale, pooling, start, penalty_start, penalty_ramp)


@register_head
class Elastic(_Penalised):
    """SoftCAM with both penalties, with the weight that each has alone."""

    name = "softcam-elastic"

    def __init__(  # noqa: PLR0913 (options of the head)
        self,
        l1: float | str = 5e-5,
        l2: float | str = 7e-5,
        ridge: str = "norm",
        pooling: str = "avg",
        scale: str = "sum",
        start: str = "",
        penalty_start: float | None = None,
        penalty_ramp: float | None = None,
    ) -> None:
        super().__init__({"l1": l1, "l2": l2}, ridge, scale, pooling, start, penalty_start, penalty_ramp)


@register_head
class TrainingFree(Head):
    """TTE-CAM: a trained black box with its class evidence exposed and its predictions unchanged.

    Args:
        of: head that is converted.

    Source: arXiv:2603.26885.
    """

    name, paper, converts = "tte", "arXiv:2603.26885", "blackbox"
    family: ClassVar[Literal["inherent", "black box"]] = "inherent"

    def __init__(self, of: str = "blackbox") -> None:
        self.converts = of

    def convert(self, trained: Classifier) -> SoftCAM:
        """Converts a trained black box into a ``SoftCAM`` with the same predictions; see ``softcam.convert``."""
        return convert(trained, smallest_grid=1)  # see [explain] smallest_grid
