"""Threads by what others leave free of the processor. Importing this module does not load torch.

A thread that waits for another one spins by default, and so takes a core from whoever needs it. On two cores of which one was
busy, sampling took 13.4 s with two threads that spin, 6.3 s with two that sleep, and 3.9 s with one; on two idle cores it took
2.2, 2.6 and 3.7 s.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, nullcontext

import psutil

BUSY = 0.5  # cores that others use, from which on they count
FEW_ROWS = 512  # of a matrix, up to which decomposing it takes two threads as long as one


def _used() -> tuple[float, float, float]:
    """Return the seconds so far: on the clock, of all processors together in use, and of these by this process."""
    times = psutil.cpu_times()
    return time.monotonic(), sum(times) - times.idle - getattr(times, "iowait", 0.0), time.process_time()


_START = _used()


def cores_of_others() -> float:
    """Return how many cores other processes have used on average since this module was imported."""
    clock, used, own = (now - before for now, before in zip(_used(), _START, strict=True))
    return max(0.0, used - own) / max(clock, 1e-3)


def sleep_beside_others() -> None:
    """Let waiting threads sleep if others use the processor now; torch reads this when it is loaded."""
    if cores_of_others() >= BUSY:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def leave_cores_to_others() -> None:
    """Compute with as many threads as cores are free now, for work that soon ends; torch reads this when it is loaded."""
    if (others := cores_of_others()) >= BUSY:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, round((os.cpu_count() or 1) - others))))


def threads_for_matrices(rows: int) -> AbstractContextManager[object]:
    """Let NumPy's linear algebra use a single thread meanwhile, for matrices of so few rows that more gain nothing.

    Beside other busy processes its threads wait for each other most of the time: on two cores, decompositions of 128×128
    matrices took 4 to 20 times as long with two threads as with one, and on idle cores the same.
    """
    if rows > FEW_ROWS:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")
