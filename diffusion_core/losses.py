"""The training objective: draw a timestep, add noise, and compare the network's output with its target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from .choices import NORMS, WEIGHTINGS
from .densities import draw_timesteps, probabilities
from .process import add_noise, check_prediction, network_input, per_image, prediction_target, x0_coefficients
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
            min(SNR, γ)/SNR for epsilon, min(SNR, γ)/(SNR + 1) for v. The weights of "learned" are those of
            :class:`Uncertainty`, which training adds; here they are 1.
        min_snr_gamma: γ of "min_snr".
        density: of the timesteps in training, a key of ``choices.DENSITIES``, with its parameters; by default those of its
            paper.

    Example:
        >>> from diffusion_core.schedules import make_schedule
        >>> loss = DenoisingLoss(make_schedule("cosine"), prediction="x0")
        >>> t = loss.sample_timesteps(2, torch.Generator().manual_seed(0))
        >>> x0, noise = torch.full((2, 1, 4, 4), 0.5), torch.ones(2, 1, 4, 4)
        >>> loss(lambda x_t, t, condition: torch.zeros_like(x_t), x0, noise, t)
        tensor([0.2500, 0.2500])
    """

    schedule: NoiseSchedule
    prediction: str = "v"
    norm: str = "mse"
    weighting: str = "uniform"
    min_snr_gamma: float = 5.0
    density: str = "uniform"
    density_mean: float | None = None
    density_std: float | None = None

    def __post_init__(self) -> None:
        check_prediction(self.prediction)
        if self.norm not in NORMS:
            raise ValueError(f"unknown loss norm {self.norm!r}: choose one of {', '.join(NORMS)}")
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"unknown loss weighting {self.weighting!r}: choose one of {', '.join(WEIGHTINGS)}")
        if self.min_snr_gamma <= 0:
            raise ValueError(f"min_snr_gamma={self.min_snr_gamma}: choose a positive number (5 in the paper)")
        x0_coefficients(self.prediction, self.schedule.alpha, self.schedule.sigma)
        _ = self.probabilities  # computed here, so that what is impossible fails now

    @cached_property
    def probabilities(self) -> Tensor:
        """(T,) probability of each timestep in training."""
        return probabilities(self.schedule, self.density, self.density_mean, self.density_std)

    def sample_timesteps(self, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw (B,) int64 timesteps with the chosen density, on the CPU like the schedule's tables."""
        if self.density == "uniform":  # exact, and what runs have drawn before there were others
            return torch.randint(self.schedule.num_timesteps, (batch_size,), generator=generator)
        return draw_timesteps(self.probabilities, batch_size, generator)

    def weights(self, t: Tensor) -> Tensor:
        """Return the weight of each image's error at its timestep, (B,) float64."""
        alpha, sigma = self.schedule.at(t)
        _, c_out = x0_coefficients(self.prediction, alpha, sigma)
        snr = (alpha / sigma).square()
        weights: Tensor = WEIGHTINGS[self.weighting](snr, torch.as_tensor(c_out), self.min_snr_gamma)
        return weights

    def __call__(self, network: Callable[..., Tensor], x0: Tensor, noise: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        """Return the weighted error of each image, (B,) float32.

        Args:
            network: called as ``network(x_t, t, condition)``, or with the inputs of :func:`process.network_input`.
            x0: (B, C, H, W) clean images in [−1, 1].
            noise: (B, C, H, W) standard normal.
            t: (B,) timesteps.
            condition: passed to the network unchanged.
        """
        alpha, sigma = self.schedule.at(t)
        x_t, when = add_noise(self.schedule, x0, noise, t), t.to(x0.device, non_blocking=x0.is_cuda)
        output = network(*network_input(self.prediction, x_t, when, alpha, sigma), condition)
        target = prediction_target(self.prediction, x0, noise, alpha, sigma)
        error: Tensor = NORMS[self.norm](output.float(), target.float(), reduction="none").flatten(1).mean(1)
        return error * per_image(self.weights(t), error)


class Uncertainty(nn.Module):
    """Learned weights of the loss: a small network u of the log-SNR (Karras et al. 2024, equations 14 and 15).

    An error L becomes L·exp(−u) + u, whose minimum over u is at exp(u) = E[L]: every noise level then contributes equally, as
    in the weighting of several tasks by Kendall et al. 2018. u is linear in random Fourier features of the log-SNR and starts
    at 0, where weights are 1.

    Args:
        seed: of the frequencies and phases.
        features: their number.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, seed: int = 0, features: int = 64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("frequencies", torch.randn(features, generator=generator))
        self.register_buffer("phases", torch.rand(features, generator=generator))
        self.linear = nn.Linear(features, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, log_snr: Tensor) -> Tensor:
        """Return u, (B,) float32, at log-SNRs (B,), of which −inf (pure noise) is allowed."""
        level = log_snr.clamp(-20, 20).float()[:, None] / 8  # c_noise of EDM, up to its sign
        waves = (2 * torch.pi * (level * self.frequencies + self.phases)).cos()  # (B, features)
        u: Tensor = self.linear(2**0.5 * waves)
        return u.squeeze(1)

    @staticmethod
    def objective(error: Tensor, u: Tensor) -> Tensor:
        """Return error·exp(−u) + u of each image, (B,), which the diffusion model and this network both minimise."""
        return error * torch.exp(-u) + u
