"""Sections of a config: the model that every value is checked against."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bench.configs.modalities import require_modality
from bench.errors import UserError
from bench.specs import parse_mask_values, parse_shortcut, require_distinct, require_numbers

#: The largest seed that every random number generator accepts.
_LARGEST_SEED = 2**32 - 1
_Seed = Annotated[int, Field(ge=0, le=_LARGEST_SEED)]
_Count = Annotated[int, Field(le=10**9)]
_Batch = Annotated[int, Field(ge=1, le=2**16)]
Side = Annotated[int, Field(ge=32, le=2**13)]
#: A class folder may be called 0, which a name such as ``folder:PATH@healthy=0`` gives as a number.
_ClassName = Annotated[str | bool, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
_Stored = Annotated[float, Field(ge=-(2**32), le=2**32)]


class Section(BaseModel):
    """A section whose numbers are finite, are not booleans, and whose lists hold distinct values."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plausible(cls, value: Any, field: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(field.field_name)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return value  # a section, which checks its own values
        kind = str(annotation)
        require_numbers(value, booleans=not re.search(r"\b(int|float)\b", kind))
        if isinstance(value, list):
            require_distinct(value)
        return value


class RunSection(Section):
    """The grid: every combination of data set, backbone, head and seed is a cell.

    Attributes:
        datasets: names of data sets, with parameters; ``all``; ``folder:PATH``.
        backbones: names of backbones; ``timm:NAME``.
        heads: heads that are trained, or converted, on every backbone.
        explainers: names of explainers; ``all``. In this and every other list of names, ``-NAME`` leaves one out.
        metrics: names of metrics; ``name@variant``; ``all``.
        seeds: each is a training of its own.
        on_inherent: post-hoc explainers and controls that also explain the inherent models; inherent explainers
            always do.
        pretrained: start from ImageNet weights where there are any.
        studies: additional measurements, each on a subset of the images.
        sizes: input sides; every data set is then run at each of them, in place of ``data.size``.
        init: file of weights that every training starts from instead, as far as they fit.
    """

    datasets: list[str] = Field(["all"], min_length=1)
    backbones: list[str] = Field(["compact"], min_length=1)
    heads: list[str] = Field(["blackbox", "softcam-dense", "softcam-sparse"], min_length=1)
    explainers: list[str] = ["all"]
    on_inherent: list[str] = ["all"]
    metrics: list[str] = ["all"]
    seeds: list[_Seed] = Field([0], min_length=1)
    pretrained: bool = False
    studies: list[str] = []
    sizes: list[Side] = []
    init: str | None = None


class ReadingSection(Section):
    """Facts about the files of a folder that the files do not state themselves.

    Attributes:
        modality: kind of the images, which decides how training may change them (``bench.configs.modalities``); empty =
            not stated.
        mask_values: values of mask files that mean lesion, such as ``[2]``, ``["#ff0000"]`` or ``[1, "ignore:255"]``;
            empty = the common codings.
        window: stored values that become black and white in grey images of more than 8 bits, as ``[low, high]``.
        healthy: the class without lesions, or the negative one; False = there is none.
        positive: with two classes, the one that is not healthy.
    """

    modality: str = ""
    mask_values: list[StrictInt | StrictStr] = []
    window: tuple[_Stored, _Stored] | None = None
    healthy: _ClassName | None = None
    positive: str = ""

    @field_validator("modality")
    @classmethod
    def _known_modality(cls, name: str) -> str:
        try:
            return require_modality(name) if name else name
        except UserError as error:
            raise ValueError(str(error)) from error

    @field_validator("mask_values")
    @classmethod
    def _known_values(cls, entries: list[int | str]) -> list[int | str]:
        parse_mask_values(entries)
        return entries

    @field_validator("window")
    @classmethod
    def _rising(cls, window: tuple[float, float] | None) -> tuple[float, float] | None:
        if window and not window[0] < window[1]:
            raise ValueError(f"{window[0]:g} is not below {window[1]:g}; give the value of black, then of white")
        return window

    @field_validator("healthy")
    @classmethod
    def _named(cls, healthy: str | bool | None) -> str | bool | None:
        if healthy is True:
            raise ValueError("true is no class; name the class, or state false if there is none")
        return healthy

    @model_validator(mode="after")
    def _one_class(self) -> Self:
        if self.positive and self.healthy is not None:
            raise ValueError("healthy and positive exclude each other; keep one")
        return self


class DataSection(ReadingSection):
    """Images of a data set: input side and images per split (None = all).

    ``modality``, ``mask_values``, ``window``, ``healthy``, ``positive`` and ``grades`` are for ``folder:`` only, and
    replace what its ``dataset.toml`` states.

    Attributes:
        size: input side in pixels; images are resized to a square.
        train: number of training images, drawn by the seed.
        val: number of validation images.
        test: number of test images.
        seed: of subsamples, splits and synthetic images.
        folds: cross-validation: all images are divided into so many parts, and each part is tested once, by a
            classifier that was trained on the others; None or 1 = the data set's own test images.
        shortcut: plants one in a phantom: ``tag:0.9`` is a corner tag on 0.9 of the diseased training images.
        grades: the classes in ascending order; without an order, quadratic kappa is left out.
        allow_duplicates: accept one picture in two splits.
    """

    size: Side = 112
    train: _Count | None = Field(None, ge=2)
    val: _Count | None = Field(None, ge=2)
    test: _Count | None = Field(None, ge=2)
    seed: _Seed = 0
    folds: int | None = Field(None, ge=1, le=100)
    shortcut: str = ""
    grades: list[str] = []
    allow_duplicates: bool = False

    @field_validator("folds")
    @classmethod
    def _none_for_one(cls, folds: int | None) -> int | None:
        return None if folds == 1 else folds

    @field_validator("shortcut")
    @classmethod
    def _readable(cls, text: str) -> str:
        if text:
            parse_shortcut(text)
        return text


class TrainingSection(Section):
    """SGD with Nesterov momentum; the learning rate falls along a cosine to ``final_lr`` (arXiv:2505.17748, sec. 4).

    Attributes:
        epochs: of every training.
        batch_size: images per step; halved when memory runs out.
        lr: learning rate at the start.
        final_lr: smallest learning rate.
        momentum: of SGD.
        weight_decay: of all weights.
        augmentation: ``paper``, the paper's recipe for its modalities, otherwise mild changes; ``light``, allowed flips
            and small shifts; ``none``.
        class_weights: weigh classes in the loss by the inverse of their frequency.
        penalty_start: epochs before the penalty of a head begins, unless the head states its own.
        penalty_ramp: epochs from there until it has its full weight, unless the head states its own.
        search_epochs: epochs for each weight of a penalty that is searched.
        search_steps: most weights that are tried.
        search_margin: validation AUC and balanced accuracy that the chosen weight may cost.
    """

    epochs: int = Field(70, ge=1, le=10**6)
    batch_size: _Batch = 16
    lr: float = Field(1e-3, gt=0, le=100)
    final_lr: float = Field(1e-4, ge=0, le=100)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0, le=1)
    augmentation: Literal["paper", "light", "none"] = "paper"
    class_weights: bool = False
    penalty_start: float = Field(0.0, ge=0, le=10**6)
    penalty_ramp: float = Field(0.0, ge=0, le=10**6)
    search_epochs: int = Field(3, ge=1, le=10**6)
    search_steps: int = Field(7, ge=1, le=100)
    search_margin: float = Field(0.02, ge=0, le=1)


class ExplainSection(Section):
    """How many images are explained (None = all) and how they are occluded.

    Attributes:
        diseased: explained images with the disease.
        healthy: explained images without it.
        faithful: how many of the diseased ones go through the occlusion curves.
        steps: occlusion steps K.
        align: where the cells of a feature map are drawn: ``receptive-field``, where they look, or ``grid``, evenly
            over the image (the convention of the paper and of libraries).
        explained_class: class that is explained: that of the ``label`` (for healthy images the likeliest disease), or
            the ``predicted`` one.
        target: what maps explain: ``contrast``, the target's logit minus the mean of the other classes' logits, or
            ``logit``, as published, which a softmax model does not identify: a constant added to all classes changes no
            prediction.
        smallest_grid: fewest cells of a side of a feature map whose maps (SoftCAM, CAMs) are computed; coarser ones
            show no place.
        batch_size: images per forward pass; halved when memory runs out.
        gallery: images whose maps are kept for the figures.
        every_class: with more than two classes also explain the gallery's images for every class (all explained images
            with --save-maps), and score each class on images of its own; with two classes it changes nothing.
    """

    diseased: _Count | None = Field(None, ge=1)
    healthy: _Count | None = Field(None, ge=0)
    faithful: _Count | None = Field(None, ge=0)
    steps: int = Field(30, ge=1, le=10**4)
    align: Literal["receptive-field", "grid"] = "receptive-field"
    explained_class: Literal["label", "predicted"] = "label"
    target: Literal["logit", "contrast"] = "contrast"
    smallest_grid: int = Field(4, ge=1, le=10**4)
    batch_size: _Batch = 16
    gallery: int = Field(4, ge=0, le=1000)
    every_class: bool = True

    def part(self, fold: int, folds: int) -> Self:
        """Returns the settings of one fold of a cross-validation, whose numbers of images add up to these.

        Raises:
            UserError: there are fewer images than folds.
        """
        parts: dict[str, int] = {}
        for name in ("diseased", "healthy", "faithful"):
            if (count := getattr(self, name)) is None:
                continue
            if count < folds and (count or name != "healthy"):
                raise UserError(
                    f"explain.{name} = {count} is less than data.folds = {folds}; raise it, or use fewer folds"
                )
            parts[name] = count // folds + (fold <= count % folds)
        return self.model_copy(update=parts)


class ReportSection(Section):
    """Comparisons that are fixed before any score is seen, and what the page shows; they change no stored score.

    Attributes:
        reference: post-hoc explainer that every own map is compared with first; empty for none.
        head: head whose own map has the primary comparison of a family; empty for the first trained one.
        primary: metric family -> metric of its primary comparison, such as ``audc@zero``; otherwise, the first metric
            of the family that does not fail on maps of known quality.
        page_images: images per data set that the page lets readers explore, or "all".
        figures: "shown" = those of the paper and of the answer, "all" or "none".
    """

    reference: str = "gradcam"
    head: str = ""
    primary: dict[str, str] = {}
    page_images: Annotated[int, Field(ge=0, le=10**9)] | Literal["all"] = 200
    figures: Literal["shown", "all", "none"] = "shown"
