"""A run's learned spacing: the timesteps for each number of steps, in spacing.json, with what they were learnt from.

Importing this module does not load torch.
"""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from diffusion_core.choices import LEARNED, SAMPLERS, SPACINGS

from ..common.json_files import read_json
from ..common.settings import Between, OneOf, Settings, require, settings_from
from ..common.text import either
from .files import is_file, write_text
from .run import Run
from .runs import reference_to

SPACING = "spacing.json"


@dataclass(frozen=True)
class LearnedSpacing(Settings):
    """The timesteps that were learnt for a model, and what from.

    Attributes:
        fingerprint: of the weights.
        sampler: the sampler whose single steps were compared with a fine solution.
        guidance: the guidance scale, 1 for unconditional models.
        trajectories, seed: number and seed of the trajectories; their conditions are the classes or the example captions.
        timesteps: for 1, 2, … steps, each list descending.
    """

    fingerprint: str
    sampler: Annotated[str, OneOf(SAMPLERS)]
    guidance: Annotated[float, Between(0.0)]
    trajectories: Annotated[int, Between(1)]
    seed: Annotated[int, Between(0, 2**63 - 1)]
    timesteps: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        for steps, times in enumerate(self.timesteps, start=1):
            falls = all(later < earlier for earlier, later in pairwise(times))
            fit = len(times) == steps and falls and all(0 <= time < math.inf for time in times)
            require(fit, f"timesteps: number {steps} must have {steps} descending timesteps of 0 or more")
        require(len(self.timesteps) > 0, "timesteps: give those of 1 step at least")

    @property
    def most(self) -> int:
        """The largest number of steps."""
        return len(self.timesteps)

    def write(self, run: Run) -> Path:
        """Write it into the run, and return the file."""
        write_text(path := spacing_file(run), json.dumps(asdict(self), indent=1) + "\n")
        return path


def spacing_file(run: Run) -> Path:
    """Return where the run's learned spacing is, if it has one: beside its weights."""
    return run.model_path.parent / SPACING


def learning_command(run: Run, *flags: str) -> str:
    """Return the command that learns a run's spacing."""
    return shlex.join(["python", "-m", "pipelines.spacing", reference_to(run), *flags])


def learned_spacing(run: Run) -> LearnedSpacing:
    """Read the learned spacing of a run.

    Raises:
        ValueError: it has none, it cannot be read, or it was learnt from other weights.
    """
    file = spacing_file(run)
    if not is_file(file):
        raise ValueError(
            f"{run.name} has no learned spacing: choose another one ({', '.join(SPACINGS)}), or learn it with "
            f"`{learning_command(run)}`"
        )
    learned = settings_from(LearnedSpacing, read_json(file), str(file))
    if learned.fingerprint != run.fingerprint:
        raise ValueError(
            f"the learned spacing of {run.name} was learnt from other weights ({learned.fingerprint}, not {run.fingerprint}): "
            f"learn it again with `{learning_command(run)}`"
        )
    return learned


def has_learned(run: Run, steps: int) -> bool:
    """Return whether timesteps for so many steps were learnt for a run.

    Raises:
        ValueError: they cannot be read, or were learnt from other weights.
    """
    return spacing_file(run).is_file() and 1 <= steps <= learned_spacing(run).most


def learned_timesteps(run: Run, steps: int) -> tuple[float, ...]:
    """Return the timesteps learnt for a number of steps. Those of a student are in its configuration.

    Raises:
        ValueError: see :func:`learned_spacing`; or no timesteps were learnt for so many steps.
    """
    if (student := run.config.distillation) is not None and student.spacing == LEARNED:
        if steps not in student.calls:
            raise ValueError(
                f"steps={steps}: {run.name} is a student, which has learnt {student.in_words} and nothing else: choose "
                f"{either(sorted(student.calls))}, or sample its teacher, {student.teacher}"
            )
        return student.timesteps_for(steps)
    learned = learned_spacing(run)
    if not 1 <= steps <= learned.most:
        raise ValueError(
            f"steps={steps}: the learned spacing of {run.name} is for 1 to {learned.most} steps: choose one of these, another "
            f"spacing, or learn more with `{learning_command(run, '--steps', str(steps))}`"
        )
    return learned.timesteps[steps - 1]
