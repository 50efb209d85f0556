"""Cautions: reasons to distrust an answer, each with the table that shows the evidence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bench.report.answer.model import LOCATES, Caution, MethodScore, QuestionAnswer
from bench.report.answer.questions import Tables
from bench.report.answer.words import images_text
from bench.report.comparisons.opponents import CONTROLS
from bench.report.failure_modes import Signature
from bench.report.frames.load import Frames
from bench.report.studies.fair_resolution import PROBE as RESOLUTION
from bench.report.studies.fair_resolution import rankings
from bench.report.studies.soundness import FAILS, failing, judgements
from bench.report.tables.table import is_number
from bench.report.tables.writers import number
from bench.statistics.comparison import BETTER, NO_EVIDENCE, SAME, WORSE

#: Share of true positives called healthy without their lesions below which a model mostly uses something else.
USES_LESIONS = 0.5
#: Share of the models' lead over chance (AUC 0.5) that brightness alone may reach.
BRIGHTNESS = 0.5
#: Groups below which an interval rests on few of them.
FEW_GROUPS = 20
WEAK_AUC = 0.7
Place = tuple[str, str]  # data set, backbone


def cautions(
    frames: Frames,
    tables: Tables,
    verdicts: pd.DataFrame,
    signs: list[Signature],
    questions: list[QuestionAnswer],
    dataset: str,
    backbone: str,
) -> list[Caution]:
    """Returns what limits the answers on a data set and backbone, from the model to cells that failed."""
    found = [
        *(Caution(kind="images", text=f"please check: {line}") for line in frames.record.datasets[dataset].doubts),
        *_model(frames, tables, dataset, backbone),
        *_metric(frames, questions, dataset),
        *_controls(verdicts, questions, (dataset, backbone)),
        *_resolution(frames, questions, dataset, backbone),
        *_disagreements(verdicts, questions, (dataset, backbone)),
        *_images(questions),
        *_masks(frames, dataset),
    ]
    mine = [sign for sign in signs if (sign.dataset, sign.backbone) == (dataset, backbone)]
    found += [Caution(kind="evidence", text=f"{', '.join(sign.heads)}: {sign.text}") for sign in mine]
    cells = frames.cells[(frames.cells["dataset"] == dataset) & (frames.cells["backbone"] == backbone)]
    if unfinished := int((cells["status"] != "ok").sum()):
        text = f"{unfinished} of {len(cells)} classifiers did not finish, so the answer may lack a head or a seed"
        found.append(Caution(kind="run", text=text, see="gaps"))
    return found


def _model(frames: Frames, tables: Tables, dataset: str, backbone: str) -> Iterator[Caution]:
    """Yields doubts about the classifiers: chance performance, no use of lesions, brightness that does as well."""
    facts = frames.record.datasets[dataset]
    cells = frames.cells[(frames.cells["dataset"] == dataset) & (frames.cells["backbone"] == backbone)]
    aucs = {row["head"]: row["auc"].mean for row in _classified(tables, dataset, backbone)}
    if aucs and (worst := min(aucs.values())) < WEAK_AUC:
        weak = ", ".join(head for head, auc in aucs.items() if auc < WEAK_AUC)
        text = (
            f"weak classifiers ({weak}: AUC down to {number(worst)}); their maps explain decisions that are often wrong"
        )
        yield Caution(kind="model", text=text, see="classification")
    shares = [
        record.lesion_reliance.called_healthy
        for record in cells["record"]
        if record.lesion_reliance and record.lesion_reliance.true_positives
    ]
    if shares and min(shares) < USES_LESIONS:
        low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
        text = (
            f"the models use more than the lesions: without them, {low if low == high else f'{low} to {high}'} of the "
            "true positives become healthy; a map that misses a lesion may be right"
        )
        yield Caution(kind="model", text=text, see="datasets")
    brightness = facts.brightness_auc
    if aucs and brightness is not None and brightness - 0.5 > BRIGHTNESS * (max(aucs.values()) - 0.5) > 0:
        text = f"brightness alone reaches an AUC of {number(brightness)}; a model needs no lesion to do well"
        yield Caution(kind="model", text=text, see="datasets")


def _classified(tables: Tables, dataset: str, backbone: str) -> list[dict[str, Any]]:
    rows = tables["classification"].rows if "classification" in tables else []
    return [
        row for row in rows if (row["dataset"], row["backbone"]) == (dataset, backbone) and is_number(row.get("auc"))
    ]


def _images(questions: list[QuestionAnswer]) -> Iterator[Caution]:
    few = [one for one in questions if 0 < one.groups < FEW_GROUPS]
    if few:
        least = min(few, key=lambda one: one.groups)
        text = f"few independent images ({images_text(least.n, least.groups)}); more would narrow the intervals"
        yield Caution(kind="images", text=text)


def _metric(frames: Frames, questions: list[QuestionAnswer], dataset: str) -> Iterator[Caution]:
    fails = failing(judgements(frames), dataset)
    for one in questions:
        if one.metric in fails:
            text = f"{one.metric.replace('_', ' ')} fails on maps of known quality here; the answer rests on it"
            yield Caution(kind="metric", text=text, see="metric_soundness")


def _controls(verdicts: pd.DataFrame, questions: list[QuestionAnswer], place: Place) -> Iterator[Caution]:
    """Yields a caution if the best inherent map is not shown to be better than maps that do not see the model."""
    for one in questions:
        if one.inherent is None or not len(verdicts):
            continue
        names = {"dataset": place[0], "backbone": place[1], "metric": one.metric, "question": CONTROLS}
        names |= {"head": one.inherent.head, "explainer": one.inherent.explainer}
        rows = verdicts[np.logical_and.reduce([verdicts[key] == value for key, value in names.items()])]
        rows = rows[rows["verdict"].isin([WORSE, SAME, NO_EVIDENCE])]
        if alike := ", ".join(_plain(rows["their_explainer"])):
            text = (
                f"in {one.metric.replace('_', ' ')}, {one.inherent.label} is not shown to be better than {alike}, "
                "which cannot see the model"
            )
            yield Caution(kind="metric", text=text, see="verdicts")


def _resolution(frames: Frames, questions: list[QuestionAnswer], dataset: str, backbone: str) -> Iterator[Caution]:
    """Yields a caution if the finer grid of the better map, and not its content, decides who locates better."""
    for one in questions:
        decided = one.question == LOCATES and one.certainty in (BETTER, WORSE)
        if not decided or one.inherent is None or one.post_hoc is None:
            continue
        methods = [_key(one.inherent), _key(one.post_hoc)]
        for metric, name, of, _, ranking in rankings(frames) if RESOLUTION in frames.studies else ():
            same = metric.rstrip(" ↑↓").replace(" ", "_") == one.metric and (name, of) == (dataset, backbone)
            common = ranking.ranks("common") if same and "common" in ranking.values else {}
            if len(places := [common[key] for key in methods if key in common]) == len(methods):
                inherent_wins = one.certainty == BETTER
                if places[0] != places[1] and (places[0] < places[1]) != inherent_wins:
                    text = (
                        f"resolution decides: averaged over the cells of the network's grid, the order of "
                        f"{one.inherent.label} and {one.post_hoc.label} is the other way round"
                    )
                    yield Caution(kind="metric", text=text, see=RESOLUTION)


def _key(score: MethodScore) -> tuple[str, str]:
    return score.explainer, score.head


def _disagreements(verdicts: pd.DataFrame, questions: list[QuestionAnswer], place: Place) -> Iterator[Caution]:
    """Yields a caution if other metrics of a family decide what the leading one leaves open, or the other way."""
    for one in questions:
        if one.inherent is None or one.post_hoc is None or not len(verdicts):
            continue
        names = {"dataset": place[0], "backbone": place[1], "family": one.question}
        names |= {"head": one.inherent.head, "explainer": one.inherent.explainer}
        names |= {"their_head": one.post_hoc.head, "their_explainer": one.post_hoc.explainer}
        rows = verdicts[np.logical_and.reduce([verdicts[key] == value for key, value in names.items()])]
        rows = rows[(rows["metric"] != one.metric) & (rows["sound"] != FAILS) & (rows["verdict"] != one.certainty)]
        sides = {one.inherent.label: BETTER, one.post_hoc.label: WORSE}
        metrics = {label: ", ".join(_plain(rows[rows["verdict"] == word]["metric"])) for label, word in sides.items()}
        if said := "; ".join(f"{label} is better by {names}" for label, names in metrics.items() if names):
            yield Caution(kind="metric", text=f"other metrics of {one.question} say: {said}", see="verdicts")


def _plain(names: pd.Series) -> list[str]:
    return [str(name).replace("_", " ") for name in names]


def _masks(frames: Frames, dataset: str) -> Iterator[Caution]:
    facts = frames.record.datasets[dataset]
    if facts.mask_is:
        yield Caution(kind="masks", text=f"what counts as lesion is a stand-in: {facts.mask_is}")
