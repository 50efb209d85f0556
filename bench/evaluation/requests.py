"""Requested metrics.

A run names metrics as ``metric`` or ``metric@variant``; everything behind the config works with resolved requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.contracts import MetricInfo
from bench.errors import UserError
from bench.registry import METRICS


@dataclass(frozen=True)
class MetricRequest:
    """A metric and, if it has variants, the one that it is requested with; "" = the default without a name."""

    info: MetricInfo
    variant: str = ""

    @property
    def name(self) -> str:
        """``metric`` or ``metric@variant``, as on the command line."""
        return f"{self.info.name}@{self.variant}" if self.variant else self.info.name


def resolve_metrics(names: Sequence[str]) -> list[MetricRequest]:
    """Resolves metrics given as ``name`` (first variant), ``name@variant`` or ``all`` (every variant of every metric).

    Raises:
        UserError: There is no metric or variant of this name.
    """
    requests: dict[str, MetricRequest] = {}
    for name in names:
        if name == "all":
            found = [MetricRequest(METRICS[known], v) for known in METRICS for v in METRICS[known].variants or ("",)]
        else:
            base, _, variant = name.partition("@")
            info = METRICS[base]
            if variant and variant not in info.variants:
                known = ", ".join(filter(None, info.variants)) or "-"
                raise UserError(f"metric {base!r} has no variant {variant!r}; known: {known}")
            found = [MetricRequest(info, variant or next(iter(info.variants), ""))]
        requests |= {request.name: request for request in found}
    return list(requests.values())
