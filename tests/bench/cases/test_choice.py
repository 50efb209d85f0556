"""Choice of cases: every kind of image comes before the second of any, and more cases keep the fewer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cases.choice import LARGE, MEDIUM, NO_LESION, SMALL, chosen, kept, lesion_sizes


def test_rare_kinds_come_first() -> None:
    kinds = ["right"] * 6 + ["missed"] + ["right"] * 2 + ["false alarm"]
    assert chosen(kinds, 3) == [0, 6, 9]
    assert chosen(kinds, 4) == [0, 1, 6, 9]


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_more_cases_keep_the_fewer(kinds: list[str], few: int, more: int) -> None:
    few, more = min(few, more), max(few, more)
    fewer, all_of_them = chosen(kinds, few), chosen(kinds, more)
    assert set(fewer) <= set(all_of_them)
    assert len(fewer) == min(few, len(kinds))
    assert fewer == sorted(fewer)
    counts = [sum(kinds[at] == kind for at in fewer) for kind in set(kinds)]
    left = [sum(one == kind for one in kinds) - count for kind, count in zip(set(kinds), counts, strict=True)]
    assert all(other <= count + 1 for count, rest in zip(counts, left, strict=True) if rest for other in counts)


def test_lesions_are_sorted_into_thirds() -> None:
    areas = np.array([0.3, 0.0, 0.1, np.nan, 0.2, 0.5, 0.4, 0.6])
    assert lesion_sizes(areas).tolist() == [MEDIUM, NO_LESION, SMALL, NO_LESION, SMALL, LARGE, MEDIUM, LARGE]
    assert lesion_sizes(np.array([np.nan, 0.0])).tolist() == [NO_LESION, NO_LESION]


@pytest.mark.parametrize(("shown", "count"), [(0, 0), (1, 5), (4, 20), ("all", 30), (200, 30)])
def test_a_run_keeps_more_than_the_page_shows(shown: int, count: int) -> None:
    labels, areas = np.arange(30) % 2, np.linspace(0, 1, 30)
    assert len(kept(labels, areas, shown)) == count


def test_what_is_kept_holds_every_class_and_size() -> None:
    labels, areas = np.array([0] * 40 + [1] * 3), np.concatenate([np.linspace(0.1, 1, 40), [0, 0, 0]])
    places = kept(labels, areas, 1)
    assert {(labels[at], size) for at, size in enumerate(lesion_sizes(areas)) if at in places} == {
        (0, SMALL),
        (0, MEDIUM),
        (0, LARGE),
        (1, NO_LESION),
    }
