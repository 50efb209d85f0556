"""Tables: what is in a row, what is bold, and that three notations say the same."""

from __future__ import annotations

import re

import numpy as np

from bench.report.tables.table import Column, TableData
from bench.report.tables.writers import entry, html, latex, markdown, number
from bench.statistics.intervals import Estimate


def made() -> TableData:
    def row(dataset: str, explainer: str, mean: float, cost: float) -> dict:
        return {
            "dataset": dataset,
            "explainer": explainer,
            "precision": Estimate(mean, mean - 0.1, mean + 0.1, 7, 1),
            "error": Estimate(cost, np.nan, np.nan, 7),
        }

    rows = [row("a_b", "x", 0.5, 3), row("a_b", "y", 0.7, 2), row("a_b", "oracle", 1, 0), row("c", "x", 0.2, 9)]
    columns = [Column("precision", True), Column("error", False)]
    return TableData("50 % of a_b", ["dataset", "explainer"], columns, rows, [True, True, False, True])


def test_best_is_by_data_set_and_direction_and_never_a_control() -> None:
    assert made().best() == {(1, "precision"), (1, "error")}


def test_ties_are_all_best() -> None:
    table = made()
    table.rows[0]["precision"] = table.rows[1]["precision"]
    assert {(0, "precision"), (1, "precision")} <= table.best()


def test_rounding_breaks_no_tie() -> None:
    table = made()
    for index, mean in enumerate((0.7350001, 0.735, 0.9)):
        table.rows[index]["precision"] = Estimate(mean, np.nan, np.nan, 7)
    assert {row for row, column in table.best() if column == "precision"} == {0, 1}


def test_numbers_keep_interval_and_counts() -> None:
    frame = made().numbers()
    assert frame.loc[1, ["precision_mean", "precision_n", "precision_undefined"]].tolist() == [0.7, 7, 1]
    assert np.isnan(frame.loc[0, "error_low"])


def test_markdown_is_a_table_with_bold_best() -> None:
    lines = markdown(made()).splitlines()
    assert lines[0] == "50 % of a_b"
    assert lines[2] == "| dataset | explainer | n | precision ↑ | error ↓ |"
    assert lines[5] == "| a_b | y | 7 | **0.700 [0.600, 0.800]** | **2.000** |"
    assert len({line.count("|") for line in lines[2:]}) == 1


def test_latex_is_escaped_and_balanced() -> None:
    text = latex(made())
    assert r"\toprule" in text
    assert r"a\_b & y & 7 & \textbf{0.700 [0.600, 0.800]} & \textbf{2.000} \\" in text
    assert r"50 \% of a\_b" in text
    assert r"precision $\uparrow$" in text
    assert text.count("{") == text.count("}")
    assert not re.search(r"(?<!\\)[%_#]", text)


def test_html_escapes_nothing_away() -> None:
    assert "<b>0.700 [0.600, 0.800]</b>" in html(made())


def test_a_score_of_other_images_says_its_own_number() -> None:
    table = made()
    assert "n counts the images" not in markdown(table) + latex(table) + html(table)
    table.columns.append(Column("share", None))
    for row in table.rows:
        row["share"] = Estimate(0.5, np.nan, np.nan, 3)
    table.rows[1]["share"] = Estimate(np.nan, np.nan, np.nan, 3)
    lines = markdown(table).splitlines()
    assert lines[4].endswith("| 7 | 0.500 [0.400, 0.600] | 3.000 | 0.500 (n = 3) |")
    assert lines[5].endswith("| 7 | **0.700 [0.600, 0.800]** | **2.000** | – |")
    for text in (markdown(table), latex(table), html(table)):
        assert text.count("n counts the images of most scores") == 1
    assert table.notes == []


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0.12345, 12.345, 12345.6, 0.00001, 0, -5.6e-17, float("nan"))] == [
        "0.123",
        "12.3",
        "12346",
        "1.0e-05",
        "0.000",
        "0.000",
        "–",
    ]
    assert entry(None) == "–"
