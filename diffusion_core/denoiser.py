"""The denoiser: it turns a network's output into an estimate of x0, and alone knows the parameterisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .process import Level, network_input, x0_coefficients, x0_from_prediction
from .schedules import NoiseSchedule


class Denoiser(nn.Module):
    """Estimator of x0, made of a network, its schedule and its parameterisation.

    Args:
        network: called as ``network(x_t, t, condition)`` with t of shape (B,), or (1,) when all images share it; with EDM's
            preconditioning it gets the scaled state and noise level of :func:`process.network_input` instead.
        schedule: the schedule that the network was trained with.
        prediction: the quantity that the network outputs, one of ``process.PREDICTIONS``.
        data_range: the interval to which x0 is clipped; None for unbounded data (latents).
        thresholding: quantile and limit of dynamic thresholding, instead of clipping (see :func:`threshold`).

    Example:
        Any module will do for a network.

        >>> from diffusion_core.schedules import flow
        >>> class Nothing(nn.Module):
        ...     def forward(self, x_t, t, condition=None):
        ...         return torch.zeros_like(x_t)
        >>> denoiser = Denoiser(Nothing(), flow(), "flow")  # which predicts that noise and image are equal
        >>> denoiser(torch.tensor([[[[0.5, 2.0]]]]), t=300)  # estimates are clipped to the data range
        tensor([[[[0.5000, 1.0000]]]])
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: NoiseSchedule,
        prediction: str = "v",
        data_range: tuple[float, float] | None = (-1.0, 1.0),
        thresholding: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        x0_coefficients(prediction, schedule.alpha, schedule.sigma)  # refuses epsilon on a schedule that ends in pure noise
        self.network = network
        self.schedule = schedule
        self.prediction = prediction
        self.data_range = data_range
        self.thresholding = thresholding

    def forward(self, x_t: Tensor, t: float | Tensor, condition: Any = None) -> Tensor:
        """Estimate x0, (B, C, H, W) float32, from the state ``x_t`` at timestep ``t`` (a number or (B,); may be fractional)."""
        return self.clip(self.unclipped(x_t, t, condition))

    def unclipped(self, x_t: Tensor, t: float | Tensor, condition: Any = None) -> Tensor:
        """Estimate x0 without clipping it to the data range, so that estimates can be combined linearly."""
        alpha: Level
        sigma: Level
        if isinstance(t, Tensor) and t.ndim:
            alpha, sigma = self.schedule.at(t)
            when = t.to(x_t.device, torch.float32, non_blocking=x_t.is_cuda)
        else:  # plain numbers, so that nothing is copied to the device
            alpha, sigma = self.schedule.level(float(t))
            when = torch.full((1,), float(t), device=x_t.device)
        output = self.network(*network_input(self.prediction, x_t, when, alpha, sigma), condition)
        return x0_from_prediction(self.prediction, output.float(), x_t.float(), alpha, sigma)

    def clip(self, x0: Tensor) -> Tensor:
        """Clip x0 to the data range, if there is one, or threshold it dynamically."""
        if self.thresholding is not None:
            return threshold(x0, *self.thresholding)
        return x0 if self.data_range is None else clip(x0, *self.data_range)


def clip(x: Tensor, low: float, high: float) -> Tensor:
    """Clip to [low, high]; infinite numbers become NaN, so that a network that has diverged is not taken for a sure one."""
    return torch.add(x, x, alpha=0).clamp(low, high)  # 0·inf is NaN


def threshold(x0: Tensor, quantile: float, most: float) -> Tensor:
    """Clip each image to [−s, s] and divide it by s, the quantile of its absolute values (Saharia et al. 2022, section 2.3).

    Args:
        quantile: in (0, 1].
        most: limit of s, which is at least 1.
    """
    size = x0.flatten(1).abs().quantile(quantile, dim=1).clamp(1, most).view(-1, *(1,) * (x0.ndim - 1))
    return torch.maximum(torch.minimum(x0.masked_fill(x0.isinf(), torch.nan), size), -size) / size
