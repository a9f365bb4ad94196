"""The variational bound on the negative log-likelihood of images, term by term, in continuous time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .noise import SeededNoise
from .process import add_noise
from .schedules import NoiseSchedule

LEVELS = 256  # values of a pixel, evenly spaced in [−1, 1]
LOG_SNR = (-9.0, 8.0)  # the range that all schedules of 1000 timesteps share
GOLDEN_RATIO = (1 + 5**0.5) / 2


@dataclass(frozen=True, eq=False)
class BoundTerm:
    """One term of the bound.

    Attributes:
        kind: "prior" (the information about the image left in the noisiest state), "denoising" (a range of noise levels) or
            "decoder" (from the least noisy state to 256 grey levels).
        log_snr: the log-SNR of the state; for "denoising" the middle of the range.
        bits: (B,) float64, bits per image; the sum over all terms is the bound.
    """

    kind: str
    log_snr: float
    bits: Tensor


def variational_bound(
    denoise: Callable[[Tensor, Tensor, Any], Tensor],
    x0: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise,
    levels: int = 128,
) -> Iterator[BoundTerm]:
    """Estimate the terms of the bound in continuous time (Kingma et al. 2021, equations 11, 17 and 18).

    In terms of the log-SNR λ, the reverse process of infinitely many steps is the same for all schedules:

        −log p(x) ≤ ½·exp(λ₀)·‖x‖² + ½·∫ exp(λ)·E‖x − x̂(x_λ)‖² dλ − E log p(x | x_λ₁),  λ from λ₀ to λ₁.

    The first term is the divergence of the noisiest state from N(0, sigma²). The integral is estimated without bias from equal
    ranges of λ, with one noisy state in each, at a position that differs from image to image. The decoder draws each pixel
    from N(x̂, (sigma/alpha)²), discretised into 256 bins (Ho et al. 2020, equation 13).

    Args:
        denoise: estimator of x0 in the data range; its timesteps, (B,) on the CPU, may be fractional.
        x0: (B, C, H, W) images whose values are 256 levels from −1 to 1.
        schedule: of the denoiser. It is measured from λ₀ to λ₁ = :data:`LOG_SNR`, or as far as it reaches.
        noise: noise for B images, one draw per state; use a seed other than the sampling seed for independent draws.
        levels: number of ranges.

    Yields:
        2 + ``levels`` terms, from noise to image: the prior, the ranges, the decoder.

    Raises:
        ValueError: ``levels`` is less than 1.
    """
    if levels < 1:
        raise ValueError(f"levels={levels}: choose 1 or more")
    image = x0.cpu().double()  # MPS has no float64
    ends = schedule.timesteps_at(torch.tensor(LOG_SNR, dtype=torch.float64))
    noisiest, clearest = _log_snr(schedule, ends).tolist()
    width = (clearest - noisiest) / levels
    # Multiples of the golden ratio fill the range evenly, however many images there are.
    position = torch.tensor([(number + 1) * GOLDEN_RATIO % 1 for number in noise.images], dtype=torch.float64)

    def estimate(t: Tensor, draw: int) -> Tensor:
        x_t = add_noise(schedule, x0, noise.at_step(draw, x0.device), t)
        with torch.no_grad():
            return denoise(x_t, t, condition).cpu().double()

    yield BoundTerm("prior", noisiest, math.exp(noisiest) / 2 * _bits(image.square()))
    for index in range(levels):
        t = schedule.timesteps_at(noisiest + width * (index + position))
        missed = _bits((image - estimate(t, index)).square())
        yield BoundTerm("denoising", noisiest + width * (index + 0.5), width / 2 * _log_snr(schedule, t).exp() * missed)
    t = ends[1].expand(len(x0))
    log_probability = discretised_gaussian(image, estimate(t, levels), math.exp(-clearest / 2))
    yield BoundTerm("decoder", clearest, -_bits(log_probability))


def _log_snr(schedule: NoiseSchedule, t: Tensor) -> Tensor:
    alpha, sigma = schedule.at(t)
    return 2 * (alpha / sigma).log()


def _bits(nats: Tensor) -> Tensor:
    """Sum over all pixels: (B, C, H, W) -> (B,)."""
    return nats.flatten(1).sum(1) / math.log(2)


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
    logarithm: Tensor = upper + torch.log(-torch.expm1((lower - upper).clamp(max=-1e-12)))
    return logarithm
