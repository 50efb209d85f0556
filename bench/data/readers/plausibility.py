"""Plausibility of a whole data set: wrongly read masks often show in the data set and not in a single image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.contracts import DatasetInfo
from bench.data.readers.faults import Fault, Kind

_FEWEST = 4
_NEARLY_ALL = 0.9
#: A picture has two values if this share of its pixels is within so many grey levels of one of two that far apart.
_SHARE, _WIDTH, _APART = 0.9, 4, 64
_LEAST = 0.005


@dataclass(frozen=True)
class Verdict:
    """Faults, which stop a run, and doubts, which are stated."""

    faults: list[Fault] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def has_two_values(picture: NDArray[np.uint8]) -> bool:
    """Tells whether nearly all pixels of a grey picture (H,W) have one of two distant values, as those of a mask do."""
    counts = np.bincount(picture.reshape(-1), minlength=256).astype(np.int64)
    near = np.convolve(counts, np.ones(2 * _WIDTH + 1, dtype=np.int64), mode="same")
    first = int(near.argmax())
    far = np.where(np.abs(np.arange(256) - first) >= _APART, near, 0)
    second = int(far.max())
    return bool(second >= _LEAST * picture.size and near[first] + second >= _SHARE * picture.size)


def judge(
    info: DatasetInfo, ids: Sequence[str], two_valued: Sequence[bool], shares: Sequence[float], stated: bool
) -> Verdict:
    """Judges the N images of a data set; an image that is in two splits counts once.

    Args:
        info: the data set.
        ids: N names.
        two_valued: N results of ``has_two_values``.
        shares: lesion's share of each image, nan if it is not annotated.
        stated: the user has stated the values of masks, so that large lesions are meant.
    """
    found = Verdict()
    images = {id_: (two, share) for id_, two, share in zip(ids, two_valued, shares, strict=True)}
    if info.masks == "pixel" and not info.mask_is:
        annotated = np.array([share for _, share in images.values() if not np.isnan(share)])
        _judge_masks(info, annotated, stated, found)
    masks = [id_ for id_, (two, _) in images.items() if two]
    if len(images) > 2 * len(masks):
        reason = "has two grey values only, as a mask has; move it to masks/ or remove it"
        found.faults.extend(Fault(id_, reason, Kind.MASK_AS_IMAGE) for id_ in masks)
    elif masks:
        found.doubts.append(f"{len(masks)} of {len(images)} images have two grey values only, as masks have")
    return found


def _judge_masks(info: DatasetInfo, annotated: NDArray[np.float64], stated: bool, found: Verdict) -> None:
    shares = annotated[annotated > 0]
    if len(annotated) and not len(shares) and info.healthy is None:
        what = "no mask holds a pixel with the stated mask_values" if stated else "no mask marks a lesion"
        found.faults.append(Fault("masks", f"{what}; check [data] mask_values", Kind.IMPLAUSIBLE))
    if len(shares) < _FEWEST:
        return
    large = float((shares > 0.5).mean())
    if large >= _NEARLY_ALL and not stated:
        reason = f"cover more than half of {large:.0%} of their images, as if lesion and background were swapped"
        remedy = "state the lesion's value, for example [data] mask_values = [0] (or [255], if this is right)"
        found.faults.append(Fault("masks", f"{reason}; {remedy}", Kind.IMPLAUSIBLE))
    if np.ptp(shares) == 0:
        area = f"{shares[0]:.2%} of the image in all {len(shares)} masks"
        found.doubts.append(f"the lesion has the same area, {area}; check that each mask belongs to its image")
