"""Sentences of the answer, in words that a reader who has never seen the suite understands."""

from __future__ import annotations

from bench.report.answer.model import FAITHFUL, LOCATES, MethodScore, QuestionAnswer
from bench.report.tables.writers import number

#: Questions in words, and what a map does that answers them, by the family of metrics.
ASKS = {LOCATES: "Which map points at the lesion?", FAITHFUL: "Which map shows what the model uses?"}
DOES = {LOCATES: "points at lesions", FAITHFUL: "shows what the model uses"}
_NAMED = 3  # methods in a sentence


def question_sentence(answer: QuestionAnswer, others: int, reasons: list[str]) -> str:
    """Returns the answer to a question in one sentence.

    Args:
        answer: with all fields except the sentence.
        others: number of distinct post-hoc methods.
        reasons: why there is no evidence, if there is none.
    """
    own, theirs = answer.inherent, answer.post_hoc
    if not (own and theirs):
        kind, lacking = ("inherent", "post-hoc") if own else ("post-hoc", "inherent")
        only = " and ".join(_scored(one, answer) for one in (own, theirs) if one)
        return f"Nothing to compare with: this run has no {lacking} maps here. Best {kind} map: {only}."
    inherent = f"{own.label} (the best inherent map)"
    post_hoc = f"{theirs.label} ({f'the best of {others} post-hoc maps' if others > 1 else 'post-hoc'})"
    if answer.certainty == "too few images" or answer.difference is None:
        images = images_text(answer.n, answer.groups)
        return f"Too few images to decide between {own.label} and {theirs.label} ({images})."
    does, numbers = DOES[answer.question], _numbers(answer, answer.difference)
    return {
        "better": f"{inherent} {does} better than {post_hoc} by {numbers}.",
        "worse": f"{post_hoc} {does} better than {inherent} by {numbers}.",
        "no relevant difference": f"{inherent} and {post_hoc} are equally good: they differ by {numbers}.",
        "not decided": f"Not decided between {inherent} and {post_hoc}: they differ by {numbers}{_because(reasons)}.",
    }[answer.certainty]


def images_text(n: int, groups: int) -> str:
    """Returns the number of images, and of the groups that they come from if images share one."""
    images = f"{n} image{'' if n == 1 else 's'}"
    return images if groups in (0, n) else f"{images} in {groups} group{'' if groups == 1 else 's'}"


def recommendation(recommended: list[str]) -> str:
    """Returns the methods to use as text: the first ones by name, the others by number."""
    shown, more = recommended[:_NAMED], len(recommended) - _NAMED
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _scored(score: MethodScore, answer: QuestionAnswer) -> str:
    mean = "without a score" if score.mean is None else f"{_metric(answer)} {number(score.mean)}"
    return f"{score.label} ({mean})"


def _numbers(answer: QuestionAnswer, difference: float) -> str:
    """Returns the distance of the two maps with its interval, positive for the one that is ahead."""
    sign = 1 if difference >= 0 else -1
    ends = sorted(sign * end for end in (answer.low, answer.high) if end is not None)
    interval = f" [{', '.join(map(_plain, ends))}]" if ends else ""
    better = "" if answer.higher_is_better else ", lower is better"
    return f"{_plain(abs(difference))}{interval} ({_metric(answer)}{better}; {images_text(answer.n, answer.groups)})"


def _plain(value: float) -> str:
    return number(value).replace("-", "−")


def _metric(answer: QuestionAnswer) -> str:
    return answer.metric.replace("_", " ")


def _because(reasons: list[str]) -> str:
    return f"; {'; '.join(reasons)}" if reasons else ""
