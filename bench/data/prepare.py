"""Prepared data sets: the images that every cell of a run shares, and the facts about them that the report states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from bench.data.loading import Request, Tell, build_samples, load_splits
from bench.data.selection import Selection, choose_explained, gallery_positions
from bench.data.split import Split, brightness_auc, channel_statistics
from bench.files import Place
from bench.metrics import patch_at, random_patch_hit_rate, stride_at
from bench.outputs import SOFTMAX, Outputs, outputs_of
from bench.store.records import DatasetFacts


@dataclass(frozen=True)
class Prepared:
    """Data set as the cells of a run need it.

    Attributes:
        info: the registered facts.
        data: training and validation images with their normalisation.
        test: the split for the classification scores.
        explain: the split that holds the explained images.
        explained: the explained images.
        samples: the samples that the builder returned for that split; phantoms render counterfactual images with them.
        doubts: lines about what may be a mistake of the user.
    """

    info: DatasetInfo
    data: TrainingData
    test: Split
    explain: Split
    explained: Selection
    samples: Sequence[Sample] | Samples
    doubts: tuple[str, ...] = ()

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
    loaded = load_splits(info, request, cache, tell, doubts.append)
    samples = build_samples(info, request, info.explain_split)
    train, val = (loaded.get(name) or loaded["test"].emptied(name) for name in ("train", "val"))
    mean, std = (info.mean, info.std) if info.mean and info.std else channel_statistics(train or loaded["test"])
    data = TrainingData(train, val, info.modality, mean, std, outputs_of(info))
    explain = loaded[info.explain_split]
    explained = choose_explained(info, explain, config.explain)
    return Prepared(info, data, loaded["test"], explain, explained, samples, tuple(doubts))


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
    by_brightness = "train" in splits and not info.multilabel  # it predicts one class per image
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
        brightness_auc=brightness_auc(prepared.data.train, prepared.test) if by_brightness else None,
        **_mask_facts(prepared),
    )


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
