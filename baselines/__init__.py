"""What SoftCAM is compared with: the black box, post-hoc explainers and controls. Importing it registers them."""

from baselines import blackbox, cams, controls, gradients, perturbation, scorecam

__all__ = ["blackbox", "cams", "controls", "gradients", "perturbation", "scorecam"]
