"""Records of a run and of its cells, as ``run.json`` and ``cell.json`` hold them.

Writers and readers share these models, so that neither can misspell what the other one expects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from pydantic import field_validator, model_validator

from bench.store.cell_facts import (
    GeometryFacts,
    GitState,
    InferenceFacts,
    LesionReliance,
    MachineFacts,
    PenaltySearch,
    Record,
    WorkerFacts,
    WorkFacts,
)
from bench.text.media import is_printable

#: Layout of the records that this version writes and reads; records without ``format`` have layout 1.
FORMAT: Final = 2


@dataclass(frozen=True)
class CellKey:
    """Names of a cell."""

    dataset: str
    backbone: str
    head: str
    seed: int

    def __str__(self) -> str:
        return f"{self.dataset} · {self.backbone} · {self.head} · seed {self.seed}"


class InitFacts(Record):
    """File of the weights that every training starts from."""

    file: str
    sha256: str


class MetricFacts(Record):
    """Registered facts of a metric with one occlusion operator; see ``bench.contracts.MetricInfo``.

    Attributes:
        estimand: images that a comparison reads: "" = all, "right" = those that the classifier gets right. The report
            sets it (``bench.report.frames.estimands``); a run stores scores of all images.
    """

    name: str
    variant: str = ""
    family: str
    higher_is_better: bool | None
    value_range: tuple[float, float] = (-math.inf, math.inf)
    images: Literal["diseased", "healthy", "all"] = "diseased"
    of_network: bool = False
    uses_zero: bool = False
    of_curve: Literal["", "relative", "absolute"] = ""
    estimand: Literal["", "right"] = ""
    paper: str = ""
    about: str = ""


class ExplainerFacts(Record):
    """Registered facts of an explainer; see ``bench.contracts.Explainer``."""

    family: str
    signed: bool
    paper: str
    role: str = ""
    variant_of: str = ""
    grid: str = "pixels"


class HeadFacts(Record):
    """Registered facts of a head; ``base`` is its registered name without parameters."""

    base: str
    family: str
    paper: str
    converts: str = ""


class DatasetFacts(Record):
    """Facts of a data set. Those with a default are known once its images are prepared.

    Attributes:
        base, size: registered name, without parameters; input side in pixels.
        spec: data set as the user named it, if that is not its name in the run.
        multilabel: the classes are findings, of which an image has several, or none.
        regression: the only class is a number.
        ordered: a higher class index is a higher grade of the disease.
        images: split -> number of images of each class.
        excluded: (file, reason, kind of fault) of the images that were left out.
        side: split, or "explain" -> side of its images in pixels.
        digests: split, or "explain" -> SHA-256 of its content (``bench.data.split.Split.digest``).
        doubts: lines about what may be a mistake of the user, such as files that are not used.
        brightness_auc: of a logistic regression on brightness statistics.
        prevalence, topk_chance: chance of a random pixel, or patch, to hit a lesion; None without lesions.
    """

    base: str
    size: int
    spec: str = ""
    modality: str = ""
    classes: list[str] = []
    masks: str = ""
    mask_is: str = ""
    healthy: int | None = None
    multilabel: bool = False
    regression: bool = False
    ordered: bool = False
    source: str = ""
    licence: str = ""
    citation: str = ""
    explain_split: str = ""
    preprocessing: str = ""
    mean: list[float] = []
    std: list[float] = []
    images: dict[str, list[int]] = {}
    excluded: list[tuple[str, str, str]] | None = None
    explained_diseased: int | None = None
    explained_healthy: int | None = None
    explained_faithful: int | None = None
    side: dict[str, int] = {}
    digests: dict[str, str] = {}
    doubts: list[str] = []
    brightness_auc: float | None = None
    prevalence: float | None = None
    topk_chance: float | None = None

    def label_name(self, label: int) -> str:
        """Returns the name of the label of an explained image."""
        return self.classes[label] if label >= 0 else "no finding"

    @field_validator("classes")
    @classmethod
    def _are_printable(cls, names: list[str]) -> list[str]:
        if not all(map(is_printable, names)):
            raise ValueError("the name of a class has hidden characters")
        return names


class RunOrigin(Record):
    """Configuration and cells of a run, and where and when they were computed.

    Attributes:
        config: the resolved configuration, as ``bench.config.Config`` dumps it.
        plan: hash of what was asked for; only cells with this plan belong to the run.
        machine: that the command was given on; a machine of the workers if they are on a cluster.
        workers: name -> facts, for the workers of the last run that computed anything; empty if that was the
            process of the command.
        started, finished: times in UTC; ``finished`` is empty while the run works, or if it was stopped.
    """

    config: dict[str, Any]
    cells: list[CellKey]
    plan: str
    git: GitState | None = None
    packages: dict[str, str]
    machine: MachineFacts
    workers: dict[str, WorkerFacts] = {}
    started: str
    finished: str = ""


class MergedRun(RunOrigin):
    """A run that became part of a merged one: ``name`` is that of its folder, ``cells`` are those it has finished."""

    name: str


class RunRecord(RunOrigin):
    """A run: what was asked for, facts about it, versions and machine.

    Attributes:
        explained_by: head -> explainers that its cells run.
        absent: data set that ``all`` would include -> why it is left out.
        splits: folder of released split files; empty without one.
        studies: name -> parameters.
        problems: a line for everything that failed.
        merged: runs that the command ``merge`` joined; empty for any other run.
    """

    format: Literal[2] = FORMAT
    explained_by: dict[str, list[str]]
    datasets: dict[str, DatasetFacts]
    absent: dict[str, str] = {}
    init: InitFacts | None = None
    splits: str = ""
    explainers: dict[str, ExplainerFacts]
    heads: dict[str, HeadFacts]
    studies: dict[str, dict[str, Any]] = {}
    metrics: list[MetricFacts]
    problems: list[str] = []
    merged: list[MergedRun] = []

    def origin(self, key: CellKey) -> RunOrigin:
        """Returns the run that computed a cell, which is this one unless it was merged from others."""
        return next((run for run in self.merged if key in run.cells), self)

    @model_validator(mode="after")
    def _states_what_it_names(self) -> Self:
        """Checks that there are facts about every name in it, because a record may come from anywhere."""
        names = [*self.datasets, *(run.name for run in self.merged)]
        if hidden := next((name for name in names if not is_printable(name)), None):
            raise ValueError(f"the name of the data set or run {hidden!r} has hidden characters")
        for key in self.cells:
            if key.dataset not in self.datasets or key.head not in self.heads or key.head not in self.explained_by:
                raise ValueError(f"no facts about the cell {key}")
        if unknown := {name for names in self.explained_by.values() for name in names} - self.explainers.keys():
            raise ValueError(f"no facts about explainer {min(unknown)}")
        return self


class StudyOutcome(Record):
    """Result of a study of one explainer or of the whole cell; its rows belong to it if they have its fingerprint."""

    status: Literal["ok", "skipped", "failed"]
    reason: str = ""
    traceback: str = ""
    fingerprint: str = ""


class ExplainerOutcome(StudyOutcome):
    """Result of an explainer on a cell.

    Attributes:
        bad_maps: ids of the images whose maps hold NaN or infinite values.
        problems: metric that failed -> reason.
    """

    bad_maps: list[str] = []
    problems: dict[str, str] = {}


class CellRecord(Record):
    """A cell: the training of its classifier, and what happened to each explainer and study.

    Attributes:
        training: fingerprint of all that the weights depend on.
        status: "absent" without a record, and in the record of a part of a cell, which trains nothing.
        plan: of the run that worked on the cell last.
        base, parameters: registered name of the head, and all its constructor arguments.
        weights_from: origin of the weights; empty until they are stored.
        weights: number of them.
        weights_sha256: digest of their names and values, which other weights in the same file do not have.
        best_epoch: whose weights were kept, counted from 0; None if nothing was trained.
        evidence_grid: sides (h, w) of the evidence of a training image; None where the classifier has none.
        geometry: of the feature map of the explained images; None where it is unknown.
        align: how feature maps were drawn, ``receptive-field`` or ``grid``.
        near_zero: share of its evidence of the test images below 1 % of an image's largest absolute value.
        penalty_search: None where no weight was searched; ``parameters`` holds the chosen one.
        lesion_reliance: None where no counterfactual images can be rendered.
        metrics_skipped: metric -> why it is not read here.
        target: what the maps explain, the target's "logit" or its "contrast" with the other classes.
        explainers: name -> outcome.
        studies: name -> explainer, or "" for the whole cell -> outcome.
        work: which process of the last run that computed anything of the cell did what, and when.
    """

    format: Literal[2] = FORMAT
    training: str = ""
    status: Literal["absent", "training", "ok", "skipped", "failed"] = "absent"
    plan: str = ""
    reason: str = ""
    traceback: str = ""
    base: str = ""
    parameters: dict[str, Any] | None = None
    weights_from: str = ""
    weights: int | None = None
    weights_sha256: str = ""
    seconds: float | None = None
    mean: list[float] = []
    std: list[float] = []
    best_epoch: int | None = None
    evidence_grid: tuple[int, int] | None = None
    geometry: GeometryFacts | None = None
    align: str = "grid"
    near_zero: float | None = None
    penalty_search: PenaltySearch | None = None
    lesion_reliance: LesionReliance | None = None
    metrics_skipped: dict[str, str] = {}
    target: Literal["logit", "contrast"] = "logit"
    inference: InferenceFacts | None = None
    explainers: dict[str, ExplainerOutcome] = {}
    studies: dict[str, dict[str, StudyOutcome]] = {}
    work: list[WorkFacts] = []
