"""Threads leave others what they use of the processor, unless the user has said otherwise."""

import os
from types import SimpleNamespace

import numpy  # noqa: F401  # has the library whose threads are counted
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from pipelines.common import threads


@pytest.fixture
def beside(monkeypatch):
    """Returns what is chosen on four cores beside others who use some of them."""

    def choose(others, **given):
        monkeypatch.setattr(threads, "_OTHERS", SimpleNamespace(cores=others))
        monkeypatch.setattr(threads, "usable_cores", lambda: {0, 1, 2, 3})
        for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        threads.sleep_beside_others()
        threads.leave_cores_to_others()
        return os.environ.get("OMP_WAIT_POLICY"), os.environ.get("OMP_NUM_THREADS")

    return choose


def test_threads_leave_others_their_cores(beside):
    assert beside(0.1) == (None, None), "on an idle machine torch chooses"
    assert [beside(others) for others in (1.0, 2.8, 3.9, 9.0)] == [("passive", number) for number in ("3", "1", "1", "1")]


def test_what_the_user_has_set_stays(beside):
    assert beside(2.0, OMP_WAIT_POLICY="active", OMP_NUM_THREADS="4") == ("active", "4")


def test_small_matrices_are_decomposed_by_one_thread():
    used = []
    with threadpool_limits(2, user_api="blas"):
        for rows in (threads.FEW_ROWS, threads.FEW_ROWS + 1):
            with threads.threads_for_matrices(rows):
                used.append({library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"})
    assert used == [{1}, {2}]
