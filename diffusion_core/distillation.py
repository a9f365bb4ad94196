"""Distillation of a deterministic sampler: a student learns to do in one step what its teacher does in several.

SFD ("Simple and Fast Distillation of Diffusion Models", Zhou et al. 2024, algorithm 1): from noise, the student walks down its
few timesteps. From each of its states the teacher takes several smaller steps to the student's next timestep, and the L1
distance of their ends is the loss. That takes no data, and gradients do not flow from one step of the student to the next.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .denoiser import Denoiser
from .samplers import Denoise, dpmpp_2m, noise_levels, straight_step
from .schedules import NoiseSchedule


def teacher_timesteps(timesteps: Tensor, steps: int) -> list[Tensor]:
    """Return the timesteps of the teacher in each step of the student, noisiest first.

    Within a step of the student they are evenly spaced, from its timestep to its next one. In the last step the clean image,
    where they would end, is left out. If the student's timesteps are trailing ones, so are all of the teacher's together.

    Args:
        timesteps: (N,) of the student, descending.
        steps: of the teacher, in one of the student.
    """
    ends = torch.cat([timesteps, torch.full_like(timesteps[:1], -1.0)])
    parts = torch.arange(steps + 1, dtype=timesteps.dtype) / steps
    *found, last = (start + (end - start) * parts for start, end in pairwise(ends))
    return [*found, last[last >= 0]]


def distillation_loss(
    student: Denoiser, teacher: Denoise, x: Tensor, timesteps: Tensor, teacher_steps: int, condition: Any = None
) -> Tensor:
    """Return the mean L1 distance of student and teacher at the end of each of the student's steps, (B, N).

    Args:
        student: in training; it samples with DDIM.
        teacher: its teacher, guided or not; it samples with DPM-Solver++(2M).
        x: (B, C, H, W), noise.
        timesteps: (N,) of the student, descending.
        teacher_steps: of the teacher, in one of the student.
    """
    schedule, losses = student.schedule, []
    levels = noise_levels(schedule, timesteps)
    for (here, there), inner in zip(pairwise(levels), teacher_timesteps(timesteps, teacher_steps), strict=True):
        raw = student.unclipped(x, here.timestep, condition)
        x0 = raw + (student.clip(raw) - raw).detach()  # a clipped value can still be told to come back
        if there.sigma == 0:
            own, target = x0, sampled(teacher, x, inner, schedule, condition)
        else:
            own, target = straight_step(x, x0, here, there), walked(teacher, x, inner, schedule, condition)
        losses.append((own - target).abs().flatten(1).mean(1))
        x = own.detach()
    return torch.stack(losses, dim=1)


def walked(denoise: Denoise, x: Tensor, timesteps: Tensor, schedule: NoiseSchedule, condition: Any = None) -> Tensor:
    """Return the state at the last of the timesteps, from ``x`` at the first, by DPM-Solver++(2M)."""
    end = float(timesteps[-1])

    def estimate(x_t: Tensor, t: float, condition: Any) -> Tensor:
        return x_t if t == end else denoise(x_t, t, condition)  # nobody looks at the estimate at the end, which costs a call

    *_, last = dpmpp_2m(estimate, x, timesteps, schedule, condition)
    return last.x


def sampled(denoise: Denoise, x: Tensor, timesteps: Tensor, schedule: NoiseSchedule, condition: Any = None) -> Tensor:
    """Return the sample from ``x`` at the first of the timesteps, by DPM-Solver++(2M)."""
    *_, last = dpmpp_2m(denoise, x, timesteps, schedule, condition)
    return last.x
