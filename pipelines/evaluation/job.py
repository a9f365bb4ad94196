"""The evaluation that somebody started from a page: an ordinary ``pipelines.evaluate`` process that outlives the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from ..common.reports import Progress, read_progress
from ..storage.processes import at_work, ending, launch, stop
from ..storage.runs import PRIVATE, Run

LOCK, RECORD = ".evaluation.lock", ".evaluation/process.json"  # in the user's folder of runs
LOADING = Progress("Loading the model and the images")


@dataclass(frozen=True)
class EvaluationJob:
    """At most one evaluation at a time, whichever page or server asks.

    Args:
        root: where its files are kept; the user's runs by default.
    """

    root: Path = PRIVATE

    @property
    def running(self) -> bool:
        """Whether it is at work."""
        return at_work(self.root / RECORD)

    @property
    def progress(self) -> Progress:
        """What it is doing."""
        return read_progress((self.root / RECORD).parent) or LOADING

    @property
    def error(self) -> str:
        """Why the last one failed, in a sentence; empty where it did not, was stopped, or is at work."""
        ended = ending(self.root / RECORD)
        if ended is not None and ended.status == "interrupted":
            return "its process ended without a word, as after a crash or a reboot; what had been measured is kept"
        return "" if ended is None else ended.error

    def start(self, runs: Sequence[Run], options: Sequence[str] = ()) -> None:
        """Measure what is not known yet; returns at once.

        Args:
            runs: whose models.
            options: of ``pipelines.evaluate``.

        Raises:
            ValueError: nothing to measure, or another evaluation is at work.
        """
        if not runs:
            raise ValueError("no run chosen: choose one or more to measure")
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / LOCK, timeout=30):
            if self.running:
                raise ValueError("another evaluation is at work: wait for it, or stop it first")
            paths = [str(run.path.resolve()) for run in runs]
            launch("pipelines.evaluate", [*paths, *options], self.root / RECORD)

    def stop(self) -> None:
        """End it; what has been measured is kept, and measuring goes on from there when it is started again."""
        stop(self.root / RECORD)
