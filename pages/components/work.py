"""How the progress of a process is told."""

from __future__ import annotations

from pipelines.common.reports import Progress
from pipelines.common.text import duration


def describe_work(doing: Progress) -> str:
    """Return a process's activity and remaining time, in one line."""
    return doing.what if doing.seconds_left is None else f"{doing.what}: {duration(doing.seconds_left)} left"
