"""Inversion: from an image back to the noise that a deterministic sampler makes it from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .process import noise_from_x0
from .samplers import Denoise, Estimator, Step, noise_levels, straight_step
from .schedules import NoiseSchedule


@torch.no_grad()
def invert(
    denoise: Denoise,
    x0: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    refinements: int = 2,
) -> Iterator[Step]:
    """DDIM inversion: the states from which DDIM, visiting the same timesteps, comes to ``x0`` (Song et al. 2021, section 4.3).

    A step upwards needs the estimate at the noisier level, which is not known yet. It is found by fixed-point iteration from
    the state that the estimate of the level below gives (Pan et al. 2023, equation 9), so the way back is the same way.

    Args:
        denoise: called as ``denoise(x_t, t, condition)``; guidance far above 1 contracts badly and is inverted badly.
        x0: (B, C, H, W) in [−1, 1].
        timesteps: descending, as for the samplers; small ones lose less of ``x0``, so end at 0 ("linspace" does).
        refinements: network evaluations of each step after its first guess; 0 is the plain, first-order inversion.

    Yields:
        Steps of rising noise; ``x`` of the last one is where sampling starts.

    Raises:
        ValueError: negative refinements, or timesteps that do not descend.
    """
    if refinements < 0:
        raise ValueError(f"refinements={refinements}: choose 0 or more")
    estimate = Estimator(denoise, condition)
    levels = noise_levels(schedule, timesteps)[-2::-1]  # without the clean one, the least noisy first
    first = levels[0]
    x = first.alpha * x0
    for _ in range(1 + refinements):
        x = x + first.alpha * (x0 - estimate(x, first))  # until the sampler's last estimate is the image
    estimated = estimate(x, first)
    yield Step(0, first.timestep, x, estimated, estimate.nfe)
    for index, (here, there) in enumerate(pairwise(levels), start=1):
        guess = straight_step(x, estimated, here, there)
        for _ in range(refinements):
            # Written in ε the iteration contracts for every denoiser whose slope lies in [0, 1/alpha], as the best one's does;
            # written in x0 it is the same equation, and diverges where sigma is small.
            noise = noise_from_x0(estimate(guess, there), guess, there.alpha, there.sigma)
            guess = there.alpha / here.alpha * (x - here.sigma * noise) + there.sigma * noise
        x, estimated = guess, estimate(guess, there)
        yield Step(index, there.timestep, x, estimated, estimate.nfe)
