"""A rehearsal of a training: a few real steps in a temporary folder, to learn what the whole will take."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ..common.devices import peak_device_memory
from ..common.machine import OtherWork
from ..common.reports import report_here
from ..storage.config import RunConfig
from ..storage.run import Run
from .budget import measured
from .estimate import Estimate
from .reading import open_training

BUDGET = 100.0  # seconds of a training of which the timed steps may take their share (see pipelines.training.budget)


def rehearse(config: RunConfig) -> Estimate:
    """Take a few steps of a training, evaluate, draw and save once, and return what each of them takes.

    Raises:
        ValueError: the configuration cannot be trained; the message says why.
    """
    began = time.monotonic()
    report_here()
    config = replace(config, optimizer=replace(config.optimizer, time_budget=None))
    with TemporaryDirectory(prefix="noisescope-rehearsal-") as folder:
        loop = open_training(Run(Path(folder) / "run"), config)
        try:
            start, work = time.monotonic() - began, OtherWork()
            costs, device = measured(loop, BUDGET), loop.task.device
            return Estimate(start, costs, peak_memory(device), work.share if device.type == "cpu" else 0.0)
        finally:
            loop.claim.release()


def peak_memory(device: torch.device) -> int:
    """Return the largest number of bytes in use so far: those allocated on a GPU, or else those of this process."""
    if on_device := peak_device_memory(device):
        return on_device
    status = Path("/proc/self/status")
    if status.is_file():  # the kernel's other count begins with the memory of the process that started this one
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    import resource  # Windows has none

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
