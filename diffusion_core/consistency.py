"""Consistency tuning: a denoiser learns to estimate from every point of a path the clean image where the path ends.

ECT ("Consistency Models Made Easy", Geng et al. 2024) starts from a diffusion model, whose estimate f(x, t) is the mean of the
clean images. An image is noised to two levels t > r with the same noise, and f(x_t, t) learns to be f(x_r, r), which is the
image itself where r = 0. Over the training r comes closer to t, and f becomes a consistency model (Song et al. 2023), whose
estimate from pure noise is a sample. More calls improve it: its algorithm 1 adds fresh noise to the estimate and estimates
again, which from nearly pure noise is :func:`diffusion_core.samplers.ddim` with eta = 1.

Levels of noise are sigma/alpha, so that the constants of the paper hold for every schedule.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .denoiser import Denoiser
from .densities import draw_timesteps, masses
from .process import add_noise
from .schedules import NoiseSchedule

LOUDEST = 80.0  # level beyond which nothing of an image is left (T of Song et al. 2023, appendix C)
MEAN, DEVIATION = 0.0, 2.0  # of the logarithm of the levels that training draws; see ConsistencyLoss.probabilities
NARROWING = 2.0  # q: factor by which t − r shrinks from stage to stage
EXTRA, DECAY = 8.0, 1.0  # k and b: how much further r is away from t where there is little noise


def earlier_level(level: Tensor, stage: int) -> Tensor:
    """Return r = t·max(0, 1 − n(t)/q^stage) with n(t) = 1 + k/(1 + exp(b·t)) (Geng et al. 2024, section 3).

    Args:
        level: t, of any shape.
        stage: from 1, where most of the smaller levels have r = 0.

    Example:
        >>> [round(earlier_level(torch.tensor(4.0), stage).item(), 3) for stage in (1, 2, 4, 8)]
        [1.712, 2.856, 3.714, 3.982]
    """
    n = 1 + EXTRA * torch.sigmoid(-DECAY * level)
    return level * (1 - n / NARROWING**stage).clamp(min=0)


@dataclass(frozen=True, eq=False)
class ConsistencyLoss:
    """The objective of consistency tuning (Geng et al. 2024, equation 12 and section 3).

    The distance is pseudo-Huber, sqrt(‖f(x_t, t) − f(x_r, r)‖² + c²) − c with c = 0.00054·sqrt(C·H·W) (Song & Dhariwal 2024,
    section 3.3), whose gradient does not grow with the error; it is divided by t − r.

    Attributes:
        schedule: the forward process.
    """

    schedule: NoiseSchedule

    @cached_property
    def levels(self) -> Tensor:
        """(T,) sigma/alpha of each timestep, at most :data:`LOUDEST`."""
        return (self.schedule.sigma / self.schedule.alpha).clamp(max=LOUDEST)

    @cached_property
    def probabilities(self) -> Tensor:
        """(T,) probability of each timestep in training, log-normal in the level; the last one stands for all beyond LOUDEST.

        So pure noise, where sampling starts, is seen in training whether or not the schedule ends in it. The mean of the
        paper is −1.1; with as few images as a student here sees, 0 learns faster (benchmarks/README.md, "Students").
        """
        logarithm = self.levels.log()
        return masses((logarithm[1:] + logarithm[:-1]) / 2, MEAN, DEVIATION)

    def sample_timesteps(self, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw (B,) int64 timesteps, on the CPU like the schedule's tables."""
        return draw_timesteps(self.probabilities, batch_size, generator)

    def pair(self, t: Tensor, stage: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the timesteps of r, which are fractional, r and t − r, all (B,) float64.

        A level below that of the schedule's first timestep is none: r = 0.

        Args:
            t: (B,) timesteps.
            stage: from 1.
        """
        level = self.levels[t]
        r = earlier_level(level, stage)
        r = torch.where(r < self.levels[0], 0, r)
        return self.schedule.timesteps_at(-2 * r.log()), r, level - r

    def __call__(
        self,
        student: Denoiser,
        x0: Tensor,
        noise: Tensor,
        t: Tensor,
        condition: Any = None,
        *,
        stage: int,
        masks: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss of each image, (B,) float32.

        Args:
            student: in training. No gradient flows through its estimate at r. Neither estimate is clipped: what one exceeds
                the data range by would be a difference that does not fall with t − r.
            x0: (B, C, H, W) clean images or latents.
            noise: (B, C, H, W) standard normal.
            t: (B,) timesteps, on the CPU.
            condition: passed to the network unchanged.
            stage: from 1; see :func:`earlier_level`.
            masks: the generator of the network's dropout masks, which are the same at t and r.
        """
        earlier, r, gap = self.pair(t, stage)
        state = None if masks is None else masks.get_state()
        own = student.unclipped(add_noise(self.schedule, x0, noise, t), t, condition)
        target = x0.float()
        if bool((r > 0).any()):
            if masks is not None and state is not None:
                masks.set_state(state)
            with torch.no_grad():
                estimate = student.unclipped(add_noise(self.schedule, x0, noise, earlier), earlier, condition)
            target = torch.where((r > 0).to(x0.device).view(-1, 1, 1, 1), estimate, target)
        squared = (own - target).square().flatten(1).sum(1)
        c = 0.00054 * x0[0].numel() ** 0.5
        distance: Tensor = (squared + c**2).sqrt() - c
        return distance / gap.to(distance.device, distance.dtype)
