"""Exponential moving averages of the weights, which are evaluated, sampled from and published."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..storage.config import OptimizerConfig, RunConfig
from ..storage.layout import AVERAGES
from ..storage.log_columns import loss_of_average
from ..storage.run import Run

Model = tuple[Run, RunConfig, Mapping[str, Tensor]]  # what is written, and where


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


class MovingAverages:
    """Averages of one network with several half-lives, so that the best is chosen after training.

    Args:
        network: the network in training.
        config: names the half-lives: the usual one, whose average is evaluated, sampled from and published, and others.

    Attributes:
        usual: the average with the usual half-life.
        others: the others, by half-life.
    """

    def __init__(self, network: nn.Module, config: OptimizerConfig) -> None:
        self.usual = ExponentialMovingAverage(network, config.ema_half_life, config.ema_ramp_up)
        self.others = {each: ExponentialMovingAverage(network, each, config.ema_ramp_up) for each in config.ema_also}

    def update(self, network: nn.Module, images_seen: int, batch_size: int) -> None:
        """Update every average (see :meth:`ExponentialMovingAverage.update`)."""
        for average in (self.usual, *self.others.values()):
            average.update(network, images_seen, batch_size)

    @property
    def by_prefix(self) -> dict[str, nn.Module]:
        """The averaged networks, by the prefix of their tensors in the saved state."""
        return {"ema.": self.usual.network} | {f"ema-{each}.": average.network for each, average in self.others.items()}

    @property
    def by_loss(self) -> dict[str, nn.Module]:
        """The other averaged networks, by the name under which their validation loss is logged."""
        return {loss_of_average(each): average.network for each, average in self.others.items()}

    def models(self, run: Run, config: RunConfig, weights: Callable[[nn.Module], Mapping[str, Tensor]]) -> list[Model]:
        """Return the models to write: the usual one, and each other one as a run that keeps it alone would write it.

        Args:
            run, config: the run and its configuration.
            weights: returns the weights to write of an averaged network.
        """
        found = [(run, config, weights(self.usual.network))]
        for half_life, average in self.others.items():
            alone = replace(config, optimizer=replace(config.optimizer, ema_half_life=half_life, ema_also=()))
            found.append((Run(run.path / AVERAGES / f"{half_life}.safetensors"), alone, weights(average.network)))
        return found
