"""Do two ways to score the same methods rank them alike?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.statistics import RESAMPLES, Estimate, Floats, bootstrap_weights, limits_of_one, weighted_means, with_ties


def kendall_tau(first: Floats, second: Floats) -> Floats:
    """Scores (…,M) of the same M methods -> Kendall's τ-b (…): 1 the same order, -1 the opposite; ties are allowed.

    Scores that agree up to the rounding of float32 tie. nan where one of both ties all methods, or a score is nan.

    Source: Kendall 1945, doi:10.1093/biomet/33.3.239. As ``scipy.stats.kendalltau``, for many rankings at once.
    """
    above, below = np.triu_indices(first.shape[-1], k=1)
    one, other = (np.sign(scores[..., above] - scores[..., below]) for scores in map(with_ties, (first, second)))
    spread = np.sqrt((one**2).sum(axis=-1) * (other**2).sum(axis=-1))
    return np.divide((one * other).sum(axis=-1), spread, out=np.full(spread.shape, np.nan), where=spread > 0)


def rank_agreement(
    first: Floats, second: Floats, groups: NDArray[np.object_] | pd.Series, resamples: int = RESAMPLES
) -> Estimate:
    """Kendall's τ-b between the orders of M methods by two scores, each the mean over the same images.

    The 95 % interval is that of a bootstrap over groups, drawn alike for both scores. Resampled means scatter more than
    those of the images themselves, which shuffles close methods: the interval leans towards less agreement.

    Args:
        first, second: (N,M), nan where undefined.
        groups: (N,) group of each image.

    Returns:
        nan for fewer than three methods, whose order says little; the interval is nan for few groups (``limits``).
    """
    images = len(first)
    if images == 0 or first.shape[1] < 3:
        return Estimate(np.nan, np.nan, np.nan, images)
    tau = float(kendall_tau(*(weighted_means(np.ones((1, images)), scores) for scores in (first, second)))[0])
    weights = bootstrap_weights(groups, resamples)
    samples = kendall_tau(weighted_means(weights, first), weighted_means(weights, second))
    return Estimate(tau, *limits_of_one(tau, samples, groups, (-1, 1)), images)
