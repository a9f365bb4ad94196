"""The evaluation started from a page: an ordinary ``pipelines.evaluate`` process that outlives the page."""

from __future__ import annotations

from collections.abc import Sequence

from ..common.reports import Progress
from ..storage.processes import launch
from ..storage.run import Run
from ..storage.single_job import SingleJob
from .results import Evaluation

FOLDER = ".evaluation"  # in the user's folder of runs


class EvaluationJob(SingleJob):
    """The evaluation process; measurements that it finished before it was stopped are kept and not repeated."""

    FOLDER, LOADING = FOLDER, Progress("Loading the model and the images")

    @property
    def error(self) -> str:
        """One sentence on why the last evaluation failed; empty if it did not, was stopped, or is running."""
        return self.failure("finished measurements are kept")

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
        with self.starting("another evaluation is running: wait for it, or stop it first"):
            paths = [str(run.path.resolve()) for run in runs]
            launch("pipelines.evaluate", [*paths, *options], self.record)
