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
    """A ``SoftCAM`` trained with a penalty on its evidence."""

    family: ClassVar[Literal["inherent", "black box"]] = "inherent"
    paper = "arXiv:2505.17748"

    def __init__(self, penalty: ElasticNet, pooling: str) -> None:
        self.elastic_net = penalty
        self.pooling = pooling

    def build(self, model: nn.Module, num_classes: int) -> SoftCAM:
        """Builds a ``SoftCAM`` of ``num_classes`` on a copy of the backbone of a plain image classifier."""
        return SoftCAM.from_classifier(model, num_classes, self.pooling)

    def penalty(self, evidence: Tensor | None) -> Tensor:
        """Returns the scalar added to the cross-entropy, from evidence (N,C,h,w).

        Raises:
            ValueError: there is no evidence.
        """
        if evidence is None:
            raise ValueError(f"head {self.name!r} needs the evidence of its classifier, which returned none")
        penalty: Tensor = self.elastic_net(evidence)
        return penalty


@register_head
class Dense(_SoftCAMHead):
    """SoftCAM without a penalty."""

    name = "softcam-dense"

    def __init__(self, pooling: str = "avg") -> None:
        super().__init__(ElasticNet(), pooling)


@register_head
class Sparse(_SoftCAMHead):
    """SoftCAM with an L1 penalty; the default weight is the paper's for ResNet on fundus images."""

    name = "softcam-sparse"

    def __init__(self, l1: float = 5e-5, pooling: str = "avg") -> None:
        super().__init__(ElasticNet(l1=l1), pooling)


@register_head
class Ridge(_SoftCAMHead):
    """SoftCAM with an L2 penalty; the default weight is the paper's for ResNet on X-rays."""

    name = "softcam-ridge"

    def __init__(self, l2: float = 7e-5, ridge: str = "norm", pooling: str = "avg") -> None:
        super().__init__(ElasticNet(l2=l2, ridge=ridge), pooling)


@register_head
class Elastic(_SoftCAMHead):
    """SoftCAM with both penalties, with the weight that each has alone."""

    name = "softcam-elastic"

    def __init__(self, l1: float = 5e-5, l2: float = 7e-5, ridge: str = "norm", pooling: str = "avg") -> None:
        super().__init__(ElasticNet(l1, l2, ridge), pooling)


@register_head
class TrainingFree(Head):
    """TTE-CAM: the trained black box with its class evidence exposed and its predictions unchanged.

    Source: arXiv:2603.26885.
    """

    name, paper, converts = "tte", "arXiv:2603.26885", "blackbox"
    family: ClassVar[Literal["inherent", "black box"]] = "inherent"

    def convert(self, trained: Classifier) -> SoftCAM:
        """Converts a trained black box into a ``SoftCAM`` with the same predictions; see ``softcam.convert``."""
        return convert(trained)
