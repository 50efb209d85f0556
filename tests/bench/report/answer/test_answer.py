"""The answer of a run with planted scores: who is best, how certain that is, the price, and what limits it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from bench.report.answer.compute import answer_of
from bench.report.answer.files import read_results, write_results
from bench.report.answer.model import Answer, QuestionAnswer
from bench.report.answer.results import ResultsFile, results_of
from bench.report.answer.scorecard import scorecard, scorecard_markdown
from bench.report.comparisons.floor_ceiling import floor_ceiling_tables
from bench.report.comparisons.price import price_tables
from bench.report.comparisons.verdicts import verdict_tables
from bench.report.failure_modes import Signature
from bench.report.frames.load import Frames
from bench.report.summary import print_summary
from bench.report.tables.main import all_tables
from bench.report.tables.table import TableData
from bench.store.cell_facts import LesionReliance
from bench.store.manifest import Manifest
from bench.store.records import CellRecord
from tests.support.decided import MEANS, RECORD, made, planted, score_rows
from tests.support.files import ROOT

CONFIG = {"report": {"reference": "post_a"}}


def main_tables(frames: Frames) -> dict[str, TableData]:
    """The tables that the answer reads; planted runs store no files of curves."""
    found = all_tables(frames) | floor_ceiling_tables(frames)
    return found | verdict_tables(frames) | price_tables(frames)


def answered(frames: Frames, signs: list[Signature] | None = None) -> Answer:
    return answer_of(frames, main_tables(frames), signs or [])


def questions(frames: Frames) -> dict[str, QuestionAnswer]:
    (one,) = answered(frames).datasets
    return {question.question: question for question in one.questions}


def test_inherent_map_that_locates_better_is_recommended_alone(tmp_path: Path) -> None:
    found = questions(planted(tmp_path))["localisation"]
    assert (found.certainty, found.metric, found.recommended) == ("better", "precision", ["soft"])
    assert found.inherent is not None
    assert found.post_hoc is not None
    assert (found.inherent.label, found.post_hoc.label) == ("soft", "post_b")
    assert found.difference == pytest.approx(0.2, abs=0.01)
    assert (
        "soft (the best inherent map) points at lesions better than post_b (the best of 2 post-hoc maps) by 0.19"
        in found.sentence
    )


def test_numbers_are_those_of_the_tables(tmp_path: Path) -> None:
    frames = planted(tmp_path)
    tables, (one,) = main_tables(frames), answered(frames).datasets
    rows = {(row["explainer"], row["head"]): row for row in tables["localisation"].rows}
    shares = {(row["explainer"], row["head"]): row for row in tables["floor_ceiling"].rows}
    found = next(question for question in one.questions if question.question == "localisation")
    for score in (found.inherent, found.post_hoc):
        assert score is not None
        table = rows[score.explainer, score.head]["precision"]
        assert (score.mean, score.low, score.high, score.n) == (table.mean, table.low, table.high, table.n)
        assert score.share == shares[score.explainer, score.head]["precision"].mean
    assert found.floor is not None
    assert found.ceiling is not None
    assert (found.floor.explainer, found.floor.share) == ("noise", 0.0)
    assert (found.ceiling.explainer, found.ceiling.share) == ("mask", 100.0)
    price = one.price
    assert price is not None
    auc = {row["head"]: row["auc"].mean for row in tables["classification"].rows}
    assert price.auc == auc["soft"]
    assert price.auc_lost == pytest.approx(auc["plain"] - auc["soft"], abs=1e-12)


def test_lower_is_better_and_equal_maps_do_not_matter(tmp_path: Path) -> None:
    means = MEANS | {("soft", "own"): (0.6, 0.401), ("soft", "noise"): (0.1, 0.9)}
    found = questions(made(tmp_path, score_rows(means)))["faithfulness"]
    assert found.certainty == "no relevant difference"
    assert set(found.recommended) >= {"soft", "post_b"}
    worse = MEANS | {("soft", "own"): (0.6, 0.6), ("soft", "noise"): (0.1, 0.9)}
    found = questions(made(tmp_path / "b", score_rows(worse)))["faithfulness"]
    assert (found.certainty, found.recommended) == ("worse", ["post_b"])
    assert "lower is better" in found.sentence


def test_few_images_give_no_recommendation(tmp_path: Path) -> None:
    rows = score_rows(MEANS)
    found = questions(made(tmp_path, rows[rows["image"].isin(["i0", "i1", "i2"])]))["localisation"]
    assert (found.certainty, found.recommended) == ("too few images", [])
    assert "3 images" in found.sentence
    few = rows[rows["image"].isin([f"i{place}" for place in range(7)])]
    found = questions(made(tmp_path / "seven", few))["localisation"]
    assert (found.certainty, found.groups, found.low, found.high) == ("too few images", 7, None, None)
    assert found.difference is not None
    assert "[" not in found.sentence


def test_maps_that_share_no_image_are_not_compared(tmp_path: Path) -> None:
    rows = score_rows(MEANS)
    own = rows["family"] == "inherent"
    apart = rows.assign(value=rows["value"].where(own == rows["image"].isin([f"i{place}" for place in range(20)])))
    found = questions(made(tmp_path, apart))["localisation"]
    assert (found.certainty, found.recommended, found.difference) == ("too few images", [], None)
    assert found.sentence.startswith("Too few images to decide between soft and post_b")


@pytest.mark.parametrize("kept", ["post-hoc", "inherent"])
def test_one_kind_of_map_has_nothing_to_compare_with(tmp_path: Path, kept: str) -> None:
    rows = score_rows(MEANS)
    found = questions(made(tmp_path, rows[rows["family"].isin([kept, "control"])]))["localisation"]
    assert found.certainty == "alone"
    assert found.recommended[0] == {"post-hoc": "post_b", "inherent": "soft"}[kept]
    assert (found.difference, found.n) == (None, 40)


def test_a_lone_kind_of_map_on_few_images_is_not_recommended(tmp_path: Path) -> None:
    rows = score_rows(MEANS)
    few = rows[rows["family"].isin(["post-hoc", "control"]) & rows["image"].isin([f"i{place}" for place in range(4)])]
    frames = made(tmp_path, few)
    found = questions(frames)["localisation"]
    assert (found.certainty, found.recommended, found.n, found.groups) == ("alone", [], 4, 4)
    assert any("4 images" in caution.text for caution in answered(frames).datasets[0].cautions)


@pytest.mark.parametrize("named", ["", "pointing"])
def test_leading_metric_is_the_one_that_the_config_names(tmp_path: Path, named: str) -> None:
    rows = score_rows(MEANS)
    both = pd.concat([rows, rows[rows["metric"] == "precision"].assign(metric="pointing")], ignore_index=True)
    metrics = [*RECORD.metrics, RECORD.metrics[0].changed(name="pointing")]
    frames = made(tmp_path, both, metrics=metrics, config={"report": {"primary": {"localisation": named}}})
    assert questions(frames)["localisation"].metric == (named or "precision")


def test_a_run_without_scores_has_no_questions(tmp_path: Path) -> None:
    answer, stream = answered(made(tmp_path, score_rows(MEANS).iloc[:0])), io.StringIO()
    (one,) = answer.datasets
    assert one.questions == []
    assert one.price is None
    print_summary(answer, [], [], tmp_path, Console(file=stream, width=120))
    assert "  no answer: no map of a model has a score" in stream.getvalue()


def test_cautions_name_the_evidence(tmp_path: Path) -> None:
    frames = planted(tmp_path)
    lost = CellRecord(status="ok", lesion_reliance=LesionReliance(true_positives=20, called_healthy=0.2))
    frames.cells["record"] = [lost] * len(frames.cells)
    facts = RECORD.datasets["x"].changed(mask_is="boxes of the lesions", brightness_auc=0.95)
    frames.record.datasets["x"] = facts
    try:
        sign = Signature("x", "net", ("soft",), ("precision",), "evidence is diffuse")
        (one,) = answered(frames, [sign]).datasets
    finally:
        frames.record.datasets["x"] = RECORD.datasets["x"]
    text = {caution.kind: caution.text for caution in one.cautions}
    assert "boxes of the lesions" in text["masks"]
    assert text["evidence"] == "soft: evidence is diffuse"
    models = [caution.text for caution in one.cautions if caution.kind == "model"]
    assert any("20% of the true positives" in line for line in models)
    assert any("brightness alone reaches an AUC of 0.950" in line for line in models)


def test_area_that_fails_on_known_maps_is_a_caution_in_every_estimand(tmp_path: Path) -> None:
    """The better map "a" has the larger area, although lower is better."""
    metrics = [RECORD.metrics[0], RECORD.metrics[1].changed(of_curve="relative")]
    names = [f"t{index}" for index in range(9)]
    known = [
        pd.DataFrame({"map": one, "image": names, "group": names, "value": at}) for one, at in (("a", 1.0), ("b", 0.0))
    ]
    tried = pd.concat(known).assign(dataset="x", metric="audc", variant="zero")
    frames = replace(made(tmp_path, score_rows(MEANS), metrics=metrics), studies={"soundness": tried})
    (one,) = answered(frames).datasets
    assert [question.metric for question in one.questions] == ["precision", "audc_right@zero"]
    texts = [caution.text for caution in one.cautions if caution.see == "metric_soundness"]
    assert texts == ["audc right@zero fails on maps of known quality here; the answer rests on it"]


@pytest.mark.parametrize(("own", "common", "said"), [(0.6, 0.2, True), (0.6, 0.6, False), (0.401, 0.2, False)])
def test_a_lead_that_vanishes_on_the_grid_of_the_network_is_a_caution(
    tmp_path: Path, own: float, common: float, said: bool
) -> None:
    """The best post-hoc map scores 0.4, the own map ``own``, and ``common`` over the cells of the network."""
    rows = score_rows(MEANS | {("soft", "own"): (common, 0.4)})
    rows = rows[(rows["metric"] == "precision") & (rows["family"] != "control")]
    study = rows.assign(treatment="common", higher_is_better=True, native_grid="4×4", common_grid="4×4")
    frames = made(tmp_path, score_rows(MEANS | {("soft", "own"): (own, 0.4)}))
    (one,) = answered(replace(frames, studies={"fair_resolution": study})).datasets
    texts = [caution.text for caution in one.cautions if caution.see == "fair_resolution"]
    assert [text.split(":")[0] for text in texts] == ["resolution decides"] * said


def test_another_metric_that_decides_is_a_caution(tmp_path: Path) -> None:
    """The leading metric prefers the own map; a second one of the family prefers the post-hoc map."""
    rows = score_rows(MEANS)
    other = rows[rows["metric"] == "precision"].assign(metric="pointing")
    other["value"] = 1 - other["value"]
    metrics = [*RECORD.metrics, RECORD.metrics[0].changed(name="pointing")]
    frames = made(tmp_path, pd.concat([rows, other], ignore_index=True), metrics=metrics)
    (one,) = answered(frames).datasets
    assert any("post_b is better by pointing" in caution.text for caution in one.cautions)


@pytest.mark.parametrize(("mean", "is_named"), [(0.1, False), (0.6, True), (0.8, True)])
def test_a_map_without_a_view_of_the_model_that_does_as_well_is_a_caution(
    tmp_path: Path, mean: float, is_named: bool
) -> None:
    """The best own map has a mean of 0.6."""
    frames = made(tmp_path, score_rows(MEANS | {("plain", "noise"): (mean, 0.9)}))
    (one,) = answered(frames).datasets
    text = "in precision, soft is not shown to be better than noise, which cannot see the model"
    assert (text in [caution.text for caution in one.cautions]) == is_named


def test_results_file_and_scorecard_hold_the_table_and_nothing_else(tmp_path: Path) -> None:
    frames = planted(tmp_path)
    tables = main_tables(frames)
    answer = answer_of(frames, tables, [])
    results = results_of(frames, tables, answer)
    write_results(results, Manifest(tmp_path, lenient=True))
    assert read_results(tmp_path) == results
    row = next(one for one in results.scores if (one.explainer, one.metric) == ("own", "precision"))
    table = next(one for one in tables["localisation"].rows if one["explainer"] == "own" and one["head"] == row.head)
    assert (row.mean, row.n) == (table["precision"].mean, table["precision"].n)
    card = scorecard(results)
    assert {name: one["measured"] for name, one in card["criteria"].items()} == {
        "consistency": False,
        "plausibility": True,
        "fidelity": True,
        "usefulness": False,
    }
    method = next(
        one for one in card["cards"][0]["explanations"] if one["explainer"] == "own" and one["head"] == "soft"
    )
    assert [one["metric"] for one in method["plausibility"]] == ["precision"]
    assert [one["metric"] for one in method["fidelity"]] == ["audc@zero"]
    assert json.loads((tmp_path / "scorecard.json").read_text()) == card
    assert "needs a study with readers" in scorecard_markdown(card)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 9}'])
def test_damaged_results_file_is_an_absent_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    assert read_results(tmp_path) is None


def test_hostile_names_stay_in_their_cell(tmp_path: Path) -> None:
    facts = {"a|b<script>": RECORD.datasets["x"]}
    rows = score_rows(MEANS).assign(dataset="a|b<script>")
    frames = made(tmp_path, rows, datasets=facts)
    frames.cells["dataset"] = "a|b<script>"
    tables = main_tables(frames)
    text = scorecard_markdown(scorecard(results_of(frames, tables, answer_of(frames, tables, []))))
    assert "<script" not in text.replace("\\<script", "")
    assert np.all([line.count("|") - line.count("\\|") > 1 for line in text.splitlines() if line.startswith("|")])


def test_terminal_has_two_lines_and_a_caution_per_data_set(tmp_path: Path) -> None:
    stream = io.StringIO()
    answer = answered(planted(tmp_path))
    print_summary(answer, [], [], tmp_path, Console(file=stream, width=120))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "x"
    assert lines[1] == "  points at lesions: inherent maps are better: soft"
    assert lines[2].startswith("  shows what the model uses: ")
    assert len(lines) <= 14
    assert str(tmp_path / "report.html") in lines[-2]


def test_what_the_user_may_have_overlooked_comes_first(tmp_path: Path) -> None:
    facts = RECORD.datasets["x"].changed(doubts=["3 files are not used"], mask_is="boxes")
    (one,) = answered(made(tmp_path, score_rows(MEANS), datasets={"x": facts})).datasets
    assert one.cautions[0].text == "please check: 3 files are not used"


def test_many_problems_are_cut_on_the_terminal(tmp_path: Path) -> None:
    stream = io.StringIO()
    print_summary(
        Answer(),
        ["cxr", "oct"],
        [f"problem {number}" for number in range(30)],
        tmp_path,
        Console(file=stream, width=120),
    )
    assert "and 18 more lines like these on the page" in stream.getvalue()
    assert "left out, files not there: cxr, oct" in stream.getvalue()


def test_schema_in_the_documents_is_that_of_the_file() -> None:
    wanted = json.dumps(ResultsFile.model_json_schema(), indent=1) + "\n"
    file = ROOT / "docs" / "results.schema.json"
    assert file.read_text() == wanted, f"write ResultsFile.model_json_schema() to {file}"
