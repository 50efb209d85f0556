"""The end of a run on the terminal: the answer per data set, one table, and where the files are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.report.answer.model import Answer, DatasetAnswer, MethodScore, QuestionAnswer
from bench.report.answer.results import FILE
from bench.report.answer.words import DOES, images_text, recommendation
from bench.report.tables.writers import number
from bench.text.transcript import Transcript

#: How to learn more about data sets that are not there.
WHAT_IS_MISSING = "run_benchmark.py list says what is missing"
_NO_ANSWER = "no answer: no map of a model has a score of localisation or faithfulness"
_LONGEST = 12  # lines about what went wrong; the page has them all


def print_summary(
    answer: Answer, absent: Sequence[str], problems: Sequence[str], folder: Path, console: Console | Transcript
) -> None:
    """Prints the answer of a run in at most forty lines for four data sets.

    Args:
        answer: of the run.
        absent: names of data sets that ``all`` would include and that are not there.
        problems: lines about what failed or is damaged.
        folder: of the run.
        console: to print on.
    """
    for one in answer.datasets:
        console.print(Text(_name(one), style="bold"), soft_wrap=True)
        for question in one.questions:
            console.print(Text(f"  {DOES[question.question]}: {spoken(question)}"), soft_wrap=True)
        if not one.questions:
            console.print(Text(f"  {_NO_ANSWER}"), soft_wrap=True)
        if one.cautions:
            more = f" ({len(one.cautions) - 1} more on the page)" if len(one.cautions) > 1 else ""
            console.print(Text(f"  caution: {one.cautions[0].text}{more}", style="yellow"), soft_wrap=True)
    if any(one.questions for one in answer.datasets):
        console.print("", _table(answer), "")
    for line in problems[:_LONGEST]:
        console.print(Text(line, style="yellow"), soft_wrap=True)
    if len(problems) > _LONGEST:
        console.print(Text(f"… and {len(problems) - _LONGEST} more lines like these on the page", style="yellow"))
    if absent:
        console.print(Text(f"left out, files not there: {', '.join(absent)} ({WHAT_IS_MISSING})"), soft_wrap=True)
    console.print(Text(f"page: {folder / 'report.html'}"), soft_wrap=True)
    console.print(Text(f"also in {folder}: tables, figures, scores.parquet, {FILE}, scorecard.md"), soft_wrap=True)


def spoken(question: QuestionAnswer) -> str:
    """Returns the answer to a question as half a line."""
    own, theirs, several = question.inherent, question.post_hoc, recommendation(question.recommended)
    names = " and ".join(one.label for one in (own, theirs) if one)
    found = {
        "better": f"inherent maps are better: {several}",
        "worse": f"post-hoc maps are better: {several}",
        "no relevant difference": f"{names} do equally well",
        "not decided": f"not decided between {names}; any of these may be best: {several}",
        "too few images": f"too few images to decide ({images_text(question.n, question.groups)})",
        "alone": f"{several} (nothing to compare with)",
    }
    return found[question.certainty]


def _name(one: DatasetAnswer) -> str:
    return f"{one.dataset} · {one.backbone}" if one.backbone else one.dataset


def _table(answer: Answer) -> Table:
    columns = ("data set", "metric", "inherent", "", "post-hoc", "", "floor", "ceiling (mask)")
    table = Table(*columns, title="Best map of each kind", title_justify="left", box=None, pad_edge=False)
    for one in answer.datasets:
        for question in one.questions:
            arrow = "↑" if question.higher_is_better else "↓"
            best = [cell for score in (question.inherent, question.post_hoc) for cell in _cells(score)]
            ends = [_number(question.floor), _number(question.ceiling)]
            metric = f"{question.metric.replace('_', ' ')} {arrow}"
            table.add_row(*map(Text, (_name(one), metric, *best, *ends)))
    return table


def _cells(score: MethodScore | None) -> tuple[str, str]:
    return (score.label, _number(score)) if score else ("–", "")


def _number(score: MethodScore | None) -> str:
    return "–" if score is None or score.mean is None else number(score.mean)
