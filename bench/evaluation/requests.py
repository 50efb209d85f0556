"""Metrics by name: what a run asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.contracts import MetricInfo, UserError
from bench.registry import METRICS


@dataclass(frozen=True)
class MetricRequest:
    """A metric and, where it has them, the occlusion operator it is asked for."""

    info: MetricInfo
    variant: str = ""

    @property
    def name(self) -> str:
        """``metric`` or ``metric@variant``, as on the command line."""
        return f"{self.info.name}@{self.variant}" if self.variant else self.info.name


def resolve_metrics(names: Sequence[str]) -> list[MetricRequest]:
    """Metrics by ``name`` (first variant), ``name@variant`` or ``all`` (every variant)."""
    requests: dict[str, MetricRequest] = {}
    for name in names:
        if name == "all":
            found = [MetricRequest(METRICS[known], v) for known in METRICS for v in METRICS[known].variants or ("",)]
        else:
            base, _, variant = name.partition("@")
            info = METRICS[base]
            if variant and variant not in info.variants:
                raise UserError(f"metric {base!r} has no variant {variant!r}; known: {', '.join(info.variants) or '-'}")
            found = [MetricRequest(info, variant or next(iter(info.variants), ""))]
        requests |= {request.name: request for request in found}
    return list(requests.values())
