"""Scorecard of explanations in the four criteria of the FDA's framework, with what is measured and what is not.

Source: Lago et al. 2025, arXiv:2506.13917 (consistency, plausibility, fidelity, usefulness).
"""

from __future__ import annotations

from statistics import mode
from typing import Any

from bench.report.answer.model import FAITHFUL, LOCATES
from bench.report.answer.results import ResultsFile, Score
from bench.report.tables.writers import entry
from bench.statistics.intervals import Estimate
from bench.text.media import markdown

STEM = "scorecard"
SOURCE = "arXiv:2506.13917"
#: Criterion -> (definition, families of metrics that measure it, what is said if none does or what is not covered).
CRITERIA = {
    "consistency": (
        "how little the explanation varies between similar inputs",
        (),
        "Not measured: the suite does not perturb inputs. Its own family of metrics with this name compares the sign "
        "of the evidence with the label.",
    ),
    "plausibility": (
        "how close the explanation is to the ground truth",
        (LOCATES,),
        "Measured against lesion masks or boxes; agreement with the reading of a clinician is not measured.",
    ),
    "fidelity": (
        "how well the explanation matches what the model computes",
        (FAITHFUL, "exactness"),
        "Measured by occlusion on the model itself. The study sanity adds randomised weights where it ran.",
    ),
    "usefulness": (
        "what the explanation changes in the performance of its user",
        (),
        "Not measured: this needs a study with readers.",
    ),
}


def scorecard(results: ResultsFile) -> dict[str, Any]:
    """Returns the scorecard as data: criteria, and per data set its classifiers and the scores of every method."""
    families = {metric.name: metric.family for metric in results.metrics}
    cards = []
    for dataset in results.datasets:
        scores = [one for one in results.scores if one.dataset == dataset.name]
        methods: dict[tuple[str, str, str], list[Score]] = {}
        for one in scores:
            methods.setdefault((one.backbone, one.head, one.explainer), []).append(one)
        classifiers = [_card(key, part, families) for key, part in methods.items() if not key[2]]
        explanations = [_card(key, part, families) for key, part in methods.items() if key[2]]
        cards.append({"dataset": dataset.model_dump(), "classifiers": classifiers, "explanations": explanations})
    criteria = {
        name: {"definition": definition, "measured": bool(measured), "limits": limits}
        for name, (definition, measured, limits) in CRITERIA.items()
    }
    return {
        "format": 1,
        "source": SOURCE,
        "run": results.run,
        "suite": results.suite,
        "criteria": criteria,
        "cards": cards,
    }


def _card(key: tuple[str, str, str], scores: list[Score], families: dict[str, str]) -> dict[str, Any]:
    backbone, head, explainer = key
    parts = {"metric", "mean", "low", "high", "n"}
    found: dict[str, Any] = {"backbone": backbone, "head": head, "explainer": explainer, "family": scores[0].family}
    for criterion, (_, measured, _) in CRITERIA.items():
        of = [one for one in scores if families.get(one.metric.partition(" (")[0]) in measured]
        found[criterion] = [one.model_dump(include=parts) for one in of]
    if not explainer:
        found["performance"] = [one.model_dump(include=parts) for one in scores]
    return found


def scorecard_markdown(card: dict[str, Any]) -> str:
    """Returns the scorecard as Markdown: one table of methods per data set, one column per measured metric."""
    lines = [f"# Scorecard of explanations: {markdown(card['run'])}", ""]
    lines += [f"Criteria of the FDA's framework ({SOURCE}). {card['suite']}.", "", "| criterion | means | here |"]
    lines += ["|---|---|---|"]
    lines += [f"| {name} | {one['definition']} | {one['limits']} |" for name, one in card["criteria"].items()]
    for one in card["cards"]:
        lines += ["", f"## {markdown(one['dataset']['name'])}", "", *_classifiers(one["classifiers"])]
        for criterion in [name for name, (_, measured, _) in CRITERIA.items() if measured]:
            lines += ["", f"### {criterion.capitalize()}", "", *_methods(one["explanations"], criterion)]
    return "\n".join(lines) + "\n"


def _classifiers(cards: list[dict[str, Any]]) -> list[str]:
    scores = [{score["metric"]: score for score in card["performance"]} for card in cards]
    shown = [name for name in ("auc", "sensitivity", "specificity", "ece") if any(name in one for one in scores)]
    lines = ["| classifier | " + " | ".join(shown) + " |", "|---" * (len(shown) + 1) + "|"] if shown else []
    for card, known in zip(cards, scores, strict=True):
        cells = [markdown(f"{card['backbone']}, {card['head']}"), *(_entry(known.get(name)) for name in shown)]
        lines += [f"| {' | '.join(cells)} |"] if shown else []
    return lines


def _methods(cards: list[dict[str, Any]], criterion: str) -> list[str]:
    metrics = list(dict.fromkeys(score["metric"] for card in cards for score in card[criterion]))
    if not metrics:
        return ["Not measured on this data set."]
    names = [markdown(name.replace("_", " ")) for name in metrics]
    lines = [f"| explanation | family | {' | '.join(names)} | n |", "|---" * (len(metrics) + 3) + "|"]
    for card in cards:
        known = {score["metric"]: score for score in card[criterion]}
        if known:
            method = markdown(f"{card['explainer']} on {card['backbone']}, {card['head']}")
            count = mode(score["n"] for score in known.values())
            cells = [method, card["family"], *(_entry(known.get(name)) for name in metrics), str(count)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _entry(score: dict[str, Any] | None) -> str:
    if score is None:
        return "–"
    low, high = (float("nan") if score[end] is None else score[end] for end in ("low", "high"))
    return entry(Estimate(score["mean"], low, high, score["n"]))
