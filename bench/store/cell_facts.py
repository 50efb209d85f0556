"""Facts about one trained classifier, and about the code and machines that computed it, as parts of records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class CellKey:
    """Names of a cell.

    Attributes:
        fold: of a cross-validation, counted from 1; None without one.
    """

    dataset: str
    backbone: str
    head: str
    seed: int
    fold: int | None = None

    def __str__(self) -> str:
        fold = "" if self.fold is None else f" · fold {self.fold}"
        return f"{self.dataset} · {self.backbone} · {self.head} · seed {self.seed}{fold}"

    @property
    def whole(self) -> CellKey:
        """Names of all folds together."""
        return replace(self, fold=None)


class Record(BaseModel):
    """Typed part of a file: unknown fields are errors, and nothing can be changed in place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def changed(self, **facts: Any) -> Self:
        """Returns a copy with other values, which are validated."""
        return type(self).model_validate(dict(self) | facts)


class LesionReliance(Record):
    """True positives of a classifier, and the share of them that it calls healthy once the lesions are removed."""

    true_positives: int
    called_healthy: float


class InferenceFacts(Record):
    """Precision of the occluded images' predictions, and the comparison that allowed it.

    Attributes:
        asked, precision: ``--precision``, and the number format that was chosen.
        agree: whether the scores in bf16 agree with those in float32; None if they were not compared.
        failed: why they could not be compared.
        mean_difference, worst_difference: of the AUDC; see ``bench.evaluation.mixed_precision``.
        changed_ranks: pairs of methods that change places.
        images, methods: compared.
    """

    asked: str
    precision: str
    batch_size: int
    agree: bool | None = None
    failed: str = ""
    mean_difference: float | None = None
    worst_difference: float | None = None
    changed_ranks: int | None = None
    images: int | None = None
    methods: int | None = None


class GeometryFacts(Record):
    """Where the cells of a feature map look, as (rows, columns) in pixels; see ``bench.contracts.Geometry``."""

    start: tuple[float, float]
    stride: tuple[float, float]
    receptive_field: tuple[float, float]


class SearchStep(Record):
    """A classifier of the search for the weight of a penalty, on the validation images.

    Attributes:
        weights: parameter -> weight; empty for the twin without a penalty.
        near_zero: share of the evidence below 1 % of an image's largest absolute value.
        within: whether AUC and balanced accuracy are within the margin of the twin's.
    """

    weights: dict[str, float]
    auc: float
    balanced_accuracy: float
    near_zero: float
    within: bool = True


class PenaltySearch(Record):
    """Search for the weight of a penalty, see ``bench.training.penalty_search``.

    Attributes:
        parameters: searched parameters of the head.
        twin: head without a penalty that it started from, whose results are the ``reference``.
        steps: by rising weight.
        chosen: index of the chosen step.
    """

    parameters: list[str]
    twin: str
    margin: float
    epochs: int
    reference: SearchStep
    steps: list[SearchStep]
    chosen: int
    reason: str


class GitState(Record):
    """Commit of the code, and whether files differ from it."""

    commit: str
    dirty: bool = False


class MachineFacts(Record):
    """Hardware and threads; timings and the last digits of results depend on them."""

    device: str
    gpu: str
    cpu: str
    processes: int
    threads: int
    bf16: str
    platform: str


class WorkerFacts(MachineFacts):
    """A worker of a run and its machine; ``processes`` is the number of workers that share the machine."""

    name: str
    host: str


class WorkFacts(Record):
    """Work of one process on a cell.

    Attributes:
        task: "train", "score" or "finish".
        worker: its name in the record of the run; empty for the process of the command.
        started: time in UTC at which it began.
        seconds: time that it took, without pauses between shares.
        shares: number of shares that it scored.
    """

    task: Literal["train", "score", "finish"]
    worker: str
    started: str
    seconds: float
    shares: int = 0
