"""Settings that differ: for one data set, for one backbone on it, and for the user's own images."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from bench.configs.sections import Section, Side


class OwnSection(Section):
    """Choices for data sets ``folder:PATH`` by their images, where neither a flag nor a file of the user states them.

    The choices replace what the config says otherwise, because that is made for the synthetic images.

    Attributes:
        smallest: least input side, which is otherwise the median of the images' shorter sides, a multiple of 32.
        largest: greatest input side.
        explained: most diseased test images to explain; all are explained if there are fewer.
        folds: parts of the cross-validation where a class has fewer images than ``few``, no file states the splits, and
            every class has so many groups.
        few: images of the rarest class from which on one test split says enough.
        passes: images that each training sees, so that few images are seen in more epochs; without pretrained weights,
            there are at least as many epochs as in ``[training]``.
        least_epochs, most_epochs: bounds of these epochs.
        search_epochs: most epochs for each weight of a penalty that is searched, if the backbone is pretrained.
        backbones: the first whose pretrained weights are on this machine is used, in runs of folders alone.
        explainers, metrics, studies: those of a run with such a backbone, in which a forward pass costs much more;
            empty = as in ``[run]``.
    """

    smallest: Side = 96
    largest: Side = 224
    explained: int = Field(100, ge=1, le=10**9)
    folds: int = Field(5, ge=2, le=100)
    few: int = Field(200, ge=0, le=10**9)
    passes: int = Field(4000, ge=1, le=10**9)
    least_epochs: int = Field(3, ge=1, le=10**6)
    search_epochs: int = Field(1, ge=1, le=10**6)
    most_epochs: int = Field(25, ge=1, le=10**6)
    backbones: list[str] = []
    explainers: list[str] = []
    metrics: list[str] = []
    studies: list[str] = []


class BackboneOverrides(Section):
    """Settings of one backbone on one data set that differ, any subset of keys.

    Attributes:
        training: keys of ``[training]``.
        heads: head -> its parameters.
    """

    training: dict[str, Any] = {}
    heads: dict[str, dict[str, Any]] = {}


class Overrides(Section):
    """Settings of one data set that differ: ``[datasets.<name>.data]`` and so on, any subset of keys.

    The name of a folder of images is ``folder`` for all of them, or ``folder:PATH`` as the run names it.

    ``[datasets.<name>.backbones.<backbone>.heads.<head>]`` is the most specific: λ depends on data set and backbone.

    Attributes:
        data: keys of ``[data]``.
        training: keys of ``[training]``.
        explain: keys of ``[explain]``.
        heads: head -> its parameters.
        backbones: backbone -> settings that differ for it.
    """

    data: dict[str, Any] = {}
    training: dict[str, Any] = {}
    explain: dict[str, Any] = {}
    heads: dict[str, dict[str, Any]] = {}
    backbones: dict[str, BackboneOverrides] = {}
