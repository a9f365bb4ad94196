"""Train the queued runs of a folder one after the other: ``python -m pipelines.jobs runs``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from .common.command_line import DONE, run_command
from .storage.runs import PRIVATE
from .training.jobs import TrainingQueue


@dataclass(frozen=True)
class Work:
    """Train the queued runs of a folder one after the other; the Train page starts this command itself."""

    root: Positional[Path] = PRIVATE
    """Folder of the runs."""


def main(arguments: Work) -> int:
    """Work until the queue is empty; return the exit code."""
    TrainingQueue(arguments.root).work()
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(Work, main, "pipelines.jobs"))
