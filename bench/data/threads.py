"""Threads whose results come in order: decoding is faster with several, and splits must not depend on their number."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch

Result = TypeVar("Result")
#: A fundus photograph of 10 megapixels takes up to 300 MB while it is cropped and resized.
_MOST_THREADS = 8


def in_order(
    work: Callable[[int], Result], indices: range, threads: int
) -> Generator[Callable[[], Result], None, None]:
    """Yields, in the order of the indices, a function that returns the result of ``work(index)`` or raises its error.

    At most ``2 * threads`` calls start before their result is requested. With one thread, none starts early.
    """
    if threads == 1:
        yield from (partial(work, index) for index in indices)
        return
    before = torch.get_num_threads()
    # Torch's own threads would multiply with these. The setting belongs to a thread, but new threads share a default.
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    waiting: deque[Future[Result]] = deque()
    try:
        for index in indices:
            waiting.append(pool.submit(work, index))
            if len(waiting) == 2 * threads:
                yield waiting.popleft().result
        while waiting:
            yield waiting.popleft().result
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def usable_threads() -> int:
    """Returns the number of threads that torch uses (``OMP_NUM_THREADS``, otherwise the cores), eight at most."""
    return min(torch.get_num_threads(), _MOST_THREADS)
