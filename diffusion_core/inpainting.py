"""Inpainting with models not trained for it: part of the image is known, and the rest is generated to match."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .noise import SeededNoise
from .samplers import Denoise, Estimator, Step, ancestral_step, calls_at, forward_kernel, noise_levels
from .schedules import NoiseSchedule


class KnownPixels(nn.Module):
    """A denoiser whose estimate is replaced by the known image under a mask.

    Every sampler inpaints with it. In a sampler without fresh noise, the state of the known part is then exactly the known
    image plus the initial noise at every noise level (Song et al. 2021b, appendix I.2, replaces the state to achieve this).

    Args:
        denoise: the denoiser that estimates the rest.
        known: (B, C, H, W) or (1, C, H, W), the image in [−1, 1]; only the part under the mask is used.
        mask: (B, 1, H, W) or (1, 1, H, W) in [0, 1], 1 where the image is known.

    Raises:
        ValueError: the mask differs in size from the image, or has values outside [0, 1].
    """

    def __init__(self, denoise: Denoise, known: Tensor, mask: Tensor) -> None:
        super().__init__()
        if mask.shape[-2:] != known.shape[-2:] or mask.shape[1] != 1:
            raise ValueError(f"a mask of shape {tuple(mask.shape)} for images of shape {tuple(known.shape)}: sizes must agree")
        if not bool(((mask >= 0) & (mask <= 1)).all()):
            raise ValueError("mask values outside [0, 1]: choose numbers from 0 (to be generated) to 1 (known)")
        self.denoise, self.known, self.mask = denoise, known, mask

    def calls_at(self, t: float) -> int:
        """Return the network evaluations per image that an estimate at timestep ``t`` takes."""
        return calls_at(self.denoise, t)

    def forward(self, x_t: Tensor, t: float, condition: Any = None) -> Tensor:
        """Estimate x0, (B, C, H, W), and put the known part in place."""
        estimate = self.denoise(x_t, t, condition)
        return torch.lerp(estimate, self.known.expand_as(estimate), self.mask)


@torch.no_grad()
def repaint(
    denoise: KnownPixels,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise,
    resamplings: int = 10,
) -> Iterator[Step]:
    """Inpaint with RePaint: ancestral sampling that repeats its steps (Lugmayr et al. 2022, algorithm 1).

    A single pass fixes the generated part before it can adapt to the known one. Here every step but the last is taken, undone
    with fresh noise, and taken again, ``resamplings`` times in all, which harmonises the two parts.

    Args:
        denoise: the denoiser that knows part of the image.
        x, timesteps, schedule, condition, noise: as for every sampler.
        resamplings: how often each step is taken; 1 is plain ancestral sampling.

    Yields:
        One step per timestep and the sample, as every sampler does.

    Raises:
        ValueError: ``resamplings`` is less than 1.
    """
    if resamplings < 1:
        raise ValueError(f"resamplings={resamplings}: choose 1 or more")
    estimate, levels = Estimator(denoise, condition), noise_levels(schedule, timesteps)
    draws = iter(range(2 * resamplings * len(levels)))  # a separate draw for every use of fresh noise
    for index, (here, there) in enumerate(pairwise(levels[:-1])):
        for turn in range(resamplings):
            x0 = estimate(x, here)
            if turn == resamplings - 1:
                yield Step(index, here.timestep, x, x0, estimate.nfe)
            after = ancestral_step(x, x0, here, there, noise.at_step(next(draws), x.device))
            if turn < resamplings - 1:
                ratio, spread = forward_kernel(there, here)
                x = ratio * after + spread * noise.at_step(next(draws), x.device)
        x = after
    x0 = estimate(x, levels[-2])
    yield Step(len(levels) - 2, levels[-2].timestep, x, x0, estimate.nfe)
    yield Step(len(levels) - 1, levels[-1].timestep, x0, x0, estimate.nfe)
