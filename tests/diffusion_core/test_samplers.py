"""Samplers on data N(m, s²), whose denoiser and ODE solution are known, and what holds for any denoiser.

With x_t = a·x0 + σ·ε the best estimate is E[x0 | x_t] = m + a·s²/(a²·s² + σ²)·(x_t − a·m), and the probability-flow ODE keeps
(x_t − a·m)/sqrt(a²·s² + σ²) constant.
"""

import inspect
import math
from functools import cache
from itertools import pairwise, product

import pytest
import torch

from diffusion_core.noise import SeededNoise
from diffusion_core.samplers import SAMPLERS, Step, ddim, ddpm
from diffusion_core.schedules import SCHEDULES, SPACINGS, NoiseSchedule, make_schedule, sampling_timesteps

MEAN, SPREAD = 0.3, 0.5
ALL_SCHEDULES = {name: make_schedule(name) for name in SCHEDULES} | {
    f"{name}, zero terminal SNR": make_schedule(name, zero_terminal_snr=True) for name in SCHEDULES if name != "flow"
}
DETERMINISTIC = [name for name, choice in SAMPLERS.items() if choice.order]
STOCHASTIC = [name for name, choice in SAMPLERS.items() if not choice.order]

every_schedule = pytest.mark.parametrize("schedule", ALL_SCHEDULES.values(), ids=ALL_SCHEDULES)
every_deterministic_sampler = pytest.mark.parametrize("name", DETERMINISTIC)
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


@cache
def levels(schedule, t):
    alpha, sigma = schedule.at(t)
    return alpha.item(), sigma.item()


def gaussian_denoiser(schedule, mean=MEAN, spread=SPREAD):
    def denoise(x, t, condition=None):
        alpha, sigma = levels(schedule, t)
        return mean + alpha * spread**2 / (alpha**2 * spread**2 + sigma**2) * (x - alpha * mean)

    return denoise


def exact_solution(schedule, x, start, end, mean=MEAN, spread=SPREAD):
    (a, s), (b, r) = levels(schedule, start), levels(schedule, end)
    return b * mean + math.hypot(b * spread, r) / math.hypot(a * spread, s) * (x - a * mean)


def nonlinear_denoiser(x, t, condition=None):
    return torch.tanh(2 * x) * (1 - 0.5 * t / 1000)


def noise_for(images=3, shape=(2, 4, 4), seed=0):
    return SeededNoise(seed, shape, range(images) if isinstance(images, int) else images)


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


@every_sampler
def test_steps_are_numbered_timed_and_finite(sampler):
    x = noise_for().initial()
    for schedule, spacing, steps in product(ALL_SCHEDULES.values(), SPACINGS, (1, 2, 3, 8)):
        timesteps = sampling_timesteps(schedule, steps, spacing)
        trajectory = list(sampler(nonlinear_denoiser, x, timesteps, schedule, noise=noise_for()))
        assert all(isinstance(step, Step) for step in trajectory)
        assert [step.index for step in trajectory] == list(range(steps + 1))
        assert [step.timestep for step in trajectory] == [*timesteps.tolist(), 0]
        for step in trajectory:
            assert step.x.shape == step.x0.shape == x.shape
            assert step.x.dtype == step.x0.dtype == torch.float32
            assert step.x.isfinite().all()
        for step in trajectory[:-1]:
            assert torch.equal(step.x0, nonlinear_denoiser(step.x, step.timestep))
        assert torch.equal(trajectory[0].x, x)
        assert trajectory[0].nfe == 1
        assert trajectory[-1].x is trajectory[-1].x0
        assert torch.equal(trajectory[-1].x, trajectory[-2].x0)


@every_sampler
def test_network_evaluations_are_counted_as_they_happen(sampler):
    class Counted:
        count = 0

        def calls_at(self, t):
            return 1 + (t > 500)  # as guidance over a part of the schedule

        def __call__(self, x, t, condition):
            self.count += self.calls_at(t)
            seen.append(t)
            return nonlinear_denoiser(x, t)

    for schedule, steps in product(ALL_SCHEDULES.values(), (1, 2, 7)):
        denoise, seen = Counted(), []
        timesteps = sampling_timesteps(schedule, steps)
        for step in sampler(denoise, noise_for().initial(), timesteps, schedule, noise=noise_for()):
            assert step.nfe == denoise.count
        second_calls = 0  # one call in the last step and in one that leaves pure noise; with Heun also in very long ones
        visited = [levels(schedule, t) for t in timesteps.tolist()]
        ratios = [(a, sigma / a, other / b) for (a, sigma), (b, other) in pairwise(visited) if a]
        if sampler is SAMPLERS["heun"]:
            second_calls = sum(a >= 1e-3 and s <= max(1, 3 * ahead) for a, s, ahead in ratios)
        if sampler is SAMPLERS["dpmpp_2s"]:
            second_calls = len(ratios)
        assert len(seen) == steps + second_calls


@every_sampler
def test_timestep_and_condition_reach_the_denoiser_as_they_are(sampler):
    condition, seen = object(), []

    def denoise(x, t, given):
        assert given is condition
        seen.append(t)
        return 0.5 * x

    timesteps = torch.tensor([990.5, 400.25, 3.0], dtype=torch.float64)
    list(sampler(denoise, noise_for().initial(), timesteps, ALL_SCHEDULES["linear"], condition, noise=noise_for()))
    assert all(type(t) is float for t in seen)
    between = 2 if sampler is SAMPLERS["dpmpp_2s"] else 0
    assert len(set(seen)) == 3 + between
    assert set(timesteps.tolist()) <= set(seen)
    assert not any(seen[i] < seen[i + 1] for i in range(len(seen) - 1))


@every_sampler
def test_states_once_passed_in_or_yielded_do_not_change(sampler):
    for schedule in ALL_SCHEDULES.values():
        x = noise_for().initial()
        before = x.clone()
        steps = sampler(nonlinear_denoiser, x, sampling_timesteps(schedule, 6), schedule, noise=noise_for())
        seen = [(step, step.x.clone(), step.x0.clone()) for step in steps]
        assert torch.equal(x, before)
        for step, state, x0 in seen:
            assert torch.equal(step.x, state)
            assert torch.equal(step.x0, x0)


@every_sampler
def test_an_image_alone_equals_the_image_in_a_batch(sampler):
    whole, alone = noise_for(3), noise_for([1])
    for schedule in ALL_SCHEDULES.values():
        timesteps = sampling_timesteps(schedule, 8)
        batch = sampler(nonlinear_denoiser, whole.initial().double(), timesteps, schedule, noise=whole)
        steps = sampler(nonlinear_denoiser, alone.initial().double(), timesteps, schedule, noise=alone)
        for one, many in zip(steps, batch, strict=True):
            torch.testing.assert_close(one.x[0], many.x[1], rtol=0, atol=1e-10)


@every_sampler
def test_the_same_seed_repeats_and_another_differs(sampler):
    schedule = ALL_SCHEDULES["linear"]
    timesteps = sampling_timesteps(schedule, 8)
    x = noise_for().initial()

    def sample(seed):
        *_, last = sampler(nonlinear_denoiser, x, timesteps, schedule, noise=noise_for(seed=seed))
        return last.x

    assert torch.equal(sample(0), sample(0))
    assert torch.equal(sample(0), sample(1)) == (sampler.order is not None)  # the others add noise


@pytest.mark.parametrize("name", ["dpmpp_2m", "dpmpp_3m", "unipc", "ipndm"])
def test_the_first_step_of_a_multistep_sampler_is_that_of_ddim(name):
    """They have nothing to extrapolate from yet. Also in float32, whose roundings must not be divided by a small alpha."""
    x = noise_for().initial()
    timesteps = torch.tensor([999.0, 500.0, 100.0])
    for schedule in ALL_SCHEDULES.values():
        wanted = list(ddim(nonlinear_denoiser, x, timesteps, schedule))[1].x
        found = list(SAMPLERS[name](nonlinear_denoiser, x, timesteps, schedule))[1].x
        torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)


@every_sampler
def test_levels_that_are_equal_at_two_timesteps_are_crossed(sampler):
    """A long sigmoid schedule ends on a plateau, where a step has no length; it must change nothing."""
    schedule = make_schedule("sigmoid", 4000)
    assert schedule.alpha[-1] == schedule.alpha[-2]
    x = noise_for().initial()
    noise = noise_for()
    steps = list(sampler(nonlinear_denoiser, x, [3999, 3998, 3000, 2000, 0], schedule, noise=noise))
    torch.testing.assert_close(steps[1].x, x, rtol=0, atol=1e-4)
    assert all(step.x.isfinite().all() for step in steps)


@every_sampler
def test_gradients_are_off_inside_and_as_they_were_outside(sampler):
    weight = torch.nn.Parameter(torch.tensor(0.5))
    schedule = ALL_SCHEDULES["linear"]

    def denoise(x, t, condition):
        assert not torch.is_grad_enabled()
        return weight * x

    def run():
        return sampler(denoise, noise_for().initial(), sampling_timesteps(schedule, 5), schedule, noise=noise_for())

    for step in run():
        assert torch.is_grad_enabled()
        assert not step.x.requires_grad
        assert not step.x0.requires_grad
        (weight * step.x0).sum().backward()  # the consumer may differentiate between steps
    assert torch.is_grad_enabled()
    assert weight.grad is not None
    with torch.no_grad():
        for _ in run():
            assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


@every_sampler
def test_stopping_early_costs_nothing_more_and_leaves_nothing_behind(sampler):
    calls = []

    def denoise(x, t, condition):
        calls.append(t)
        return 0.5 * x

    schedule = ALL_SCHEDULES["linear"]
    steps = sampler(denoise, noise_for().initial(), sampling_timesteps(schedule, 50), schedule, noise=noise_for())
    assert not calls  # nothing happens before it is asked for
    for step in steps:
        if step.index == 2:
            break
    seen = len(calls)
    assert seen == step.nfe
    steps.close()
    assert len(calls) == seen
    assert torch.is_grad_enabled()


@every_sampler
def test_an_error_in_the_network_reaches_the_consumer_with_gradients_as_they_were(sampler):
    def denoise(x, t, condition):
        raise RuntimeError("no such network")

    schedule = ALL_SCHEDULES["linear"]
    with pytest.raises(RuntimeError, match="no such network"):
        next(sampler(denoise, noise_for().initial(), sampling_timesteps(schedule, 5), schedule, noise=noise_for()))
    assert torch.is_grad_enabled()


@every_sampler
def test_impossible_timesteps_are_refused(sampler):
    impossible = {
        "at least one timestep": ([], [[3.0, 2.0]]),
        "0 … 999": ([1000.0], [500.0, -1.0], [math.nan]),
        "must descend": ([5.0, 10.0], [10.0, 5.0, 5.0]),
    }
    for message, cases in impossible.items():
        for timesteps in cases:
            with pytest.raises(ValueError, match=message):
                sampler(nonlinear_denoiser, noise_for().initial(), timesteps, ALL_SCHEDULES["linear"], noise=noise_for())


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_impossible_eta_is_refused(eta):
    with pytest.raises(ValueError, match=rf"eta={eta}.*0.*1"):
        list(ddim(nonlinear_denoiser, noise_for().initial(), [500, 0], ALL_SCHEDULES["linear"], noise=noise_for(), eta=eta))


@pytest.mark.parametrize(("sampler", "options"), [*((SAMPLERS[name], {}) for name in STOCHASTIC), (ddim, {"eta": 0.5})])
def test_missing_noise_is_refused(sampler, options):
    with pytest.raises(ValueError, match=r"noise=SeededNoise"):
        list(sampler(nonlinear_denoiser, noise_for().initial(), [500, 0], ALL_SCHEDULES["linear"], **options))


@every_deterministic_sampler
def test_deterministic_samplers_need_no_noise(name):
    schedule = ALL_SCHEDULES["linear"]
    x = noise_for().initial()
    without = list(SAMPLERS[name](nonlinear_denoiser, x, [900, 500, 0], schedule))
    given = list(SAMPLERS[name](nonlinear_denoiser, x, [900, 500, 0], schedule, noise=noise_for()))
    assert torch.equal(without[-1].x, given[-1].x)


@every_sampler
def test_every_sampler_is_called_alike(sampler):
    parameters = inspect.signature(sampler.load()).parameters
    assert list(parameters)[:6] == ["denoise", "x", "timesteps", "schedule", "condition", "noise"]
    assert all(p.default is not p.empty for p in list(parameters.values())[4:])


@every_sampler
def test_only_alpha_and_sigma_of_a_schedule_matter(sampler):
    """A schedule that preserves no variance, unlike any of ours: a point of data is still reached along a straight line."""
    time = torch.linspace(0.05, 0.95, 100, dtype=torch.float64)
    schedule = NoiseSchedule("own", 1 - time**2, 0.7 * time)
    x = noise_for().initial().double()
    steps = list(sampler(lambda x, t, c: torch.full_like(x, MEAN), x, [99, 50, 10.5, 0], schedule, noise=noise_for()))
    assert torch.equal(steps[-1].x, torch.full_like(x, MEAN))
    if sampler.order:
        alpha, sigma = levels(schedule, 99)
        direction = (x - alpha * MEAN) / sigma
        for step in steps[:-1]:
            alpha, sigma = levels(schedule, step.timestep)
            torch.testing.assert_close(step.x, alpha * MEAN + sigma * direction, rtol=0, atol=1e-12)
