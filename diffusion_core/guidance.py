"""Classifier-free guidance, as a wrapper around a denoiser."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .condition import Condition
from .denoiser import Denoiser
from .process import x0_coefficients


class ClassifierFreeGuidance(nn.Module):
    """Classifier-free guidance: x0 = u + scale·(c − u) (Ho & Salimans 2022, equation 6).

    c is the estimate with the condition; u is the one without it, or with a negative condition. Both come from one network
    call on a doubled batch. Because x0 is affine in ε and in v, guiding x0 is equivalent to guiding either. The unclipped
    estimates are combined, and the result is clipped to the data range.

    Args:
        denoiser: the denoiser to guide.
        scale: 0 ignores the condition; 1 uses the plain conditional estimate and costs a single evaluation; larger values
            amplify the effect of the condition.
        negative: the condition to guide away from, for the whole batch or for one image; the null condition by default.
        interval: the part of the schedule in which to guide, as fractions of its length (0 is clean, 1 is noise); outside
            it the scale is 1 (Kynkäänniemi et al. 2024).
        rescale: how far to restore the standard deviation of the guided prediction (ε, v, …) to that of the conditional one,
            image by image, from 0 (not at all) to 1 (fully) (Lin et al. 2024, equations 15 and 16). Without it, strong
            guidance overexposes images.

    Example:
        >>> from diffusion_core.schedules import flow
        >>> class OfLabels(nn.Module):  # estimates the label itself, or 0 without one
        ...     def forward(self, x_t, t, condition):
        ...         return torch.where(condition.dropped, 0, condition.labels).view(-1, 1, 1, 1) + 0 * x_t
        >>> denoiser = Denoiser(OfLabels(), flow(), "x0", data_range=None)
        >>> guided = ClassifierFreeGuidance(denoiser, scale=3.0)
        >>> guided(torch.zeros(2, 1, 1, 1), 500, Condition(labels=torch.tensor([1, 2]))).flatten().tolist()
        [3.0, 6.0]
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: float,
        negative: Condition | None = None,
        interval: tuple[float, float] = (0.0, 1.0),
        rescale: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= scale < float("inf"):
            raise ValueError(f"guidance scale {scale}: choose 0 or more; 1 follows the condition as it was learnt")
        if not 0 <= interval[0] <= interval[1] <= 1:
            raise ValueError(f"guidance interval {interval}: choose two ascending fractions of the schedule between 0 and 1")
        if not 0 <= rescale <= 1:
            raise ValueError(f"guidance rescale {rescale}: choose a number from 0 (off) to 1")
        self.denoiser = denoiser
        self.scale, self.negative, self.interval, self.rescale = scale, negative, interval, rescale
        self._last: tuple[Condition, Condition] | None = None

    def scale_at(self, t: float) -> float:
        """Return the scale at timestep ``t``; it is 1 outside the interval."""
        first, last = (share * (self.denoiser.schedule.num_timesteps - 1) for share in self.interval)
        return self.scale if first <= t <= last else 1.0

    def calls_at(self, t: float) -> int:
        """Return the network evaluations per image that an estimate at timestep ``t`` takes."""
        return 1 if self.scale_at(t) == 1 else 2

    def forward(self, x_t: Tensor, t: float, condition: Condition) -> Tensor:
        """Estimate x0, (B, C, H, W) float32, from the state ``x_t`` at the shared timestep ``t``."""
        scale = self.scale_at(t)
        if scale == 1:
            x0: Tensor = self.denoiser(x_t, t, condition)
            return x0
        estimates = self.denoiser.unclipped(torch.cat([x_t, x_t]), t, self._beside_negative(condition))
        conditional, unconditional = estimates.chunk(2)
        guided = unconditional + scale * (conditional - unconditional)
        if self.rescale:
            # x0 = c_skip·x_t + c_out·prediction, and c_out cancels in the ratio of the predictions' standard deviations.
            base = x0_coefficients(self.denoiser.prediction, *self.denoiser.schedule.level(t))[0] * x_t.float()
            before, after = (images.std(dim=(1, 2, 3), keepdim=True) for images in (conditional - base, guided - base))
            ratio = torch.where(after > 1e-6, before / after, 1.0)  # a flat prediction has no contrast to restore
            guided = base + (1 + self.rescale * (ratio - 1)) * (guided - base)
        return self.denoiser.clip(guided)

    def _beside_negative(self, condition: Condition) -> Condition:
        """Return the condition and the negative one in one batch, put together once for all steps of a sampler."""
        asked, both = self._last or (None, None)
        if both is None or asked is not condition:
            negative = condition.null() if self.negative is None else self.negative
            if len(negative) == 1:
                negative = negative.map(lambda part: part.expand(len(condition), *part.shape[1:]))
            both = condition.beside(negative)
            self._last = condition, both
        return both
