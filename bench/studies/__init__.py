"""Studies of a trained classifier and its explanations on a stated subset of images; importing registers them."""

from bench.studies import counterfactual, fair_resolution, implementations, shortcut, soundness
from bench.studies.agreement import Agreement
from bench.studies.random_labels import RandomLabels
from bench.studies.sanity import Sanity

__all__ = [
    "Agreement",
    "RandomLabels",
    "Sanity",
    "counterfactual",
    "fair_resolution",
    "implementations",
    "shortcut",
    "soundness",
]
