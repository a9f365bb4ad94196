"""Samplers, which turn noise into images; each is a generator.

Every sampler has the same call, ``sampler(denoise, x, timesteps, schedule, condition=None, *, noise=None)``:

* ``denoise(x_t, t, condition)`` estimates x0, as :class:`diffusion_core.denoiser.Denoiser` does;
* ``x`` is the state at the first timestep, (B, C, H, W) float32;
* ``timesteps`` descend (see ``schedules.sampling_timesteps``); the clean image follows the last one;
* ``noise`` is a :class:`diffusion_core.noise.SeededNoise`, needed only where fresh noise is added.

It yields one :class:`Step` before each update and a last one with the sample. To add a sampler, write such a generator and
add one entry to ``choices.SAMPLERS``. Gradients are off inside a sampler; its consumer keeps its own setting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .choices import SAMPLERS as SAMPLERS
from .noise import SeededNoise
from .process import noise_from_x0
from .schedules import NoiseSchedule

Denoise = Callable[[Tensor, float, Any], Tensor]


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a sampler.

    Attributes:
        index: from 0 to the number of timesteps; the last step holds the sample.
        timestep: the timestep of ``x``; 0 for the sample.
        x: (B, C, H, W) float32, the state.
        x0: (B, C, H, W) float32, the estimate of the clean image from ``x``.
        nfe: network evaluations so far, per image.
    """

    index: int
    timestep: float
    x: Tensor
    x0: Tensor
    nfe: int


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


_PURE_NOISE = 1e-3  # below this alpha a state holds no image: with zero terminal SNR, and at the end of cosine
_CLEAN = Level(timestep=0.0, alpha=1.0, sigma=0.0)


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
    return [Level(*row) for row in rows] + [_CLEAN]


def calls_at(denoise: Denoise, t: float) -> int:
    """Return the network evaluations per image of an estimate at ``t``: one, unless the denoiser defines ``calls_at``."""
    return denoise.calls_at(t) if hasattr(denoise, "calls_at") else 1


class Estimator:
    """A denoiser with its condition, which counts its network evaluations per image."""

    def __init__(self, denoise: Denoise, condition: Any) -> None:
        self.denoise, self.condition = denoise, condition
        self.nfe = 0

    def __call__(self, x: Tensor, level: Level) -> Tensor:
        self.nfe += calls_at(self.denoise, level.timestep)
        return self.denoise(x, level.timestep, self.condition)


Update = Callable[[int, Tensor, Tensor, Level, Level], Tensor]  # (index, x, x0, here, there) -> the state there


@torch.no_grad()
def _integrate(estimate: Estimator, x: Tensor, levels: list[Level], update: Update) -> Iterator[Step]:
    """Run the loop shared by all samplers: estimate x0, yield it, update; the last estimate is the sample.

    ``no_grad`` on a generator is suspended at every ``yield``, so the consumer of the steps keeps its own setting.
    """
    for index, (here, there) in enumerate(pairwise(levels)):
        x0 = estimate(x, here)
        yield Step(index, here.timestep, x, x0, estimate.nfe)
        if there is not _CLEAN:
            x = update(index, x, x0, here, there)
    yield Step(len(levels) - 1, _CLEAN.timestep, x0, x0, estimate.nfe)


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

    With a and b of :func:`forward_kernel`, the posterior has mean (a·sigma_s²·x_t + alpha_s·b²·x0)/sigma_t² and variance
    b²·sigma_s²/sigma_t².
    """
    ratio, added = forward_kernel(there, here)
    mean = (ratio * there.sigma**2 * x + there.alpha * added**2 * x0) / here.sigma**2
    return mean + added * there.sigma / here.sigma * fresh


def _fresh_noise(noise: SeededNoise | None, index: int, x: Tensor) -> Tensor:
    if noise is None:
        raise ValueError("this sampler adds fresh noise at every step: pass noise=SeededNoise(...)")
    return noise.at_step(index, x.device)


def ddpm(
    denoise: Denoise,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise | None = None,
) -> Iterator[Step]:
    """Sample ancestrally, drawing each state from the posterior q(x_s | x_t, x0) (Ho et al. 2020, section 3.2)."""

    def update(index: int, x: Tensor, x0: Tensor, here: Level, there: Level) -> Tensor:
        return ancestral_step(x, x0, here, there, _fresh_noise(noise, index, x))

    return _integrate(Estimator(denoise, condition), x, noise_levels(schedule, timesteps), update)


def ddim(
    denoise: Denoise,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise | None = None,
    eta: float = 0.0,
) -> Iterator[Step]:
    """Sample with a denoising diffusion implicit model (Song et al. 2021, equations 12 and 16); first order.

    Args:
        eta: 0 is deterministic; 1 has the variance of the DDPM posterior. Values above 0 need ``noise``.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta={eta}: choose a number from 0 (deterministic) to 1 (as noisy as DDPM)")

    def update(index: int, x: Tensor, x0: Tensor, here: Level, there: Level) -> Tensor:
        kept = here.alpha * there.sigma / (there.alpha * here.sigma)
        spread = eta * there.sigma * math.sqrt(max(1 - kept**2, 0.0))
        if spread == 0:
            return straight_step(x, x0, here, there)
        direction = noise_from_x0(x0, x, here.alpha, here.sigma)
        mean = there.alpha * x0 + math.sqrt(there.sigma**2 - spread**2) * direction
        return mean + spread * _fresh_noise(noise, index, x)

    return _integrate(Estimator(denoise, condition), x, noise_levels(schedule, timesteps), update)


def heun(
    denoise: Denoise,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise | None = None,
) -> Iterator[Step]:
    """Solve the probability-flow ODE with Heun's method (Karras et al. 2022, algorithm 1); second order, two calls per step.

    In y = x/alpha and s = sigma/alpha the ODE is dy/ds = ε. Some steps are of first order, which does not reduce the order of
    convergence: the one that leaves pure noise (alpha < 0.001), the one that reaches the clean image, and any that goes from
    more noise than image (s > 1) to less than a third of it. The slope changes too much in such a step for the mean of both
    ends to be better than the first; with few steps equally spaced in log-SNR, the image would overshoot.
    """
    estimate = Estimator(denoise, condition)

    def update(index: int, x: Tensor, x0: Tensor, here: Level, there: Level) -> Tensor:
        euler = straight_step(x, x0, here, there)
        if here.alpha < _PURE_NOISE or here.sigma / here.alpha > max(1.0, 3 * there.sigma / there.alpha):
            return euler
        slope = noise_from_x0(x0, x, here.alpha, here.sigma)
        slope_ahead = noise_from_x0(estimate(euler, there), euler, there.alpha, there.sigma)
        # Half the change of slope, times the step length alpha'·(s' − s), corrects Euler's end point.
        length = there.sigma - there.alpha * here.sigma / here.alpha
        return euler + 0.5 * length * (slope_ahead - slope)

    return _integrate(estimate, x, noise_levels(schedule, timesteps), update)


def dpmpp_2m(
    denoise: Denoise,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise | None = None,
) -> Iterator[Step]:
    """Sample with DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2); second order, one call per step.

    Together with the previous x0 estimate, the current one is extrapolated to the middle of the step in
    λ = log(alpha/sigma). The first step and the one that reaches the clean image are of first order.
    """
    previous: tuple[Tensor, float] | None = None  # the last x0 estimate, and the length in λ of its step

    def update(index: int, x: Tensor, x0: Tensor, here: Level, there: Level) -> Tensor:
        nonlocal previous
        length = there.log_ratio - here.log_ratio
        target = x0
        if previous is not None and previous[1] > 0:  # a schedule may repeat a noise level
            earlier, earlier_length = previous
            target = x0 + 0.5 * length / earlier_length * (x0 - earlier)
        previous = (x0, length)
        return straight_step(x, target, here, there)

    return _integrate(Estimator(denoise, condition), x, noise_levels(schedule, timesteps), update)


# Adams–Bashforth weights by order, newest slope first (Zhang & Chen 2023, equations 36 to 38).
_ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def ipndm(
    denoise: Denoise,
    x: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    condition: Any = None,
    *,
    noise: SeededNoise | None = None,
) -> Iterator[Step]:
    """Sample with iPNDM-4 (Liu et al. 2022b; Zhang & Chen 2023, section 4.2); one call per step.

    Each step combines the last four slopes ε, fewer at the start, with Adams–Bashforth weights, and then steps as DDIM does.
    """
    slopes: list[Tensor] = []

    def update(index: int, x: Tensor, x0: Tensor, here: Level, there: Level) -> Tensor:
        slopes.insert(0, noise_from_x0(x0, x, here.alpha, here.sigma))
        del slopes[4:]
        if len(slopes) == 1:  # alpha may be 0 here
            return straight_step(x, x0, here, there)
        weights = _ADAMS_BASHFORTH[len(slopes) - 1]
        slope = sum((w * s for w, s in zip(weights, slopes, strict=True)), torch.zeros_like(x))
        # The combined slope corresponds to a different x0, towards which DDIM's step moves.
        return straight_step(x, x0 - here.sigma / here.alpha * (slope - slopes[0]), here, there)

    return _integrate(Estimator(denoise, condition), x, noise_levels(schedule, timesteps), update)
