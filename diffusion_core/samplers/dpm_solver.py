"""Exponential integrators: DPM-Solver++ in its multistep, singlestep and stochastic forms, and UniPC.

They solve the probability-flow ODE in λ = log(alpha/sigma); :mod:`diffusion_core.samplers.estimates` has the mathematics that
they share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from ..noise import SeededNoise
from ..schedules import NoiseSchedule
from .estimates import Estimates, mean_over, reliable, remember
from .steps import (
    Denoise,
    Estimator,
    Level,
    Move,
    Step,
    Update,
    ancestral_deviation,
    ancestral_step,
    fresh_noise,
    integrate,
    levels_at,
    noise_levels,
    straight_step,
)

Target = Callable[[Tensor, Level, Level], tuple[Tensor, int]]  # (x0, here, there) -> where to move to, and of which order


def _extrapolate(most: int) -> Target:
    """Return a function that extrapolates the last estimates, up to ``most``, over the step."""
    estimates: Estimates = []

    def target(x0: Tensor, here: Level, there: Level) -> tuple[Tensor, int]:
        remember(estimates, here, x0, most)
        if not estimates:
            return x0, 1
        nodes = reliable(estimates, there)
        return mean_over(nodes, there.log_ratio - here.log_ratio), len(nodes)

    return target


def _towards(target: Target) -> Update:
    """Return the update that moves straight towards ``target(x0, here, there)``."""

    def update(index: int, x: Tensor, x0: Tensor, here: Level, there: Level) -> Move:
        end, order = target(x0, here, there)
        return Move(straight_step(x, end, here, there), order)

    return update


def dpmpp_2m(
    denoise: Denoise,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise | None = None,
) -> Iterator[Step]:
    """Sample with DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2); second order, one call per step.

    The last two estimates of x0 are extrapolated to the middle of the step in λ. The first step and the one that reaches the
    clean image are of first order, and so is one that is much longer than the one before (see ``estimates.reliable``).
    """
    return integrate(Estimator(denoise, condition), x, noise_levels(schedule, timesteps), _towards(_extrapolate(2)))


def dpmpp_3m(
    denoise: Denoise,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise | None = None,
) -> Iterator[Step]:
    """Sample with DPM-Solver++(3M) (Lu et al. 2022b, section 4); third order, one call per step.

    The mean over a step is that of the parabola through the last three estimates. In diffusers and k-diffusion the second
    difference has half its weight, with which the method is of second order. The first two steps, and those that would
    extrapolate too far, are of lower order.
    """
    return integrate(Estimator(denoise, condition), x, noise_levels(schedule, timesteps), _towards(_extrapolate(3)))


def dpmpp_2m_sde(
    denoise: Denoise,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise | None = None,
) -> Iterator[Step]:
    """Sample with SDE-DPM-Solver++(2M) (Lu et al. 2022b, section 5): DDPM's step towards the estimate of DPM-Solver++(2M)."""
    target = _extrapolate(2)

    def update(index: int, x: Tensor, x0: Tensor, here: Level, there: Level) -> Move:
        end, order = target(x0, here, there)
        after = ancestral_step(x, end, here, there, fresh_noise(noise, index, x))
        return Move(after, order, ancestral_deviation(here, there))

    return integrate(Estimator(denoise, condition), x, noise_levels(schedule, timesteps), update)


def dpmpp_2s(
    denoise: Denoise,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise | None = None,
) -> Iterator[Step]:
    """Sample with DPM-Solver++(2S) (Lu et al. 2022b, algorithm 1 with r = 1/2); second order, two calls per step.

    The estimate in the middle of the step in λ, at a fractional timestep, stands for the whole step. A step from pure noise has
    no middle and is of first order, with one call.
    """
    estimate = Estimator(denoise, condition)

    def update(index: int, x: Tensor, x0: Tensor, here: Level, there: Level) -> Move:
        if math.isinf(here.log_ratio):
            return Move(straight_step(x, x0, here, there))
        [middle] = levels_at(schedule, [(here.log_ratio + there.log_ratio) / 2])
        return Move(straight_step(x, estimate(straight_step(x, x0, here, middle), middle), here, there), order=2)

    return integrate(estimate, x, noise_levels(schedule, timesteps), update)


def unipc(
    denoise: Denoise,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise | None = None,
) -> Iterator[Step]:
    """Sample with UniPC-3 (Zhao et al. 2023, algorithms 1 and 2, with B₂(h) = e^h − 1); fourth order, one call per step.

    The predictor is DPM-Solver++(3M). The estimate at the predicted state then joins the polynomial, with which the corrector
    takes the same step once more: that raises the order by one and costs no call, because the estimate is not renewed.
    """
    estimates: Estimates = []
    last: tuple[Tensor, Level, Estimates] | None = None  # state, level and estimates of the step to correct

    def update(index: int, x: Tensor, x0: Tensor, here: Level, there: Level) -> Move:
        nonlocal last
        if last is not None:
            start, before, nodes = last
            nodes = [*nodes, (here.log_ratio, x0)]
            x = straight_step(start, mean_over(nodes, here.log_ratio - before.log_ratio), before, here)
        remember(estimates, here, x0, 3)
        nodes = reliable(estimates, there) if estimates else []
        last = (x, here, nodes) if nodes and there.log_ratio > here.log_ratio else None
        target = mean_over(nodes, there.log_ratio - here.log_ratio) if nodes else x0
        return Move(straight_step(x, target, here, there), max(1, len(nodes)), start=x)

    return integrate(Estimator(denoise, condition), x, noise_levels(schedule, timesteps), update)
