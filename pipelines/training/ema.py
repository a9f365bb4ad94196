"""The exponential moving average of the weights, which is evaluated, sampled from and published."""

from __future__ import annotations

import copy

import torch
from torch import nn


class ExponentialMovingAverage:
    """Averaged weights, with a half-life counted in images and a ramp-up (Karras et al. 2022, appendix F.1).

    Args:
        network: the network in training; its copy :attr:`network` holds the average.
        half_life: number of images after which a weight's contribution to the average has halved.
        ramp_up: upper bound of the half-life, as a share of the images seen so far.
    """

    def __init__(self, network: nn.Module, half_life: int, ramp_up: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.half_life, self.ramp_up = half_life, ramp_up

    def decay(self, images_seen: int, batch_size: int) -> float:
        """Return the factor by which one step multiplies the old average."""
        half_life = min(self.half_life, self.ramp_up * images_seen)
        return 0.5 ** (batch_size / max(half_life, 1e-8))

    @torch.no_grad()
    def update(self, network: nn.Module, images_seen: int, batch_size: int) -> None:
        """Update the average with the weights of ``network`` after a step of ``batch_size`` images."""
        weight = 1 - self.decay(images_seen, batch_size)
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), weight)
