"""The variational bound on the negative log-likelihood of images, term by term."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .noise import SeededNoise
from .process import add_noise
from .schedules import NoiseSchedule

LEVELS = 256  # values of a pixel, evenly spaced in [−1, 1]


@dataclass(frozen=True, eq=False)
class BoundTerm:
    """One term of the bound.

    Attributes:
        kind: "prior" (the information about the image left at the last timestep), "step" (one denoising step) or "decoder"
            (from the least noisy state to 256 grey levels).
        timestep: the timestep of the term's state.
        bits: (B,) float64, bits per dimension; the sum over all terms is the bound.
    """

    kind: str
    timestep: float
    bits: Tensor


def variational_bound(
    denoise: Callable[[Tensor, float, Any], Tensor],
    x0: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise,
) -> Iterator[BoundTerm]:
    """Compute the terms of L_vlb = L_T + … + L_0 (Nichol & Dhariwal 2021, equations 4 to 7) from one noisy state each.

    The model is the Markov chain over the given timesteps. Its reverse steps have the posterior's mean at the estimate of x0
    and the posterior's variance (β̃ of Ho et al. 2020, section 3.2). Their divergence from the true posterior is

        KL = ½·(snr[s] − snr[t])·‖x0 − x̂0(x_t)‖²    (Kingma et al. 2021, equation 13).

    The last step draws the pixel from N(x̂0, (sigma/alpha)²), discretised into 256 bins (Ho et al. 2020, equation 13). A chain
    of fewer steps is a different, worse model: pass all timesteps of the schedule to bound the model itself.

    Args:
        denoise: estimator of x0 in the data range.
        x0: (B, C, H, W) images whose values are 256 levels from −1 to 1.
        timesteps: (S,) descending.
        noise: noise for B images, one draw per term; use a seed other than the sampling seed for independent draws.

    Yields:
        1 + S terms: the prior, S − 1 steps, the decoder.

    Raises:
        ValueError: the timesteps do not descend, or there are none.
    """
    steps = timesteps.tolist()
    if not steps or any(before <= after for before, after in pairwise(steps)):
        raise ValueError(f"timesteps {steps}: give one or more, each below the one before")
    to_bits = 1 / (x0[0].numel() * math.log(2))
    image = x0.cpu().double()  # MPS has no float64
    alpha, sigma = schedule.at(steps[0])
    prior = ((alpha * image).square() + sigma.square() - 1) / 2 - sigma.log()
    yield BoundTerm("prior", steps[0], prior.flatten(1).sum(1) * to_bits)
    for index, t in enumerate(steps):
        x_t = add_noise(schedule, x0, noise.at_step(index, x0.device), t)
        with torch.no_grad():
            estimate = denoise(x_t, t, condition).cpu().double()
        alpha, sigma = schedule.at(t)
        if index + 1 == len(steps):
            nats = -discretised_gaussian(image, estimate, sigma / alpha)
            yield BoundTerm("decoder", t, nats.flatten(1).sum(1) * to_bits)
            return
        alpha_s, sigma_s = schedule.at(steps[index + 1])
        gained = ((alpha_s / sigma_s).square() - (alpha / sigma).square()) / 2
        yield BoundTerm("step", t, gained * (image - estimate).square().flatten(1).sum(1) * to_bits)


def discretised_gaussian(x: Tensor, mean: Tensor, deviation: Tensor | float) -> Tensor:
    """Return the log-probability in nats of each value of ``x``, one of 256 levels in [−1, 1] (Ho et al. 2020, equation 13).

    A level's bin reaches half-way to its neighbours; the first and the last include the tails.

    Args:
        x, mean: float64 tensors of the same shape.
        deviation: the normal distribution's standard deviation.
    """
    half = 1 / (LEVELS - 1)
    above = torch.where(x > 1 - half, math.inf, (x + half - mean) / deviation)
    below = torch.where(x < half - 1, -math.inf, (x - half - mean) / deviation)
    # Far above the mean the cumulative probabilities of both edges round to 1; mirrored to the other side they do not.
    mirror = below > 0
    low, high = torch.where(mirror, -above, below), torch.where(mirror, -below, above)
    upper, lower = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    return upper + torch.log(-torch.expm1((lower - upper).clamp(max=-1e-12)))
