"""The probability-flow ODE solved finely: what a deterministic sampler approaches the more steps it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .process import noise_from_x0
from .samplers import Denoise, Estimator, Level, Step, levels_at, noise_levels, straight_step
from .schedules import NoiseSchedule

Estimate = Callable[[Tensor, Level], Tensor]

SUBSTEPS = 40  # over the whole schedule
CALLS = 4  # network calls in a substep
_EARLIEST = 0.1  # alpha/sigma, below which substeps are of equal length in it


@torch.no_grad()
def fine_solution(
    denoise: Denoise,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    substeps: int = SUBSTEPS,
) -> Iterator[Step]:
    """Yield the exact states at the timesteps, and the sample, as a sampler with many steps in between would.

    Args:
        denoise, x, timesteps, schedule, condition: as for every sampler.
        substeps: of the Runge–Kutta method over the whole schedule, with four network calls each.

    Example:
        How far ten steps of a sampler are from the exact sample, where the data are N(0, 1/4):

        >>> from diffusion_core.samplers import ddim
        >>> from diffusion_core.schedules import flow, sampling_timesteps
        >>> schedule = flow()
        >>> def denoise(x_t, t, condition=None):
        ...     alpha, sigma = (level.item() for level in schedule.at(t))
        ...     return alpha / 4 / (alpha**2 / 4 + sigma**2) * x_t
        >>> x, timesteps = torch.ones(1, 1, 1, 1), sampling_timesteps(schedule, 10)
        >>> *_, exact = fine_solution(denoise, x, timesteps, schedule)
        >>> *_, sample = ddim(denoise, x, timesteps, schedule)
        >>> round(exact.x.item(), 2), round(sample.x.item(), 2)
        (0.5, 0.43)
    """
    estimate = Estimator(denoise, condition)
    levels = noise_levels(schedule, timesteps)
    for index, (here, there) in enumerate(pairwise(levels)):
        yield Step(index, here.timestep, x, estimate(x, here), estimate.nfe)
        x, _ = solve(estimate, x, here, there, schedule, substeps_between(here, there, schedule, substeps))
    yield Step(len(levels) - 1, levels[-1].timestep, x, x, estimate.nfe)


def substeps_between(here: Level, there: Level, schedule: NoiseSchedule, substeps: int = SUBSTEPS) -> int:
    """Return into how many of ``substeps`` the way between two levels is divided: at least 2, and an even number."""
    [end] = levels_at(schedule, [there.log_ratio])
    alpha, sigma = schedule.alpha, schedule.sigma
    whole = _place((alpha[0] / sigma[0]).item()) - _place((alpha[-1] / sigma[-1]).item())
    way = _place(end.alpha / end.sigma) - _place(here.alpha / here.sigma)
    return 2 * max(1, math.ceil(substeps / 2 * way / whole)) if whole else 2


def _place(ratio: float) -> float:
    """Return where a level with this alpha/sigma lies from noise to image, for substeps to be of equal length there."""
    return math.log(ratio + _EARLIEST)


def solve(
    estimate: Estimate, x: Tensor, here: Level, there: Level, schedule: NoiseSchedule, substeps: int
) -> tuple[Tensor, Tensor]:
    """Solve the probability-flow ODE from the state ``x`` at the level ``here`` to a less noisy level.

    In ρ = alpha/sigma the ODE is d(x/sigma)/dρ = x0(x, ρ). It is regular from pure noise (ρ = 0) on, and where x0 is constant
    every step is exact. The classical Runge–Kutta method, of fourth order, takes ``substeps`` of equal length in log(ρ + 0.1).

    Args:
        estimate: returns the estimate of x0 from a state and its level.
        there: the level to reach. It may lie off the schedule; beyond the schedule's end, as in the clean image, the last
            estimate is taken.

    Returns:
        The state at ``there``, and the noise that the estimate predicts at the end of the way; both like ``x``.
    """
    ends, middles = _divided(here, there, schedule, substeps)
    for end, middle in zip(ends, middles, strict=True):
        x = _runge_kutta(estimate, x, here, middle, end)
        here = end
    x0 = estimate(x, here)
    return straight_step(x, x0, here, there), noise_from_x0(x0, x, here.alpha, here.sigma)


def _divided(here: Level, there: Level, schedule: NoiseSchedule, substeps: int) -> tuple[list[Level], list[Level]]:
    """Return the levels at which the substeps end, and those in the middle of each in alpha/sigma."""
    [last] = levels_at(schedule, [there.log_ratio])
    places = torch.linspace(_place(here.alpha / here.sigma), _place(last.alpha / last.sigma), substeps + 1, dtype=torch.float64)
    ends = levels_at(schedule, (places[1:].exp() - _EARLIEST).log().tolist())
    ends = [end for end, before in zip(ends, [here, *ends], strict=False) if end.timestep < before.timestep]
    ratios = [level.alpha / level.sigma for level in (here, *ends)]
    return ends, levels_at(schedule, [math.log((one + other) / 2) for one, other in pairwise(ratios)])


def _runge_kutta(estimate: Estimate, x: Tensor, here: Level, middle: Level, there: Level) -> Tensor:
    """Take one step; a straight one where there is no middle, within the schedule's last row if that is pure noise."""
    first = estimate(x, here)
    if not there.timestep < middle.timestep < here.timestep:
        return straight_step(x, first, here, there)
    second = estimate(straight_step(x, first, here, middle), middle)
    third = estimate(straight_step(x, second, here, middle), middle)
    fourth = estimate(straight_step(x, third, here, there), there)
    return straight_step(x, (first + 2 * second + 2 * third + fourth) / 6, here, there)
