"""Settings of a student, which is distilled from a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated

from pydantic import BeforeValidator, StringConstraints

from diffusion_core.choices import DISTILLATIONS, MODEL_SPACINGS

from ..common.settings import MAY_BE_PATH, RECORDED, Between, OneOf, Settings, require
from ..common.text import either

SAMPLER = "ddim"  # in which students sample
MOST_TUNED = 2  # calls of a student by consistency tuning


def _as_several(calls: object) -> object:
    """Return a single number of calls, as older files have it, as one of several."""
    return (calls,) if isinstance(calls, int) else calls


@dataclass(frozen=True)
class DistillationConfig(Settings):
    """A student's steps, and how it learns them from its teacher."""

    calls: Annotated[tuple[int, ...], Between(1, 1000), BeforeValidator(_as_several)] = (4,)
    """Steps in which the student samples, with one network call each. With several numbers, such as 2 3 4 6 8, the network is
    told the number, and one student serves them all; for sfd."""
    method: Annotated[str, OneOf(DISTILLATIONS)] = "sfd"
    """How the student learns (Zhou et al. 2024; Geng et al. 2024)."""
    spacing: Annotated[str | None, OneOf(MODEL_SPACINGS)] = None
    """Spacing of the student's timesteps; by default trailing or, for sfd, the one that its teacher has learned (see
    pipelines.spacing), if it has."""
    teacher_steps: Annotated[int, Between(1, 1000)] = 4
    """Steps of DPM-Solver++(2M) that the teacher takes for each one of the student, for sfd. More are more exact, and take
    longer."""
    guidance: Annotated[float | None, Between(0.0)] = None
    """Guidance scale of a conditional teacher, which the student learns with a single call: 2 by default, and always 1 for
    ect, since images are not guided."""
    teacher: Annotated[str, MAY_BE_PATH, RECORDED] = ""
    """The teacher: a run folder, or the name of a run."""
    teacher_fingerprint: Annotated[str, StringConstraints(pattern="^([0-9a-f]{16})?$"), RECORDED] = ""
    """Fingerprint of the teacher's weights."""
    timesteps: Annotated[tuple[float, ...], RECORDED] = ()
    """The student's timesteps for each number of calls in turn, noisiest first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        calls = " ".join(map(str, self.calls))
        require(
            0 < len(self.calls) == len(set(self.calls)),
            f"calls={calls or 'none'}: give at least one number of calls, and each of them once",
        )
        require(
            len(self.timesteps) in (0, sum(self.calls)),
            f"{len(self.timesteps):,} timesteps for {calls} calls: give each number of calls as many",
        )
        require(
            self.spacing != "leading", "spacing=leading does not start from pure noise, as a student has to: choose another"
        )
        if not self.sees_images:
            return
        require(
            not self.varies and self.most <= MOST_TUNED,
            f"calls={calls}: consistency tuning is for 1 or {MOST_TUNED} calls: choose one of these, or the method sfd",
        )
        require(
            self.guidance in (None, 1.0),
            f"guidance={self.guidance}: consistency tuning learns from images, which are not guided: leave it out, or choose "
            "the method sfd",
        )
        require(
            self.teacher_steps == type(self).teacher_steps,
            f"teacher_steps={self.teacher_steps}: consistency tuning takes no steps of the teacher: leave it out, or choose "
            "the method sfd",
        )

    @property
    def sees_images(self) -> bool:
        """Whether the student learns from the training images of its teacher."""
        return self.method == "ect"

    @property
    def varies(self) -> bool:
        """Whether the student serves several numbers of calls, of which its network is told one."""
        return len(self.calls) > 1

    @property
    def most(self) -> int:
        """The most calls in which the student samples."""
        return max(self.calls)

    @property
    def in_words(self) -> str:
        """The numbers of steps: "1 step", "2, 4 or 8 steps"."""
        return f"{either(sorted(self.calls))} step{'s' * (self.most > 1)}"

    @property
    def in_grids(self) -> str:
        """In how many steps the samples of grids are made, as part of a sentence; empty if there is only one number."""
        return f", in {self.most} steps," * self.varies

    @property
    def timesteps_in_words(self) -> str:
        """The timesteps, those for each number of calls after it."""
        told = {calls: ", ".join(f"{t:g}" for t in self.timesteps_for(calls)) for calls in sorted(self.calls)}
        return "; ".join(f"{calls}: {times}" if self.varies else times for calls, times in told.items())

    def nearest(self, steps: int) -> int:
        """Return the number of calls that is nearest to a number of steps."""
        return min(self.calls, key=lambda calls: (abs(calls - steps), calls))

    def timesteps_for(self, calls: int) -> tuple[float, ...]:
        """Return the timesteps for one of the numbers of calls, noisiest first."""
        ends = dict(zip(self.calls, accumulate(self.calls), strict=True))
        return self.timesteps[ends[calls] - calls : ends[calls]]

    @property
    def eta(self) -> float:
        """Amount of fresh noise in the steps of DDIM in which the student samples.

        A student by consistency tuning has fresh noise added to its estimate (Song et al. 2023, algorithm 1). That is DDIM with
        eta = 1 from pure noise, and from alpha > 0 up to the share alpha·sigma'/(alpha'·sigma) of the noise, which stays.
        """
        return 1.0 if self.sees_images and self.most > 1 else 0.0

    @property
    def scale(self) -> float:
        """The guidance scale that is distilled in; 1 is no guidance."""
        return 1.0 if self.guidance is None else self.guidance
