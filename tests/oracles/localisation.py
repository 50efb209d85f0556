"""The localisation metrics of one image, written out with loops over the pixels that count, in float64."""

import numpy as np

from tests.oracles.bicubic import resize
from tests.oracles.patches import score

NAN = float("nan")


def pixels(image, ignored=None):
    """Those that are not ignored."""
    everything = [(i, j) for i in range(image.shape[0]) for j in range(image.shape[1])]
    return [p for p in everything if ignored is None or not ignored[p]]


def size_of(mask, ignored=None):
    """Lesion pixels that count."""
    return sum(bool(mask[p]) for p in pixels(mask, ignored))


def positive(image, ignored=None):
    values = {p: max(float(image[p]), 0.0) for p in pixels(image, ignored)}
    lowest, highest = min(values.values(), default=0.0), max(values.values(), default=0.0)
    evidence = np.zeros(image.shape)
    for p, value in values.items():
        evidence[p] = (value - lowest) / (highest - lowest) if highest > lowest else 0.0
    return evidence


def activation_precision(image, mask, ignored=None):
    if not size_of(mask, ignored):
        return NAN
    evidence, inside, total = positive(image, ignored), 0.0, 0.0
    for p in pixels(image, ignored):
        total += evidence[p]
        if mask[p]:
            inside += evidence[p]
    return inside / total if total > 0 else 0.0


def activation_sensitivity(image, mask, ignored=None):
    evidence, inside, area = positive(image, ignored), 0.0, 0
    for p in pixels(image, ignored):
        if mask[p]:
            inside += evidence[p]
            area += 1
    return inside / area if area else NAN


def contains_lesion(mask, i, j, patch, stride, ignored=None):
    """True, False, or None where only the ignored pixels of the patch could tell."""
    answer = False
    for y in range(i * stride, i * stride + patch):
        for x in range(j * stride, j * stride + patch):
            if ignored is not None and ignored[y, x]:
                answer = None
            elif mask[y, x]:
                return True
    return answer


def patch_cells(image, shape, patch, stride, rule, ignored):
    height, width = ((side - patch) // stride + 1 for side in shape)
    if rule == "resize":
        return resize(image if ignored is None else np.where(ignored, 0.0, image), height, width)
    cells = np.zeros((height, width))
    for i, j in pixels(cells):
        y, x = i * stride, j * stride
        cells[i, j] = score(image, y, y + patch, x, x + patch, rule, ignored)
    return cells


def topk_patch_hits(image, mask, k, patch, stride, threshold=0.0, ignored=None, rule="mean"):
    if not size_of(mask, ignored):
        return [NAN] * k
    cells = patch_cells(image, mask.shape, patch, stride, rule, ignored)
    alive, hits = {p for p in pixels(cells) if cells[p] > threshold}, []
    alive = {p for p in alive if contains_lesion(mask, *p, patch, stride, ignored) is not None}
    for _ in range(k):
        if not alive:
            hits.append(NAN)
            continue
        best = max(sorted(alive), key=lambda p: cells[p])
        hits.append(1.0 if contains_lesion(mask, *best, patch, stride, ignored) else 0.0)
        alive = {
            p
            for p in alive
            if not (abs(p[0] - best[0]) * stride < patch / 2 and abs(p[1] - best[1]) * stride < patch / 2)
        }
    return hits


def random_patch_hit_rate(mask, patch, stride, ignored=None):
    if not size_of(mask, ignored):
        return NAN
    height, width = ((side - patch) // stride + 1 for side in mask.shape)
    hits = [contains_lesion(mask, i, j, patch, stride, ignored) for i in range(height) for j in range(width)]
    known = [hit for hit in hits if hit is not None]
    return sum(known) / len(known)


def pointing_game(image, mask, ignored=None):
    if not size_of(mask, ignored):
        return NAN
    highest = max(float(image[p]) for p in pixels(image, ignored))
    peak = [p for p in pixels(image, ignored) if image[p] == highest]
    return sum(bool(mask[p]) for p in peak) / len(peak)


def pixel_auroc(image, mask, ignored=None):
    """Every lesion pixel against every other pixel."""
    inside = [float(image[p]) for p in pixels(image, ignored) if mask[p]]
    outside = [float(image[p]) for p in pixels(image, ignored) if not mask[p]]
    if not inside or not outside:
        return NAN
    wins = 0.0
    for a in inside:
        for b in outside:
            wins += 1.0 if a > b else 0.5 if a == b else 0.0
    return wins / (len(inside) * len(outside))


def pixel_auprc(image, mask, ignored=None):
    """Sum over falling thresholds of the gain in recall times the precision."""
    area = size_of(mask, ignored)
    if area == 0:
        return NAN
    total, recall_before = 0.0, 0.0
    for threshold in sorted({float(image[p]) for p in pixels(image, ignored)}, reverse=True):
        chosen = [p for p in pixels(image, ignored) if image[p] >= threshold]
        found = sum(bool(mask[p]) for p in chosen)
        total += (found / area - recall_before) * found / len(chosen)
        recall_before = found / area
    return total


def iou_at_area(image, mask, ignored=None):
    area = size_of(mask, ignored)
    if area == 0:
        return NAN
    boundary = sorted((float(image[p]) for p in pixels(image, ignored)), reverse=True)[area - 1]
    above = [p for p in pixels(image, ignored) if image[p] > boundary]
    tied = [p for p in pixels(image, ignored) if image[p] == boundary]
    chance = sum(bool(mask[p]) for p in tied) / len(tied)
    intersection = sum(bool(mask[p]) for p in above) + (area - len(above)) * chance
    return intersection / (area + area - intersection)
