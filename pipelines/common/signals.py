"""SIGINT and SIGTERM as a request to stop at the next good moment."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """Record SIGINT and SIGTERM in the list yielded; a second signal ends the process as usual."""
    caught: list[int] = []
    previous: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        caught.append(number)
        for signum, handler in previous.items():
            signal.signal(signum, handler)

    for stopping in (signal.SIGINT, signal.SIGTERM):
        previous[stopping] = signal.signal(stopping, note)
    try:
        yield caught
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
