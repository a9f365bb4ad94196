"""The steps of a sampler: noise levels, the loop that all samplers share, and the moves between two levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..noise import InterpolatedNoise, SeededNoise
from ..schedules import NoiseSchedule

Denoise = Callable[[Tensor, float, Any], Tensor]


@dataclass(frozen=True, eq=False)
class Move:
    """How a sampler went from one state to the next.

    Attributes:
        x: (B, C, H, W), the state that it reached.
        order: the order of the method in this move, whose error falls with its length to the power of order + 1.
        noise: the standard deviation of the fresh noise in ``x``.
        start: (B, C, H, W), the state that it left, where a corrector had changed it first; None is the state of the last step.
    """

    x: Tensor
    order: int = 1
    noise: float = 0.0
    start: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a sampler.

    Attributes:
        index: from 0 to the number of timesteps; the last step holds the sample.
        timestep: the timestep of ``x``; 0 for the sample.
        x: (B, C, H, W) float32, the state.
        x0: (B, C, H, W) float32, the estimate of the clean image from ``x``.
        nfe: network evaluations so far, per image.
        move: how the sampler came here; None for the state that it starts from, and if it does not say.
    """

    index: int
    timestep: float
    x: Tensor
    x0: Tensor
    nfe: int
    move: Move | None = None


@dataclass(frozen=True)
class Level:
    """The noise level at one timestep, as plain numbers."""

    timestep: float
    alpha: float
    sigma: float

    @property
    def log_ratio(self) -> float:
        """λ = log(alpha/sigma), half the log-SNR; ±inf at the ends."""
        if self.alpha == 0:
            return -math.inf
        return math.inf if self.sigma == 0 else math.log(self.alpha / self.sigma)


CLEAN = Level(timestep=0.0, alpha=1.0, sigma=0.0)  # the clean image


def noise_levels(schedule: NoiseSchedule, timesteps: Tensor) -> list[Level]:
    """Return the noise levels to visit, the clean image last; plain numbers, so that no step waits for a device."""
    times = torch.as_tensor(timesteps, device="cpu", dtype=torch.float64)
    if times.ndim != 1 or len(times) == 0:
        raise ValueError(f"timesteps of shape {tuple(times.shape)}: give a list of at least one timestep")
    if not 0 <= float(times.min()) <= float(times.max()) <= schedule.num_timesteps - 1:
        raise ValueError(f"timesteps must lie in 0 … {schedule.num_timesteps - 1}, got {times.min():g} … {times.max():g}")
    if bool((times.diff() >= 0).any()):
        raise ValueError("timesteps must descend: the noisiest comes first")
    alpha, sigma = schedule.at(times)
    rows = zip(times.tolist(), alpha.tolist(), sigma.tolist(), strict=True)
    return [Level(*row) for row in rows] + [CLEAN]


def levels_at(schedule: NoiseSchedule, log_ratios: Sequence[float]) -> list[Level]:
    """Return the noise levels with these λ; where one lies outside the schedule, that of its first or last row."""
    timesteps = schedule.timesteps_at(2 * torch.tensor(log_ratios, dtype=torch.float64))
    return [Level(*row) for row in zip(timesteps.tolist(), *(table.tolist() for table in schedule.at(timesteps)), strict=True)]


def calls_at(denoise: Denoise, t: float) -> int:
    """Return the network evaluations per image of an estimate at ``t``: one, unless the denoiser defines ``calls_at``."""
    calls: int = getattr(denoise, "calls_at", _one_call)(t)
    return calls


def _one_call(t: float) -> int:
    return 1


class Estimator:
    """A denoiser with its condition, which counts its network evaluations per image."""

    def __init__(self, denoise: Denoise, condition: Any) -> None:
        self.denoise, self.condition = denoise, condition
        self._calls_at = getattr(denoise, "calls_at", _one_call)  # a module takes long to say that it has none
        self.nfe = 0

    def __call__(self, x: Tensor, level: Level) -> Tensor:
        self.nfe += self._calls_at(level.timestep)
        return self.denoise(x, level.timestep, self.condition)


Update = Callable[[int, Tensor, Tensor, Level, Level], Move]  # (index, x, x0, here, there) -> the move there


@torch.no_grad()
def integrate(estimate: Estimator, x: Tensor, levels: list[Level], update: Update) -> Iterator[Step]:
    """Run the loop shared by all samplers: estimate x0, yield it, update; the last estimate is the sample.

    ``no_grad`` on a generator is suspended at every ``yield``, so the consumer of the steps keeps its own setting.
    """
    move = None
    for index, (here, there) in enumerate(pairwise(levels)):
        x0 = estimate(x, here)
        yield Step(index, here.timestep, x, x0, estimate.nfe, move)
        if there is not CLEAN:
            move = update(index, x, x0, here, there)
            x = move.x
    yield Step(len(levels) - 1, CLEAN.timestep, x0, x0, estimate.nfe, Move(x0))


def straight_step(x: Tensor, x0: Tensor, here: Level, there: Level) -> Tensor:
    """Move from one noise level to another with x0 held constant (Song et al. 2021, equation 12, σ = 0).

    The result is alpha'·x0 + sigma'·ε with ε = (x − alpha·x0)/sigma, written so that alpha = 0 needs no special case.
    """
    ratio = there.sigma / here.sigma
    return ratio * x + (there.alpha - here.alpha * ratio) * x0


def forward_kernel(there: Level, here: Level) -> tuple[float, float]:
    """Return a and b of q(x_t | x_s) = N(a·x_s, b²) from the level ``there`` (s) to the noisier ``here`` (t).

    a = alpha_t/alpha_s and b² = sigma_t² − a²·sigma_s²: Ho et al. 2020, equation 2, for any alpha and sigma.
    """
    ratio = here.alpha / there.alpha
    return ratio, math.sqrt(max(here.sigma**2 - (ratio * there.sigma) ** 2, 0.0))


def ancestral_step(x: Tensor, x0: Tensor, here: Level, there: Level, fresh: Tensor) -> Tensor:
    """Draw from the posterior q(x_s | x_t, x0) with the noise ``fresh`` (Ho et al. 2020, equations 6 and 7).

    With a and b of :func:`forward_kernel`, the posterior has mean (a·sigma_s²·x_t + alpha_s·b²·x0)/sigma_t².
    """
    ratio, added = forward_kernel(there, here)
    mean = (ratio * there.sigma**2 * x + there.alpha * added**2 * x0) / here.sigma**2
    return mean + ancestral_deviation(here, there) * fresh


def ancestral_deviation(here: Level, there: Level) -> float:
    """Return the standard deviation of the posterior q(x_s | x_t, x0), b·sigma_s/sigma_t; see :func:`ancestral_step`."""
    return forward_kernel(there, here)[1] * there.sigma / here.sigma


def fresh_noise(noise: SeededNoise | InterpolatedNoise | None, index: int, x: Tensor) -> Tensor:
    """Return the fresh noise of a step, like ``x``; raise ValueError if the sampler has been given none."""
    if noise is None:
        raise ValueError("this sampler adds fresh noise at every step: pass noise=SeededNoise(...)")
    return noise.at_step(index, x.device)
