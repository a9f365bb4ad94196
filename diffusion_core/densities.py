"""Densities of the timesteps that training draws: how often each noise level is seen.

A density is a table of probabilities, one for each timestep of a schedule, so it holds for every schedule. Samples are drawn by
inverting its cumulative sum.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .choices import DENSITIES
from .schedules import NoiseSchedule


def uniform(schedule: NoiseSchedule, mean: float, std: float) -> Tensor:
    """Give every timestep the same probability (Ho et al. 2020, algorithm 1)."""
    size = schedule.num_timesteps
    return torch.full((size,), 1 / size, dtype=torch.float64)


def logit_normal(schedule: NoiseSchedule, mean: float, std: float) -> Tensor:
    """Draw the time u as logit(u) ~ N(mean, std²), where u runs from 0 to 1 over the schedule (Esser et al. 2024, equation 19).

    Timestep t stands for the times from t/T to (t + 1)/T. A mean above 0 prefers noisier timesteps.
    """
    inner = torch.arange(1, schedule.num_timesteps, dtype=torch.float64) / schedule.num_timesteps
    return masses(inner.logit(), mean, std)


def log_normal(schedule: NoiseSchedule, mean: float, std: float) -> Tensor:
    """Draw the noise level as log(sigma/alpha) ~ N(mean, std²) (Karras et al. 2022, section 5, for alpha = 1).

    Each timestep stands for the levels that are closest to its own, the first and the last also for those beyond. A timestep of
    pure noise is not drawn. For rectified flow, logit(t) = log(sigma/alpha), so ``logit_normal`` with these parameters is
    the same density.
    """
    level = -schedule.log_snr / 2
    return masses((level[1:] + level[:-1]) / 2, mean, std)


def masses(edges: Tensor, mean: float, std: float) -> Tensor:
    """Return the masses of N(mean, std²) below, between and above T − 1 ascending edges, (T,)."""
    below = torch.special.ndtr((edges - mean) / std)
    return torch.cat([below.new_zeros(1), below, below.new_ones(1)]).diff()


def probabilities(schedule: NoiseSchedule, density: str, mean: float | None = None, std: float | None = None) -> Tensor:
    """Return the probability of each timestep, (T,) float64.

    Args:
        schedule: the schedule, of length T.
        density: a key of :data:`DENSITIES`.
        mean, std: parameters of the density; by default those of its paper.

    Raises:
        ValueError: there is no such density, or the parameters are impossible.
    """
    if density not in DENSITIES:
        raise ValueError(f"unknown timestep density {density!r}: choose one of {', '.join(DENSITIES)}")
    choice = DENSITIES[density]
    mean, std = choice.mean if mean is None else mean, choice.std if std is None else std
    if not (math.isfinite(mean) and 0 < std < math.inf):
        raise ValueError(f"density_mean={mean} and density_std={std}: choose a finite number and a positive one")
    table: Tensor = choice(schedule, mean, std)
    return table


def draw_timesteps(table: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw (count,) int64 timesteps with the probabilities in ``table``, (T,), on the CPU."""
    position = torch.rand(count, dtype=torch.float64, generator=generator)
    return torch.searchsorted(table.cumsum(0), position, right=True).clamp(max=len(table) - 1)
