"""Processes that pages start, of which there is at most one at a time, whatever page or server asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from filelock import FileLock

from ..common.reports import Progress, read_progress
from .processes import at_work, ending, stop
from .runs import PRIVATE


@dataclass(frozen=True)
class SingleJob:
    """A process shared by all pages and servers, at most one at a time, which outlives the page.

    Args:
        root: folder of its files; that of the user's runs by default.

    Attributes:
        FOLDER: its folder in the root, which holds the record of the process and its reports.
        LOADING: its progress before the first report.
    """

    FOLDER: ClassVar[str]
    LOADING: ClassVar[Progress]
    root: Path = PRIVATE

    @property
    def record(self) -> Path:
        """File with the record of the process."""
        return self.root / self.FOLDER / "process.json"

    @property
    def running(self) -> bool:
        """Whether it is running."""
        return at_work(self.record)

    @property
    def progress(self) -> Progress:
        """Its current progress."""
        return read_progress(self.record.parent) or self.LOADING

    def failure(self, remedy: str) -> str:
        """Return one sentence on why the last one failed; empty if it did not, was stopped, or is running.

        Args:
            remedy: end of the sentence if its process ended unexpectedly: what is left, or what to do.
        """
        ended = ending(self.record)
        if ended is not None and ended.status == "interrupted":
            return f"its process ended unexpectedly, as after a crash or a reboot; {remedy}"
        return "" if ended is None else ended.error

    def stop(self) -> None:
        """Stop it."""
        stop(self.record)

    @contextmanager
    def starting(self, busy: str) -> Iterator[None]:
        """Let nobody else start it within the context.

        Args:
            busy: sentence of the error if it is running.

        Raises:
            ValueError: it is running.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / f"{self.FOLDER}.lock", timeout=30):
            if self.running:
                raise ValueError(busy)
            yield
