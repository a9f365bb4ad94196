"""Learn the spacing of a model's timesteps: ``python -m pipelines.spacing checkpoints/NAME``.

Few steps stay closest to a fine solution where they are short at the noise levels at which a model's trajectories bend. This
command finds these timesteps for every number of steps up to --steps, and writes them into the run as spacing.json. Then
``--spacing learned`` samples with them, as the dashboard does. They belong to the weights: whoever trains on, or publishes the
run, learns them again.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from .common.command_line import DONE, refuse_several_processes, run_command
from .common.settings import Between, Settings
from .common.text import counted
from .models.loading import load_model
from .storage.disk import refuse_unwritable
from .storage.runs import find_run
from .storage.spacing import spacing_file


@dataclass(frozen=True)
class Spacing(Settings):
    """Learn which timesteps a model should visit in few steps, and store them in the run."""

    run: Positional[Path]
    """A run folder, or the name of a run in checkpoints/ or runs/."""
    steps: Annotated[int, Between(2, 30)] = 10
    """The largest number of steps to learn timesteps for."""
    trajectories: Annotated[int, Between(1, 100_000)] = 64
    """Number of images to learn from. Classes and example captions are taken in turn, under guidance 2."""
    seed: Annotated[int, Between(0, 2**63 - 1)] = 1000
    """Seed of their noise."""
    batch_size: Annotated[int, Between(1, 65_536)] = 16
    """Images per batch."""
    device: str | None = None
    """Where to compute, such as cpu or cuda:1; by default the best device."""


def main(arguments: Spacing) -> int:
    """Learn and write the timesteps; return the exit code."""
    refuse_several_processes("pipelines.spacing")
    run = find_run(arguments.run, download=True)
    if (student := run.config.distillation) is not None:
        raise ValueError(f"{run.name} is a student, whose timesteps are fixed: learn those of its teacher, {student.teacher}")
    refuse_unwritable(spacing_file(run).parent, "copy the run to another folder")
    from .common.devices import device_called
    from .sampling.learning import learn_spacing

    model = load_model(run, device=device_called(arguments.device))
    learned = learn_spacing(model, arguments.steps, arguments.trajectories, arguments.seed, arguments.batch_size)
    for times in learned.timesteps:
        print(f"{counted(len(times), 'step'):>8}: {', '.join(f'{time:g}' for time in times)}")
    print(f"{learned.write(run)}: use it with --spacing learned, in up to {learned.most} steps")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(Spacing, main, "pipelines.spacing"))
