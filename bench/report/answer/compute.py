"""The answer of a run, computed from its tables, so that no number of it differs from theirs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.report.answer.cautions import cautions
from bench.report.answer.model import Answer, DatasetAnswer, Price, QuestionAnswer
from bench.report.answer.questions import Tables, answers
from bench.report.failure_modes import Signature
from bench.report.frames.load import Frames
from bench.report.tables.table import FrameTable, is_number


def answer_of(frames: Frames, tables: Tables, signs: list[Signature]) -> Answer:
    """Returns which explanation to use on each data set and backbone, how certain that is, and what it costs.

    Args:
        frames: the run.
        tables: by file name.
        signs: of failure of the heads.
    """
    finished = frames.cells[frames.cells["status"] == "ok"]
    places = list(dict.fromkeys(zip(finished["dataset"], finished["backbone"], strict=True)))
    several = finished["backbone"].nunique() > 1
    verdicts = frame_of(tables, "verdicts")
    found = []
    for dataset, backbone in places:
        questions = answers(frames, tables, verdicts, dataset, backbone)
        found.append(
            DatasetAnswer(
                dataset=dataset,
                source=frames.record.datasets[dataset].spec,
                backbone=backbone if several else "",
                questions=questions,
                price=_price(tables, questions, dataset, backbone),
                cautions=cautions(frames, tables, verdicts, signs, questions, dataset, backbone),
            )
        )
    return Answer(datasets=found)


def frame_of(tables: Tables, name: str) -> pd.DataFrame:
    """Returns the frame behind a table; an empty one if there is no such table."""
    table = tables.get(name)
    return table.frame if isinstance(table, FrameTable) else pd.DataFrame()


def _price(tables: Tables, questions: list[QuestionAnswer], dataset: str, backbone: str) -> Price | None:
    """Returns the price of the inherent head of the first question that has one."""
    own = next((one.inherent for one in questions if one.inherent), None)
    prices = frame_of(tables, "price")
    if own is None or not len(prices):
        return None
    rows = prices[(prices["dataset"] == dataset) & (prices["backbone"] == backbone) & (prices["head"] == own.head)]
    if not len(rows):
        return None
    row = rows.iloc[0]
    lost = {name: float(0.0 - row[of]) for name, of in (("auc_lost", "auc"), ("low", "auc_high"), ("high", "auc_low"))}
    known = {name: value if np.isfinite(value) else None for name, value in lost.items()}
    auc = _auc(tables, dataset, backbone, own.head)
    maps = {one.label: one for question in questions for one in (question.inherent, question.post_hoc) if one}
    seconds = {name: _seconds(tables, dataset, backbone, one.head, one.explainer) for name, one in maps.items()}
    return Price(
        head=own.head,
        black_box=row["black_box"],
        auc=auc,
        **known,
        verdict=row["auc_verdict"] if known["auc_lost"] is not None else "",
        seconds={name: value for name, value in seconds.items() if value is not None},
    )


def _auc(tables: Tables, dataset: str, backbone: str, head: str) -> float | None:
    rows = tables["classification"].rows if "classification" in tables else []
    for row in rows:
        if (row["dataset"], row["backbone"], row["head"]) == (dataset, backbone, head) and is_number(row.get("auc")):
            return float(row["auc"].mean)
    return None


def _seconds(tables: Tables, dataset: str, backbone: str, head: str, explainer: str) -> float | None:
    key = (dataset, backbone, head, explainer)
    if "cost" in tables and "machine" in tables["cost"].keys:  # seconds of different machines must not be compared
        return None
    for row in tables["cost"].rows if "cost" in tables else []:
        if tuple(row[name] for name in ("dataset", "backbone", "head", "explainer")) == key:
            return float(row["seconds"].mean) if is_number(row.get("seconds")) else None
    return None
