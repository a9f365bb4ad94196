"""The evaluation started from a page: an ordinary ``pipelines.evaluate`` process that outlives the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from ..common.reports import Progress, read_progress
from ..storage.processes import at_work, ending, launch, stop
from ..storage.runs import PRIVATE, Run
from .results import Evaluation

LOCK, RECORD = ".evaluation.lock", ".evaluation/process.json"  # in the user's folder of runs
LOADING = Progress("Loading the model and the images")


@dataclass(frozen=True)
class EvaluationJob:
    """The evaluation process shared by all pages and servers, at most one at a time.

    Args:
        root: folder of its files; that of the user's runs by default.
    """

    root: Path = PRIVATE

    @property
    def running(self) -> bool:
        """Whether it is running."""
        return at_work(self.root / RECORD)

    @property
    def progress(self) -> Progress:
        """Its current progress."""
        return read_progress((self.root / RECORD).parent) or LOADING

    @property
    def error(self) -> str:
        """One sentence on why the last evaluation failed; empty if it did not, was stopped, or is running."""
        ended = ending(self.root / RECORD)
        if ended is not None and ended.status == "interrupted":
            return "its process ended unexpectedly, as after a crash or a reboot; finished measurements are kept"
        return "" if ended is None else ended.error

    def start(self, runs: Sequence[Run], options: Sequence[str] = ()) -> None:
        """Start the missing measurements and return at once.

        Args:
            runs: the runs to evaluate.
            options: of ``pipelines.evaluate``.

        Raises:
            ValueError: there is no run to evaluate, one cannot be written, or another evaluation is running.
        """
        if not runs:
            raise ValueError("no run chosen: choose one or more to evaluate")
        for run in runs:
            Evaluation(run).refuse_unwritable()
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / LOCK, timeout=30):
            if self.running:
                raise ValueError("another evaluation is running: wait for it, or stop it first")
            paths = [str(run.path.resolve()) for run in runs]
            launch("pipelines.evaluate", [*paths, *options], self.root / RECORD)

    def stop(self) -> None:
        """Stop the evaluation; finished measurements are kept and not repeated when it is started again."""
        stop(self.root / RECORD)
