"""What holds for every sampler and any denoiser: its steps, its network calls, its batches, and what it refuses."""

import inspect
import math
from itertools import pairwise, product

import pytest
import torch
from gaussian_data import (
    ALL_SCHEDULES,
    MEAN,
    STOCHASTIC,
    every_deterministic_sampler,
    every_sampler,
    levels,
    noise_for,
    nonlinear_denoiser,
)

from diffusion_core.samplers import SAMPLERS, Step, ddim
from diffusion_core.schedules import SPACINGS, NoiseSchedule, make_schedule, sampling_timesteps


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
