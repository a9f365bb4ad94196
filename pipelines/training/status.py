"""The status and the progress of a run's training, read from its folder."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..storage.layout import METRICS, PROCESS
from ..storage.metrics_log import newest_lines
from ..storage.processes import ending, read_record
from ..storage.run import Run

COUNTED = ("step", "images_seen", "seconds")  # in the log
RATE_LINES = 20  # lines of metrics.jsonl over which speed is averaged
Status = Literal["queued", "starting", "training", "stopping", "stopped", "finished", "failed", "interrupted"]
ACTIVE: tuple[Status, ...] = ("starting", "training", "stopping", "queued")


@dataclass(frozen=True)
class TrainingProgress:
    """The progress of a run, from the last lines of its metrics.jsonl.

    Attributes:
        steps: total number of optimiser steps.
        step: steps done, 0 before the first line.
        loss: the last training loss, or None.
        images_per_second: averaged over the last lines, or None before the first.
        seconds_left: remaining time at that speed, counted from now.
    """

    steps: int
    step: int = 0
    loss: float | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None


def modified(path: Path) -> float:
    """Return the modification time of a file, 0 if it does not exist."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def read_training(run: Run) -> TrainingProgress:
    """Return the progress of a run.

    Raises:
        ValueError: its configuration cannot be read.
    """
    steps = run.config.optimizer.steps
    rows = [row for row in newest_lines(run.path / METRICS) if all(math.isfinite(row.get(name, math.nan)) for name in COUNTED)]
    if not rows:
        return TrainingProgress(steps)
    last = rows[-1]
    first = rows[-RATE_LINES] if len(rows) >= RATE_LINES else {"images_seen": 0, "seconds": 0.0}
    seconds = last["seconds"] - first["seconds"]
    speed = (last["images_seen"] - first["images_seen"]) / seconds if seconds > 0 else None
    left = None
    if speed:
        left = (steps - last["step"]) * last["images_seen"] / max(1, last["step"]) / speed
        left = max(0.0, left - (time.time() - modified(run.path / METRICS)))
    return TrainingProgress(steps, last["step"], last.get("loss"), speed, left)


def training_status(run: Run, queued: bool) -> tuple[Status, str]:
    """Return a run's status, and the error if it failed; the caller tells "finished" from "stopped".

    Args:
        queued: whether the run waits in the queue.
    """
    process = read_record(run.path / PROCESS)
    if process is not None and process.alive:
        if process.stopping:
            return "stopping", ""
        return "training" if modified(run.path / METRICS) >= modified(run.path / PROCESS) else "starting", ""
    if queued:
        return "queued", ""
    ended = ending(run.path / PROCESS)
    return ("stopped", "") if ended is None or ended.status == "finished" else (ended.status, ended.error)
