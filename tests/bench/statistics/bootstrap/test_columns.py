"""Columns that are read part by part: names as categories in their order."""

from __future__ import annotations

import pickle

import pandas as pd
import polars as pl
import pyarrow as pa

from bench.statistics.bootstrap.columns import Coded, NameTable, Numbers, with_codes


def test_names_are_numbered_in_their_order_whenever_they_appear() -> None:
    table = NameTable()
    parts = [["m", "z"], ["m", "z"], [], ["a", "z", "a"], ["q", "m"], ["z", "a"]]
    first, second = Coded(table), Coded(table)
    for column in (first, second):
        for place, names in enumerate(parts):
            column.add(pl.Series(names, dtype=pl.String), place)
        assert list(column.whole()) == [name for part in parts for name in part]
        assert list(column.whole().categories) == ["a", "m", "q", "z"]


def test_names_are_categories_as_pandas_makes_them() -> None:
    table = NameTable()
    column = Coded(table)
    column.add(pl.Series(["m", "é", "a", "m"]))
    found = pd.Series(column.whole())
    expected = pd.CategoricalDtype(["a", "m", "é"], ordered=True)
    assert found.dtype == expected
    assert pickle.loads(pickle.dumps(found)).dtype == expected
    assert found.groupby(found, observed=False).size().to_dict() == {"a": 1, "m": 2, "é": 1}


def test_tables_are_joined_with_names_as_categories() -> None:
    tables = [pa.table({"image": ["b", "a"], "label": [1, 0]}), pa.table({"image": ["a", "c"], "logit": [0.5, 1.5]})]
    facts = pd.DataFrame({"head": ["z", "a"], "seed": [4, 0]}, index=[7, 3])
    found = with_codes([[tables[0]], [tables[1][:1], tables[1][1:]]], facts, {"image": NameTable()})
    assert (found["head"].tolist(), found["seed"].tolist()) == (["z", "z", "a", "a"], [4, 4, 0, 0])
    assert found["head"].cat.ordered
    assert list(found["image"].cat.categories) == ["a", "b", "c"]
    assert found["image"].cat.ordered
    plain = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    pd.testing.assert_frame_equal(found.astype({"image": "str"})[list(plain)], plain)
    assert list(found.sort_values("image")["image"]) == ["a", "a", "b", "c"]


def test_numbers_do_not_keep_the_text_that_was_read_with_them() -> None:
    before, column = pa.total_allocated_bytes(), Numbers(None)
    table = pa.table({"value": [0.5] * 1000, "name": ["a long name of an image"] * 1000})
    column.add(pl.DataFrame(table)["value"])
    del table
    assert pa.total_allocated_bytes() == before
    assert column.whole().tolist() == [0.5] * 1000
