"""Scores side by side: as they were listed, wherever they are kept and however they are divided."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.statistics.bootstrap import paired as module
from bench.statistics.bootstrap.names import Names
from bench.statistics.bootstrap.paired import Paired, ScoreFile, joined, pair, shares

NAN = float("nan")


def rows(head: str, images: str, seeds: tuple[int, ...] = (0,), start: float = 0.0) -> pd.DataFrame:
    """One explainer's scores, which count on from ``start``; two images per group."""
    found = pd.DataFrame([(seed, image, f"g{ord(image) // 2}") for seed in seeds for image in images])
    found.columns = ["seed", "image", "group"]
    return found.assign(head=head, explainer="e", value=start + np.arange(len(found)))


def test_scores_are_aligned_by_seed_and_image() -> None:
    found = pair(pd.concat([rows("b", "cab", (3, 1)), rows("a", "ac", (1,), 10)]))
    assert found.methods == [("a", "e"), ("b", "e")]
    assert (list(found.images), found.seeds) == (["a", "b", "c"], (1, 3))
    assert list(found.groups.to_numpy()) == ["g48", "g49", "g49"]
    np.testing.assert_array_equal(found.columns["b", "e"], [[4, 5, 3], [1, 2, 0]])
    np.testing.assert_array_equal(found.of([("a", "e"), ("no", "e")])[..., 0], [[10, NAN, 11], [NAN] * 3])
    assert np.isnan(found.of([("no", "e")])).all()


def test_methods_keep_their_scores_however_many_there_are() -> None:
    """Names that pandas stores in a byte: 5 heads × 60 explainers have more combinations than that."""
    every = {(f"h{head}", f"e{at}"): 100.0 * head + at for head in range(5) for at in range(60)}
    made = pd.DataFrame([(*key, value) for key, value in every.items()], columns=["head", "explainer", "value"])
    made = made.assign(seed=0, image="i", group="g")
    names = ["head", "explainer", "image", "group"]
    found = pair(made.astype(dict.fromkeys(names, "category")))
    assert {method: value.item() for method, value in found.columns.items()} == every


def test_two_scores_of_one_image_are_an_error() -> None:
    with pytest.raises(ValueError, match="two scores of one image"):
        pair(pd.concat([rows("a", "ab"), rows("a", "b")]))


@pytest.mark.parametrize(("first", "second"), [("abc", "abc"), ("abc", "bd"), ("d", "abc")])
@pytest.mark.parametrize("seeds", [(0,), (0, 2)])
def test_methods_that_are_read_apart_are_as_if_read_together(first: str, second: str, seeds: tuple[int, ...]) -> None:
    parts = [rows("b", first, (0,)), rows("a", second, seeds, 50)]
    together, apart = pair(pd.concat(parts)), joined([pair(one) for one in parts])
    assert apart.methods == together.methods
    assert list(apart.images) == list(together.images)
    assert list(apart.groups.to_numpy()) == list(together.groups.to_numpy())
    assert apart.seeds == together.seeds
    np.testing.assert_array_equal(apart.values, together.values)


def test_scores_on_disk_are_those_in_memory() -> None:
    made = [pair(pd.concat([rows("a", "abc"), rows("b", "cab", start=9)])), pair(rows("c", "abcd", start=-4))]
    file = ScoreFile()
    stored = [one.on_disk(file) for one in made]
    made, stored = [*made, joined(made)], [*stored, joined(stored)]
    for _ in range(2):
        for memory, disk in zip(made, stored, strict=True):
            assert (disk.methods, len(disk.columns)) == (memory.methods, len(memory.columns))
            np.testing.assert_array_equal(disk.values, memory.values)
            np.testing.assert_array_equal(disk.scored(disk.methods[:1]), memory.scored(memory.methods[:1]))
    assert ("c", "e") not in stored[0].columns


def test_scores_of_the_same_images_share_their_names() -> None:
    first, same, other = (pair(rows(name, images)) for name, images in (("a", "abc"), ("b", "cab"), ("c", "abd")))
    assert same.with_images_of(first).groups is first.groups
    assert same.with_images_of(first).images is first.images
    assert other.with_images_of(first) is other


def test_many_scores_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(24.0).reshape(1, 4, 6)
    methods = [(name, "e") for name in "abcdef"]
    found = Paired(
        dict(zip(methods, np.moveaxis(values, -1, 0), strict=True)),
        pd.Index(list("wxyz")),
        Names.of(pd.Series(list("wxyz"))),
        (0,),
    )
    assert len(shares(values)) == len([*found.shares(methods)]) == 1
    monkeypatch.setattr(module, "AT_ONCE", 8)
    np.testing.assert_array_equal(np.concatenate(shares(values), axis=-1), values)
    assert [part.shape[-1] for part in shares(values)] == [2, 2, 2]
    assert [len(some) for some in found.shares(methods)] == [2, 2, 2]
    assert [len(some) for some in found.shares(methods, together=3)] == [3, 3]
    assert [method for some in found.shares(methods) for method in some] == methods
    assert len(shares(values[..., :0])) == 1


def test_places_of_images() -> None:
    found = pair(rows("a", "bdf"))
    assert list(Names.of(pd.Series(list("dbbx"))).places_in(found.images)) == [1, 0, 0, -1]
    assert list(Names.of(pd.Series(list("fdb"))).places_in(found.images)) == [2, 1, 0]
