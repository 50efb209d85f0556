"""Wilcoxon's signed-rank test with ties, written out over every sign pattern in exact fractions."""

from fractions import Fraction
from itertools import product


def midranks(sizes):
    """Rank of each size: one more than the smaller ones, plus half of the others of the same size."""
    found = []
    for size in sizes:
        smaller = sum(other < size for other in sizes)
        alike = sum(other == size for other in sizes)
        found.append(Fraction(2 * smaller + alike + 1, 2))
    return found


def signed_rank(differences):
    """Two-sided p (twice the smaller tail, at most 1) and the rank-biserial effect; zeros are dropped."""
    values = [d for d in differences if d != 0]
    if not values:
        return 1.0, 0.0
    ranks = midranks([abs(d) for d in values])
    observed = sum(rank for rank, d in zip(ranks, values, strict=True) if d > 0)
    low = high = 0
    for signs in product((False, True), repeat=len(ranks)):
        rank_sum = sum(rank for rank, positive in zip(ranks, signs, strict=True) if positive)
        low += rank_sum <= observed
        high += rank_sum >= observed
    p = min(Fraction(1), Fraction(2 * min(low, high), 2 ** len(ranks)))
    effect = (2 * observed - sum(ranks)) / sum(ranks)
    return float(p), float(effect)
