"""Inpainting with models not trained for it: part of the image is known, and the rest is generated to match."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .denoiser import clip
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
        _check_mask(known, mask)
        self.denoise, self.known, self.mask = denoise, known, mask

    def calls_at(self, t: float) -> int:
        """Return the network evaluations per image that an estimate at timestep ``t`` takes."""
        return calls_at(self.denoise, t)

    def forward(self, x_t: Tensor, t: float, condition: Any = None) -> Tensor:
        """Estimate x0, (B, C, H, W), and put the known part in place."""
        estimate = self.denoise(x_t, t, condition)
        return torch.lerp(estimate, self.known.expand_as(estimate), self.mask)


class ReconstructionGuidance(nn.Module):
    """A denoiser whose error in the known part of an image corrects the rest (Ho et al. 2022, equation 7; Chung et al. 2023).

    A known part that is only put in place hardly influences the rest. Here the error v there is passed on by the covariance of
    x0 given x_t, which is C = sigma²/alpha·J, with J the Jacobian of the estimate (moment matching, Rozet et al. 2024). The
    estimate becomes x0 + C·v·|v|²/(v·C·v), one iteration of conjugate gradients towards E[x0 | x_t, known]. For Gaussian data
    it is exact if v is an eigenvector of C within the known part, as for a single pixel. sigma²/alpha cancels, and there is no
    weight to choose. Put :class:`KnownPixels` around it.

    J·v takes a backward pass through the network, which lasts about as long as two calls.

    Args:
        denoise: the denoiser to guide; it must be differentiable.
        known, mask: as for :class:`KnownPixels`.
        data_range: the interval to which the estimate is clipped; None for unbounded data (latents).
    """

    def __init__(
        self, denoise: Denoise, known: Tensor, mask: Tensor, data_range: tuple[float, float] | None = (-1.0, 1.0)
    ) -> None:
        super().__init__()
        _check_mask(known, mask)
        self.denoise, self.known, self.mask, self.data_range = denoise, known, mask, data_range

    def calls_at(self, t: float) -> int:
        """Return the network evaluations per image that an estimate at timestep ``t`` takes, backward passes not counted."""
        return calls_at(self.denoise, t)

    def forward(self, x_t: Tensor, t: float, condition: Any = None) -> Tensor:
        """Estimate x0, (B, C, H, W), in view of the known part."""
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            estimate = self.denoise(x, t, condition)
            missing = (self.mask * (self.known - estimate)).detach()
            (pull,) = torch.autograd.grad((missing * estimate).sum(), x)
        along = (missing * pull).sum(dim=(1, 2, 3), keepdim=True)
        length = missing.square().sum(dim=(1, 2, 3), keepdim=True)
        guided = estimate.detach() + torch.where(along > 0, length / along, 0.0) * pull  # a covariance is never negative
        return guided if self.data_range is None else clip(guided, *self.data_range)


def _check_mask(known: Tensor, mask: Tensor) -> None:
    if mask.shape[-2:] != known.shape[-2:] or mask.shape[1] != 1:
        size = "×".join(map(str, known.shape[-2:]))
        raise ValueError(f"a mask of shape {tuple(mask.shape)} for images of {size} pixels: give one channel of the same size")
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise ValueError("mask values outside [0, 1]: choose numbers from 0 (to be generated) to 1 (known)")


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
