"""Inversion: from an image back to the noise from which a deterministic sampler generates it."""

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
    """Invert DDIM: find the states from which it reaches ``x0`` at the same timesteps (Song et al. 2021, section 4.3).

    A step towards noise needs the estimate at the noisier level, which is not known yet. Fixed-point iteration finds it,
    starting from the state that the estimate at the cleaner level gives (Pan et al. 2023, equation 9). The converged states
    lie on the trajectory that DDIM takes back to the image.

    Args:
        denoise: called as ``denoise(x_t, t, condition)``; with guidance far above 1 the iteration converges
            poorly, and so does the inversion.
        x0: (B, C, H, W) in [−1, 1].
        timesteps: descending, as for the samplers; end at 0 (as "linspace" does), because small timesteps lose less of ``x0``.
        refinements: fixed-point iterations of each step after the first guess; 0 gives plain, first-order inversion.

    Yields:
        Steps of increasing noise; sampling starts from ``x`` of the last one.

    Raises:
        ValueError: ``refinements`` is negative, or the timesteps do not descend.
    """
    if refinements < 0:
        raise ValueError(f"refinements={refinements}: choose 0 or more")
    estimate = Estimator(denoise, condition)
    levels = noise_levels(schedule, timesteps)[-2::-1]  # without the clean level, least noisy first
    first = levels[0]
    x = first.alpha * x0
    for _ in range(1 + refinements):
        x = x + first.alpha * (x0 - estimate(x, first))  # so that the sampler's last estimate becomes the image
    estimated = estimate(x, first)
    yield Step(0, first.timestep, x, estimated, estimate.nfe)
    for index, (here, there) in enumerate(pairwise(levels), start=1):
        guess = straight_step(x, estimated, here, there)
        for _ in range(refinements):
            # In terms of ε the iteration contracts for every denoiser whose slope lies in [0, 1/alpha], as the optimal one's
            # does. In terms of x0 the same equation diverges where sigma is small.
            noise = noise_from_x0(estimate(guess, there), guess, there.alpha, there.sigma)
            guess = there.alpha / here.alpha * (x - here.sigma * noise) + there.sigma * noise
        x, estimated = guess, estimate(guess, there)
        yield Step(index, there.timestep, x, estimated, estimate.nfe)
