"""Samplers on data N(m, s²), whose denoiser and ODE solution are known.

With x_t = a·x0 + σ·ε the best estimate is E[x0 | x_t] = m + a·s²/(a²·s² + σ²)·(x_t − a·m), and the probability-flow ODE keeps
(x_t − a·m)/sqrt(a²·s² + σ²) constant.
"""

import math
from itertools import product

import pytest
import torch
from gaussian_data import (
    ALL_SCHEDULES,
    MEAN,
    SPREAD,
    STOCHASTIC,
    every_deterministic_sampler,
    every_sampler,
    every_schedule,
    gaussian_denoiser,
    levels,
    noise_for,
    nonlinear_denoiser,
)

from diffusion_core.noise import SeededNoise
from diffusion_core.samplers import SAMPLERS, ddim, ddpm
from diffusion_core.schedules import SPACINGS, sampling_timesteps


def exact_solution(schedule, x, start, end, mean=MEAN, spread=SPREAD):
    (a, s), (b, r) = levels(schedule, start), levels(schedule, end)
    return b * mean + math.hypot(b * spread, r) / math.hypot(a * spread, s) * (x - a * mean)


def error_after(sampler, schedule, steps, start, end=20.0):
    """How far the state at ``end`` is from the exact solution, after ``steps`` steps that are equal in t, in float64."""
    x = noise_for(2).initial().double()
    timesteps = torch.linspace(start, end, steps + 1, dtype=torch.float64)
    *_, last, _ = sampler(gaussian_denoiser(schedule), x, timesteps, schedule)
    assert last.timestep == end
    return (last.x - exact_solution(schedule, x, start, end)).abs().max().item()


@every_deterministic_sampler
def test_converges_to_the_exact_solution_from_the_noisiest_timestep(name):
    """Where alpha starts at 0 the step in λ is infinite, which costs second order at most a logarithm: 4 times the steps
    must divide the error by about 4 (first order), by more than 9 (second)."""
    for schedule in ALL_SCHEDULES.values():
        coarse, fine = (error_after(SAMPLERS[name], schedule, steps, 999.0) for steps in (50, 200))
        if SAMPLERS[name].order == 1:
            assert 3.7 < coarse / fine < 4.3
            assert fine < 2e-2
        else:
            # With few steps, the first ones of Heun are Euler steps here and so good that its order shows only in many.
            assert coarse / fine > 9 or fine < 3e-4, schedule.name
            assert fine < 1.2e-3


# By sampler: the number of steps to double, and what that must divide the error by, at least and at most.
# On unequal steps, iPNDM is of second order in the limit only; before that its errors are far smaller. Multistep samplers begin
# with a step of first order, whose small error of second order shows with many steps.
HALVING = {"ipndm": (200, 3.2, 6.0), "dpmpp_3m": (100, 5.8, 8.5), "unipc": (100, 11, 16)}


@every_deterministic_sampler
def test_halving_the_step_divides_the_error_by_two_to_the_order(name):
    scale = 2 ** SAMPLERS[name].order
    steps, low, high = HALVING.get(name, (100, 0.96 * scale, 1.07 * scale))
    for schedule in ALL_SCHEDULES.values():
        coarse, fine = (error_after(SAMPLERS[name], schedule, number, 900.0) for number in (steps, 2 * steps))
        assert low < coarse / fine < high, schedule.name
        if name == "ipndm":
            assert fine < error_after(SAMPLERS["heun"], schedule, 400, 900.0) / 3


class UnitNoise:
    """Fresh noise of 1 for one row of the batch in each step, so that the last states are the factors of all that is drawn."""

    def __init__(self, rows):
        self.rows = rows

    def at_step(self, index, device="cpu"):
        return (torch.arange(self.rows) == index).double().view(-1, 1, 1, 1)


def error_of_variance(sampler, schedule, steps, start=900.0, end=20.0):
    """The relative error of the variance at ``end``: on data N(0, s²) the last state is linear in all that is drawn."""
    (alpha, sigma), (a, b) = levels(schedule, start), levels(schedule, end)
    noise = UnitNoise(steps + 1)
    x = math.hypot(alpha * SPREAD, sigma) * noise.at_step(steps)
    timesteps = torch.linspace(start, end, steps + 1, dtype=torch.float64)
    *_, last, _ = sampler(gaussian_denoiser(schedule, mean=0.0), x, timesteps, schedule, noise=noise)
    return abs(last.x.square().sum().item() / math.hypot(a * SPREAD, b) ** 2 - 1)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_the_variance_converges_with_fresh_noise(name):
    """Halving the step divides its error by 2, and by 4 with DPM-Solver++."""
    scale = 4 if name == "dpmpp_2m_sde" else 2
    for schedule in ALL_SCHEDULES.values():
        coarse, fine = (error_of_variance(SAMPLERS[name], schedule, steps) for steps in (100, 200))
        assert 0.94 * scale < coarse / fine < 1.15 * scale, schedule.name


@every_deterministic_sampler
def test_a_constant_estimate_is_followed_exactly_in_any_number_of_steps(name):
    """Data without spread: the ODE's solution is a straight line in (alpha, sigma), so no step may make an error."""
    x = noise_for().initial().double()
    for schedule, steps in product(ALL_SCHEDULES.values(), (2, 3, 12)):
        timesteps = sampling_timesteps(schedule, steps)
        *_, last, sample = SAMPLERS[name](gaussian_denoiser(schedule, spread=0.0), x, timesteps, schedule)
        wanted = exact_solution(schedule, x, 999, last.timestep, spread=0.0)
        # iPNDM divides roundings by alpha, 5e-5 at the end of cosine.
        torch.testing.assert_close(last.x, wanted, rtol=0, atol=1e-10)
        assert torch.equal(sample.x, torch.full_like(x, MEAN))


@every_sampler
def test_few_steps_do_not_overshoot(sampler):
    """Extrapolating far used to make the contrast 2 to 3 times too high, and the mean of two slopes 160 times.

    Not with "leading", which starts from too much noise.
    """
    noise = noise_for(4)
    x = noise.initial().double()
    for name, spacing in product(("flow", "linear", "cosine", "sigmoid, zero terminal SNR"), SPACINGS):
        for steps in (2, 3, 4, 5, 6, 7, 9, 12, 16) if spacing != "leading" else ():
            timesteps = sampling_timesteps(ALL_SCHEDULES[name], steps, spacing)
            denoise = gaussian_denoiser(ALL_SCHEDULES[name])
            *_, sample = sampler(denoise, x, timesteps, ALL_SCHEDULES[name], noise=noise)
            assert (sample.x - MEAN).std().item() < 1.35 * SPREAD, (name, spacing, steps)


@every_deterministic_sampler
def test_samples_of_gaussian_data_are_exact_in_the_end(name):
    """The whole way, last step included: the sample is the ODE's solution at t = 0 up to the noise that is left there."""
    x = noise_for().initial().double()
    for schedule in ALL_SCHEDULES.values():
        *_, sample = SAMPLERS[name](gaussian_denoiser(schedule), x, sampling_timesteps(schedule, 100), schedule)
        alpha, sigma = levels(schedule, 999)
        wanted = MEAN + SPREAD / math.hypot(alpha * SPREAD, sigma) * (x - alpha * MEAN)
        assert (sample.x - wanted).abs().max() < (4e-2 if SAMPLERS[name].order == 1 else 1e-2)


@every_schedule
def test_ddim_with_eta_1_is_ddpm(schedule):
    x, noise = noise_for().initial().double(), noise_for()
    for steps, spacing in product((2, 3, 40), ("trailing", "log_snr")):
        timesteps = sampling_timesteps(schedule, steps, spacing)
        ours = list(ddpm(nonlinear_denoiser, x, timesteps, schedule, noise=noise))
        theirs = list(ddim(nonlinear_denoiser, x, timesteps, schedule, noise=noise, eta=1.0))
        assert len(ours) == len(theirs) == steps + 1
        for one, other in zip(ours, theirs, strict=True):
            # The standard deviations differ by the root of a rounding (1e-8) at most, where almost no noise is added.
            torch.testing.assert_close(one.x, other.x, rtol=0, atol=1e-7)
            torch.testing.assert_close(one.x0, other.x0, rtol=0, atol=1e-7)


@every_schedule
def test_ddpm_steps_have_the_moments_of_the_posterior(schedule):
    """Bayes' rule by completing the square: q(x_s | x_t, x0) ∝ q(x_t | x_s)·q(x_s | x0), both Gaussian."""
    x = noise_for().initial().double()
    for t, s in ((999.0, 998.0), (999.0, 400.0), (500.0, 499.0), (30.0, 10.5)):
        (a, b), (c, d) = levels(schedule, t), levels(schedule, s)
        first, second, _ = ddpm(nonlinear_denoiser, x, [t, s], schedule, noise=noise_for())
        ratio = a / c
        added = b**2 - (ratio * d) ** 2
        precision = ratio**2 / added + 1 / d**2
        mean = (ratio * x / added + c * first.x0 / d**2) / precision
        wanted = mean + noise_for().at_step(0) / math.sqrt(precision)
        # The fresh noise, up to 4, is float32 and is scaled in float32.
        torch.testing.assert_close(second.x, wanted, rtol=0, atol=5e-7)


@pytest.mark.parametrize("name", ["linear", "flow"])
def test_ddpm_with_all_steps_draws_from_the_data(name):
    """16,384 pixels: 4 standard errors, and 0.02 for T = 1000 being finite (the posterior's variance is that of a known x0)."""
    schedule, noise = ALL_SCHEDULES[name], SeededNoise(0, (1, 128, 128), [0])
    timesteps = sampling_timesteps(schedule, 1000)
    *_, sample = ddpm(gaussian_denoiser(schedule), noise.initial(), timesteps, schedule, noise=noise)
    alpha, _ = levels(schedule, 999)
    n = sample.x.numel()
    # The start is N(0, 1) rather than N(alpha·m, alpha²·s² + sigma²); what is left of that error at t = 0 is below alpha.
    assert abs(sample.x.mean() - MEAN) < 4 * SPREAD / math.sqrt(n) + 0.02 * alpha
    assert abs(sample.x.var() / SPREAD**2 - 1) < 4 * math.sqrt(2 / n) + 0.02
    standard = (sample.x - sample.x.mean()) / sample.x.std()
    assert abs((standard**4).mean() - 3) < 5 * math.sqrt(96 / n)


@every_schedule
def test_ddim_between_eta_0_and_1_keeps_the_marginal(schedule):
    """For a known x0 every eta gives N(alpha·x0, sigma²) at each level: 32,768 pixels, 5 standard errors."""
    noise = SeededNoise(1, (2, 128, 128), [0])
    x = levels(schedule, 900)[0] * MEAN + levels(schedule, 900)[1] * noise.initial().double()
    for eta in (0.3, 0.7, 1.0):
        steps = ddim(lambda x, t, c: torch.full_like(x, MEAN), x, [900, 600, 300, 30], schedule, noise=noise, eta=eta)
        for step in list(steps)[:-1]:
            alpha, sigma = levels(schedule, step.timestep)
            rest = (step.x - alpha * MEAN) / sigma
            assert abs(rest.mean()) < 5 / math.sqrt(rest.numel())
            assert abs(rest.var() - 1) < 5 * math.sqrt(2 / rest.numel())
