"""Settings of a student, which is distilled from a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import StringConstraints
from tyro.conf import Suppress

from diffusion_core.choices import MODEL_SPACINGS

from ..common.settings import MAY_BE_PATH, Between, Settings, one_of, require

SAMPLER = "ddim"  # in which students sample: they learn where its straight steps should lead


@dataclass(frozen=True)
class DistillationConfig(Settings):
    """A student's steps, and how it learns them from its teacher."""

    calls: Annotated[int, Between(1, 1000)] = 4
    """Steps in which the student samples, with one network call each."""
    spacing: Annotated[str | None, *one_of(MODEL_SPACINGS)] = None
    """Spacing of the student's timesteps; by default the one that its teacher has learned (see pipelines.spacing), or else
    trailing."""
    teacher_steps: Annotated[int, Between(1, 1000)] = 4
    """Steps of DPM-Solver++(2M) that the teacher takes for each one of the student. More are more exact, and take longer."""
    guidance: Annotated[float | None, Between(0.0)] = None
    """Guidance scale of a conditional teacher, which the student learns with a single call; 2 by default."""
    method: Annotated[Literal["sfd"], Suppress] = "sfd"
    """How the student learns: simple and fast distillation (Zhou et al. 2024)."""
    teacher: Annotated[str, MAY_BE_PATH, Suppress] = ""
    """The teacher: a run folder, or the name of a run."""
    teacher_fingerprint: Annotated[str, StringConstraints(pattern="^([0-9a-f]{16})?$"), Suppress] = ""
    """Fingerprint of the teacher's weights."""
    timesteps: Annotated[tuple[float, ...], Suppress] = ()
    """The student's timesteps, noisiest first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.spacing != "leading", "spacing=leading does not start from pure noise, as a student has to: choose another"
        )

    @property
    def scale(self) -> float:
        """The guidance scale that is distilled in; 1 is no guidance."""
        return 1.0 if self.guidance is None else self.guidance
