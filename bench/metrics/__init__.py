"""Metrics as pure functions on tensors that return one value per image, nan where undefined.

They neither normalise silently nor aggregate, so that each can be tested against its published definition. Importing
the package registers them.
"""

from bench.metrics.complexity import entropy, gini
from bench.metrics.consistency import false_alarm_area, largest_evidence, negative_ratio, positive_ratio
from bench.metrics.exactness import evidence_gap
from bench.metrics.faithfulness import (
    audc,
    audc_accuracy,
    auic,
    deletion_curve,
    insertion_curve,
    srg,
)
from bench.metrics.fills import fill_images
from bench.metrics.imputation import impute_steps
from bench.metrics.localisation import (
    activation_precision,
    activation_sensitivity,
    iou_at_area,
    pixel_auprc,
    pixel_auroc,
    pointing_game,
)
from bench.metrics.occlusion import Occluder, Predict, occlusion_logits, still_target, target_probability
from bench.metrics.patches import (
    Schedule,
    deletion,
    insertion,
    patch_at,
    patch_order,
    patch_scores,
    stride_at,
)
from bench.metrics.topk import random_patch_hit_rate, topk_patch_hits, topk_precision
from bench.plain.names import FILLS, FIXED, READINGS, RULED, RULES, fill_and_rule

__all__ = [
    "FILLS",
    "FIXED",
    "READINGS",
    "RULED",
    "RULES",
    "Occluder",
    "Predict",
    "Schedule",
    "activation_precision",
    "activation_sensitivity",
    "audc",
    "audc_accuracy",
    "auic",
    "deletion",
    "deletion_curve",
    "entropy",
    "evidence_gap",
    "false_alarm_area",
    "fill_and_rule",
    "fill_images",
    "gini",
    "impute_steps",
    "insertion",
    "insertion_curve",
    "iou_at_area",
    "largest_evidence",
    "negative_ratio",
    "occlusion_logits",
    "patch_at",
    "patch_order",
    "patch_scores",
    "pixel_auprc",
    "pixel_auroc",
    "pointing_game",
    "positive_ratio",
    "random_patch_hit_rate",
    "srg",
    "still_target",
    "stride_at",
    "target_probability",
    "topk_patch_hits",
    "topk_precision",
]
