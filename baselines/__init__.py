"""Baselines that SoftCAM is compared with: the black box, post-hoc explainers, other inherent models and controls.

Importing the package registers them.
"""

from baselines import (
    bagnet,
    bcos,
    blackbox,
    cams,
    controls,
    gradients,
    libraries,
    perturbation,
    scorecam,
    transformers,
)

__all__ = [
    "bagnet",
    "bcos",
    "blackbox",
    "cams",
    "controls",
    "gradients",
    "libraries",
    "perturbation",
    "scorecam",
    "transformers",
]
