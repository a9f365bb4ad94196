"""The evaluation that somebody started from a page: an ordinary ``pipelines.evaluate`` process that outlives the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from ..storage.processes import at_work, failure_in, last_lines, launch, stop
from ..storage.runs import PRIVATE, Run

LOCK, RECORD, LOG = ".evaluation.lock", ".evaluation.json", ".evaluation.log"  # in the user's folder of runs
BAR = re.compile(r"(?P<what>[^:|]+): +(?P<percent>\d+)%\|.*\[[\d:]+<(?P<left>[\d:]+)")


@dataclass(frozen=True)
class EvaluationProgress:
    """How far the measurement is that is being made.

    Attributes:
        what: which one, and how long it still takes.
        share: done of it, in [0, 1]; 0 where that is not known.
    """

    what: str
    share: float


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
    def progress(self) -> EvaluationProgress:
        """What it is doing."""
        lines = last_lines(self.root / LOG)
        if not lines:
            return EvaluationProgress("Loading the model and the images", 0.0)
        bar = BAR.match(lines[-1])
        if bar is None:
            return EvaluationProgress(lines[-1], 0.0)
        return EvaluationProgress(f"{bar['what']}: {bar['left']} left", int(bar["percent"]) / 100)

    @property
    def error(self) -> str:
        """Why the last one failed, in a sentence; empty where it did not, was stopped, or is at work."""
        return "" if self.running else failure_in(self.root / LOG, "the evaluation")

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
            launch("pipelines.evaluate", [*paths, *options], self.root / RECORD, self.root / LOG)

    def stop(self) -> None:
        """End it; what has been measured is kept, and measuring goes on from there when it is started again."""
        stop(self.root / RECORD)
