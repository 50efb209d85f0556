"""Contracts between the harness and its plugins, in one file so that a reader of it knows the whole system.

A *cell* is one (data set, backbone, head, seed). It trains one ``Classifier``; every applicable ``Explainer`` then
computes one raw map per image, and every *metric* turns maps into one value per image.

Shape legend, used in every docstring of the project:

    N images    C classes    D feature channels    H×W input pixels    h×w explanation grid    K occlusion steps
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import ClassVar, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from bench.errors import MissingData as MissingData
from bench.errors import NotApplicable as NotApplicable
from bench.errors import UserError as UserError
from bench.plain.names import EVERY_CLASS as EVERY_CLASS
from bench.plain.names import NO_FINDING as NO_FINDING
from bench.plain.names import OWN_CLASS as OWN_CLASS

Kept = TypeVar("Kept")
Family = Literal["inherent", "post-hoc", "control"]
MapGrid = Literal["features", "pixels"]
#: One number for each of red, green and blue.
Channels = tuple[float, float, float]
SPLITS = ("train", "val", "test")


# --- Models ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Geometry:
    """Places at which the cells of a feature map look, as (rows, columns), in pixels of the input image.

    Coordinates are continuous: pixel p covers [p, p + 1), so that its centre is p + ½ and an image of H pixels reaches
    from 0 to H. Cell i is centred at ``start + i·stride``; a cell that looks at pixel 0 and its neighbours is at ½.

    Attributes:
        start: centre of the first cell.
        stride: distance between neighbouring centres.
        receptive_field: side of the square of pixels on which a cell depends, ignoring what acts on all cells alike
            (global pooling, attention). A measured one that exceeds the image is a lower bound.
    """

    start: tuple[float, float]
    stride: tuple[float, float]
    receptive_field: tuple[float, float]

    def centre(self, row: int, column: int) -> tuple[float, float]:
        """Returns the point (y, x) of the image at which a cell looks; it may be outside the image."""
        return self.start[0] + row * self.stride[0], self.start[1] + column * self.stride[1]

    def beside_convention(self, grid: tuple[int, int], size: tuple[int, int]) -> tuple[float, float]:
        """Returns the pixels (y, x) from where the map's middle cell looks to where the convention draws it.

        Args:
            grid: (h, w) of the feature map.
            size: (H, W) of the image.
        """
        axes = zip(self.start, self.stride, grid, size, strict=True)
        rows, columns = (pixels / 2 - start - (cells - 1) / 2 * stride for start, stride, cells, pixels in axes)
        return rows, columns


class Classifier(nn.Module):
    """A network cut into a feature extractor and a head: ``logits = head(features(images))``.

    Called like any module it maps images (N,3,H,W) to logits (N,C), so captum and pytorch-grad-cam accept it unchanged.

    Args:
        features: images (N,3,H,W) -> feature map (N,D,h,w).
        head: feature map (N,D,h,w) -> logits (N,C).
        num_classes: C.

    Attributes:
        in_channels: channels of the images; 3 in the harness.
        beside_map: "" or the reason why the logits are not a function of the feature map, such as a class token. The
            map can then be read, but ``forward_head`` raises, and explainers that need it do not apply.
    """

    in_channels: int = 3
    beside_map: str = ""

    def __init__(self, features: nn.Module, head: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.features = features
        self.head = head
        self.num_classes = num_classes
        self._geometries: dict[tuple[int, int], Geometry | None] = {}

    def geometry(self, size: tuple[int, int]) -> Geometry | None:
        """Returns where the cells of the feature map of images of (H,W) look; None where that is unknown.

        It depends on the layers, not on the weights, and is computed once per size. Override it for features whose
        layers ``bench.models.geometry`` can neither follow nor measure.
        """
        if size not in self._geometries:
            # By name, because the contracts are below the modules that implement them.
            self._geometries[size] = import_module("bench.models.geometry").geometry_of(self, size)
        return self._geometries[size]

    def forward_features(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to the feature map (N,D,h,w)."""
        features: Tensor = self.features(images)
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Maps the feature map (N,D,h,w) to logits (N,C)."""
        logits: Tensor = self.head(features)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to logits (N,C)."""
        return self.forward_head(self.forward_features(images))

    def forward_training(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Maps images (N,3,H,W) to logits (N,C) and the evidence (N,C,h,w) that a penalty may read (None without)."""
        return self(images), None

    @property
    def feature_layer(self) -> nn.Module:
        """The module whose output the CAM methods read: the whole feature extractor."""
        return self.features


class EvidenceClassifier(Classifier):
    """A classifier whose prediction is a spatial pooling of class evidence: the evidence *is* the explanation."""

    def evidence_of(self, features: Tensor) -> Tensor:
        """Maps the feature map (N,D,h,w) to signed class evidence (N,C,h,w)."""
        raise NotImplementedError

    def forward_evidence(self, images: Tensor) -> Tensor:
        """Maps images (N,3,H,W) to signed class evidence (N,C,h,w)."""
        return self.evidence_of(self.forward_features(images))

    def pool(self, evidence: Tensor) -> Tensor:
        """Pools class evidence (N,C,h,w) to logits (N,C)."""
        raise NotImplementedError

    def forward_training(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Maps images (N,3,H,W) to logits (N,C) and evidence (N,C,h,w) in one forward pass."""
        evidence = self.forward_evidence(images)
        return self.pool(evidence), evidence


class Head:
    """Plugin class: turns a backbone into a ``Classifier`` and may add a penalty to its training loss.

    Parameters are constructor arguments; a config sets them in ``[heads.<name>]``.
    """

    name: ClassVar[str]
    family: ClassVar[Literal["inherent", "black box"]]
    paper: ClassVar[str]
    #: Name of the head whose trained classifier ``convert`` turns into this one, without training.
    converts: str = ""
    #: ``build`` returns a trained classifier, on a backbone of its own; it is explained as it is and never trained.
    given: ClassVar[bool] = False
    #: Only for given heads: mean and deviation per channel that the classifier needs; None = those of the data set.
    normalisation: tuple[Channels, Channels] | None = None
    #: Name, with parameters, of the head whose trained weights the training of this one starts from.
    starts: str = ""
    #: Constructor arguments, weights of the penalty, that are searched on the validation images: given as "auto".
    searched: tuple[str, ...] = ()
    #: Epochs before the penalty begins and until it has its full weight; None = as in ``[training]``.
    penalty_start: float | None = None
    penalty_ramp: float | None = None

    def build(self, model: nn.Module, num_classes: int) -> Classifier:
        """Turns a plain image classifier into a ``Classifier`` of ``num_classes`` with freshly initialised outputs.

        A ``given`` head ignores ``model``, an empty module, and returns its own trained classifier.

        Raises:
            ValueError: the head does not fit this model or number of classes, with the reason.
        """
        raise NotImplementedError

    def convert(self, trained: Classifier) -> Classifier:
        """Converts the trained classifier of the head ``converts`` into this head's, on the same weights.

        Raises:
            ValueError: the conversion would not be exact, with the reason; the cell is then skipped.
        """
        raise NotImplementedError

    def penalty(self, evidence: Tensor | None) -> Tensor | float:
        """Returns the scalar added to the cross-entropy, from evidence (N,C,h,w) (None if the classifier has none)."""
        return 0.0


# --- Explanations ----------------------------------------------------------------------------------------------------


class SharedFeatures(Protocol):
    """Quantities that the explainers of one batch share; ``bench.models.shared_features`` computes each once."""

    @property
    def features(self) -> Tensor:
        """Feature map (N,D,h,w), without gradient."""

    @property
    def evidence(self) -> Tensor:
        """Signed class evidence (N,C,h,w); TypeError if the classifier has none."""

    def gradients(self, targets: Tensor) -> Tensor:
        """Returns the gradient (N,D,h,w) of the logits of targets (N,) with respect to the features."""

    def keep(self, part: Hashable, compute: Callable[[], Kept]) -> Kept:
        """Returns the cached value of this part; computes it with ``compute`` on first use."""


@dataclass(frozen=True)
class Batch:
    """Input of an explainer: images with their targets.

    Attributes:
        images: (N,3,H,W) float, normalised.
        targets: (N,) long, the class that is explained: its logit, or its contrast with the other classes.
        masks: (N,H,W) bool, True inside the lesion; None without masks. Only ceiling controls read it.
        seeds: one integer per image that seeds everything random, so that a map does not depend on its batch.
        shared: features and gradients of these images, shared by the explainers of the batch; None = not shared.
    """

    images: Tensor
    targets: Tensor
    masks: Tensor | None
    seeds: tuple[int, ...]
    shared: SharedFeatures | None = None


class Explainer:
    """Plugin class: one map per image and target class.

    The map is raw: signed if the method is, never rescaled, on the method's own grid. Parameters are constructor
    arguments with the paper's defaults; a config sets them in ``[explainers.<name>]``.
    """

    name: ClassVar[str]
    family: ClassVar[Family]
    signed: ClassVar[bool]
    paper: ClassVar[str]
    #: Grid of the maps. ``features``: the cells of the classifier's feature map, drawn where these look. ``pixels``:
    #: cells that divide the image evenly, of any size: pixels, but also the steps of a sliding window.
    grid: ClassVar[MapGrid] = "pixels"
    #: Networks that it can explain, in words for lists; ``applies_to`` decides.
    networks: ClassVar[str] = "any"
    #: Only for the ceiling controls: they receive the masks, and are skipped on images without masks.
    needs_masks: ClassVar[bool] = False
    #: Only for the controls that define 0 % and 100 % of a score. ``grid ceiling`` is the 100 % of maps on the
    #: classifier's feature grid, which cannot be as fine as a mask.
    role: ClassVar[Literal["floor", "ceiling", "grid ceiling", ""]] = ""
    #: Name of the method that this is another implementation of; "" = a separate method. ``all`` leaves variants
    #: out, and their maps are those that the library returns: on the input's grid if it enlarges them.
    variant_of: ClassVar[str] = ""
    #: Only for variants: the library itself has scaled the maps to [0, 1].
    scaled: ClassVar[bool] = False

    def applies_to(self, classifier: Classifier) -> str:
        """Returns "" or the reason why this explainer cannot explain this classifier (recorded as skipped)."""
        return ""

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Computes the raw maps (N,h,w) of images (N,3,H,W) for targets (N,)."""
        raise NotImplementedError

    def explain_batch(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Computes the raw maps (N,h,w) of a batch; the harness calls this. Override it to use ``batch.seeds``."""
        return self.explain(classifier, batch.images, batch.targets)

    def explain_classes(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Computes the raw maps (N,C,h,w) of every class, ignoring ``batch.targets``: ``explain_batch`` per class."""
        targets = [torch.full_like(batch.targets, one) for one in range(classifier.num_classes)]
        return torch.stack([self.explain_batch(classifier, replace(batch, targets=one)) for one in targets], dim=1)


# --- Metrics ---------------------------------------------------------------------------------------------------------

#: Inputs that a metric may ask for in ``needs``; it is called with them, positionally, in the order it names them.
METRIC_INPUTS = {
    "maps": "(N,H,W) raw maps, drawn at the input's resolution (bicubic, each cell where it looks)",
    "native_maps": "(N,h,w) raw maps on their own grid",
    "masks": "(N,H,W) bool, True inside the annotated lesion",
    "ignored": "(N,H,W) bool, True where the annotation is undecided; None if the data set has no such pixels",
    "images": "(N,3,H,W) normalised images",
    "targets": "(N,) explained class",
    "logits": "(N,C) logits of the intact images",
    "explained_logits": "(N,C) what the maps explain: the logits, or the contrast of each class with the others",
    "pooled_map": "(N,) prediction that the map adds up to; inherent explainers only",
    "signed": "bool, whether the explainer's maps are signed",
    "predict": "function (n,3,H,W) -> (n,C) logits",
    "deletion_curve": "(N,K+1) target probability, most important patches filled first",
    "reverse_deletion_curve": "(N,K+1) target probability, least important patches filled first",
    "insertion_curve": "(N,K+1) target probability, most important patches revealed first",
    "deletion_hits": "(N,K+1) of {1, 0, nan}, image still classified as the target along the deletion curve",
    "topk_hits": "(N,k) of {1, 0, nan}, patch hits of the top-k localisation",
}


@dataclass(frozen=True)
class MetricInfo:
    """A registered metric and the facts that the report reads from it.

    Attributes:
        name: unique name.
        family: the table it belongs to: localisation, faithfulness, consistency, exactness or complexity.
        needs: names from ``METRIC_INPUTS``.
        higher_is_better: direction; None if neither is better.
        value_range: (lowest, highest) possible value.
        paper: arXiv id or DOI of the definition.
        function: pure function on tensors, called with the ``needs`` in order; returns (N,) values, nan if undefined.
        images: on which images it is computed, for the disease class: "diseased", "healthy" or "all".
        variants: occlusion operators, and rules that score patches, that can be chosen as ``name@variant``. The first
            is the default; if it is "", the metric's name alone requests it.
        of_network: the level of the score depends on the network more than on the map: a network that loses its
            prediction at the first patch gives every map a good score. Two networks are therefore compared by the
            distance to random maps on each.
        uses_zero: the score depends on the zero of the map, as that of a sign or of a positive part does: adding a
            constant to the map changes it. A softmax model does not identify the zero of a logit's map.
        zero_free: the ``variants`` to which ``uses_zero`` does not apply.
        of_curve: the score is the area under a curve of the target's probability: "relative" to the image's intact
            probability, or "absolute". Reports then add two estimands: the area of the mean curve, and the mean over
            images that the classifier gets right, which comparisons use.
    """

    name: str
    family: str
    needs: tuple[str, ...]
    higher_is_better: bool | None
    value_range: tuple[float, float]
    paper: str
    function: Callable[..., Tensor]
    images: Literal["diseased", "healthy", "all"] = "diseased"
    variants: tuple[str, ...] = ()
    of_network: bool = False
    uses_zero: bool = False
    zero_free: tuple[str, ...] = ()
    of_curve: Literal["", "relative", "absolute"] = ""

    def reads_zero(self, variant: str) -> bool:
        """Returns whether the score with this variant depends on the zero of the map."""
        return self.uses_zero and variant not in self.zero_free


# --- Data ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Attributes:
        image: (3,H,W) or (1,H,W) uint8, or float in [0, 1].
        label: class index. With several labels per image, one number per class: 1 present, 0 absent, -1 unknown; in the
            explained split, whose samples are pairs of image and finding, the index of the finding or ``NO_FINDING``.
        mask: (H,W) bool, True inside the annotated lesion; None if the image has no annotation.
        id: unique within the data set.
        group: patient or other cluster; images of one group are never in two splits.
        fov: (H,W) bool field of view; None = the whole image.
        ignored: (H,W) bool, True where the annotation is undecided; None = nowhere. Disjoint from ``mask``.
    """

    image: Tensor
    label: int | tuple[int, ...]
    mask: Tensor | None
    id: str
    group: str
    fov: Tensor | None = None
    ignored: Tensor | None = None


class Samples(Protocol):
    """Sequence of samples that a data set builder returns (a list suffices), decoded on access.

    Optional attributes:

    - ``files``: paths of all files that are read, empty for generated images; without it the decoded images are not
      cached between runs.
    - ``classes``: names, if they depend on the files.
    - ``groups``: id -> group of every image of the split, before ``count``: leaks are then found before any decoding.
    - ``excluded``: bad files left out, as pairs (file, reason) or ``bench.data.readers.faults.Fault``.
    - ``left_out``: reason -> number of images that no split uses. This and the next two are for ``check-data`` only.
    - ``unused_faults``: as ``excluded``, for files that no split uses; they do not stop a run.
    - ``targets``: id -> class that the map of this image explains, in the place of the usual one.
    - ``unchecked``: property of the splits that could not be checked, with the reason; or empty.
    - phantoms also give studies the ground truth: ``counterfactual(index, lesion=None) -> (3,H,W)`` (the same scene
      without its lesions, or without one), ``lesions(index)`` (exact mask (H,W) per lesion), ``exact_mask(index) ->
      (H,W)`` (all lesions), ``with_tag(index, tagged) -> (3,H,W)`` (the same scene with or without a tag in its
      corner), ``tag_mask(index) -> (H,W)`` and ``is_tagged(index)``.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample:
        """Decodes one sample; with ``files`` it depends on ``index`` alone, and threads call it in any order."""
        ...


@dataclass(frozen=True)
class DatasetInfo:
    """A registered data set.

    Attributes:
        name: unique name.
        builder: ``builder(root, split) -> Samples``. It may also ask by name for ``size`` (input side in pixels; its
            samples must then have that size), ``count`` (images wanted, None = all), ``seed``, ``skip_bad``,
            ``splits`` (folder of released split files or None) and ``shortcut`` (shortcut to plant, such as
            ``tag:0.9``; empty = none).
        modality: chooses the augmentation; see ``bench.configs.modalities``.
        classes: names, in the order of their indices.
        masks: "pixel", "box" or "none".
        source: where the files come from.
        licence: licence or terms of the images.
        citation: paper or report that describes them.
        healthy: index of the class without lesions; None if there is no such class.
        explain_split: the split whose images are explained and scored.
        missing: maps the root to "", or to a sentence that says which files are missing and how to get them.
        mean: per channel, of values in [0, 1]; None = measured on the training images.
        std: like ``mean``.
        in_all: whether ``--datasets all`` includes it if its files are present.
        published: split -> images per class (in the order of ``classes``) in the authors' released splits.
        totals: images per class, or in total as one number, in the publisher's release over all splits; one tuple per
            form of the release.
        preprocessing: processing of a file's image before it is resized, as the start of a sentence.
        mask_is: region that a mask covers, if it is not just the lesion.
        ordered: a higher class index is a higher grade, so that quadratic kappa is defined for more than two classes.
        copy_likeness: likeness (``bench.data.leaks.search``) from which two images are copies; higher where different
            objects look alike.
        splits: the splits that it has; without "train", only heads that are ``given`` can be used on it.
        multilabel: an image has several labels, or none; the classes are findings that do not exclude each other, there
            is no healthy class, and the explained split consists of pairs (``bench.data.findings.pairs``).
        regression: the only class is a number that the network returns, and every label is 0; it cannot be trained on.
        mask_values: meaning of the values of mask files, unless a run states another one; empty = the common codings.
        window: stored values that become black and white, unless a run states others; None = their full range.
    """

    name: str
    builder: Callable[..., Sequence[Sample] | Samples]
    modality: str
    classes: tuple[str, ...]
    masks: Literal["pixel", "box", "none"]
    source: str
    licence: str
    citation: str
    healthy: int | None = 0
    explain_split: str = "test"
    missing: Callable[[Path], str] = field(default=lambda root: "")
    mean: Channels | None = None
    std: Channels | None = None
    in_all: bool = True
    published: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    totals: tuple[tuple[int, ...], ...] = ()
    preprocessing: str = ""
    mask_is: str = ""
    ordered: bool = False
    copy_likeness: float = 0.7
    splits: tuple[str, ...] = SPLITS
    multilabel: bool = False
    regression: bool = False
    mask_values: tuple[int | str, ...] = ()
    window: tuple[float, float] | None = None

    @property
    def lesion_free(self) -> int | None:
        """Label of explained images without lesions: the healthy class, or ``NO_FINDING``; None if there are none."""
        return NO_FINDING if self.multilabel else self.healthy


@dataclass(frozen=True)
class BackboneInfo:
    """A registered backbone.

    Attributes:
        name: unique name.
        build: ``build(pretrained) -> (plain image classifier, origin of its weights)``.
        description: one line for ``list``.
        mean: normalisation that its pretrained weights need; None = that of the data set.
        std: like ``mean``.
        always: the network needs this normalisation with any weights.
        at_hand: returns whether its pretrained weights are on this machine, so that nothing is downloaded.
    """

    name: str
    build: Callable[[bool], tuple[nn.Module, str]]
    description: str
    mean: Channels | None = None
    std: Channels | None = None
    always: bool = False
    at_hand: Callable[[], bool] = field(default=lambda: False)
