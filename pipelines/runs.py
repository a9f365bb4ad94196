"""Public names of runs: ``from pipelines.runs import Run, find_runs``."""

from .storage.run import Run
from .storage.runs import find_run, find_runs

__all__ = ["Run", "find_run", "find_runs"]
