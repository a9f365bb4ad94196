"""Samplers that combine slopes ε of the probability-flow ODE: Heun and iPNDM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..noise import SeededNoise
from ..process import noise_from_x0
from ..schedules import NoiseSchedule
from .steps import Denoise, Estimator, Level, Move, Step, integrate, noise_levels, straight_step

_PURE_NOISE = 1e-3  # below this alpha a state holds no image: with zero terminal SNR, and at the end of cosine


def heun(
    denoise: Denoise,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise | None = None,
) -> Iterator[Step]:
    """Solve the probability-flow ODE with Heun's method (Karras et al. 2022, algorithm 1); second order, two calls per step.

    In y = x/alpha and s = sigma/alpha the ODE is dy/ds = ε. Some steps are of first order, which does not reduce the order of
    convergence: the one that leaves pure noise (alpha < 0.001), the one that reaches the clean image, and any that goes from
    more noise than image (s > 1) to less than a third of it. The slope changes too much in such a step for the mean of both
    ends to be better than the first; with few steps equally spaced in log-SNR, the image would overshoot.
    """
    estimate = Estimator(denoise, condition)

    def update(index: int, x: Tensor, x0: Tensor, here: Level, there: Level) -> Move:
        euler = straight_step(x, x0, here, there)
        if here.alpha < _PURE_NOISE or here.sigma / here.alpha > max(1.0, 3 * there.sigma / there.alpha):
            return Move(euler)
        slope = noise_from_x0(x0, x, here.alpha, here.sigma)
        slope_ahead = noise_from_x0(estimate(euler, there), euler, there.alpha, there.sigma)
        # Half the change of slope, times the step length alpha'·(s' − s), corrects Euler's end point.
        length = there.sigma - there.alpha * here.sigma / here.alpha
        return Move(euler + 0.5 * length * (slope_ahead - slope), order=2)

    return integrate(estimate, x, noise_levels(schedule, timesteps), update)


# Adams–Bashforth weights by order, newest slope first (Zhang & Chen 2023, equations 36 to 38).
_ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def ipndm(
    denoise: Denoise,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise | None = None,
) -> Iterator[Step]:
    """Sample with iPNDM-4 (Liu et al. 2022b; Zhang & Chen 2023, section 4.2); one call per step.

    Each step combines the last four slopes ε, fewer at the start, with Adams–Bashforth weights, and then steps as DDIM does.
    """
    slopes: list[Tensor] = []

    def update(index: int, x: Tensor, x0: Tensor, here: Level, there: Level) -> Move:
        slopes.insert(0, noise_from_x0(x0, x, here.alpha, here.sigma))
        del slopes[4:]
        if len(slopes) == 1:  # alpha may be 0 here
            return Move(straight_step(x, x0, here, there))
        weights = _ADAMS_BASHFORTH[len(slopes) - 1]
        slope = sum((w * s for w, s in zip(weights, slopes, strict=True)), torch.zeros_like(x))
        # The combined slope corresponds to a different x0, towards which DDIM's step moves.
        return Move(straight_step(x, x0 - here.sigma / here.alpha * (slope - slopes[0]), here, there), len(slopes))

    return integrate(Estimator(denoise, condition), x, noise_levels(schedule, timesteps), update)
