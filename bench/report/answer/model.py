"""Answer of a run as a record: terminal, page, scorecard and ``results.json`` say the same because they read it."""

from __future__ import annotations

from typing import Literal

from bench.store.cell_facts import Record

#: Questions, by the family of metrics that answers them.
LOCATES, FAITHFUL = "localisation", "faithfulness"
Certainty = Literal["better", "worse", "no relevant difference", "not decided", "too few images", "alone"]
#: Kinds of caution; the page marks them with different signs.
CautionKind = Literal["model", "images", "metric", "masks", "evidence", "run"]


class MethodScore(Record):
    """Score of one method (an explainer on a head) in the leading metric of a question.

    Attributes:
        label: name in sentences; the head for its only own map.
        mean, low, high: mean over images with its 95 % interval, in units of the metric; None if undefined.
        n: images with a value.
        share, share_low, share_high: position on the way from the floor (0) to the ceiling (100), in percent, with its
            95 % interval; None without both controls, or if they do not differ. Values outside [0, 100] are possible.
    """

    label: str
    explainer: str
    head: str
    family: Literal["inherent", "post-hoc", "control"]
    mean: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    share: float | None = None
    share_low: float | None = None
    share_high: float | None = None


class QuestionAnswer(Record):
    """Answer to one question on one data set and backbone.

    Attributes:
        question: family of metrics.
        asks: the question in words.
        metric: name of the leading metric, with estimand and operator: the first that has enough images and does not
            fail on maps of known quality, or the one that the config names. No score of a method decides it.
        higher_is_better: direction of the metric.
        inherent: the best own map of an inherent head; None if there is none.
        post_hoc: the best post-hoc method on the black box; None if there is none.
        floor, ceiling: random maps, and the mask itself.
        grid_ceiling: the mask on the grid of the network's features, which is what a map of that resolution can reach;
            None for faithfulness, which resolution does not limit.
        certainty: verdict on ``inherent`` minus ``post_hoc``: "better" if the inherent map is, "alone" if only one of
            the two exists.
        difference, low, high: of that comparison, inherent minus post-hoc, with an interval that accounts for both
            choices; None without a comparison, and the interval also if there are too few images to decide.
        n: images in the comparison, or images with a score if there is none.
        groups: independent groups (patients) that these images come from; 0 if that is not known.
        recommended: methods to use: the best one first, then those that are not shown to be worse than it; empty if
            there are too few images to say.
        sentence: the answer in one sentence, with its numbers.
    """

    question: str
    asks: str
    metric: str
    higher_is_better: bool
    inherent: MethodScore | None
    post_hoc: MethodScore | None
    floor: MethodScore | None
    ceiling: MethodScore | None
    grid_ceiling: MethodScore | None = None
    certainty: Certainty
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    groups: int = 0
    recommended: list[str] = []
    sentence: str = ""


class Price(Record):
    """Cost of the inherent head that the answer is about, compared with its black box.

    Attributes:
        head, black_box: names.
        auc: test AUC of the head; None for outputs without one.
        auc_lost, low, high: AUC of the black box minus that of the head, with its 95 % interval.
        verdict: non-inferior, undecided or inferior, at the margin of the price table.
        seconds: seconds per map of each named method: the own map, and the best post-hoc method.
    """

    head: str
    black_box: str
    auc: float | None
    auc_lost: float | None
    low: float | None = None
    high: float | None = None
    verdict: str = ""
    seconds: dict[str, float] = {}


class Caution(Record):
    """A reason to distrust an answer, in one sentence; ``see`` names a table or section with the evidence."""

    kind: CautionKind
    text: str
    see: str = ""


class DatasetAnswer(Record):
    """Everything that a reader must know about one data set and backbone.

    Attributes:
        dataset: name in the run. source: data set as the user named it, if that is another text (``folder:PATH``).
        backbone: empty if the run has only one.
        questions: in the order of the page; empty without a scored method.
        price: None without an inherent head and its black box.
        cautions: the most important first.
    """

    dataset: str
    source: str = ""
    backbone: str = ""
    questions: list[QuestionAnswer] = []
    price: Price | None = None
    cautions: list[Caution] = []


class Answer(Record):
    """Answers of a run, by data set and backbone in the order of the run."""

    datasets: list[DatasetAnswer] = []
