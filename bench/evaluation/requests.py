"""Requested metrics.

A run names metrics as ``metric`` or ``metric@variant``; everything behind the config works with resolved requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.contracts import MetricInfo
from bench.errors import UserError
from bench.registration.names import leave_out, split_names
from bench.registry import METRICS
from bench.specs import closest


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

    ``-name`` leaves out all variants of a metric, ``-name@variant`` one of them.

    Raises:
        UserError: There is no metric or variant of this name, or one is left out that is not there.
    """
    wanted, unwanted = split_names(names)
    requests: dict[str, MetricRequest] = {}
    for name in wanted:
        if name == "all":
            found = [MetricRequest(METRICS[known], v) for known in METRICS for v in METRICS[known].variants or ("",)]
        else:
            info, variant = _known(name)
            found = [MetricRequest(info, variant or next(iter(info.variants), ""))]
        requests |= {request.name: request for request in found}
    for name in unwanted:
        _known(name)
    kept = leave_out(list(requests), unwanted, METRICS.kind, lambda one: one.partition("@")[0])
    return [requests[name] for name in kept]


def _known(name: str) -> tuple[MetricInfo, str]:
    """Returns a registered metric and the variant in its name.

    Raises:
        UserError: There is no metric or variant of this name.
    """
    base, _, variant = name.partition("@")
    info = METRICS[base]
    if variant and variant not in info.variants:
        variants = [one for one in info.variants if one]
        known = closest(variant, variants) if variants else "it has none"
        raise UserError(f"metric {base!r} has no variant {variant!r}; {known}")
    return info, variant
