"""The localisation metrics of one image, written out with loops over pixels in float64."""

import numpy as np

from tests.oracles.bicubic import resize

NAN = float("nan")


def pixels(image):
    return [(i, j) for i in range(image.shape[0]) for j in range(image.shape[1])]


def positive(image):
    values = [max(float(image[p]), 0.0) for p in pixels(image)]
    lowest, highest = min(values), max(values)
    if highest == lowest:
        return np.zeros(image.shape)
    return np.array([(v - lowest) / (highest - lowest) for v in values]).reshape(image.shape)


def activation_precision(image, mask):
    if not mask.any():
        return NAN
    evidence, inside, total = positive(image), 0.0, 0.0
    for p in pixels(image):
        total += evidence[p]
        if mask[p]:
            inside += evidence[p]
    return inside / total if total > 0 else 0.0


def activation_sensitivity(image, mask):
    evidence, inside, area = positive(image), 0.0, 0
    for p in pixels(image):
        if mask[p]:
            inside += evidence[p]
            area += 1
    return inside / area if area else NAN


def patch_contains_lesion(mask, i, j, patch, stride):
    for y in range(i * stride, i * stride + patch):
        for x in range(j * stride, j * stride + patch):
            if mask[y, x]:
                return True
    return False


def topk_patch_hits(image, mask, k, patch, stride, threshold=0.0):
    if not mask.any():
        return [NAN] * k
    height, width = ((side - patch) // stride + 1 for side in mask.shape)
    cells = resize(image, height, width)
    alive, hits = {p for p in pixels(cells) if cells[p] > threshold}, []
    for _ in range(k):
        if not alive:
            hits.append(NAN)
            continue
        best = max(sorted(alive), key=lambda p: cells[p])
        hits.append(1.0 if patch_contains_lesion(mask, *best, patch, stride) else 0.0)
        alive = {
            p
            for p in alive
            if not (abs(p[0] - best[0]) * stride < patch / 2 and abs(p[1] - best[1]) * stride < patch / 2)
        }
    return hits


def random_patch_hit_rate(mask, patch, stride):
    if not mask.any():
        return NAN
    height, width = ((side - patch) // stride + 1 for side in mask.shape)
    hits = [patch_contains_lesion(mask, i, j, patch, stride) for i in range(height) for j in range(width)]
    return sum(hits) / len(hits)


def pointing_game(image, mask):
    if not mask.any():
        return NAN
    highest = max(float(image[p]) for p in pixels(image))
    peak = [p for p in pixels(image) if image[p] == highest]
    return sum(bool(mask[p]) for p in peak) / len(peak)


def pixel_auroc(image, mask):
    """Every lesion pixel against every other pixel."""
    inside = [float(image[p]) for p in pixels(image) if mask[p]]
    outside = [float(image[p]) for p in pixels(image) if not mask[p]]
    if not inside or not outside:
        return NAN
    wins = 0.0
    for a in inside:
        for b in outside:
            wins += 1.0 if a > b else 0.5 if a == b else 0.0
    return wins / (len(inside) * len(outside))


def pixel_auprc(image, mask):
    """Sum over falling thresholds of the gain in recall times the precision."""
    area = int(mask.sum())
    if area == 0:
        return NAN
    total, recall_before = 0.0, 0.0
    for threshold in sorted({float(image[p]) for p in pixels(image)}, reverse=True):
        chosen = [p for p in pixels(image) if image[p] >= threshold]
        found = sum(bool(mask[p]) for p in chosen)
        total += (found / area - recall_before) * found / len(chosen)
        recall_before = found / area
    return total


def iou_at_area(image, mask):
    area = int(mask.sum())
    if area == 0:
        return NAN
    boundary = sorted((float(image[p]) for p in pixels(image)), reverse=True)[area - 1]
    above = [p for p in pixels(image) if image[p] > boundary]
    tied = [p for p in pixels(image) if image[p] == boundary]
    chance = sum(bool(mask[p]) for p in tied) / len(tied)
    intersection = sum(bool(mask[p]) for p in above) + (area - len(above)) * chance
    return intersection / (area + area - intersection)
