"""Threads by what others leave free of the processor. Importing this module does not load torch.

A thread that waits for another one spins by default, and so takes a core from whoever needs it. On two cores of which one was
busy, sampling took 13.4 s with two threads that spin, 6.3 s with two that sleep, and 3.9 s with one; on two idle cores it took
2.2, 2.6 and 3.7 s.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

from .machine import OtherWork, usable_cores

BUSY = 0.5  # cores that others use, from which on they count
FEW_ROWS = 512  # of a matrix, up to which decomposing it takes two threads as long as one


_OTHERS = OtherWork()  # since this module was imported


def sleep_beside_others() -> None:
    """Let waiting threads sleep if others use the processor now; torch reads this when it is loaded."""
    if _OTHERS.cores >= BUSY:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def leave_cores_to_others() -> None:
    """Compute with as many threads as cores are free now, for work that soon ends; torch reads this when it is loaded."""
    if (others := _OTHERS.cores) >= BUSY:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, round(len(usable_cores()) - others))))


def threads_for_matrices(rows: int) -> AbstractContextManager[object]:
    """Let NumPy's linear algebra use a single thread meanwhile, for matrices of so few rows that more gain nothing.

    Beside other busy processes its threads wait for each other most of the time: on two cores, decompositions of 128×128
    matrices took 4 to 20 times as long with two threads as with one, and on idle cores the same.
    """
    if rows > FEW_ROWS:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")
