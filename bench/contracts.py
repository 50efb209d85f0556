"""Every contract of the benchmark: whoever reads this file knows the system.

A *cell* is one (data set, backbone, head, seed). It trains one ``Classifier``; every applicable ``Explainer`` then
makes one raw map per image, and every *metric* turns maps into one value per image.

Shape legend, used in every docstring of the project:

    N images    C classes    D feature channels    H×W input pixels    h×w explanation grid    K occlusion steps
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from bench.errors import MissingData, NotApplicable, UserError  # noqa: F401 (named from here)

Kept = TypeVar("Kept")
Family = Literal["inherent", "post-hoc", "control"]
#: One number for each of red, green and blue.
Channels = tuple[float, float, float]
SPLITS = ("train", "val", "test")
#: Parts of a cell, as their folders are called.
OWN_CLASS, EVERY_CLASS = "own_class", "every_class"


# --- Models ----------------------------------------------------------------------------------------------------------


class Classifier(nn.Module):
    """A CNN cut into a feature extractor and a head: ``logits = head(features(images))``.

    Called like any module it maps images (N,3,H,W) to logits (N,C), so captum and pytorch-grad-cam take it as it is.

    Args:
        features: images (N,3,H,W) -> feature map (N,D,h,w).
        head: feature map (N,D,h,w) -> logits (N,C).
        num_classes: C.

    Attributes:
        beside_map: "" or why the logits are no function of the feature map, as when a class token decides. The map can
            then be read, but ``forward_head`` raises, and explainers that need it do not apply.
    """

    beside_map: str = ""

    def __init__(self, features: nn.Module, head: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.features = features
        self.head = head
        self.num_classes = num_classes

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (N,3,H,W) -> feature map (N,D,h,w)."""
        return self.features(images)

    def forward_head(self, features: Tensor) -> Tensor:
        """Feature map (N,D,h,w) -> logits (N,C)."""
        return self.head(features)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N,3,H,W) -> logits (N,C)."""
        return self.forward_head(self.forward_features(images))

    def forward_training(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images (N,3,H,W) -> logits (N,C) and the evidence (N,C,h,w) that a penalty may read, if there is any."""
        return self(images), None

    @property
    def feature_layer(self) -> nn.Module:
        """The module whose output the CAM methods read: the whole feature extractor."""
        return self.features


class EvidenceClassifier(Classifier):
    """A classifier whose prediction is a spatial pooling of class evidence: the evidence *is* the explanation."""

    def evidence_of(self, features: Tensor) -> Tensor:
        """Feature map (N,D,h,w) -> signed class evidence (N,C,h,w)."""
        raise NotImplementedError

    def forward_evidence(self, images: Tensor) -> Tensor:
        """Images (N,3,H,W) -> signed class evidence (N,C,h,w)."""
        return self.evidence_of(self.forward_features(images))

    def pool(self, evidence: Tensor) -> Tensor:
        """Class evidence (N,C,h,w) -> logits (N,C)."""
        raise NotImplementedError

    def forward_training(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images (N,3,H,W) -> logits (N,C) and evidence (N,C,h,w), from one forward pass."""
        evidence = self.forward_evidence(images)
        return self.pool(evidence), evidence


class Head:
    """Plugin class: what is put on a backbone, and what its training adds to the cross-entropy.

    Parameters are constructor arguments; a config sets them in ``[heads.<name>]``.
    """

    name: ClassVar[str]
    family: ClassVar[Literal["inherent", "black box"]]
    paper: ClassVar[str]
    #: Name of the head whose trained classifier this one is made of, by ``convert`` and without training of its own.
    converts: ClassVar[str] = ""

    def build(self, model: nn.Module, num_classes: int) -> Classifier:
        """Turn a plain image classifier into a ``Classifier`` of ``num_classes`` with freshly initialised outputs.

        Raises:
            ValueError: the head cannot stand on this model, with the reason.
        """
        raise NotImplementedError

    def convert(self, trained: Classifier) -> Classifier:
        """Only for heads with ``converts``: the trained classifier of that head -> this head's, by the same weights.

        Raises:
            ValueError: the conversion would not be exact, with the reason; the cell is then skipped.
        """
        raise NotImplementedError

    def penalty(self, evidence: Tensor | None) -> Tensor | float:
        """Evidence (N,C,h,w), or None where the classifier has none -> scalar added to the cross-entropy."""
        return 0.0


# --- Explanations ----------------------------------------------------------------------------------------------------


class SharedFeatures(Protocol):
    """What the explainers of one batch share: ``bench.models.shared_features`` computes each part once."""

    @property
    def features(self) -> Tensor:
        """Feature map (N,D,h,w), without gradient."""

    @property
    def evidence(self) -> Tensor:
        """Signed class evidence (N,C,h,w); TypeError where the classifier has none."""

    def gradients(self, targets: Tensor) -> Tensor:
        """Targets (N,) -> gradient (N,D,h,w) of each target logit with respect to the features."""

    def keep(self, part: Hashable, compute: Callable[[], Kept]) -> Kept:
        """Return what ``compute`` returned when this part was first asked for."""


@dataclass(frozen=True)
class Batch:
    """What an explainer is given.

    Attributes:
        images: (N,3,H,W) float, normalised.
        targets: (N,) long, the class whose logit is explained.
        masks: (N,H,W) bool, True inside the lesion; None where there are none. Only the ceiling control reads it.
        seeds: one integer per image for whatever is random, so that a map does not depend on its batch.
        shared: what the feature map and the head give for these images, shared by the explainers of the batch; None:
            make your own.
    """

    images: Tensor
    targets: Tensor
    masks: Tensor | None
    seeds: tuple[int, ...]
    shared: SharedFeatures | None = None


class Explainer:
    """Plugin class: one map per image and target class.

    The map is raw: signed where the method is, never rescaled, on the method's own grid. Parameters are constructor
    arguments with the paper's defaults; a config sets them in ``[explainers.<name>]``.
    """

    name: ClassVar[str]
    family: ClassVar[Family]
    signed: ClassVar[bool]
    paper: ClassVar[str]
    #: Only for the ceiling control: it is given the masks, and skipped where there are none.
    needs_masks: ClassVar[bool] = False
    #: Only for the two controls between which scores are shown as a share of the way.
    role: ClassVar[Literal["floor", "ceiling", ""]] = ""
    #: Name of the method of which this is another implementation; "" = a method of its own. ``all`` leaves variants
    #: out, and their maps are what the library returns: on the input's grid where it enlarges them.
    variant_of: ClassVar[str] = ""
    #: Only for variants: the library itself has scaled the maps to [0, 1].
    scaled: ClassVar[bool] = False

    def applies_to(self, classifier: Classifier) -> str:
        """Empty, or the reason why this explainer cannot explain this classifier (recorded as skipped)."""
        return ""

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """Images (N,3,H,W), targets (N,) -> raw maps (N,h,w)."""
        raise NotImplementedError

    def explain_batch(self, classifier: Classifier, batch: Batch) -> Tensor:
        """What the harness calls. Override it, not ``explain``, where randomness (``batch.seeds``) is needed."""
        return self.explain(classifier, batch.images, batch.targets)

    def explain_classes(self, classifier: Classifier, batch: Batch) -> Tensor:
        """Raw maps (N,C,h,w) of every class, whatever the targets of the batch; as ``explain_batch`` makes each."""
        targets = [torch.full_like(batch.targets, one) for one in range(classifier.num_classes)]
        return torch.stack([self.explain_batch(classifier, replace(batch, targets=one)) for one in targets], dim=1)


# --- Metrics ---------------------------------------------------------------------------------------------------------

#: What a metric may ask for in ``needs``; it is called with these, positionally, in the order it names them.
METRIC_INPUTS = {
    "maps": "(N,H,W) raw maps, bicubically upsampled to the input",
    "native_maps": "(N,h,w) raw maps on their own grid",
    "masks": "(N,H,W) bool, True inside the annotated lesion",
    "ignored": "(N,H,W) bool, True where nobody can say whether there is a lesion; None where the data set has none",
    "images": "(N,3,H,W) normalised images",
    "targets": "(N,) explained class",
    "logits": "(N,C) logits of the intact images",
    "pooled_map": "(N,) the prediction that the map itself adds up to; inherent explainers only",
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
        function: pure function on tensors, called with the ``needs`` in order -> (N,) values, nan where undefined.
        family: the table it belongs to: localisation, faithfulness, consistency, exactness or complexity.
        needs: names from ``METRIC_INPUTS``.
        higher_is_better: direction; None where neither is better.
        value_range: (lowest, highest) possible value.
        images: on which images it is read, for the disease class: "diseased", "healthy" or "all".
        variants: occlusion operators it can be asked for, as ``name@variant``; the first is the default.
        of_network: the network's own curve sets the level, whatever the map: one that loses its prediction at the first
            patch gives every map a good score. Between two networks the report compares it against random maps on each.
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


# --- Data ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Attributes:
        image: (3,H,W) or (1,H,W) uint8, or float in [0, 1].
        label: class index.
        mask: (H,W) bool, True inside the annotated lesion; None where nobody annotated the image.
        id: unique within the data set.
        group: patient, or whatever else images share; images of one group are never in two splits.
        fov: (H,W) bool field of view; None = the whole image.
        ignored: (H,W) bool, True where nobody can say whether there is a lesion; None = nowhere. Outside ``mask``.
    """

    image: Tensor
    label: int
    mask: Tensor | None
    id: str
    group: str
    fov: Tensor | None = None
    ignored: Tensor | None = None


class Samples(Protocol):
    """What a data set builder returns: a sequence of samples (a list will do), decoded when asked for.

    Optional attributes:

    - ``files``: paths of all that is read, empty for generated images; without it the decoded images are not kept from
      one run to the next.
    - ``classes``: names, where they depend on the files.
    - ``groups``: id -> group of every image of the split, before ``count``: leaks are then found before any decoding.
    - ``excluded``: bad files left out, pairs (file, reason) or ``bench.data.faults.Fault``.
    - ``left_out``: reason -> number of images that no split uses. This and the next two are for ``check-data`` only.
    - ``unused_faults``: as ``excluded``, of what no split uses: no reason to refuse a run.
    - ``unchecked``: what could not be checked of the splits, and why; or empty.
    - of phantoms, from which studies take the truth: ``counterfactual(index, lesion=None) -> (3,H,W)`` (the same
      scene without its lesions, or without one), ``lesions(index)`` (exact mask (H,W) of each), ``exact_mask(index) ->
      (H,W)`` (of all), ``with_tag(index, tagged) -> (3,H,W)``, ``tag_mask(index) -> (H,W)``, ``is_tagged(index)`` (the
      same scene with or without a tag in its corner).
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample:
        """Depends on ``index`` alone where there are ``files``: if it names any, several threads call, in any order."""
        ...


@dataclass(frozen=True)
class DatasetInfo:
    """A registered data set.

    Attributes:
        builder: ``builder(root, split) -> Samples``. It may also ask by name for ``size`` (input side in pixels; its
            samples must then have that size), ``count`` (images wanted, None = all), ``seed``, ``skip_bad``,
            ``splits`` (folder of released split files or None) and ``shortcut`` (what is to be planted, as
            ``tag:0.9``; empty = nothing).
        modality: chooses the augmentation: fundus, oct, cxr or other.
        masks: "pixel", "box" or "none".
        healthy: index of the class without lesions; None where there is no such class.
        explain_split: the split whose images are explained and scored.
        missing: root -> empty, or what is not there and how to get it.
        mean, std: normalisation, of values in [0, 1]; None = measured on the training images.
        in_all: whether ``--datasets all`` includes it where its files are present.
        published: split -> images of each class (in the order of ``classes``) in the authors' released splits.
        totals: images of each class, or of all as one number, that the publisher's release gives over all splits,
            however they are drawn; one tuple for each form of it, with or without a part that few have.
        preprocessing: what the builder does to a file's image before it is resized, as the start of a sentence.
        mask_is: what a mask covers, where that is not just the lesion.
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


@dataclass(frozen=True)
class BackboneInfo:
    """A registered backbone.

    Attributes:
        build: ``build(pretrained) -> (plain image classifier, where its weights come from)``.
        mean, std: normalisation that its pretrained weights need; None = that of the data set.
        always: they are what the network itself is made for, whatever its weights.
    """

    name: str
    build: Callable[[bool], tuple[nn.Module, str]]
    description: str
    mean: Channels | None = None
    std: Channels | None = None
    always: bool = False
