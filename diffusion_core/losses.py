"""The training objective: draw a timestep, add noise, and compare the network's output with its target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .choices import NORMS, WEIGHTINGS
from .process import add_noise, check_prediction, per_image, prediction_target, x0_coefficients
from .schedules import NoiseSchedule


def uniform_weights(snr: Tensor, c_out: Tensor, gamma: float) -> Tensor:
    """Weight the error of the output by 1 at every timestep."""
    return torch.ones_like(snr)


def min_snr_weights(snr: Tensor, c_out: Tensor, gamma: float) -> Tensor:
    """Weight the error of x0 by min(SNR, gamma) (Hang et al. 2023, equation 8).

    An error e of the output is an error c_out·e of x0, so a weight of the squared x0 error is multiplied by c_out².
    """
    return snr.clamp(max=gamma) * c_out.square()


@dataclass(frozen=True, eq=False)
class DenoisingLoss:
    """Denoising score matching in the space of the prediction (Ho et al. 2020, equation 14).

    Attributes:
        schedule: the forward process.
        prediction: the quantity that the network outputs, one of ``process.PREDICTIONS``.
        norm: "mse", "l1" or "huber" (delta 1), averaged over each image.
        weighting: "uniform", or "min_snr", which weights the error of x0 by min(SNR, gamma) (Hang et al. 2023, equation 8):
            min(SNR, γ)/SNR for epsilon, min(SNR, γ)/(SNR + 1) for v.
        min_snr_gamma: γ of "min_snr".
    """

    schedule: NoiseSchedule
    prediction: str = "v"
    norm: str = "mse"
    weighting: str = "uniform"
    min_snr_gamma: float = 5.0

    def __post_init__(self) -> None:
        check_prediction(self.prediction)
        if self.norm not in NORMS:
            raise ValueError(f"unknown loss norm {self.norm!r}: choose one of {', '.join(NORMS)}")
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"unknown loss weighting {self.weighting!r}: choose one of {', '.join(WEIGHTINGS)}")
        if self.min_snr_gamma <= 0:
            raise ValueError(f"min_snr_gamma={self.min_snr_gamma}: choose a positive number (5 in the paper)")
        x0_coefficients(self.prediction, self.schedule.alpha, self.schedule.sigma)

    def sample_timesteps(self, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw (B,) int64 timesteps uniformly over the schedule, on the CPU like its tables."""
        return torch.randint(self.schedule.num_timesteps, (batch_size,), generator=generator)

    def weights(self, t: Tensor) -> Tensor:
        """Return the weight of each image's error at its timestep, (B,) float64."""
        alpha, sigma = self.schedule.at(t)
        _, c_out = x0_coefficients(self.prediction, alpha, sigma)
        snr = (alpha / sigma).square()
        return WEIGHTINGS[self.weighting](snr, torch.as_tensor(c_out), self.min_snr_gamma)

    def __call__(self, network: Callable[..., Tensor], x0: Tensor, noise: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        """Return the weighted error of each image, (B,) float32.

        Args:
            network: called as ``network(x_t, t, condition)``.
            x0: (B, C, H, W) clean images in [−1, 1].
            noise: (B, C, H, W) standard normal.
            t: (B,) timesteps.
            condition: passed to the network unchanged.
        """
        alpha, sigma = self.schedule.at(t)
        output = network(add_noise(self.schedule, x0, noise, t), t.to(x0.device, non_blocking=x0.is_cuda), condition)
        target = prediction_target(self.prediction, x0, noise, alpha, sigma)
        error = NORMS[self.norm](output.float(), target.float(), reduction="none").flatten(1).mean(1)
        return error * per_image(self.weights(t), error)
