"""Several threads give what one gives, in the same order."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from bench.contracts import Sample, UserError
from bench.data import loading
from bench.data.threads import in_order, usable_threads
from tests.bench.data.generated import Generated, assert_same, load, sample
from tests.bench.data.test_cache import Uneven

WAIT = 30.0


def test_results_come_in_order_although_the_first_is_last() -> None:
    later = threading.Event()

    def work(index: int) -> int:
        if index == 0:
            assert later.wait(WAIT)
        if index == 2:
            later.set()
        return index**2

    assert [result() for result in in_order(work, range(9), threads=3)] == [index**2 for index in range(9)]


@pytest.mark.parametrize("threads", [1, 4])
def test_an_exception_comes_in_its_turn_and_the_rest_goes_on(threads: int) -> None:
    def work(index: int) -> int:
        if index % 3 == 1:
            raise ValueError(str(index))
        return index

    found: list[int | str] = []
    for result in in_order(work, range(7), threads):
        try:
            found.append(result())
        except ValueError as error:
            found.append(str(error))
    assert found == [0, "1", 2, 3, "4", 5, 6]


@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (3, 6)])
def test_no_more_is_begun_than_the_look_ahead(threads: int, ahead: int) -> None:
    begun: list[int] = []
    results = in_order(lambda index: begun.append(index), range(100), threads)
    for taken in range(5):
        next(results)()
        assert max(begun) < taken + ahead
    results.close()
    assert len(begun) < 5 + ahead


def test_torch_runs_on_one_thread_in_each_and_keeps_its_own_outside() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert usable_threads() == 3
        inside = [result() for result in in_order(lambda index: torch.get_num_threads(), range(6), 3)]
        started_later: list[int] = []
        thread = threading.Thread(target=lambda: started_later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert (inside, torch.get_num_threads(), started_later) == ([1] * 6, 3, [3])
    finally:
        torch.set_num_threads(before)


def test_a_split_is_the_same_with_four_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad file, late regions, and an order that is turned round on purpose."""

    class Reversed(Uneven):
        files = (Path(__file__),)
        later = threading.Event()

        def __getitem__(self, index: int) -> Sample:
            assert index != 0 or self.later.wait(WAIT)
            if index == 3:
                self.later.set()
            return super().__getitem__(index)

    found = []
    for threads, samples in ((1, Uneven), (4, Reversed)):
        monkeypatch.setattr(loading, "usable_threads", lambda threads=threads: threads)
        cache = tmp_path / str(threads)
        found.append(load(lambda root, split, one=samples: one("train", 8), cache, root=tmp_path, skip_bad=True))
    assert_same(*found)


@pytest.mark.parametrize("lists", [False, True])
def test_samples_without_files_are_read_by_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: bool
) -> None:
    """They may be drawn from one generator, in order; and Python draws one at a time whatever the threads."""
    monkeypatch.setattr(loading, "usable_threads", lambda: 4)
    readers = set()

    class Drawn:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Sample:
            readers.add(threading.current_thread())
            return sample(index)

    if lists:
        Drawn.files = ()  # type: ignore[attr-defined]
    load(lambda root, split: Drawn(), tmp_path)
    assert readers == {threading.current_thread()}


@pytest.mark.parametrize("threads", [1, 4])
def test_the_first_sample_that_breaks_the_contract_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(loading, "usable_threads", lambda: threads)

    class Broken(Generated):
        files = (Path(__file__),)

        def __getitem__(self, index: int) -> Sample:
            if index in (2, 3):
                raise RuntimeError(f"no {index}")
            return super().__getitem__(index)

    with pytest.raises(UserError, match="split train, sample 2: RuntimeError: no 2"):
        load(lambda root, split: Broken("train", 8), tmp_path)
