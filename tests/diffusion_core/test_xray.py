"""The X-ray of samplers on data N(m, s²), where the exact solution is known (see test_samplers.py)."""

import math
from dataclasses import replace

import pytest
import torch
from gaussian_data import (
    ALL_SCHEDULES,
    DETERMINISTIC,
    MEAN,
    SPREAD,
    STOCHASTIC,
    gaussian_denoiser,
    levels,
    noise_for,
    nonlinear_denoiser,
)

from diffusion_core.condition import Condition
from diffusion_core.fine_solution import fine_solution
from diffusion_core.samplers import SAMPLERS, Move, Step, ddim, ddpm, dpmpp_2m
from diffusion_core.schedules import SPACINGS, make_schedule, sampling_timesteps
from diffusion_core.xray import rms, x_ray

COSINE = ALL_SCHEDULES["cosine"]


def reports_on(name, timesteps, schedule=COSINE, denoise=None, noise=None, **options):
    denoise, noise = denoise or gaussian_denoiser(schedule), noise or noise_for(2)
    steps = SAMPLERS[name](denoise, noise.initial().double(), timesteps, schedule, noise=noise)
    return list(x_ray(steps, denoise, schedule, noise=noise, **options))


def between(steps, start=900.0, end=20.0):
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def test_the_fine_solution_is_exact_to_five_digits_on_every_schedule_and_converges():
    for schedule in ALL_SCHEDULES.values():
        x, denoise = noise_for().initial().double(), gaussian_denoiser(schedule)
        (a, s), (b, r) = levels(schedule, 999.0), levels(schedule, 0.0)
        state = b * MEAN + math.hypot(b * SPREAD, r) / math.hypot(a * SPREAD, s) * (x - a * MEAN)
        *_, before, sample = fine_solution(denoise, x, torch.tensor([999.0, 0.0]), schedule)
        assert (before.x - state).abs().max() < 1e-4
        assert (sample.x - denoise(state, 0.0)).abs().max() < 1e-4
        *_, coarse = fine_solution(denoise, x, torch.tensor([999.0]), schedule, substeps=10)
        assert (sample.x - denoise(state, 0.0)).abs().max() < (coarse.x - denoise(state, 0.0)).abs().max() / 30


@pytest.mark.parametrize("name", sorted({*DETERMINISTIC} - {"ipndm"}))  # whose weights are for equal steps in sigma/alpha
def test_the_local_error_falls_with_the_order_plus_one_and_the_global_error_with_the_order(name):
    """Halving the steps divides them by 2^(p + 1) and by 2^p."""
    coarse, fine = (reports_on(name, between(steps), substeps=160) for steps in (40, 80))
    order = SAMPLERS[name].order
    largest = []
    for reports in (coarse, fine):
        inside = [report for report in reports if 300 < report.timestep < 700]
        assert {report.order for report in inside} == {order}
        largest.append(max(report.local_error.max() for report in inside))
    assert 0.7 * 2 ** (order + 1) < largest[0] / largest[1] < 1.4 * 2 ** (order + 1)
    ratio = (coarse[-2].global_error / fine[-2].global_error).mean()
    assert 0.55 * 2**order < ratio < 1.7 * 2**order
    # The reference is 16 times as exact as the one with which it is compared.
    assert fine[-2].reference_error.max() / 16 < fine[-2].global_error.min() / 5


def test_orders_grow_with_what_is_known_and_the_last_step_is_of_first_order():
    orders = {name: [report.order for report in reports_on(name, between(5))] for name in DETERMINISTIC}
    assert orders["ddim"] == [None, 1, 1, 1, 1, 1, 1]
    assert orders["ipndm"] == [None, 1, 2, 3, 4, 4, 1]
    assert orders["dpmpp_2m"] == [None, 1, 2, 2, 2, 2, 1]
    assert [report.order for report in reports_on("unipc", between(40))][:6] == [None, 2, 3, 4, 4, 4]


def test_steps_along_a_straight_path_are_exact_with_fresh_noise_too():
    """Where x0 is constant, no sampler errs, the path does not turn, and the noise that is added is no error."""
    for schedule in map(ALL_SCHEDULES.get, ("flow", "linear", "cosine, zero terminal SNR")):
        for name in SAMPLERS:
            reports = reports_on(name, sampling_timesteps(schedule, 5), schedule, lambda x, t, c: torch.full_like(x, MEAN))
            assert max(report.local_error.max() for report in reports) < 1e-6, (name, schedule.name)
            assert max(report.global_error.max() for report in reports) < 1e-6, (name, schedule.name)
            assert all((report.noise > 0) == (name in STOCHASTIC) for report in reports[1:-1])
            assert reports[0].noise == reports[-1].noise == 0
            if name not in STOCHASTIC:
                assert max(report.turn.max() for report in reports) < 1e-3


def test_the_noise_is_that_of_the_posterior():
    reports = reports_on("ddpm", [900.0, 500.0])
    (a, s), (b, r) = levels(COSINE, 900.0), levels(COSINE, 500.0)
    assert reports[1].noise == pytest.approx(r / s * math.sqrt(s**2 - (a / b * r) ** 2))
    eta = list(x_ray(ddim(nonlinear_denoiser, noise_for(2).initial(), [900.0, 500.0], COSINE, noise=noise_for(2), eta=1.0),
                     nonlinear_denoiser, COSINE, noise=noise_for(2)))  # fmt: skip
    assert eta[1].noise == pytest.approx(reports[1].noise)


def test_halving_the_steps_of_ancestral_sampling_divides_its_local_error_by_four():
    """In λ the way down to the noise is twice the step."""
    errors = []
    for length in (4.0, 2.0):
        x = noise_for(2).initial().double()
        denoise = gaussian_denoiser(COSINE)
        steps = ddpm(denoise, x, [500.0, 500.0 - length], COSINE, noise=noise_for(2))
        errors.append(list(x_ray(steps, denoise, COSINE, noise=noise_for(2)))[1].local_error.mean())
    assert 3.8 < errors[0] / errors[1] < 4.2


def stays_noisy(*arguments, **options):
    """DPM-Solver++ with a fault: the state before the last step is the sample."""
    *steps, before, sample = dpmpp_2m(*arguments, **options)
    yield from (*steps, before, replace(sample, x=before.x))


def noises_the_sample(*arguments, noise, **options):
    """DPM-Solver++ with a fault: the last step adds noise."""
    *steps, sample = dpmpp_2m(*arguments, **options)
    x = sample.x + 0.1 * noise.at_step(len(steps) - 1)
    yield from (*steps, replace(sample, x=x, move=Move(x, noise=0.1)))


@pytest.mark.parametrize("faulty", [stays_noisy, noises_the_sample])
@pytest.mark.parametrize("spacing", ["trailing", "log_snr"])
def test_a_wrong_last_step_stands_out(faulty, spacing):
    schedule, noise = ALL_SCHEDULES["linear"], noise_for(2)
    timesteps, x = sampling_timesteps(schedule, 40, spacing), noise.initial().double()
    denoise = gaussian_denoiser(schedule, spread=0.05)
    sound, wrong = (
        list(x_ray(sampler(denoise, x, timesteps, schedule, noise=noise), denoise, schedule, noise=noise))
        for sampler in (dpmpp_2m, faulty)
    )
    for before, after in zip(sound[:-1], wrong[:-1], strict=True):
        assert torch.equal(before.local_error, after.local_error)
    if (faulty, spacing) != (stays_noisy, "log_snr"):  # at timestep 0 there is hardly any noise left to forget
        assert wrong[-1].local_error.min() > 3 * max(report.local_error.max() for report in wrong[:-1])
    assert wrong[-1].local_error.min() > 1.5 * sound[-1].local_error.max()


def test_a_spacing_that_misses_the_last_timestep_begins_with_an_error():
    """It takes noise for a state at its first timestep, where the fine solution has some of the image already."""
    for schedule in (ALL_SCHEDULES["flow"], ALL_SCHEDULES["cosine, zero terminal SNR"]):
        noise, found = noise_for(2), {}
        x = noise.initial().double()
        for spacing in SPACINGS:
            timesteps = sampling_timesteps(schedule, 10, spacing)
            reports = reports_on("ddim", timesteps, schedule, noise=noise, start=x)
            found[spacing] = reports[0].global_error.mean()
            assert reports[0].timestep == timesteps[0]
        assert found.pop("leading") > 0.03
        assert not any(found.values())


def test_states_clipping_and_moves_are_those_of_the_steps():
    noise = noise_for(3)
    timesteps = sampling_timesteps(COSINE, 4)

    def denoise(x, t, condition):
        assert condition is None or len(condition) == len(x)
        return (2 * x).clamp(-1, 1)

    condition = Condition(labels=torch.arange(3))
    steps = list(ddim(denoise, noise.initial(), timesteps, COSINE, condition))
    reports = list(x_ray(iter(steps), denoise, COSINE, condition, data_range=(-1.0, 1.0)))
    assert [report.timestep for report in reports] == [999, 749, 499, 249, 0]
    assert reports[-1].log_snr == math.inf
    for step, report in zip(steps, reports, strict=True):
        torch.testing.assert_close(report.rms, rms(step.x))
        torch.testing.assert_close(report.clipped, (step.x0.abs() == 1).flatten(1).double().mean(1))
    torch.testing.assert_close(reports[2].moved, rms(steps[2].x - steps[1].x))
    assert reports[1].turn.min() > 1


def test_a_sampler_that_does_not_say_how_it_moved_is_examined_without_orders():
    def silent(*arguments):
        for step in ddim(*arguments):
            yield Step(step.index, step.timestep, step.x, step.x0, step.nfe)

    x, timesteps = noise_for(2).initial(), sampling_timesteps(COSINE, 3)
    told, untold = (
        list(x_ray(sampler(nonlinear_denoiser, x, timesteps, COSINE), nonlinear_denoiser, COSINE)) for sampler in (ddim, silent)
    )
    assert [report.order for report in told] == [None, 1, 1, 1]
    assert [report.order for report in untold] == [None] * 4
    assert all(torch.equal(a.local_error, b.local_error) for a, b in zip(told, untold, strict=True))


@pytest.mark.parametrize("steps", [1, 50])
def test_every_number_of_steps_of_a_short_schedule_is_examined(steps):
    schedule = make_schedule("flow", 50)
    for name in ("dpmpp_2m_sde", "unipc"):
        reports = reports_on(name, sampling_timesteps(schedule, steps), schedule)
        assert len(reports) == steps + 1
        assert all(report.global_error.isfinite().all() for report in reports)
