"""Work on many items in threads. Decoding and resizing a picture lets other threads run meanwhile."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_THREADS = 16
AT_ONCE = 8  # items that a thread takes: handing over a single one takes as long as decoding a small picture
AHEAD = 2  # such groups per thread that may wait to be worked on, or to be taken


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None) -> Iterator[Result]:
    """Yield the results of ``work`` on each item, in order, of which few exist at any time.

    Args:
        items: taken in this thread, a few ahead of the results.
        threads: one per core by default, but at most ``MOST_THREADS``.
    """
    threads = threads or min(usable_cores(), MOST_THREADS)
    source = iter(items)
    groups = iter(lambda: list(islice(source, AT_ONCE)), [])
    pending: deque[Future[list[Result]]] = deque()
    with ThreadPoolExecutor(threads, "decode") as pool:
        try:
            for group in groups:
                pending.append(pool.submit(lambda group: [work(item) for item in group], group))
                if len(pending) > threads * AHEAD:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:  # also when the one who iterates stops
            pool.shutdown(wait=True, cancel_futures=True)
