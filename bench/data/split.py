"""Decoded split of a data set as arrays on disk, and statistics of its pixels, which training and report need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.contracts import Channels
from bench.data.readers.faults import Fault

Bools = NDArray[np.bool_]
#: Features (N,F) and labels (N,) of images.
Labelled = tuple[NDArray[np.float64], NDArray[np.int64]]

_CHUNK = 64
_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class Split:
    """N decoded images of one size. The large arrays are read-only memory maps: they cost no memory of their own.

    Attributes:
        name: "train", "val", "test" or the data set's own.
        images: (N,3,H,W) uint8.
        labels: (N,) int64, indices into ``classes``; with several labels per image (N,C): 1 present, 0 absent, -1
            unknown, except in the explained split (``bench.data.findings.pairs``).
        masks: (N,H,W) bool, True inside the lesion; None where no image of the split has a mask.
        has_mask: (N,) bool; False means that the image was not annotated, and its mask is all False.
        fov: (N,H,W) bool field of view; None = the whole of every image.
        ignored: (N,H,W) bool, True where it is unknown whether there is a lesion; None = nowhere in the split.
        ids, groups: N names each; images of one group are one cluster.
        classes: C names.
        excluded: the bad files that were left out.
        digest: SHA-256 of the images, labels, masks, fields of view, ignored pixels, ids, groups and classes, so that
            it depends on the decoded content alone, not on its source.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    masks: Bools | None
    has_mask: Bools
    fov: Bools | None
    ignored: Bools | None
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]
    excluded: tuple[Fault, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.ids)

    def emptied(self, name: str) -> Split:
        """Returns a split of this name without images, of the same size and classes: one that the data set lacks."""
        labels, annotated = self.labels[:0], np.zeros(0, dtype=np.bool_)
        return Split(name, self.images[:0], labels, None, annotated, None, None, (), (), self.classes, (), digest="")

    def batch(self, indices: Sequence[int] | Tensor | NDArray[np.int64]) -> Tensor:
        """Copies the images at these indices (n,) -> (n,3,H,W) uint8."""
        return torch.from_numpy(self.images[np.asarray(indices)])


def channel_statistics(split: Split) -> tuple[Channels, Channels]:
    """Computes mean and standard deviation of each channel over all pixels of the split, for values in [0, 1].

    A constant channel gets the deviation 1, so that it is centred and not divided by zero.
    """
    sums, squares = np.zeros(3), np.zeros(3)
    for start in range(0, len(split), _CHUNK):
        pixels = split.images[start : start + _CHUNK].astype(np.float64) / 255
        sums += pixels.sum(axis=(0, 2, 3))
        squares += (pixels**2).sum(axis=(0, 2, 3))
    mean = sums / (split.images.size / 3)
    std = np.sqrt(np.maximum(squares / (split.images.size / 3) - mean**2, 0))
    std[std < 1e-6] = 1.0
    return _channels(mean), _channels(std)


def _channels(values: NDArray[np.float64]) -> Channels:
    red, green, blue = values.tolist()
    return red, green, blue


def normalise(images: Tensor, mean: Channels, std: Channels) -> Tensor:
    """Normalises images (N,3,H,W) uint8, or float in [0, 1] -> float32, ``(value - mean) / std`` per channel."""
    from torchvision.transforms.v2 import (
        functional as tvf,
    )  # not at the top: it takes seconds to import, and a finished run does not need it

    scaled = tvf.to_dtype(images, torch.float32, scale=True)
    normalised: Tensor = tvf.normalize(scaled, list(mean), list(std), inplace=scaled is not images)
    return normalised


def brightness_auc(train: Split, test: Split) -> float:
    """Computes the test AUC, in [0, 1], of a logistic regression on the brightness of images alone.

    Its features are mean, deviation and percentiles of the grey values. With more than two classes, the result is the
    mean of the one-against-rest AUCs. nan if training or test split lacks a class.
    """
    if set(test.labels) != set(range(len(test.classes))) or set(train.labels) != set(test.labels):
        return float("nan")
    return auc_of_features((brightness_features(train), train.labels), (brightness_features(test), test.labels))


def auc_of_features(train: Labelled, test: Labelled) -> float:
    """Computes ``brightness_auc`` from features (N,F) and labels (N,) of training and test images of all classes."""
    from sklearn.linear_model import (
        LogisticRegression,
    )  # not at the top: it takes seconds to import, and a finished run does not need it
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    scores = model.fit(*train).predict_proba(test[0])
    if scores.shape[1] == 2:
        return float(roc_auc_score(test[1], scores[:, 1]))
    return float(roc_auc_score(test[1], scores, multi_class="ovr", average="macro"))


def brightness_features(split: Split) -> NDArray[np.float64]:
    """Computes F global statistics of each grey image (mean of the channels) -> (N,F)."""
    features = []
    for image in split.images:
        grey = image.mean(axis=0)
        features.append([grey.mean(), grey.std(), *np.percentile(grey, _PERCENTILES)])
    return np.asarray(features)
