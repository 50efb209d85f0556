"""Prepared data sets: the images that every cell of a run shares, and the facts about them that the report states."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.config import Config
from bench.configs.sections import DataSection
from bench.contracts import Channels, DatasetInfo, Sample, Samples
from bench.data.counterfactuals import render_counterfactuals
from bench.data.folds.pool import Pool, load_pool
from bench.data.loading import Request, Tell, build_samples, load_splits
from bench.data.selection import Selection, choose_explained, gallery_positions
from bench.data.split import Split, auc_of_features, brightness_auc, brightness_features, channel_statistics
from bench.files import Place
from bench.metrics import patch_at, random_patch_hit_rate, stride_at
from bench.outputs import SOFTMAX, Outputs, outputs_of
from bench.store.records import DatasetFacts


@dataclass(frozen=True)
class Prepared:
    """Data set as the cells of a run need it.

    With cross-validation the cells need its ``folds``, each with its own images. The data set as a whole then has all
    images as test images, and the training data of the first fold.

    Attributes:
        info: the registered facts.
        data: training and validation images with their normalisation.
        test: the split for the classification scores.
        explain: the split that holds the explained images.
        explained: the explained images.
        samples: the samples that the builder returned for that split; phantoms render counterfactual images with them.
        doubts: lines about what may be a mistake of the user.
        pool: all images, of which each fold tests a part; None without cross-validation.
        folds: the folds of the data set.
        chosen: positions of a fold's explained images among those of the whole data set; None = it is the whole.
    """

    info: DatasetInfo
    data: TrainingData
    test: Split
    explain: Split
    explained: Selection
    samples: Sequence[Sample] | Samples
    doubts: tuple[str, ...] = ()
    pool: Pool | None = None
    folds: tuple[Prepared, ...] = ()
    chosen: tuple[int, ...] | None = None

    def of_fold(self, fold: int | None) -> Prepared:
        """Returns a fold, counted from 1; None = the data set itself."""
        return self if fold is None else self.folds[fold - 1]

    def positions(self, whole: Collection[int]) -> list[int]:
        """Returns positions among its explained images, from positions among those of the whole data set."""
        return list(whole) if self.chosen is None else [at for at, one in enumerate(self.chosen) if one in whole]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index."""
        return self.test.classes

    @cached_property
    def counterfactuals(self) -> tuple[Tensor, Tensor] | None:
        """Result of ``render_counterfactuals``; rendered once for all classifiers."""
        return render_counterfactuals(self.samples, self.explain, self.info.lesion_free)


def prepare(
    info: DatasetInfo,
    config: Config,
    root: Path,
    cache: Path,
    skip_bad: bool = False,
    splits: Path | None = None,
    tell: Tell | None = None,
) -> Prepared:
    """Decodes, caches and checks every split of a data set; see ``Request`` and ``load_splits`` for the arguments.

    Raises:
        UserError: missing or bad files, leakage between splits, or a split that cannot be used for training.
    """
    request = request_for(info, config.data, root, skip_bad, splits)
    doubts: list[str] = []
    if config.data.folds:
        pool = load_pool(info, request, config.data.folds, cache, tell, doubts.append)
        return _cross_validated(pool, config, tuple(doubts))
    loaded = load_splits(info, request, cache, tell, doubts.append)
    samples = build_samples(info, request, info.explain_split)
    train, val = (loaded.get(name) or loaded["test"].emptied(name) for name in ("train", "val"))
    mean, std = (info.mean, info.std) if info.mean and info.std else channel_statistics(train or loaded["test"])
    data = TrainingData(train, val, info.modality, mean, std, outputs_of(info))
    explain = loaded[info.explain_split]
    explained = choose_explained(info, explain, config.explain)
    return Prepared(info, data, loaded["test"], explain, explained, samples, tuple(doubts))


def _cross_validated(pool: Pool, config: Config, doubts: tuple[str, ...]) -> Prepared:
    """Returns the data set with its folds, of which the figures show images of the first."""
    info, count = pool.info, int(pool.fold.max())
    folds, own = list[Prepared](), list[Selection]()
    for fold in range(1, count + 1):
        splits = pool.splits(fold)
        mean, std = (info.mean, info.std) if info.mean and info.std else channel_statistics(splits["train"])
        data = TrainingData(splits["train"], splits["val"], info.modality, mean, std, outputs_of(info))
        explained = choose_explained(info, splits["test"], config.explain.part(fold, count))
        own.append(replace(explained, in_gallery=fold == 1))
        samples = pool.samples.take(pool.places(fold)["test"])
        folds.append(Prepared(info, data, splits["test"], splits["test"], own[-1], samples))
    whole, chosen = pool.joined(own)
    parts = tuple(replace(one, chosen=places) for one, places in zip(folds, chosen, strict=True))
    return Prepared(info, folds[0].data, pool.split, pool.split, whole, pool.samples, doubts, pool, parts)


def request_for(info: DatasetInfo, section: DataSection, root: Path, skip_bad: bool, splits: Path | None) -> Request:
    """Returns the request of a config's section on data; the explained split is as large as the test split."""
    counts = {"train": section.train, "val": section.val, "test": section.test, info.explain_split: section.test}
    return Request(
        root,
        section.size,
        section.seed,
        counts,
        skip_bad,
        splits,
        shortcut=section.shortcut,
        mask_values=tuple(section.mask_values) or info.mask_values,
        window=section.window or info.window,
        allow_duplicates=section.allow_duplicates,
    )


def facts(prepared: Prepared, size: int) -> DatasetFacts:
    """Returns the facts that tables and captions state about a data set whose input side is ``size`` pixels."""
    info, explained = prepared.info, prepared.explained
    every = {"train": prepared.data.train, "val": prepared.data.val, "test": prepared.test}
    splits = {name: split for name, split in every.items() if name in info.splits}
    if prepared.pool:
        splits = every
    named = splits | {"explain": prepared.explain}
    excluded = {id(split): split.excluded for split in named.values()}
    return DatasetFacts(
        base=info.name,
        size=size,
        modality=info.modality,
        classes=list(prepared.classes),
        masks=info.masks,
        mask_is=info.mask_is,
        healthy=info.healthy,
        multilabel=info.multilabel,
        regression=info.regression,
        ordered=info.ordered,
        source=info.source,
        licence=info.licence,
        citation=info.citation,
        explain_split=info.explain_split,
        preprocessing=info.preprocessing,
        mean=list(prepared.data.mean),
        std=list(prepared.data.std),
        folds=len(prepared.folds) or None,
        images={
            name: prepared.data.outputs.counts(split.labels, len(prepared.classes)) for name, split in splits.items()
        },
        excluded=[(one.file, one.reason, one.kind.value) for faults in excluded.values() for one in faults],
        explained_diseased=int(explained.diseased.sum()),
        explained_healthy=int((~explained.diseased).sum()),
        explained_faithful=explained.faithful,
        side={name: int(split.images.shape[-1]) for name, split in named.items()},
        digests={name: split.digest for name, split in named.items() if split.digest},
        doubts=list(prepared.doubts),
        brightness_auc=_brightness_auc(prepared),
        **_mask_facts(prepared),
    )


def _brightness_auc(prepared: Prepared) -> float | None:
    """Returns ``brightness_auc``, with cross-validation its mean over folds; None where nothing can be trained."""
    if prepared.info.multilabel or not len(prepared.data.train):  # it predicts one class per image
        return None
    if prepared.pool is None:
        return brightness_auc(prepared.data.train, prepared.test)
    features, labels = brightness_features(prepared.test), prepared.test.labels
    areas = []
    for fold in range(1, len(prepared.folds) + 1):
        at = prepared.pool.places(fold)
        areas.append(auc_of_features(*((features[at[name]], labels[at[name]]) for name in ("train", "test"))))
    return float(np.mean(areas))


def _mask_facts(prepared: Prepared) -> dict[str, float]:
    """Returns the lesion's share of the pixels and the chance of a patch hit, without ignored pixels.

    Both are means over the explained diseased images with a lesion. Empty if there is no such image.
    """
    split, indices = prepared.explain, prepared.explained.indices[prepared.explained.diseased]
    if split.masks is None:
        return {}
    masks = torch.from_numpy(split.masks[indices])
    ignored = torch.zeros_like(masks) if split.ignored is None else torch.from_numpy(split.ignored[indices])
    annotated = masks.flatten(1).any(dim=1)
    if not annotated.any():
        return {}
    masks, ignored, size = masks[annotated], ignored[annotated], masks.shape[-1]
    counted = (~ignored).float().mean(dim=(1, 2), keepdim=True)
    chance = random_patch_hit_rate(masks, patch_at(size), stride_at(size), ignored)
    return {"prevalence": (masks / counted).mean().item(), "topk_chance": chance.mean().item()}


def write_gallery_images(place: Place, prepared: Prepared, count: int) -> None:
    """Writes images, masks of lesions and tags, labels and ids of the images that the figures show to an NPZ file."""
    prepared = prepared.folds[0] if prepared.folds else prepared
    split = prepared.explain
    indices = prepared.explained.indices[gallery_positions(prepared.explained, split, count)]
    masks = np.zeros((len(indices), *split.images.shape[2:]), bool) if split.masks is None else split.masks[indices]
    samples: Any = prepared.samples
    tagged = [hasattr(samples, "is_tagged") and samples.is_tagged(index) for index in indices]
    tags = np.zeros_like(masks)
    for position in np.flatnonzero(tagged):
        tags[position] = samples.tag_mask(indices[position])
    with place as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            images=split.images[indices],
            masks=masks,
            tags=tags,
            labels=split.labels[indices],
            ids=np.asarray(split.ids)[indices],
        )


@dataclass(frozen=True)
class TrainingData:
    """Images to train on.

    Attributes:
        train: training images.
        val: validation images.
        modality: chooses the augmentation.
        mean, std: mean and deviation of each channel, of values in [0, 1].
        outputs: meaning of the logits.
    """

    train: Split
    val: Split
    modality: str
    mean: Channels
    std: Channels
    outputs: Outputs = SOFTMAX
