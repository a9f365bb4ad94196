"""Distil a model into one that samples in a few steps: ``python -m pipelines.distill checkpoints/NAME --out runs/STUDENT``.

The student is a run like any other. It starts from its teacher's weights and is sampled in the steps it has learnt. With
``--method sfd`` (Zhou et al. 2024) it learns to take the teacher's steps several at a time; images are not needed for it, but
the captions of a text-conditional teacher are. With ``--method ect`` (Geng et al. 2024), for 1 or 2 calls, it learns from the
teacher's training images where the path from noise to an image ends.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional

from .common.command_line import run_command
from .common.extras import require_extra
from .common.settings import Between, Settings
from .storage.claim import is_free
from .storage.config import DistillationConfig, LogConfig, OptimizerConfig
from .storage.layout import CONFIG
from .storage.runs import PRIVATE, find_run
from .storage.student_defaults import LOG, OPTIMIZER
from .train import Train
from .train import main as train


@dataclass(frozen=True)
class Distill(Settings):
    """Distil a model into a student that samples in a few steps, and write a run folder."""

    teacher: Positional[Path]
    """The teacher: a run folder, the name of a run in checkpoints/ or runs/, or the id of a run on the hub (USER/NAME)."""
    distillation: OmitArgPrefixes[DistillationConfig] = field(default_factory=DistillationConfig)
    optimizer: OmitArgPrefixes[OptimizerConfig] = field(default_factory=lambda: OPTIMIZER)
    log: OmitArgPrefixes[LogConfig] = field(default_factory=lambda: LOG)
    out: Path | None = None
    """Run folder to write; by default in runs/, named after the teacher. ``pipelines.train --resume`` continues it."""
    time_limit: Annotated[float | None, Between(0.0)] = None
    """Save and stop after this many minutes."""
    compile: bool = False
    """Compile the network first (torch.compile); this takes about a minute and makes every step faster on a GPU."""


def main(arguments: Distill) -> int:
    """Train the student; return the exit code."""
    require_extra("train")
    from .models.teachers import student_config

    teacher = find_run(arguments.teacher, download=True)
    config = student_config(teacher, arguments.distillation, arguments.optimizer, arguments.log)
    out = arguments.out or PRIVATE / f"{teacher.name}-student"
    if not is_free(out):
        going_on = f", or continue it with `python -m pipelines.train --resume {out}`" if (out / CONFIG).is_file() else ""
        raise ValueError(f"{out} already exists: choose another --out{going_on}")
    return train(Train(config, out, time_limit=arguments.time_limit, compile=arguments.compile))


if __name__ == "__main__":
    sys.exit(run_command(Distill, main, "pipelines.distill"))
