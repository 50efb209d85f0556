"""Content of a page for tests: a run from the makers of stored runs, and an answer about it."""

from __future__ import annotations

from pathlib import Path

from bench.files import replacing
from bench.report.answer.model import Answer, Caution, DatasetAnswer, MethodScore, Price, QuestionAnswer
from bench.report.contents import every_table
from bench.report.failures import Failures
from bench.report.figures.style import Caption
from bench.report.frames.load import Frames, load_frames
from bench.report.page.page import write_page
from bench.report.page.prepared import prepare
from bench.report.page.section import Content
from bench.report.tables.table import TableData


def score(label: str, family: str, mean: float, share: float | None = None) -> MethodScore:
    """Score with intervals of ±0.1 and ±10 percent."""
    ends = {} if share is None else {"share": share, "share_low": share - 10, "share_high": share + 10}
    facts = {"label": label, "explainer": label, "head": "plain", "family": family, "mean": mean, "n": 40}
    return MethodScore.model_validate(facts | {"low": mean - 0.1, "high": mean + 0.1} | ends)


def question(name: str = "localisation", certainty: str = "better", **facts: object) -> QuestionAnswer:
    """Answer to a question with every fact that it can have."""
    known = {
        "question": name,
        "asks": f"Is there {name}?",
        "metric": "topk_precision",
        "higher_is_better": True,
        "inherent": score("own", "inherent", 0.6, 62.0),
        "post_hoc": score("post_a", "post-hoc", 0.5, 40.0),
        "floor": score("noise", "control", 0.1),
        "ceiling": score("mask", "control", 0.9),
        "certainty": certainty,
        "difference": 0.1,
        "low": 0.04,
        "high": 0.16,
        "groups": 40,
        "recommended": ["own", "post_a"],
        "sentence": "Own maps point at 60 % and post_a at 50 %.",
    }
    return QuestionAnswer.model_validate(known | facts)


def answer(frames: Frames) -> Answer:
    """Answer with a price and two cautions for every data set of a run."""
    price = Price(head="own", black_box="plain", auc=0.9, auc_lost=0.01, low=-0.01, high=0.03, verdict="undecided")
    cautions = [
        Caution(kind="model", text="The model does not use the lesions."),
        Caution(kind="metric", text="The metric fails on maps of known quality.", see="complexity"),
    ]
    return Answer(
        datasets=[
            DatasetAnswer(
                dataset=name,
                source=f"folder:/data/{name}",
                questions=[question(), question("faithfulness", "not decided")],
                price=price.changed(seconds={"own": 0.0031, "post_a": 0.42}),
                cautions=cautions,
            )
            for name in frames.record.datasets
        ]
    )


def content(
    folder: Path, tables: dict[str, TableData] | None = None, captions: dict[str, Caption] | None = None
) -> Content:
    """Content of the page of a stored run."""
    frames, failures = load_frames(folder), Failures(are_raised=True)
    tables = every_table(frames, failures) if tables is None else tables
    return Content(
        frames, answer(frames), tables, captions or {}, [], folder / "figures", failures, prepare(frames, failures)
    )


def written(one: Content, folder: Path) -> Path:
    """Writes the page and returns its file."""
    write_page(one, replacing(folder / "report.html"))
    return folder / "report.html"
