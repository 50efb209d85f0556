"""Faults of the labels of a split with several labels per image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.contracts import DatasetInfo


def lacking_findings(info: DatasetInfo, name: str, labels: NDArray[np.int64], findings: Sequence[str]) -> list[str]:
    """Returns what a split lacks to be trained on or scored, one reason per finding.

    Args:
        info: the data set.
        name: of the split.
        labels: (N,F), or (N,) of the explained split.
        findings: F names.
    """
    if not len(labels):
        return ["has no usable image" if name != info.explain_split else "has no image with a finding, or without any"]
    if name == info.explain_split:
        return [] if (labels >= 0).any() else ["has no image with a finding; add test images with findings"]
    reasons = []
    for at, finding in enumerate(findings):
        values = labels[:, at]
        if not (values >= 0).any():
            reasons.append(f"has no label of {finding!r}; fill its column, or remove it")
        elif name == "train" and not (values == 1).any():
            reasons.append(f"has no image with {finding!r}; add some, or remove the finding")
        elif name == "train" and not (values == 0).any():
            reasons.append(f"has no image without {finding!r}; add some, or remove the finding")
    return reasons
