"""Names as numbers, whatever holds them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.statistics.bootstrap.names import AnyNames, Names, combinations, occurring, one_of
from bench.statistics.bootstrap.resampling import clusters_of

TEXT = ["b", "é", "a", "b", "a\u0301", "B"]
KNOWN = sorted(set(TEXT))
PLACE = [KNOWN.index(name) for name in TEXT]
ORDERED = pd.CategoricalDtype(sorted([*KNOWN, "not used"]), ordered=True)
FORMS = {
    "array of objects": np.array(TEXT, dtype=object),
    "array of text": np.array(TEXT),
    "series": pd.Series(TEXT),
    "categories": pd.Series(pd.Categorical(TEXT, [*reversed(KNOWN), "not used"])),
    "ordered categories": pd.Series(TEXT, dtype=ORDERED),
    "numbered": Names(pd.Index(["0", *KNOWN]), 1 + np.array(PLACE)),
}


@pytest.mark.parametrize("names", FORMS.values(), ids=FORMS)
def test_names_are_numbered_in_their_order(names: AnyNames) -> None:
    found = Names.of(names)
    assert list(found.known) == KNOWN
    assert list(found.to_numpy()) == list(found) == TEXT


@pytest.mark.parametrize("names", FORMS.values(), ids=FORMS)
def test_draws_depend_on_the_names_alone(names: AnyNames) -> None:
    clusters, member = clusters_of(names)
    assert clusters == clusters_of(FORMS["series"])[0]
    assert list(member) == PLACE


def test_some_of_the_things() -> None:
    found = Names.of(FORMS["series"])
    assert list(found[np.array([0, 2])].to_numpy()) == ["b", "a"]
    assert list(Names.of(found[np.array(TEXT) == "b"]).known) == ["b"]
    assert len(found[np.array([], dtype=int)]) == len(Names.of(found[np.array([], dtype=int)]).known) == 0


def test_groups_that_are_numbers_are_drawn_by_their_text() -> None:
    clusters, member = clusters_of(np.array([10, 9, 10]))
    assert clusters == clusters_of(np.array(["9", "10"]))[0]
    assert list(member) == [0, 1, 0]


@pytest.mark.parametrize("share", [1.0, 0.3, 0.001])
def test_combinations_are_numbered_in_the_order_of_their_names(share: float) -> None:
    """5 heads × 60 explainers are more combinations than a byte has numbers, in which pandas stores such names."""
    every = pd.MultiIndex.from_product([[f"h{at}" for at in range(5)], [f"e{at}" for at in range(60)], ["s"]])
    rows = every.to_frame(index=False, name=["head", "explainer", "seed"]).sample(frac=2 * share, replace=True)
    rows = rows.astype(pd.CategoricalDtype(sorted({*rows.to_numpy().ravel(), "a"}), ordered=True))
    number, known = combinations(rows, ["head", "explainer", "seed"])
    assert known == sorted(set(rows.itertuples(index=False, name=None)))
    assert [known[at] for at in number] == [*rows.itertuples(index=False, name=None)]


@pytest.mark.parametrize("count", [8, 9, 1000])
def test_numbers_that_occur(count: int) -> None:
    numbers = np.array([5, 7, 5, 0, 1, 2, 3, 4, 6])
    for found, expected in zip(occurring(numbers, count), np.unique(numbers, return_inverse=True), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert [len(one) for one in occurring(numbers[:0], count)] == [0, 0]


@pytest.mark.parametrize("dtype", [object, "str", pd.CategoricalDtype(list("zyba"), ordered=True)])
def test_one_of_a_few_names(dtype: object) -> None:
    column = pd.Series(list("abzba"), dtype=dtype)  # type: ignore[call-overload]
    assert one_of(column, ["a", "z", "absent"]).tolist() == column.isin(["a", "z"]).tolist()
    assert not one_of(column[:0], ["a"]).any()
