"""Samplers that may add fresh noise at every step: DDPM, which is also Euler ancestral, and DDIM."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from ..noise import SeededNoise
from ..process import noise_from_x0
from ..schedules import NoiseSchedule
from .steps import (
    Denoise,
    Estimator,
    Level,
    Move,
    Step,
    ancestral_deviation,
    ancestral_step,
    fresh_noise,
    integrate,
    noise_levels,
    straight_step,
)


def ddpm(
    denoise: Denoise,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise | None = None,
) -> Iterator[Step]:
    """Sample ancestrally, drawing each state from the posterior q(x_s | x_t, x0) (Ho et al. 2020, section 3.2).

    Euler ancestral takes the same steps in x/alpha: down to s'²/s, where s = sigma/alpha, and up to s' with fresh noise.
    """

    def update(index: int, x: Tensor, x0: Tensor, here: Level, there: Level) -> Move:
        after = ancestral_step(x, x0, here, there, fresh_noise(noise, index, x))
        return Move(after, noise=ancestral_deviation(here, there))

    return integrate(Estimator(denoise, condition), x, noise_levels(schedule, timesteps), update)


def ddim(
    denoise: Denoise,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise | None = None,
    eta: float = 0.0,
) -> Iterator[Step]:
    """Sample with a denoising diffusion implicit model (Song et al. 2021, equations 12 and 16); first order.

    Args:
        eta: 0 is deterministic; 1 has the variance of the DDPM posterior. Values above 0 need ``noise``.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta={eta}: choose a number from 0 (deterministic) to 1 (as noisy as DDPM)")

    def update(index: int, x: Tensor, x0: Tensor, here: Level, there: Level) -> Move:
        kept = here.alpha * there.sigma / (there.alpha * here.sigma)
        spread = eta * there.sigma * math.sqrt(max(1 - kept**2, 0.0))
        if spread == 0:
            return Move(straight_step(x, x0, here, there))
        direction = noise_from_x0(x0, x, here.alpha, here.sigma)
        mean = there.alpha * x0 + math.sqrt(there.sigma**2 - spread**2) * direction
        return Move(mean + spread * fresh_noise(noise, index, x), noise=spread)

    return integrate(Estimator(denoise, condition), x, noise_levels(schedule, timesteps), update)
