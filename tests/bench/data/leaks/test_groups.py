"""Columns that name patients, and the order of classes, in tables and folders as people write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.data.readers.class_order import ordered_classes
from bench.data.readers.groups import columns_of, unchecked_groups
from bench.errors import UserError
from bench.statistics.classification import classification_scores

TABLE = Path("splits.csv")


@pytest.mark.parametrize(
    "name",
    [
        "group",
        "Group",
        "patient",
        "patient_id",
        "PatientID",
        "Patient ID",
        "subject",
        "SUBJECT_NO",
        "study",
        "StudyInstanceUID",
        "case-id",
        "participant",
        "mrn",
        "Patienten-ID",
        "donor",
    ],
)
def test_patients_are_found_under_their_usual_names(name: str) -> None:
    assert columns_of(TABLE, ["File", "split", name, "age"]) == (
        {"file": "File", "split": "split", "group": name},
        ["age"],
    )


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["file", "split", "hospital"], "unknown column 'hospital'"),
        (["file", "split", "who", "age"], "unknown column 'who'"),
        (["file", "split", "patient", "study"], "2 columns name the group: patient, study"),
        (["file", "age"], "columns file,split,group expected"),
        (["name", "split"], "columns file,split,group expected"),
    ],
)
def test_other_columns_are_refused_by_name(columns: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        columns_of(TABLE, columns)


def test_missing_groups_are_said_to_be_unchecked() -> None:
    assert unchecked_groups({"a": "p0", "b": "p0"}) == ""
    assert unchecked_groups({"a": "p0", "b": "b"}).startswith("which images are of one person for 1 of 2 images")
    assert unchecked_groups({"a": "a"}).startswith("which images are of one person:")


@pytest.mark.parametrize(
    ("names", "expected", "ordered"),
    [
        (["1", "10", "2"], ("1", "2", "10"), True),
        (["grade_3", "Grade_12", "grade_1"], ("grade_1", "grade_3", "Grade_12"), True),
        (["10_severe", "0_none", "2_mild"], ("0_none", "2_mild", "10_severe"), True),
        (["CNV", "DME", "DRUSEN"], ("CNV", "DME", "DRUSEN"), False),
        (["type2", "other1"], ("other1", "type2"), False),
        (["1", "01"], ("01", "1"), False),
    ],
)
def test_numbers_in_names_give_the_order(names: list[str], expected: tuple[str, ...], ordered: bool) -> None:
    assert ordered_classes(names) == (expected, ordered)


def test_stated_grades_give_the_order_and_must_be_all_classes() -> None:
    grades = ["No_DR", "Mild", "Severe"]
    assert ordered_classes(sorted(grades), grades) == (tuple(grades), True)
    for wrong, expected in ((["No_DR", "Mild"], "'Severe' has no grade"), ([*grades, "Sever"], "did you mean Severe")):
        with pytest.raises(UserError, match=expected):
            ordered_classes(grades, wrong)


def test_kappa_follows_the_grades_and_not_the_alphabet() -> None:
    grades = ["No_DR", "Mild", "Moderate", "Severe", "Proliferate_DR"]
    truth = [grade for grade in grades for _ in range(2)]
    called = ["Mild", "Mild", *truth[2:]]

    def kappa(names: list[str], stated: list[str]) -> float:
        order, ordered = ordered_classes(names, stated)
        labels = np.array([order.index(grade) for grade in truth])
        logits = np.eye(5)[[order.index(grade) for grade in called]]
        return float(classification_scores(logits, labels, ordered=ordered)["kappa"][0])

    assert kappa(grades, grades) == pytest.approx(1 - 2 / 34)
    assert np.isnan(kappa(grades, []))
