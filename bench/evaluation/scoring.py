"""Scores of one explainer on one batch of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from bench.evaluation.metric_inputs import OCCLUDED, MetricInputs
from bench.memory import is_out_of_memory

if TYPE_CHECKING:
    from bench.evaluation.requests import MetricRequest


class _Measured(NamedTuple):
    """Values (N,) or, one column a step, (N,K) of the images at these places (N,) of a portion."""

    at: np.ndarray
    metric: str
    variant: str
    values: Tensor

    @property
    def steps(self) -> np.ndarray:
        """Number of each column; -1 where there are none."""
        return np.array([-1]) if self.values.ndim == 1 else np.arange(self.values.shape[1])


def _prepare(metrics: list[MetricRequest], inputs: MetricInputs) -> None:
    """Occlude for all metrics at once; what fails here fails again, for its own metric alone, when it is asked for."""
    try:
        inputs.prepare((need, request.variant) for request in metrics for need in request.info.needs)
    except Exception as error:
        if is_out_of_memory(error):
            raise


def _has_inputs(request: MetricRequest, inputs: MetricInputs) -> bool:
    """False where a metric does not exist: it leaves no row, and that is no failure."""
    needs = set(request.info.needs)
    without_donors = inputs.occluder.donors is None and bool(OCCLUDED & needs) and request.variant == "donor"
    return not (without_donors or ("pooled_map" in needs and not inputs.inherent))


def _subset(request: MetricRequest) -> str:
    return "faithful" if OCCLUDED & set(request.info.needs) else request.info.images
