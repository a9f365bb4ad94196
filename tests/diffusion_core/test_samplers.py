"""Samplers on data N(m, s²), whose denoiser and ODE solution are known, and what holds for any denoiser.

With x_t = a·x0 + σ·ε the best estimate is E[x0 | x_t] = m + a·s²/(a²·s² + σ²)·(x_t − a·m), and the probability-flow ODE keeps
(x_t − a·m)/sqrt(a²·s² + σ²) constant.
"""

import inspect
import math
from itertools import pairwise

import pytest
import torch

from diffusion_core.noise import SeededNoise
from diffusion_core.samplers import SAMPLERS, Step, ddim, ddpm
from diffusion_core.schedules import SCHEDULES, NoiseSchedule, make_schedule, sampling_timesteps

MEAN, SPREAD = 0.3, 0.5
ALL_SCHEDULES = {name: make_schedule(name) for name in SCHEDULES} | {
    f"{name}, zero terminal SNR": make_schedule(name, zero_terminal_snr=True) for name in SCHEDULES if name != "flow"
}
DETERMINISTIC = [name for name, choice in SAMPLERS.items() if choice.order]

every_schedule = pytest.mark.parametrize("schedule", ALL_SCHEDULES.values(), ids=ALL_SCHEDULES)
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


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


@pytest.mark.parametrize("name", DETERMINISTIC)
@every_schedule
def test_converges_to_the_exact_solution_from_the_noisiest_timestep(schedule, name):
    """Where alpha starts at 0 the step in λ is infinite, which costs second order at most a logarithm: 8 times the steps
    must divide the error by about 8 (first order), by more than 20 (second)."""
    # With few steps, the first ones of Heun are Euler steps here and so good that its order shows only in many.
    grid = (400, 3200) if (name, schedule.name) == ("heun", "sigmoid") else (50, 400)
    coarse, fine = (error_after(SAMPLERS[name], schedule, steps, 999.0) for steps in grid)
    if SAMPLERS[name].order == 1:
        assert 7 < coarse / fine < 9
        assert fine < 1e-2
    else:
        assert coarse / fine > 20
        assert fine < 3e-4


@pytest.mark.parametrize("name", DETERMINISTIC)
@every_schedule
def test_halving_the_step_divides_the_error_by_two_or_four(schedule, name):
    grid = (200, 400, 800) if name == "ipndm" else (100, 200, 400)
    errors = [error_after(SAMPLERS[name], schedule, steps, 900.0) for steps in grid]
    coarse, fine = errors[0] / errors[1], errors[1] / errors[2]
    low, high = (3.2, 6.0) if name == "ipndm" else {1: (1.95, 2.05), 2: (3.85, 4.25)}[SAMPLERS[name].order]
    assert low < coarse < high
    assert low < fine < high
    if name == "ipndm":  # on unequal steps it is of second order in the limit only; before that its errors are far smaller
        assert errors[1] < error_after(SAMPLERS["heun"], schedule, 400, 900.0) / 3


@pytest.mark.parametrize("name", DETERMINISTIC)
@every_schedule
def test_a_constant_estimate_is_followed_exactly_in_any_number_of_steps(schedule, name):
    """Data without spread: the ODE's solution is a straight line in (alpha, sigma), so no step may make an error."""
    x = noise_for().initial().double()
    for steps in (2, 3, 5, 20):
        timesteps = sampling_timesteps(schedule, steps)
        *_, last, sample = SAMPLERS[name](gaussian_denoiser(schedule, spread=0.0), x, timesteps, schedule)
        wanted = exact_solution(schedule, x, 999, last.timestep, spread=0.0)
        # iPNDM divides roundings by alpha, 5e-5 at the end of cosine.
        torch.testing.assert_close(last.x, wanted, rtol=0, atol=1e-10)
        assert torch.equal(sample.x, torch.full_like(x, MEAN))


@every_schedule
def test_few_steps_of_heun_do_not_overshoot(schedule):
    """The mean of two slopes used to be so wrong in the longest steps that the contrast was up to 160 times too high."""
    x = noise_for(8).initial().double()
    for spacing in ("trailing", "linspace", "log_snr"):
        for steps in range(2, 21):
            timesteps = sampling_timesteps(schedule, steps, spacing)
            *_, sample = SAMPLERS["heun"](gaussian_denoiser(schedule), x, timesteps, schedule)
            assert (sample.x - MEAN).std().item() < 1.35 * SPREAD, (spacing, steps)


@pytest.mark.parametrize("name", DETERMINISTIC)
@every_schedule
def test_samples_of_gaussian_data_are_exact_in_the_end(schedule, name):
    """The whole way, last step included: the sample is the ODE's solution at t = 0 up to the noise that is left there."""
    x = noise_for().initial().double()
    *_, sample = SAMPLERS[name](gaussian_denoiser(schedule), x, sampling_timesteps(schedule, 250), schedule)
    alpha, sigma = levels(schedule, 999)
    wanted = MEAN + SPREAD / math.hypot(alpha * SPREAD, sigma) * (x - alpha * MEAN)
    assert (sample.x - wanted).abs().max() < (2e-2 if SAMPLERS[name].order == 1 else 4e-3)


@pytest.mark.parametrize("steps", [2, 3, 10, 100])
@every_schedule
def test_ddim_with_eta_1_is_ddpm(schedule, steps):
    x, noise = noise_for().initial().double(), noise_for()
    for spacing in ("trailing", "log_snr"):
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


@pytest.mark.parametrize("name", ["linear", "cosine", "flow", "sigmoid, zero terminal SNR"])
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


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace", "log_snr"])
@every_schedule
@every_sampler
def test_one_step_gives_the_estimate(sampler, schedule, spacing):
    x = noise_for().initial()
    timesteps = sampling_timesteps(schedule, 1, spacing)
    first, last = sampler(nonlinear_denoiser, x, timesteps, schedule, noise=noise_for())
    assert torch.equal(first.x, x)
    assert torch.equal(last.x, nonlinear_denoiser(x, float(timesteps[0])))
    assert (first.index, first.timestep, first.nfe) == (0, float(timesteps[0]), 1)
    assert (last.index, last.timestep, last.nfe) == (1, 0, 1)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 10, 50])
@every_schedule
@every_sampler
def test_steps_are_numbered_timed_and_finite(sampler, schedule, steps):
    x = noise_for().initial()
    for spacing in ("trailing", "linspace", "log_snr"):
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
        assert trajectory[-1].x is trajectory[-1].x0
        assert torch.equal(trajectory[-1].x, trajectory[-2].x0)


@pytest.mark.parametrize("calls", [1, 2, 3])
@pytest.mark.parametrize("steps", [1, 2, 7])
@every_schedule
@every_sampler
def test_network_evaluations_are_counted_as_they_happen(sampler, schedule, steps, calls):
    class Counted:
        count = 0

        def calls_at(self, t):
            return calls

        def __call__(self, x, t, condition):
            self.count += calls
            return nonlinear_denoiser(x, t)

    denoise = Counted()
    timesteps = sampling_timesteps(schedule, steps)
    for step in sampler(denoise, noise_for().initial(), timesteps, schedule, noise=noise_for()):
        assert step.nfe == denoise.count
    second_calls = 0
    if sampler is SAMPLERS["heun"]:  # one call in the last step, in one that leaves pure noise, and in very long ones
        visited = [levels(schedule, t) for t in timesteps.tolist()]
        ratios = [(a, sigma / a, other / b) for (a, sigma), (b, other) in pairwise(visited) if a]
        second_calls = sum(a >= 1e-3 and s <= max(1, 3 * ahead) for a, s, ahead in ratios)
    assert step.nfe == calls * (steps + second_calls)


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
    assert sorted(set(seen), reverse=True) == timesteps.tolist()
    assert not any(seen[i] < seen[i + 1] for i in range(len(seen) - 1))


@every_schedule
@every_sampler
def test_the_state_passed_in_stays_as_it_was(sampler, schedule):
    x = noise_for().initial()
    before = x.clone()
    list(sampler(nonlinear_denoiser, x, sampling_timesteps(schedule, 5), schedule, noise=noise_for()))
    assert torch.equal(x, before)


@every_schedule
@every_sampler
def test_steps_already_yielded_do_not_change(sampler, schedule):
    steps = sampler(nonlinear_denoiser, noise_for().initial(), sampling_timesteps(schedule, 6), schedule, noise=noise_for())
    seen = [(step, step.x.clone(), step.x0.clone()) for step in steps]
    for step, x, x0 in seen:
        assert torch.equal(step.x, x)
        assert torch.equal(step.x0, x0)


@every_schedule
@every_sampler
def test_an_image_alone_equals_the_image_in_a_batch(sampler, schedule):
    timesteps = sampling_timesteps(schedule, 8)
    whole = noise_for(4)
    batch = list(sampler(nonlinear_denoiser, whole.initial().double(), timesteps, schedule, noise=whole))
    for image in range(4):
        alone = noise_for([image])
        steps = sampler(nonlinear_denoiser, alone.initial().double(), timesteps, schedule, noise=alone)
        for one, many in zip(steps, batch, strict=True):
            torch.testing.assert_close(one.x[0], many.x[image], rtol=0, atol=1e-10)


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


@pytest.mark.parametrize("name", ["dpmpp_2m", "ipndm"])
@every_schedule
def test_the_first_step_of_a_multistep_sampler_is_that_of_ddim(schedule, name):
    """They have nothing to extrapolate from yet. Also in float32, whose roundings must not be divided by a small alpha."""
    x = noise_for().initial()
    timesteps = torch.tensor([999.0, 500.0, 100.0])
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


@pytest.mark.parametrize(
    ("timesteps", "message"),
    [
        ([], "at least one timestep"),
        ([[3.0, 2.0]], "at least one timestep"),
        ([1000.0], r"0 … 999, got 1000"),
        ([500.0, -1.0], r"0 … 999, got -1"),
        ([math.nan], "0 … 999"),
        ([5.0, 10.0], "must descend"),
        ([10.0, 5.0, 5.0], "must descend"),
    ],
)
@every_sampler
def test_impossible_timesteps_are_refused(sampler, timesteps, message):
    with pytest.raises(ValueError, match=message):
        list(sampler(nonlinear_denoiser, noise_for().initial(), timesteps, ALL_SCHEDULES["linear"], noise=noise_for()))


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_impossible_eta_is_refused(eta):
    with pytest.raises(ValueError, match=rf"eta={eta}.*0.*1"):
        list(ddim(nonlinear_denoiser, noise_for().initial(), [500, 0], ALL_SCHEDULES["linear"], noise=noise_for(), eta=eta))


@pytest.mark.parametrize(("sampler", "options"), [(ddpm, {}), (ddim, {"eta": 0.5})])
def test_missing_noise_is_refused(sampler, options):
    with pytest.raises(ValueError, match=r"noise=SeededNoise"):
        list(sampler(nonlinear_denoiser, noise_for().initial(), [500, 0], ALL_SCHEDULES["linear"], **options))


@pytest.mark.parametrize("name", DETERMINISTIC)
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
