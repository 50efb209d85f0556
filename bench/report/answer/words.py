"""Sentences of the answer, in words that a reader who has never seen the suite understands."""

from __future__ import annotations

from typing import Any

from bench.report.answer.model import FAITHFUL, LOCATES, MethodScore
from bench.report.tables.writers import number

_DOES = {LOCATES: "points at lesions", FAITHFUL: "shows what the model uses"}
_NAMED = 3  # methods in a sentence


def question_sentence(facts: dict[str, Any], others: int, reasons: list[str]) -> str:
    """Returns the answer to a question.

    Args:
        facts: fields of ``QuestionAnswer`` without the sentence.
        others: number of distinct post-hoc methods.
        reasons: why there is no evidence, if there is none.
    """
    own: MethodScore | None = facts["inherent"]
    theirs: MethodScore | None = facts["post_hoc"]
    if not (own and theirs):
        kind, lacking = ("inherent", "post-hoc") if own else ("post-hoc", "inherent")
        only = " and ".join(_scored(one, facts) for one in (own, theirs) if one)
        return f"Nothing to compare with: this run has no {lacking} maps here. Best {kind} map: {only}."
    best = f"{theirs.label}, the best of {others} post-hoc maps," if others > 1 else f"the post-hoc map {theirs.label}"
    inherent, does, numbers = f"{own.label}, the best inherent map,", _DOES[facts["question"]], ""
    if "difference" in facts:  # not where no image has a score of both
        numbers = _numbers(facts)
    sentences = {
        "better": f"{inherent} {does} better than {best} by {numbers}.",
        "worse": f"{best} {does} better than {inherent} by {numbers}.",
        "no relevant difference": f"{inherent} and {best} are equally good: they differ by {numbers}.",
        "not decided": f"Not decided between {inherent} and {best}: they differ by {numbers}{_because(reasons)}.",
        "too few images": f"Too few images to decide between {own.label} and {theirs.label} ({_images(facts)}).",
    }
    sentence = sentences[facts["certainty"]].replace(",.", ".").replace(",:", ":")
    return sentence[0].upper() + sentence[1:] if sentence.startswith("the ") else sentence


def images_text(n: int, groups: int) -> str:
    """Returns the number of images, and of the groups that they come from if images share one."""
    images = f"{n} image{'' if n == 1 else 's'}"
    return images if groups in (0, n) else f"{images} in {groups} group{'' if groups == 1 else 's'}"


def recommendation(recommended: list[str]) -> str:
    """Returns the methods to use as text: the first ones by name, the others by number."""
    shown, more = recommended[:_NAMED], len(recommended) - _NAMED
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _scored(score: MethodScore, facts: dict[str, Any]) -> str:
    mean = "without a score" if score.mean is None else f"{_metric(facts)} {number(score.mean)}"
    return f"{score.label} ({mean})"


def _numbers(facts: dict[str, Any]) -> str:
    """Returns the distance of the two maps with its interval, positive for the one that is ahead."""
    sign = 1 if facts["difference"] >= 0 else -1
    ends = [end for end in (facts.get("low"), facts.get("high")) if end is not None]
    interval = f" [{', '.join(_plain(end) for end in sorted(sign * one for one in ends))}]" if ends else ""
    better = "" if facts["higher_is_better"] else ", lower is better"
    return f"{_plain(abs(facts['difference']))}{interval} ({_metric(facts)}{better}; {_images(facts)})"


def _plain(value: float) -> str:
    return number(value).replace("-", "−")


def _metric(facts: dict[str, Any]) -> str:
    return str(facts["metric"]).replace("_", " ")


def _images(facts: dict[str, Any]) -> str:
    return images_text(facts["n"], facts.get("groups", 0))


def _because(reasons: list[str]) -> str:
    return f"; {'; '.join(reasons)}" if reasons else ""
