"""A sampler's X-ray: where each of its steps went, and how wrong it was."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from .condition import Condition
from .fine_solution import SUBSTEPS, fine_solution, solve, substeps_between
from .noise import InterpolatedNoise, SeededNoise
from .process import noise_from_x0
from .samplers import CLEAN, Denoise, Estimator, Level, Step, fresh_noise, noise_levels
from .schedules import NoiseSchedule


@dataclass(frozen=True, eq=False)
class StepReport:
    """What is known of one state of a sampler, and of the step that led to it.

    Errors, distances and noise are root mean squares over an image, in the units of the state: pixels from −1 to 1, or latents.
    Tensors are (B,) float64, one value per image.

    Attributes:
        index: of the step that led here; 0 is the starting state, to which none led.
        timestep, log_snr: the noise level of the state; 0 and inf for the sample.
        order: of the step, by one higher if it was corrected; None if the sampler does not say.
        corrected: whether a corrector changed the state before the sampler went on.
        noise: standard deviation of the fresh noise that the step added.
        rms: root mean square of the state.
        moved: distance from the state before.
        local_error: distance from the fine solution that starts in the state before.
        global_error: distance from the fine solution that starts from the same noise; of the starting state, it is what the
            sampler misses by not beginning at the last timestep.
        turn: angle in degrees between the predicted noise at both ends of the fine solution from the state before. Along the
            ODE the predicted noise is the direction in which x/alpha changes with sigma/alpha: where it does not turn, the
            path is straight and one step is exact.
        clipped: share of the estimate's values at the ends of the data range.
        reference_error: how far the fine solution of ``global_error`` is from one with half as many substeps.
    """

    index: int
    timestep: float
    log_snr: float
    order: int | None
    corrected: bool
    noise: float
    rms: Tensor
    moved: Tensor
    local_error: Tensor
    global_error: Tensor
    turn: Tensor
    clipped: Tensor
    reference_error: Tensor


@torch.no_grad()
def x_ray(
    steps: Iterator[Step],
    denoise: Denoise,
    schedule: NoiseSchedule,
    condition: Condition | None = None,
    *,
    noise: SeededNoise | InterpolatedNoise | None = None,
    start: Tensor | None = None,
    data_range: tuple[float, float] | None = None,
    substeps: int = SUBSTEPS,
) -> Iterator[StepReport]:
    """Follow a sampler and report on each of its steps.

    The fine solution is that of the probability-flow ODE of the same denoiser (see :mod:`diffusion_core.fine_solution`), so
    the errors are the sampler's alone, however good or bad the model is.

    A step that adds fresh noise is compared with an exact one that adds the same noise: one that follows the ODE down to the
    noise level from which this noise leads up to the new level, as ancestral samplers do (see ``samplers.ddpm``). Such a step
    keeps the distribution of states exactly, so the error is that of the way down, and the noise itself counts as none. Noise
    beyond that of the new level, and any in the sample, counts as error.

    Where a corrector changes a state before the sampler goes on, the corrected state is judged.

    Args:
        steps: of a sampler, each of them less noisy than the one before.
        denoise, schedule, condition, noise: what the sampler was given.
        start: (B, C, H, W), the state at the schedule's last timestep that belongs to the sampler's first state; by default
            the fine solution starts where the sampler does.
        data_range: the interval to which the denoiser clips its estimates, if it does.
        substeps: of the fine solution over the whole schedule, with four network calls each.

    Yields:
        A report on the starting state, and one on each step.
    """
    estimate = Estimator(denoise, condition)
    pair = Estimator(denoise, None if condition is None else condition.beside(condition))
    ideal = rough = None  # the fine solution, and one with half as many substeps
    for leg in _legs(steps, schedule):
        here, there, after = leg.here, leg.there, leg.after
        if ideal is None or rough is None:
            ideal, rough = (_begun(denoise, start, leg, schedule, condition, count) for count in (substeps, substeps // 2))
            yield _report(leg.before, leg.begin, here, ideal, rough, data_range)
        drawn = after.move.noise if after.move else 0.0
        kept = min(drawn, there.sigma)
        added = kept * fresh_noise(noise, leg.before.index, leg.end) if kept else torch.zeros_like(leg.end)
        down = replace(there, sigma=math.sqrt(there.sigma**2 - kept**2))
        count = substeps_between(here, down, schedule, substeps)
        both, ahead = solve(pair, torch.cat([leg.begin, ideal]), here, down, schedule, count)
        right, ideal = (both + torch.cat([added, added])).chunk(2)
        rough = solve(estimate, rough, here, down, schedule, count // 2)[0] + added
        direction = noise_from_x0(leg.before.x0, leg.before.x, here.alpha, here.sigma)
        yield replace(
            _report(after, leg.end, there, ideal, rough, data_range),
            order=after.move.order + leg.corrected if after.move else None,
            corrected=leg.corrected,
            noise=drawn,
            moved=rms(leg.end - leg.begin),
            local_error=rms(leg.end - right),
            turn=_angle(direction, ahead.chunk(2)[0]),
        )


@dataclass(frozen=True, eq=False)
class _Leg:
    """The way from one state of a sampler to the next: its steps, the states as a corrector left them, and their levels."""

    before: Step
    after: Step
    begin: Tensor
    end: Tensor
    here: Level
    there: Level

    @property
    def corrected(self) -> bool:
        """Whether a corrector changed the end."""
        return self.end is not self.after.x


def _legs(steps: Iterator[Step], schedule: NoiseSchedule) -> Iterator[_Leg]:
    """Yield the legs of a sampler, each when the step after it has said whether a corrector changed its end."""
    leg = None
    for before, after in pairwise(steps):
        begin = before.x if after.move is None or after.move.start is None else after.move.start
        if leg is not None:
            yield replace(leg, end=begin)
        leg = _Leg(before, after, begin, after.x, _level(before, schedule), _level(after, schedule))
    if leg is not None:
        yield replace(leg, there=CLEAN)


def _level(step: Step, schedule: NoiseSchedule) -> Level:
    return noise_levels(schedule, torch.tensor([step.timestep], dtype=torch.float64))[0]


def _begun(
    denoise: Denoise, start: Tensor | None, leg: _Leg, schedule: NoiseSchedule, condition: Condition | None, substeps: int
) -> Tensor:
    """Return the state of the fine solution at the beginning of the first leg."""
    last = schedule.num_timesteps - 1
    if start is None or leg.here.timestep == last:
        return leg.begin
    timesteps = torch.tensor([last, leg.here.timestep], dtype=torch.float64)
    *_, there, _ = fine_solution(denoise, start, timesteps, schedule, condition, substeps=substeps)
    return there.x


def _report(
    step: Step, x: Tensor, level: Level, ideal: Tensor, rough: Tensor, data_range: tuple[float, float] | None
) -> StepReport:
    """Return a report on a state, with the zeros of a starting state for what is known only of a step."""
    none = torch.zeros(len(x), dtype=torch.float64)
    clipped = none if data_range is None else _mean((step.x0 <= data_range[0]) | (step.x0 >= data_range[1]))
    errors = rms(x - ideal), rms(rough - ideal)
    log_snr = 2 * level.log_ratio
    return StepReport(
        step.index, step.timestep, log_snr, None, False, 0.0, rms(x), none, none, errors[0], none, clipped, errors[1]
    )


def rms(x: Tensor) -> Tensor:
    """Return the root mean square of every image: (B, C, H, W) -> (B,) float64."""
    return _mean(x.square()).sqrt()


def _mean(x: Tensor) -> Tensor:
    return x.flatten(1).to(torch.promote_types(x.dtype, torch.float32)).mean(1).cpu().double()


def _angle(one: Tensor, other: Tensor) -> Tensor:
    """Return the angle in degrees between the images of two batches: (B, C, H, W) -> (B,) float64."""
    a, b = (x.cpu().double().flatten(1) for x in (one, other))
    return torch.nn.functional.cosine_similarity(a, b).clamp(-1, 1).acos().rad2deg()
