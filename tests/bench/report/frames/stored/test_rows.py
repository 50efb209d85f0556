"""Rows of one image each in several files: read part by part, joined, counted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.report.frames.stored import rows
from bench.report.frames.stored.rows import StoredRows

CELLS = [("first", "own", 1), ("second", "own", 0), ("first", "plain", 0)]


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredRows:
    """Files of three cells, read two rows at a time; only the second has three classes."""
    monkeypatch.setattr(rows, "TEXT_ROWS", 2)
    files = []
    for place, (dataset, head, seed) in enumerate(CELLS):
        names = [f"{dataset}-{number}" for number in (4, 0, 3)]
        logits = {f"logit_{one}": [0.5 * place] * 3 for one in range(3 if place == 1 else 2)}
        frame = pd.DataFrame({"image": names, "group": [f"{dataset}-g", *names[1:]], "label": [1, 0, 1]} | logits)
        files.append({"path": str(tmp_path / f"{place}.parquet"), "dataset": dataset, "backbone": "net", "head": head})
        files[-1]["seed"] = seed
        frame.to_parquet(files[-1]["path"], index=False)
    return StoredRows(pd.DataFrame(files))


def test_rows_are_those_of_the_files(stored: StoredRows) -> None:
    found = stored.rows()
    parts = [pd.read_parquet(row.path).assign(head=row.head, seed=row.seed) for row in stored.files.itertuples()]
    expected = pd.concat(parts, ignore_index=True)
    pd.testing.assert_frame_equal(found.astype(object)[list(expected)], expected.astype(object))
    assert found["image"].cat.ordered
    assert list(found["image"].cat.categories) == sorted(set(expected["image"]))
    assert found["logit_2"].notna().tolist() == [False] * 3 + [True] * 3 + [False] * 3
    assert list(stored.rows("label", "image")) == ["image", "label", "dataset", "backbone", "head", "seed"]


def test_parts_of_the_files(stored: StoredRows) -> None:
    assert [(key, len(part), part.seeds) for key, part in stored.by("head", "seed")] == [
        (("own", "1"), 1, [1]),
        (("own", "0"), 1, [0]),
        (("plain", "0"), 1, [0]),
    ]
    part = stored.where(dataset=["first"], seed=[0, 7])
    assert (part.rows()["head"].unique().tolist(), part.count()) == (["plain"], (3, 3))
    assert (stored.seeds, stored.count()) == ([0, 1], (6, 6))


def test_names_that_others_have_read_keep_their_order(stored: StoredRows) -> None:
    before = stored.where(dataset=["second"]).rows()
    after = stored.rows()
    assert list(before["image"].cat.categories) == ["second-0", "second-3", "second-4"]
    assert list(after["image"].cat.categories)[3:] == list(before["image"].cat.categories)
    assert stored.where(dataset=["second"]).count() == (3, 3)


def test_nothing_and_files_without_rows(stored: StoredRows) -> None:
    assert len(StoredRows().rows()) == len(stored.where(head=["absent"]).rows()) == 0
    path = stored.files["path"].iloc[0]
    pd.read_parquet(path)[:0].to_parquet(path, index=False)
    empty = stored.where(seed=[1])
    assert (len(empty), len(empty.rows()), empty.count()) == (1, 0, (0, 0))
    assert len(stored.rows()) == 6
