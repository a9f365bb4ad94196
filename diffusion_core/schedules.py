"""Noise schedules, and the timesteps that a sampler visits.

A schedule is a pair of tables. Timestep ``t`` runs from 0 (nearly clean) to T−1 (nearly pure noise), and the state there is
``x_t = alpha[t]·x0 + sigma[t]·ε`` with ``ε ~ N(0, I)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .choices import SCHEDULES, SPACINGS

WITH_FLOAT64 = ("cpu", "cuda")  # kinds of devices; Apple's GPUs (MPS) lack it, and some of Intel's (XPU)


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """A table of signal and noise levels.

    Attributes:
        name: the name in figures and error messages.
        alpha: (T,) float64, the factor of the image, non-increasing, in [0, 1].
        sigma: (T,) float64, the standard deviation of the noise, non-decreasing, in (0, 1].

    The tables stay on the CPU, whatever the device of the images, so that a scalar timestep needs no synchronisation.
    """

    name: str
    alpha: Tensor
    sigma: Tensor

    def __post_init__(self) -> None:
        if self.alpha.shape != self.sigma.shape or self.alpha.ndim != 1 or len(self.alpha) == 0:
            raise ValueError(
                f"schedule {self.name!r}: alpha {tuple(self.alpha.shape)} and sigma {tuple(self.sigma.shape)} "
                "must be two tables of the same length"
            )

    @property
    def num_timesteps(self) -> int:
        """T, the length of the tables."""
        return len(self.alpha)

    @property
    def alphas_cumprod(self) -> Tensor:
        """(T,) signal power alpha² (ᾱ of DDPM for variance-preserving schedules)."""
        return self.alpha.square()

    @property
    def betas(self) -> Tensor:
        """(T,) fraction of the signal power lost at each step, 1 − ᾱ[t]/ᾱ[t−1] (Ho et al. 2020, section 2)."""
        kept = self.alphas_cumprod
        return 1 - kept / torch.cat([torch.ones_like(kept[:1]), kept[:-1]])

    @property
    def snr(self) -> Tensor:
        """(T,) signal-to-noise ratio alpha²/sigma² (Kingma et al. 2021, equation 2)."""
        return (self.alpha / self.sigma).square()

    @property
    def log_snr(self) -> Tensor:
        """(T,) natural logarithm of the signal-to-noise ratio; −inf where alpha is 0."""
        return self.snr.log()

    def at(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and sigma at timesteps ``t`` in [0, T−1], interpolated linearly between rows.

        Both are float64 tensors of the shape of ``t`` (() for a number) on its device; float32 outside WITH_FLOAT64.

            >>> alpha, sigma = flow(4).at(1.5)
            >>> alpha.item(), sigma.item()
            (0.375, 0.625)
        """
        t = torch.as_tensor(t)
        position = t.detach().to("cpu", torch.float64).clamp(0, self.num_timesteps - 1)
        below = position.floor().long()
        above = (below + 1).clamp(max=self.num_timesteps - 1)
        weight = position - below
        dtype = torch.float64 if t.device.type in WITH_FLOAT64 else torch.float32
        alpha, sigma = (torch.lerp(table[below], table[above], weight) for table in (self.alpha, self.sigma))
        return alpha.to(t.device, dtype), sigma.to(t.device, dtype)

    def level(self, t: float) -> tuple[float, float]:
        """Return alpha and sigma at one timestep as plain numbers: those of :meth:`at` for a float64 tensor."""
        alphas, sigmas = self._tables
        last = len(alphas) - 1
        position = min(max(t, 0.0), float(last))
        below = int(position)
        above, weight = min(below + 1, last), position - below
        alpha, sigma = (table[below] + weight * (table[above] - table[below]) for table in (alphas, sigmas))
        return alpha, sigma

    @cached_property
    def _tables(self) -> tuple[list[float], list[float]]:
        return self.alpha.tolist(), self.sigma.tolist()

    def timesteps_at(self, log_snr: Tensor) -> Tensor:
        """Return the timesteps at which the log-SNR is ``log_snr``, (N,); the inverse of :meth:`at`.

        The timesteps, (N,) float64, are fractional between rows. Values outside the table give its first or last row; a row of
        pure noise, whose log-SNR is −inf, does not count.
        """
        rows = int(self.log_snr.isfinite().sum())
        if rows < 2:
            return torch.zeros_like(log_snr, dtype=torch.float64)
        level, alpha, sigma = self.log_snr[:rows], self.alpha[:rows], self.sigma[:rows]
        log_snr = log_snr.double().clamp(level[-1], level[0])
        # Between two rows alpha and sigma are linear in t, so alpha/sigma = r is a linear equation for t.
        row = torch.searchsorted(-level, -log_snr).clamp(1, rows - 1) - 1
        ratio = (log_snr / 2).exp()
        falls, rises = alpha[row] - alpha[row + 1], sigma[row + 1] - sigma[row]
        return row + ((alpha[row] - ratio * sigma[row]) / (falls + ratio * rises)).clamp(0, 1)


def _from_alphas_cumprod(name: str, alphas_cumprod: Tensor) -> NoiseSchedule:
    return NoiseSchedule(name, alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt())


def from_betas(name: str, betas: Sequence[float]) -> NoiseSchedule:
    """Return the variance-preserving schedule with ᾱ[t] = Π (1 − β[s]) over s ≤ t (Ho et al. 2020, section 2)."""
    return _from_alphas_cumprod(name, (1 - torch.tensor(betas, dtype=torch.float64)).cumprod(0))


def _time(num_timesteps: int, ends: int) -> Tensor:
    """Return ``num_timesteps + ends`` equally spaced times in [0, 1], float64."""
    if num_timesteps < 1:
        raise ValueError(f"num_timesteps={num_timesteps}: a schedule needs at least 1 timestep")
    return torch.linspace(0, 1, num_timesteps + ends, dtype=torch.float64)


def linear(num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> NoiseSchedule:
    """Return the schedule of linear betas (Ho et al. 2020, section 4); the ends hold for T = 1000 and scale with 1000/T."""
    time = _time(num_timesteps, 0)
    betas = (beta_start + (beta_end - beta_start) * time) * (1000 / num_timesteps)
    return _from_alphas_cumprod("linear", (1 - betas.clamp(max=0.999)).cumprod(0))


def cosine(num_timesteps: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> NoiseSchedule:
    """Return the schedule ᾱ(t) = cos²((t + s)/(1 + s)·π/2) with clipped betas (Nichol & Dhariwal 2021, equation 17)."""
    level = ((_time(num_timesteps, 1) + offset) / (1 + offset) * math.pi / 2).cos().square()
    betas = (1 - level[1:] / level[:-1]).clamp(max=max_beta)
    return _from_alphas_cumprod("cosine", (1 - betas).cumprod(0))


def sigmoid(
    num_timesteps: int = 1000, start: float = -3.0, end: float = 3.0, tau: float = 1.0, min_level: float = 1e-4
) -> NoiseSchedule:
    """Return the schedule of a logistic ᾱ(t), at least ``min_level`` (Jabri et al. 2023, algorithm 1)."""
    low, high = (torch.tensor(edge / tau, dtype=torch.float64).sigmoid() for edge in (start, end))
    curve = ((_time(num_timesteps, 1)[1:] * (end - start) + start) / tau).sigmoid()
    return _from_alphas_cumprod("sigmoid", ((high - curve) / (high - low)).clamp(min=min_level))


def flow(num_timesteps: int = 1000) -> NoiseSchedule:
    """Return the rectified-flow schedule: alpha = 1 − t, sigma = t with t = 1/T … 1 (Liu et al. 2022, equation 1)."""
    time = _time(num_timesteps, 1)[1:]
    return NoiseSchedule("flow", 1 - time, time)


def rescale_zero_terminal_snr(schedule: NoiseSchedule) -> NoiseSchedule:
    """Shift and stretch alpha so that the last timestep is pure noise (Lin et al. 2024, algorithm 1).

    The first alpha is kept, and sigma = sqrt(1 − alpha²), so only variance-preserving schedules can be rescaled. A schedule
    that already ends in pure noise, such as ``flow``, is returned unchanged.
    """
    first, last = schedule.alpha[0], schedule.alpha[-1]
    if last == 0:
        return schedule
    if first == last:
        raise ValueError(f"schedule {schedule.name!r} needs at least 2 different timesteps to end in pure noise")
    if not torch.allclose(schedule.alpha.square() + schedule.sigma.square(), torch.ones((), dtype=torch.float64)):
        raise ValueError(f"schedule {schedule.name!r} does not preserve variance, so it cannot be rescaled")
    alpha = (schedule.alpha - last) * (first / (first - last))
    return _from_alphas_cumprod(f"{schedule.name}, zero terminal SNR", alpha.square())


def shift_noise(schedule: NoiseSchedule, factor: float) -> NoiseSchedule:
    """Multiply sigma/alpha by ``factor`` at every timestep.

    Neighbouring pixels of larger images are more redundant, so more noise is needed to hide the same content; side/64 is a
    common factor (Hoogeboom et al. 2023, equation 4; for ``flow`` Esser et al. 2024, equation 23). The result preserves
    alpha² + sigma² = 1, or alpha + sigma = 1, whichever held before.

    Raises:
        ValueError: the factor is not a positive number, or neither equation holds.
    """
    if not 0 < factor < math.inf:
        raise ValueError(f"noise_shift={factor}: choose a positive number; 1 leaves the schedule as it is")
    one = torch.ones((), dtype=torch.float64)
    alpha, sigma = schedule.alpha, schedule.sigma * factor
    if torch.allclose(schedule.alpha.square() + schedule.sigma.square(), one):
        scale = torch.hypot(alpha, sigma)
    elif torch.allclose(schedule.alpha + schedule.sigma, one):
        scale = alpha + sigma
    else:
        raise ValueError(f"schedule {schedule.name!r} preserves neither variance nor amplitude, so it cannot be shifted")
    return NoiseSchedule(f"{schedule.name}, noise × {factor:g}", alpha / scale, sigma / scale)


def make_schedule(
    name: str, num_timesteps: int = 1000, zero_terminal_snr: bool = False, noise_shift: float = 1.0
) -> NoiseSchedule:
    """Make the schedule called ``name`` in :data:`SCHEDULES`.

    Args:
        name: a key of :data:`SCHEDULES`.
        num_timesteps: the length T.
        zero_terminal_snr: rescale the schedule to end in pure noise.
        noise_shift: factor of sigma/alpha, see :func:`shift_noise`.

    Example:
        >>> schedule = make_schedule("cosine", zero_terminal_snr=True)
        >>> schedule.num_timesteps, schedule.alpha[-1].item(), schedule.sigma[-1].item()
        (1000, 0.0, 1.0)
    """
    if name not in SCHEDULES:
        raise ValueError(f"unknown schedule {name!r}: choose one of {', '.join(SCHEDULES)}")
    schedule = SCHEDULES[name](num_timesteps)
    schedule = rescale_zero_terminal_snr(schedule) if zero_terminal_snr else schedule
    return schedule if noise_shift == 1 else shift_noise(schedule, noise_shift)


def trailing(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Return T−1, T−1−T/n, …, starting at the last timestep (Lin et al. 2024, table 2)."""
    size = schedule.num_timesteps
    return torch.round(size - torch.arange(steps, dtype=torch.float64) * size / steps) - 1


def shifted(schedule: NoiseSchedule, steps: int, shift: float = 2.0) -> Tensor:
    """Return fractional timesteps like trailing ones, but closer together where there is much noise.

    The times u = 1, 1 − 1/n, …, 1/n become s·u/(1 + (s − 1)·u) with s = ``shift`` (Esser et al. 2024, equation 23). On
    rectified flow this multiplies the noise sigma/alpha by s.
    """
    u = 1 - torch.arange(steps, dtype=torch.float64) / steps
    return schedule.num_timesteps * shift * u / (1 + (shift - 1) * u) - 1


def leading(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Return …, ⌊2T/n⌋, ⌊T/n⌋, 0, starting short of the last timestep (Song et al. 2021, appendix D.2, "linear")."""
    return (torch.arange(steps) * schedule.num_timesteps // steps).flip(0).double()


def linspace(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Return n equally spaced timesteps from T−1 to 0, rounded (Nichol & Dhariwal 2021, section 4)."""
    return torch.linspace(schedule.num_timesteps - 1, 0, steps, dtype=torch.float64).round()


def log_snr(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Return fractional timesteps at equal steps in log-SNR between both ends (Lu et al. 2022, section 3.4)."""
    return _timesteps_between_ends(schedule, lambda low, high: torch.linspace(low, high, steps, dtype=torch.float64))


def karras(schedule: NoiseSchedule, steps: int, rho: float = 7.0) -> Tensor:
    """Return fractional timesteps at equal steps in (sigma/alpha)^(1/rho) (Karras et al. 2022, equation 5)."""

    def levels(low: float, high: float) -> Tensor:
        roots = torch.linspace(math.exp(-low / (2 * rho)), math.exp(-high / (2 * rho)), steps, dtype=torch.float64)
        return -2 * rho * roots.log()

    return _timesteps_between_ends(schedule, levels)


def _timesteps_between_ends(schedule: NoiseSchedule, levels: Callable[[float, float], Tensor]) -> Tensor:
    """Return the timesteps of the log-SNRs that ``levels`` gives between the lowest and the highest of the schedule.

    A schedule that ends in pure noise has no finite log-SNR there. Its last timestep comes first, and the others take the
    place of the levels over the rest.
    """
    finite = schedule.log_snr[schedule.log_snr.isfinite()]
    low, high = (float(finite[-1]), float(finite[0])) if len(finite) else (0.0, 0.0)
    timesteps = schedule.timesteps_at(levels(low, high))
    timesteps[-1] = 0
    timesteps[0] = schedule.num_timesteps - 1
    return timesteps


def sampling_timesteps(schedule: NoiseSchedule, steps: int, spacing: str = "trailing") -> Tensor:
    """Return the timesteps that a sampler visits, noisiest first.

    Args:
        schedule: the schedule, of length T.
        steps: the number of timesteps, from 1 to T.
        spacing: a key of :data:`SPACINGS`. A single step starts from the last timestep, except with "leading", which by
            definition visits only timestep 0.

    Returns:
        (steps,) float64, descending; fractional only for "shifted", "log_snr" and "karras".

    Example:
        >>> sampling_timesteps(flow(), 4).tolist()
        [999.0, 749.0, 499.0, 249.0]
        >>> sampling_timesteps(flow(), 4, "leading").tolist()
        [750.0, 500.0, 250.0, 0.0]
    """
    if spacing not in SPACINGS:
        raise ValueError(f"unknown timestep spacing {spacing!r}: choose one of {', '.join(SPACINGS)}")
    if not 1 <= steps <= schedule.num_timesteps or steps != int(steps):
        raise ValueError(f"steps={steps}: choose a whole number from 1 to {schedule.num_timesteps}")
    timesteps: Tensor = SPACINGS[spacing](schedule, int(steps))
    return timesteps
