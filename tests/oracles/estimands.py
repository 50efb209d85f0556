"""Estimands of deletion and insertion, from the curves of every image, written out in float64."""

from tests.oracles.faithfulness import area


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def mean_of_ratios(curves):
    """``curves``: one list of K+1 probabilities per image, the first of the intact image."""
    return mean(area(curve) / curve[0] for curve in curves)


def ratio_of_mean_curves(curves, intact):
    """Area under the mean of the curves, divided by the mean of the intact probabilities."""
    averaged = [mean(curve[step] for curve in curves) for step in range(len(curves[0]))]
    return area(averaged) / mean(intact)


def right(curves, predicted, labels):
    """The curves of images that the classifier gets right."""
    return [curve for curve, found, label in zip(curves, predicted, labels, strict=True) if found == label]
