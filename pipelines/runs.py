"""Public names of :mod:`pipelines.storage.runs`: ``from pipelines.runs import Run, find_runs``."""

from .storage.runs import Run, find_run, find_runs

__all__ = ["Run", "find_run", "find_runs"]
